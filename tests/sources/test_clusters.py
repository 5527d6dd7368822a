"""Groups of places: every place in one, whatever the order, none too large."""

import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from pipeline.sources import cluster_places
from pipeline.sources.footprints import cut_at_antimeridian

MARGIN = 0.003

places = st.lists(
    st.builds(
        lambda west, south, size: cut_at_antimeridian(box(west, south, west + size, south + size)),
        st.one_of(st.floats(-180, 180), st.floats(178, 182), st.floats(10, 13)),
        st.one_of(st.floats(-85, 84), st.floats(45, 47)),
        st.floats(0.001, 0.3),
    ),
    min_size=1,
    max_size=60,
)


def width_of(area: BaseGeometry) -> float:
    bounds = shapely.bounds(shapely.get_parts(area))
    return float((bounds[:, 2] - bounds[:, 0]).sum())


@settings(deadline=None)
@given(places, st.sampled_from([0.5, 1.0, 2.0]))
def test_every_place_is_covered_by_the_one_group_that_has_it(footprints: list[BaseGeometry], limit: float) -> None:
    clusters = cluster_places(footprints, max_degrees=limit)
    members = [index for _, indices in clusters for index in indices]
    assert sorted(members) == list(range(len(footprints)))
    for area, indices in clusters:
        assert area.is_valid
        assert all(area.covers(footprints[index]) for index in indices)
        assert list(indices) == sorted(indices)


@settings(deadline=None)
@given(places, st.sampled_from([0.5, 1.0, 2.0]))
def test_no_group_is_larger_than_allowed(footprints: list[BaseGeometry], limit: float) -> None:
    for area, _ in cluster_places(footprints, max_degrees=limit):
        assert width_of(area) <= limit + MARGIN
        assert area.bounds[3] - area.bounds[1] <= limit + MARGIN


@settings(deadline=None)
@given(places, st.randoms(use_true_random=False))
def test_the_order_of_the_places_does_not_matter(footprints: list[BaseGeometry], random: np.random.Generator) -> None:
    order = list(range(len(footprints)))
    random.shuffle(order)
    straight = cluster_places(footprints)
    shuffled = cluster_places([footprints[index] for index in order])
    assert [area.wkb for area, _ in straight] == [area.wkb for area, _ in shuffled]
    assert [indices for _, indices in straight] == [tuple(sorted(order[i] for i in group)) for _, group in shuffled]


def test_neighbours_share_a_search_and_far_places_do_not() -> None:
    near = [box(14 + x / 10, 46, 14.05 + x / 10, 46.05) for x in range(8)]
    clusters = cluster_places([*near, box(20, 46, 20.05, 46.05)])
    assert [indices for _, indices in clusters] == [tuple(range(8)), (8,)]


def test_an_empty_strip_is_where_a_group_is_divided() -> None:
    left = [Point(10.0 + x, 46).buffer(0.01) for x in (0.0, 0.1)]
    right = [Point(10.6 + x, 46).buffer(0.01) for x in np.arange(0.0, 0.95, 0.1)]
    assert [len(indices) for _, indices in cluster_places([*left, *right])] == [2, 10]


def test_an_even_spread_is_divided_in_the_middle() -> None:
    row = [Point(10.0 + x, 46).buffer(0.01) for x in np.arange(0.0, 1.55, 0.1)]
    assert [len(indices) for _, indices in cluster_places(row)] == [8, 8]


def test_places_on_both_sides_of_the_antimeridian_share_a_search() -> None:
    footprints = [box(179.8, -17, 179.9, -16.9), box(-179.9, -17, -179.8, -16.9)]
    ((area, indices),) = cluster_places(footprints)
    assert indices == (0, 1)
    assert len(area.geoms) == 2
    assert width_of(area) < 0.5


def test_a_single_point_gets_an_area() -> None:
    ((area, _),) = cluster_places([Point(14, 46)])
    assert 0 < area.area < 1e-4


def test_a_place_larger_than_the_limit_stands_alone() -> None:
    clusters = cluster_places([box(0, 0, 5, 5), box(2, 2, 2.1, 2.1)], max_degrees=1.0)
    assert {indices for _, indices in clusters} == {(0,), (1,)}


def test_identical_places_stay_together() -> None:
    ((_, indices),) = cluster_places([box(0, 0, 5, 5)] * 3)
    assert indices == (0, 1, 2)


def test_the_whole_world_can_be_asked_for() -> None:
    ((area, _),) = cluster_places([box(-180, -90, 180, 90)])
    assert area.equals(box(-180, -90, 180, 90))


def test_nothing_gives_nothing() -> None:
    assert cluster_places([]) == []


def test_an_empty_place_is_refused() -> None:
    with pytest.raises(ValueError, match="empty footprint"):
        cluster_places([Polygon()])


def test_a_quarter_of_a_million_places_take_seconds() -> None:
    random = np.random.default_rng(1)
    west, south = random.uniform(-180, 179.9, 250_000), random.uniform(-60, 75, 250_000)
    footprints = list(shapely.box(west, south, west + 0.02, south + 0.02))
    began = time.perf_counter()
    clusters = cluster_places(footprints, max_degrees=2.0)
    assert time.perf_counter() - began < 60
    assert sum(len(indices) for _, indices in clusters) == 250_000
