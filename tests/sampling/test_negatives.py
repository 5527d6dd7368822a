import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, box

from pipeline import grid
from pipeline.recipes import load_recipe
from pipeline.records import Event, Recipe
from pipeline.sampling import Inventory, annotated_samples, negative_samples

RECIPE = load_recipe("landslides")
START = datetime(2020, 1, 1, tzinfo=UTC)


def with_places(**changes) -> Recipe:
    return RECIPE.model_copy(update={"places": RECIPE.places.model_copy(update=changes)})


def scattered(count: int, lon: float, lat: float, *, spread: float = 0.1, name: str = "slides") -> Inventory:
    rng = np.random.default_rng(1)
    places = np.array([lon, lat]) + rng.uniform(-spread, spread, (count, 2))
    drawn = np.array([box(x, y, x + 0.002, y + 0.001) for x, y in places], dtype=object)
    wkb = shapely.to_wkb(grid.cut_at_antimeridian(drawn))
    events = (
        Event(id=f"e{index:03}", date=START + timedelta(days=index), wkb=polygon) for index, polygon in enumerate(wkb)
    )
    return Inventory(name=name, events=tuple(events))


def drawn(inventory: Inventory, recipe: Recipe, coverage=None):
    return negative_samples(annotated_samples(inventory, recipe), inventory, recipe, coverage=coverage)


@pytest.mark.parametrize(("negatives", "expected"), [(0.0, 0), (0.5, 0.5), (1.0, 1), (2.0, 2)])
def test_as_many_are_drawn_as_the_recipe_says(negatives, expected) -> None:
    inventory = scattered(40, 9.5, 45.0)
    count = len(annotated_samples(inventory, RECIPE))
    assert len(drawn(inventory, with_places(negatives=negatives))) == round(expected * count)


def test_where_there_are_too_few_all_are_drawn() -> None:
    inventory = scattered(5, 9.5, 45.0, spread=0.01)
    recipe = with_places(negatives=1e6, margin=1)
    annotated = annotated_samples(inventory, recipe)
    negatives = drawn(inventory, recipe)
    both = {(sample.lattice_x, sample.lattice_y) for sample in (*annotated, *negatives)}
    columns, rows = ({cell[axis] for cell in both} for axis in (0, 1))
    assert len(both) == len(columns) * len(rows) == len(annotated) + len(negatives)


def test_no_polygon_touches_a_negative() -> None:
    inventory = scattered(40, 9.5, 45.0)
    polygons = grid.project_all(shapely.from_wkb([event.wkb for event in inventory.events]), 32632)
    for sample in drawn(inventory, with_places(negatives=100.0)):
        assert not shapely.intersects(polygons, box(*sample.grid.bounds)).any()
        assert not sample.is_annotated
        assert sample.event_ids == sample.event_dates == ()


def test_a_cell_that_a_polygon_merely_touches_is_neither_annotated_nor_negative() -> None:
    def backward(xy):
        return np.stack(grid.to_lonlat(easting=xy[:, 0], northing=xy[:, 1], epsg=32632), axis=-1)

    cell = box(*grid.cell_grid(400, 3900, epsg=32632, recipe=RECIPE).bounds)
    event = Event(id="e", date=START, wkb=shapely.to_wkb(shapely.transform(cell, backward)))
    recipe = with_places(negatives=1000.0, margin=2)
    inventory = Inventory(name="slides", events=(event,))
    assert len(annotated_samples(inventory, recipe)) == 1
    assert len(drawn(inventory, recipe)) == 25 - 9


def test_negatives_lie_wholly_inside_the_coverage() -> None:
    inventory = scattered(40, 9.5, 45.0)
    coverage = MultiPolygon([box(9.3, 44.8, 9.45, 45.2), box(9.5, 44.9, 9.8, 45.1)])
    negatives = drawn(inventory, with_places(negatives=1e6), coverage)
    assert negatives
    assert all(coverage.covers(grid.footprint(sample.grid)) for sample in negatives)
    everywhere = drawn(inventory, with_places(negatives=1e6))
    inside = [sample for sample in everywhere if coverage.covers(grid.footprint(sample.grid))]
    assert list(negatives) == inside


@pytest.mark.parametrize("coverage", [shapely.Polygon(), box(50, 50, 51, 51)])
def test_no_coverage_gives_no_negatives(coverage) -> None:
    assert drawn(scattered(10, 9.5, 45.0), RECIPE, coverage) == ()


def test_coverage_across_the_antimeridian_counts_on_both_sides() -> None:
    coverage = MultiPolygon([box(179.7, -17.3, 180, -16.7), box(-180, -17.3, -179.7, -16.7)])
    negatives = drawn(scattered(60, 180.0, -17.0), with_places(negatives=1e6), coverage)
    straddling = [sample for sample in negatives if grid.footprint(sample.grid).geom_type == "MultiPolygon"]
    assert straddling
    assert {sample.lon > 0 for sample in negatives} == {True, False}


def test_ids_follow_the_law_of_the_annotated_ones() -> None:
    inventory = scattered(40, 9.5, 45.0)
    annotated = annotated_samples(inventory, RECIPE)
    samples = sorted((*annotated, *drawn(inventory, with_places(negatives=1e6))), key=lambda s: int(s.id.split("_")[1]))
    assert [int(sample.id.split("_")[1]) for sample in samples] == sorted(
        {int(sample.id.split("_")[1]) for sample in samples}
    )
    assert [(s.lattice_x, s.lattice_y) for s in samples] == sorted((s.lattice_x, s.lattice_y) for s in samples)


def test_negatives_are_sorted_by_zone_column_and_row() -> None:
    negatives = drawn(scattered(100, 12.0, 45.0, spread=0.8), RECIPE)
    order = [(sample.grid.epsg, sample.lattice_x, sample.lattice_y) for sample in negatives]
    assert order == sorted(order)
    assert {epsg for epsg, _, _ in order} == {32632, 32633}


def test_each_has_the_date_of_the_nearest_annotated_sample_and_the_lowest_id_of_equals() -> None:
    inventory = scattered(25, 9.5, 45.0)
    annotated = annotated_samples(inventory, RECIPE)
    for sample in drawn(inventory, with_places(negatives=3.0)):
        nearest = min(
            annotated,
            key=lambda one: (
                (one.lattice_x - sample.lattice_x) ** 2 + (one.lattice_y - sample.lattice_y) ** 2,
                one.id,
            ),
        )
        assert sample.date == nearest.date


def test_a_draw_depends_on_seed_and_region() -> None:
    inventory = scattered(40, 9.5, 45.0)
    first = drawn(inventory, RECIPE)
    assert drawn(inventory, RECIPE) == first
    other_seed = drawn(inventory, RECIPE.model_copy(update={"seed": 43}))
    other_region = drawn(scattered(40, 9.5, 45.0, name="elsewhere"), RECIPE)
    grids = [
        {sample.grid.left + 1e7 * sample.grid.top for sample in draw} for draw in (first, other_seed, other_region)
    ]
    assert grids[0] != grids[1] != grids[2] != grids[0]


def test_fewer_negatives_are_a_part_of_more() -> None:
    inventory = scattered(60, 12.0, 45.0, spread=0.5)
    draws = [{sample.id for sample in drawn(inventory, with_places(negatives=n))} for n in (0.3, 1.0, 5.0, 1e6)]
    assert all(fewer < more for fewer, more in pairwise(draws))


def test_annotated_samples_left_out_say_how_many_but_never_become_negatives() -> None:
    inventory = scattered(60, 12.0, 45.0, spread=0.5)
    annotated = annotated_samples(inventory, RECIPE)
    some = negative_samples(annotated[::3], inventory, with_places(negatives=1e6), coverage=None)
    assert not {sample.id for sample in some} & {sample.id for sample in annotated}
    assert len(negative_samples(annotated[::3], inventory, RECIPE, coverage=None)) == len(annotated[::3])
    assert negative_samples((), inventory, RECIPE, coverage=None) == ()


def test_a_draw_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_negatives as t;"
        "print([s.id for s in t.drawn(t.scattered(30, 12.0, 45.0, spread=0.5), t.RECIPE)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_ranks_are_spread_evenly_over_the_extent() -> None:
    negatives = drawn(scattered(200, 9.5, 45.0, spread=0.4), with_places(margin=0))
    columns = np.array([sample.lattice_x for sample in negatives])
    rows = np.array([sample.lattice_y for sample in negatives])
    for axis in (columns, rows):
        middle = (axis.min() + axis.max()) / 2
        assert 0.35 < (axis < middle).mean() < 0.65


@pytest.mark.parametrize(("lon", "lat", "apart"), [(12.0, 45.0, 0.16), (180.0, -17.0, 0.14), (9.0, 72.5, 0.4)])
def test_negatives_of_neighbouring_zones_do_not_overlap_where_they_meet(lon, lat, apart) -> None:
    slides = [box(x, lat, x + 0.001, lat + 0.001) for x in (lon - apart / 2, lon + apart / 2)]
    squares = grid.cut_at_antimeridian(np.array(slides, dtype=object))
    events = tuple(Event(id=f"e{n}", date=START, wkb=shapely.to_wkb(square)) for n, square in enumerate(squares))
    inventory = Inventory(name="slides", events=events)
    recipe = with_places(negatives=1e6)
    samples = [*annotated_samples(inventory, recipe), *drawn(inventory, recipe)]
    epsg, other = sorted({sample.grid.epsg for sample in samples})
    here, there = (
        grid.project_all(grid.footprints([s.grid for s in samples if s.grid.epsg == zone]), epsg)
        for zone in (epsg, other)
    )
    one, two = shapely.STRtree(here).query(there, predicate="intersects")
    assert shapely.area(shapely.intersection(there[one], here[two])).max(initial=0.0) < 1e-3
    assert shapely.distance(shapely.union_all(here), shapely.union_all(there)) < 2 * recipe.step
