"""Several regions in one inventory: ids of their own, one sample to a cell, negatives that keep off each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from pipeline import grid
from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe
from pipeline.records import Event, Recipe, Sample
from pipeline.sampling import Inventory, annotated_samples, negative_samples

RECIPE = load_recipe("landslides")
STEP = 1280.0
START = datetime(2020, 1, 1, tzinfo=UTC)


def with_places(**changes) -> Recipe:
    return RECIPE.model_copy(update={"places": RECIPE.places.model_copy(update=changes)})


def square(x: float, y: float, side: float = 100.0, epsg: int = 32632) -> bytes:
    """A square whose lower left corner is told in cells."""
    east, north = x * STEP, y * STEP
    lon, lat = grid.to_lonlat(
        easting=[east, east + side, east + side, east], northing=[north, north, north + side, north + side], epsg=epsg
    )
    return shapely.to_wkb(shapely.Polygon(zip(lon, lat, strict=True)))


def event(id_: str, region: str, wkb: bytes, day: int = 0) -> Event:
    return Event(id=id_, date=START + timedelta(days=day), wkb=wkb, region=region)


def inventory(*events: Event) -> Inventory:
    return Inventory(name="all", events=tuple(sorted(events, key=lambda one: (one.date, one.id))))


def both(given: Inventory, recipe: Recipe) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    annotated = annotated_samples(given, recipe)
    return annotated, negative_samples(annotated, given, recipe, coverage=None)


def scattered(regions: Sequence[str], seed: int, *, lon: float = 9.5, spread: float = 0.1) -> Inventory:
    rng = np.random.default_rng(seed)
    places = np.array([lon, 45.0]) + rng.uniform(-spread, spread, (8 * len(regions), 2))
    return inventory(
        *(
            event(
                f"e{n:02}",
                regions[n % len(regions)],
                shapely.to_wkb(box(x, y, x + 0.01, y + 0.005)),
                int(rng.integers(9)),
            )
            for n, (x, y) in enumerate(places.tolist())
        )
    )


def test_each_region_counts_ids_in_an_extent_of_its_own() -> None:
    near, far = event("1", "alps", square(400.1, 3900.1)), event("2", "jura", square(500.1, 3950.1))
    samples = annotated_samples(inventory(near, far), RECIPE)
    assert [(sample.id, sample.region) for sample in samples] == [
        (f"alps_{8 * 17 + 8}", "alps"), (f"jura_{8 * 17 + 8}", "jura"),
    ]  # fmt: skip


def test_a_region_gets_the_samples_that_it_would_get_alone() -> None:
    near = [event(str(n), "alps", square(400.1 + n, 3900.1)) for n in range(3)]
    far = event("9", "jura", square(900.1, 3950.1))
    together = both(inventory(*near, far), RECIPE)
    alone = both(inventory(*near), RECIPE)
    for part, whole in zip(alone, together, strict=True):
        assert [sample for sample in whole if sample.region == "alps"] == list(part)


def test_a_cell_of_two_regions_is_one_sample_of_the_first_event_and_lists_both() -> None:
    later = event("1", "alps", square(400.1, 3900.1), day=5)
    first = event("2", "jura", square(400.5, 3900.5), day=3)
    (sample,) = annotated_samples(inventory(later, first), RECIPE)
    assert (sample.region, sample.event_ids, sample.date) == ("jura", ("2", "1"), first.date)
    assert sample.id.startswith("jura_")


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), negatives=st.sampled_from([0.5, 2.0, 1e6]), lon=st.sampled_from([9.5, 12.0]))
def test_no_two_regions_make_the_same_patch(seed, negatives, lon) -> None:
    given_ = scattered(("alps", "jura", "po"), seed, lon=lon)
    recipe = with_places(negatives=negatives, margin=2)
    annotated, drawn = both(given_, recipe)
    samples = [*annotated, *drawn]
    cells = Counter((sample.grid.epsg, sample.lattice_x, sample.lattice_y) for sample in samples)
    assert set(cells.values()) == {1}
    assert len({sample.id for sample in samples}) == len(samples)
    polygons = [shapely.from_wkb(one.wkb) for one in given_.events]
    tree = shapely.STRtree(polygons)
    for sample in drawn:
        assert not tree.query(grid.footprint(sample.grid), predicate="intersects").size
    if negatives <= 2.0:
        counts = [Counter(sample.region for sample in part) for part in (annotated, drawn)]
        assert all(counts[1][region] <= round(negatives * count) for region, count in counts[0].items())


def test_a_negative_between_two_regions_belongs_to_the_nearer_one() -> None:
    alps, jura = event("1", "alps", square(400.1, 3900.1)), event("2", "jura", square(410.1, 3900.1))
    _, drawn = both(inventory(alps, jura), with_places(negatives=1e6))
    for sample in drawn:
        to_alps, to_jura = ((sample.lattice_x - ix) ** 2 + (sample.lattice_y - 3900) ** 2 for ix in (400, 410))
        # Equals go to the lower id of an annotated sample, which is alps.
        assert sample.region == ("alps" if to_alps <= to_jura else "jura")
    assert {sample.region for sample in drawn} == {"alps", "jura"}


def test_a_given_extent_counts_for_every_region() -> None:
    recipe = with_places(crs="EPSG:32632", extent=(390 * STEP, 3890 * STEP, 420 * STEP, 3910 * STEP), negatives=1e6)
    alps, jura = event("1", "alps", square(400.1, 3900.1)), event("2", "jura", square(410.1, 3900.1))
    annotated, drawn = both(inventory(alps, jura), recipe)
    assert [sample.id for sample in annotated] == ["alps_210", "jura_410"]
    assert len(drawn) == 30 * 20 - 2


def test_regions_of_two_zones_name_the_zone_where_they_need_to() -> None:
    east, west = square(400.1, 3900.1, epsg=32633), square(400.1, 3900.1)
    samples = annotated_samples(
        inventory(event("1", "alps", west), event("2", "alps", east), event("3", "po", square(405.1, 3900.1))), RECIPE
    )
    assert {sample.id.rpartition("_")[0] for sample in samples} == {"alps-32632", "alps-32633", "po"}


def test_ids_that_would_begin_alike_are_refused() -> None:
    east, west = square(400.1, 3900.1, epsg=32633), square(400.1, 3900.1)
    alike = inventory(event("1", "po", west), event("2", "po", east), event("3", "po-32633", square(450.1, 3900.1)))
    with pytest.raises(RecipeError, match="ids of two regions would begin with po-32633; spell one of them otherwise"):
        annotated_samples(alike, RECIPE)


def test_events_without_a_region_are_those_of_the_inventory() -> None:
    given_ = scattered(("",), 1)
    named = replace(given_, events=tuple(replace(one, region="all") for one in given_.events))
    assert both(given_, RECIPE) == both(named, RECIPE)
