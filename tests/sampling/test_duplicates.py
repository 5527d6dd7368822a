import time
from datetime import UTC, datetime, timedelta

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from pipeline.sampling.duplicates import duplicates_of

START = datetime(2020, 1, 1, tzinfo=UTC)


def overlap(one: shapely.Polygon, other: shapely.Polygon) -> float:
    return one.intersection(other).area / one.union(other).area


def plain_loop(polygons: list[shapely.Polygon], days: list[datetime]) -> dict[int, int]:
    found: dict[int, int] = {}
    for index, polygon in enumerate(polygons):
        for earlier in range(index):
            is_same_day = days[earlier] == days[index] and earlier not in found
            if is_same_day and overlap(polygon, polygons[earlier]) >= 0.9:
                found[index] = earlier
                break
    return found


@given(seed=st.integers(0, 100_000), count=st.integers(1, 30))
def test_duplicates_are_those_that_a_plain_loop_finds(seed, count) -> None:
    rng = np.random.default_rng(seed)
    # Sides of whole and of nearly whole steps, so that exact copies, near copies and overlaps all occur.
    corners = rng.integers(0, 2, (count, 2)) + rng.choice([0.0, 0.02, 0.04, 0.3], (count, 2))
    polygons = [
        box(x, y, x + side, y + 1.0) for (x, y), side in zip(corners, rng.choice([1.0, 1.03], count), strict=True)
    ]
    days = [START + timedelta(days=int(day)) for day in rng.integers(0, 2, count)]
    assert duplicates_of(np.array(polygons, object), days) == plain_loop(polygons, days)


def test_what_repeats_a_repetition_alone_stays() -> None:
    polygons = np.array([box(x, 0, x + 1, 1) for x in (0.0, 0.04, 0.08)], object)
    assert overlap(polygons[0], polygons[1]) > 0.9 > overlap(polygons[0], polygons[2])
    assert duplicates_of(polygons, [START] * 3) == {1: 0}


def test_twenty_thousand_polygons_and_a_pile_of_copies_take_seconds() -> None:
    rng = np.random.default_rng(0)
    places, size = rng.uniform(0.0, 1.0, (20_000, 2)), rng.lognormal(np.log(3e-4), 1.0, 20_000)
    polygons = shapely.buffer(shapely.points(places), size)
    polygons[10_000:15_000] = polygons[0]
    start = time.perf_counter()
    found = duplicates_of(polygons, [START] * len(polygons))
    assert time.perf_counter() - start < 20
    assert {index for index, kept in found.items() if kept == 0} >= set(range(10_000, 15_000))
