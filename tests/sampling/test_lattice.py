import math
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from pipeline import grid
from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe
from pipeline.records import Event, Recipe, Sample
from pipeline.sampling import Inventory, annotated_samples, lattice, negative_samples

RECIPE = load_recipe("landslides")
STEP = 1280.0
START = datetime(2020, 1, 1, tzinfo=UTC)


def with_places(**changes) -> Recipe:
    return RECIPE.model_copy(update={"places": RECIPE.places.model_copy(update=changes)})


def inventory_of(polygons: Sequence[BaseGeometry], days: Sequence[int] | None = None) -> Inventory:
    days = days or range(len(polygons))
    cut = grid.cut_at_antimeridian(np.array(polygons, dtype=object))
    events = [
        Event(id=f"e{index}", date=START + timedelta(days=day), wkb=shapely.to_wkb(polygon))
        for index, (polygon, day) in enumerate(zip(cut, days, strict=True))
    ]
    return Inventory(name="slides", events=tuple(sorted(events, key=lambda event: (event.date, event.id))))


def lonlat(polygon: BaseGeometry, epsg: int) -> BaseGeometry:
    def backward(xy):
        return np.stack(grid.to_lonlat(easting=xy[:, 0], northing=xy[:, 1], epsg=epsg), axis=-1)

    return shapely.transform(polygon, backward)


def in_utm(*boxes: tuple[float, float, float, float], epsg: int = 32632) -> Inventory:
    return inventory_of([lonlat(box(*bounds), epsg) for bounds in boxes])


def cells(samples: Sequence[Sample]) -> list[tuple[int | None, int | None]]:
    return [(sample.lattice_x, sample.lattice_y) for sample in samples]


def scattered(count: int, lon: float, lat: float, *, spread: float, seed: int = 0) -> Inventory:
    rng = np.random.default_rng(seed)
    aside = 1 / math.cos(math.radians(lat))
    places = np.array([lon, lat]) + rng.uniform(-spread, spread, (count, 2)) * (aside, 1.0)
    sizes = rng.lognormal(math.log(0.001), 1.0, count)
    return inventory_of(
        [
            shapely.affinity.scale(shapely.Point(x, y).buffer(size), xfact=aside)
            for (x, y), size in zip(places, sizes, strict=True)
        ],
        rng.integers(0, 900, count).tolist(),
    )


def assert_no_overlap_on_the_ground(samples: Sequence[Sample]) -> None:
    """Bring every patch into one zone near them all and compare areas."""
    epsg = samples[0].grid.epsg
    patches = grid.project_all(grid.footprints([sample.grid for sample in samples]), epsg)
    one, other = shapely.STRtree(patches).query(patches, predicate="intersects")
    one, other = one[one < other], other[one < other]
    # Neighbours on one lattice share an edge; projected to another zone it is bent by less than a millimetre.
    assert shapely.area(shapely.intersection(patches[one], patches[other])).max(initial=0.0) < 2.0


def test_a_polygon_inside_a_cell_annotates_that_cell_alone() -> None:
    (sample,) = annotated_samples(
        in_utm((400 * STEP + 10, 3900 * STEP + 10, 400 * STEP + 60, 3900 * STEP + 60)), RECIPE
    )
    assert (sample.lattice_x, sample.lattice_y) == (400, 3900)
    assert sample.grid.bounds == (400 * STEP, 3900 * STEP, 401 * STEP, 3901 * STEP)
    assert (sample.lon, sample.lat) == grid.centre(sample.grid)
    assert sample.is_annotated
    assert sample.event_ids == ("e0",)
    assert sample.id == f"slides_{8 * 17 + 8}"


def test_a_polygon_that_fills_a_cell_touches_its_neighbours_and_does_not_annotate_them() -> None:
    filling = in_utm((400 * STEP, 3900 * STEP, 401 * STEP, 3901 * STEP))
    assert cells(annotated_samples(filling, RECIPE)) == [(400, 3900)]


def test_a_polygon_a_centimetre_across_the_border_annotates_both_cells() -> None:
    across = in_utm((401 * STEP - 50, 3900 * STEP + 10, 401 * STEP + 0.01, 3900 * STEP + 60))
    assert cells(annotated_samples(across, RECIPE)) == [(400, 3900), (401, 3900)]


def test_the_hole_of_a_ring_is_not_annotated() -> None:
    ring = box(400 * STEP - 99, 3900 * STEP - 99, 401 * STEP + 99, 3901 * STEP + 99).difference(
        box(400 * STEP - 50, 3900 * STEP - 50, 401 * STEP + 50, 3901 * STEP + 50)
    )
    assert (400, 3900) not in cells(annotated_samples(inventory_of([lonlat(ring, 32632)]), RECIPE))


def test_events_are_listed_by_date_and_id_and_the_first_gives_the_date() -> None:
    polygon = lonlat(box(400 * STEP + 10, 3900 * STEP + 10, 400 * STEP + 60, 3900 * STEP + 60), 32632)
    (sample,) = annotated_samples(inventory_of([polygon] * 4, days=[9, 3, 9, 5]), RECIPE)
    assert sample.event_ids == ("e1", "e3", "e0", "e2")
    assert sample.event_dates == tuple(START + timedelta(days=day) for day in (3, 5, 9, 9))
    assert sample.date == START + timedelta(days=3)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    place=st.sampled_from([(9.5, 45.0), (9.5, -45.0), (15.0, 70.0)]),
    size=st.sampled_from([8, 16, 128]),
    anchor=st.tuples(st.integers(-700, 700), st.integers(-700, 700)),
)
def test_annotated_cells_are_those_a_plain_loop_finds(seed, place, size, anchor) -> None:
    recipe = RECIPE.model_copy(update={"patch_size": size, "anchor": anchor})
    inventory = scattered(6, *place, spread=0.01, seed=seed)
    samples = annotated_samples(inventory, recipe)
    epsg = grid.utm_epsg(lon=place[0], lat=place[1])
    polygons = {event.id: grid.project(shapely.from_wkb(event.wkb), epsg) for event in inventory.events}
    expected = {}
    west, south, east, north = shapely.total_bounds(list(polygons.values()))
    for ix in range(int((west - anchor[0]) // recipe.step) - 1, int((east - anchor[0]) // recipe.step) + 2):
        for iy in range(int((south - anchor[1]) // recipe.step) - 1, int((north - anchor[1]) // recipe.step) + 2):
            cell = box(*grid.cell_grid(ix, iy, epsg=epsg, recipe=recipe).bounds)
            inside = tuple(id_ for id_, polygon in polygons.items() if polygon.intersection(cell).area > 0)
            if inside:
                expected[ix, iy] = inside
    assert dict(zip(cells(samples), [sample.event_ids for sample in samples], strict=True)) == expected


def test_samples_are_sorted_by_zone_column_and_row() -> None:
    samples = annotated_samples(scattered(300, 12.0, 45.0, spread=0.8), RECIPE)
    order = [(sample.grid.epsg, *cell) for sample, cell in zip(samples, cells(samples), strict=True)]
    assert order == sorted(order)


def test_ids_are_counted_in_the_given_extent() -> None:
    extent = (380 * STEP + 5, 3880 * STEP + 5, 410 * STEP - 5, 3910 * STEP - 5)
    recipe = with_places(crs="EPSG:32632", extent=extent)
    (sample,) = annotated_samples(
        in_utm((400 * STEP + 10, 3900 * STEP + 10, 400 * STEP + 60, 3900 * STEP + 60)), recipe
    )
    assert sample.id == f"slides_{30 * 20 + 20}"


def test_ids_in_an_extent_of_whole_cells_do_not_count_its_neighbours() -> None:
    recipe = with_places(crs="EPSG:32632", extent=(400 * STEP, 3900 * STEP, 401 * STEP, 3901 * STEP))
    (sample,) = annotated_samples(in_utm((400 * STEP, 3900 * STEP, 401 * STEP, 3901 * STEP)), recipe)
    assert sample.id == "slides_0"


def test_polygons_outside_the_given_extent_are_counted() -> None:
    recipe = with_places(crs="EPSG:32632", extent=(400 * STEP, 3900 * STEP, 402 * STEP, 3902 * STEP))
    inventory = in_utm(
        (400 * STEP + 10, 3900 * STEP + 10, 400 * STEP + 60, 3900 * STEP + 60),
        (402 * STEP - 10, 3900 * STEP + 10, 402 * STEP + 60, 3900 * STEP + 60),
        (410 * STEP, 3900 * STEP + 10, 410 * STEP + 60, 3900 * STEP + 60),
    )
    with pytest.raises(RecipeError, match=r"inventory slides: 2 of 3 polygons reach outside places.extent \[512000"):
        annotated_samples(inventory, recipe)


def test_an_extent_inside_out_is_refused() -> None:
    recipe = with_places(crs="EPSG:32632", extent=(5.0, 0.0, 1.0, 9.0))
    with pytest.raises(RecipeError, match=r"places.extent \[5.0, 0.0, 1.0, 9.0\] is empty: give left, bottom"):
        annotated_samples(in_utm((0, 0, 9, 9)), recipe)


def test_ids_name_the_zone_only_where_there_are_several() -> None:
    two = inventory_of([box(11.5, 45, 11.501, 45.001), box(12.5, 45, 12.501, 45.001)])
    prefixes = {sample.id.rpartition("_")[0] for sample in annotated_samples(two, RECIPE)}
    assert prefixes == {"slides-32632", "slides-32633"}
    one = annotated_samples(two, with_places(crs="EPSG:32633"))
    assert {sample.id.rpartition("_")[0] for sample in one} == {"slides"}
    assert {sample.grid.epsg for sample in one} == {32633}


@pytest.mark.parametrize(
    ("lon", "lat"),
    [(12.0, 45.0), (180.0, -17.0), (180.0, 68.0), (12.0, 0.0), (3.0, 64.0), (9.0, 72.0)],
)
@pytest.mark.parametrize("negatives", [0.0, 1.0])
def test_no_two_patches_overlap_on_the_ground_at_the_borders_of_zones(lon, lat, negatives) -> None:
    inventory = scattered(150, lon, lat, spread=0.6)
    recipe = with_places(negatives=negatives)
    annotated = annotated_samples(inventory, recipe)
    samples = [*annotated, *negative_samples(annotated, inventory, recipe, coverage=None)]
    assert len({sample.grid.epsg for sample in samples}) >= 2
    assert len({sample.id for sample in samples}) == len(samples)
    assert_no_overlap_on_the_ground(samples)


def test_every_event_is_in_some_sample() -> None:
    inventory = scattered(400, 180.0, -17.0, spread=0.7)
    found = {id_ for sample in annotated_samples(inventory, RECIPE) for id_ in sample.event_ids}
    assert found == {event.id for event in inventory.events}


def test_a_slide_across_the_antimeridian_annotates_cells_on_both_sides_in_one_zone() -> None:
    samples = annotated_samples(inventory_of([box(179.98, -17.0, 180.02, -16.99)]), RECIPE)
    assert len({sample.grid.epsg for sample in samples}) == 1
    assert {sample.lon > 0 for sample in samples} == {True, False}
    assert len(samples) >= 4


def test_another_event_far_away_moves_no_cell() -> None:
    near = scattered(50, 9.5, 45.0, spread=0.1)
    far = replace(
        near, events=(*near.events, replace(near.events[-1], id="z", wkb=shapely.to_wkb(box(9.9, 46, 9.91, 46.01))))
    )
    assert set(cells(annotated_samples(near, RECIPE))) <= set(cells(annotated_samples(far, RECIPE)))


def test_a_polygon_as_wide_as_a_country_is_refused_before_its_cells_are_counted_out(monkeypatch) -> None:
    monkeypatch.setattr(lattice, "MOST_CELLS", 1000)
    with pytest.raises(RecipeError, match=r"and at most 1000 are looked at; the largest polygon is 4\d\d x \d{4} km"):
        annotated_samples(in_utm((300_000, 1_000_000, 700_000, 8_000_000)), RECIPE)


def test_no_events_give_no_samples() -> None:
    assert annotated_samples(Inventory(name="slides", events=()), RECIPE) == ()


def test_twenty_thousand_polygons_take_seconds() -> None:
    inventory = scattered(20_000, 12.0, 45.0, spread=1.0)
    start = time.perf_counter()
    annotated = annotated_samples(inventory, RECIPE)
    negative_samples(annotated, inventory, RECIPE, coverage=None)
    assert time.perf_counter() - start < 30
