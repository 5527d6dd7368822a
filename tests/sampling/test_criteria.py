"""Negatives that must satisfy more than being free of polygons, and what rejected events mean for samples."""

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
from pipeline.records import Event, Recipe, RejectedEvent
from pipeline.sampling import Inventory, annotated_samples, negative_samples
from pipeline.sampling.land import land_shares, open_land
from pipeline.sampling.negatives import SLOPES_PER_NEGATIVE
from pipeline.sampling.unlabelled import unlabelled

RECIPE = load_recipe("landslides")
START = datetime(2020, 1, 1, tzinfo=UTC)
EVERYTHING = 1e6


def with_places(**changes) -> Recipe:
    return RECIPE.model_copy(update={"places": RECIPE.places.model_copy(update=changes)})


def scattered(count: int, *, lon: float = 9.5, lat: float = 45.0, spread: float = 0.08, seed: int = 1) -> Inventory:
    rng = np.random.default_rng(seed)
    places = np.array([lon, lat]) + rng.uniform(-spread, spread, (count, 2))
    events = tuple(
        Event(id=f"e{n:03}", date=START + timedelta(days=n), wkb=shapely.to_wkb(box(x, y, x + 0.002, y + 0.001)))
        for n, (x, y) in enumerate(places.tolist())
    )
    return Inventory(name="slides", events=events)


def rejecting(inventory: Inventory, *polygons, reason: str = "bad_date") -> Inventory:
    rejected = tuple(
        RejectedEvent(id=f"r{n}", region="slides", reason=reason, detail="", wkb=shapely.to_wkb(polygon))
        for n, polygon in enumerate(polygons)
    )
    return Inventory(name=inventory.name, events=inventory.events, rejected=rejected)


def drawn(inventory: Inventory, recipe: Recipe, slopes=None):
    return negative_samples(annotated_samples(inventory, recipe), inventory, recipe, coverage=None, slopes=slopes)


def rank_order(inventory: Inventory) -> list[str]:
    """Ids of all that may be drawn, in the order that they are drawn in."""
    order: list[str] = []
    count, total = len(annotated_samples(inventory, RECIPE)), len(drawn(inventory, with_places(negatives=EVERYTHING)))
    for wanted in range(1, total + 1):
        found = {sample.id for sample in drawn(inventory, with_places(negatives=wanted / count))}
        (fresh,) = found - set(order)
        order.append(fresh)
    return order


@settings(max_examples=10)
@given(
    seed=st.integers(0, 10_000),
    distance=st.floats(0.5, 9000.0),
    lon=st.sampled_from([9.5, 12.0]),
    is_rejected=st.booleans(),
)
def test_the_distance_to_every_polygon_is_kept_and_nothing_else_is_left_out(seed, distance, lon, is_rejected) -> None:
    inventory = scattered(12, lon=lon, seed=seed)
    if is_rejected:
        inventory = rejecting(inventory, box(lon + 0.1, 45.1, lon + 0.102, 45.101))
    kept = drawn(inventory, with_places(negatives=EVERYTHING, min_distance=distance))
    everywhere = drawn(inventory, with_places(negatives=EVERYTHING))
    assert set(kept) <= set(everywhere)
    wkb = [one.wkb for one in (*inventory.events, *inventory.rejected)]
    for epsg in {sample.grid.epsg for sample in everywhere}:
        polygons = shapely.union_all(grid.project_all(shapely.from_wkb(wkb), epsg))
        here = [sample for sample in everywhere if sample.grid.epsg == epsg]
        far = {sample.id for sample in here if box(*sample.grid.bounds).distance(polygons) >= distance}
        assert {sample.id for sample in kept if sample.grid.epsg == epsg} == far


def test_criteria_move_no_rank() -> None:
    inventory = scattered(3, spread=0.01)
    order = rank_order(inventory)
    steep = set(order[::3])

    def slopes(samples):
        return np.array([30.0 if sample.id in steep else 1.0 for sample in samples])

    few = with_places(negatives=1.0, min_slope=30.0)
    wanted = len(annotated_samples(inventory, RECIPE))
    assert {sample.id for sample in drawn(inventory, few, slopes)} == set(order[::3][:wanted])
    assert drawn(inventory, few, slopes) == drawn(inventory, few, slopes)


def test_slopes_are_asked_for_in_the_order_of_ranks_and_only_as_long_as_needed() -> None:
    inventory = scattered(3, spread=0.01)
    order, asked = rank_order(inventory), []

    def slopes(samples):
        asked.extend(sample.id for sample in samples)
        return np.full(len(samples), 12.0)

    found = drawn(inventory, with_places(negatives=1.0, min_slope=12.0), slopes)
    assert len(asked) <= 2 * len(found)
    assert asked == order[: len(asked)]


def test_flat_ground_ends_the_search_after_so_many_for_each_one_wanted() -> None:
    inventory = scattered(1)
    recipe = with_places(negatives=1.0, min_slope=5.0, margin=30)
    asked = []

    def slopes(samples):
        asked.extend(sample.id for sample in samples)
        return np.zeros(len(samples))

    assert drawn(inventory, recipe, slopes) == ()
    wanted = len(annotated_samples(inventory, recipe))
    assert len(asked) == len(set(asked)) == SLOPES_PER_NEGATIVE * wanted


def test_where_no_slope_is_known_nothing_is_drawn() -> None:
    recipe = with_places(min_slope=0.0)
    assert drawn(scattered(3), recipe, lambda samples: np.full(len(samples), np.nan)) == ()
    assert drawn(scattered(3), recipe, lambda samples: np.zeros(len(samples))) == drawn(scattered(3), RECIPE)


def test_a_slope_needs_something_that_tells_it() -> None:
    with pytest.raises(RecipeError, match=r"places\.min_slope needs elevation"):
        drawn(scattered(3), with_places(min_slope=5.0))


def test_only_cells_with_enough_land_are_drawn() -> None:
    # The Ligurian coast at Genoa.
    inventory = scattered(8, lon=8.93, lat=44.4)
    everywhere = drawn(inventory, with_places(negatives=EVERYTHING))
    places = np.array([(sample.lon, sample.lat) for sample in everywhere])
    shares = land_shares(open_land(), lon=places[:, 0], lat=places[:, 1], recipe=RECIPE)
    assert 0.2 < (shares >= 0.5).mean() < 0.8
    kept = drawn(inventory, with_places(negatives=EVERYTHING, min_land=0.5))
    assert [sample.id for sample in kept] == [
        sample.id for sample, share in zip(everywhere, shares, strict=True) if share >= 0.5
    ]
    assert drawn(inventory, with_places(negatives=EVERYTHING, min_land=0.0)) == everywhere


@pytest.mark.parametrize("reason", ["bad_date", "invalid_geometry", "region_name_taken", "duplicate"])
def test_no_negative_touches_a_rejected_polygon(reason) -> None:
    polygon = box(9.55, 45.05, 9.6, 45.08)
    plain, rejecting_ = scattered(12), rejecting(scattered(12), polygon, reason=reason)
    recipe = with_places(negatives=EVERYTHING)
    kept = drawn(rejecting_, recipe)
    outline = grid.project(polygon, 32632)
    expected = [sample for sample in drawn(plain, recipe) if not box(*sample.grid.bounds).intersects(outline)]
    assert list(kept) == expected
    assert len(expected) < len(drawn(plain, recipe))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("bad_date", "undated_event"),
        ("invalid_geometry", "invalid_geometry"),
        ("region_name_taken", "region_name_taken"),
        ("duplicate", None),
    ],
)
@pytest.mark.parametrize("lon", [9.5, 12.0])
def test_samples_that_a_rejected_polygon_reaches_into_have_wrong_labels(reason, expected, lon) -> None:
    inventory = scattered(60, lon=lon)
    polygon = box(lon - 0.03, 45.0, lon + 0.03, 45.04)
    samples = annotated_samples(inventory, RECIPE)
    found = unlabelled(samples, rejecting(inventory, polygon, reason=reason), RECIPE)
    reached = {
        sample.id
        for sample in samples
        if box(*sample.grid.bounds).intersection(grid.project(polygon, sample.grid.epsg)).area > 1e-3
    }
    assert 0 < len(reached) < len(samples)
    assert found == (dict.fromkeys(reached, expected) if expected else {})
    assert unlabelled(samples, inventory, RECIPE) == {}
