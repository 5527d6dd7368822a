import warnings

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.pixels import rasterize_fraction, rasterize_mask, rasterize_states
from pipeline.pixels.labels import ABSENT, PRESENT, SLIVER, UNCERTAIN
from pipeline.records import PatchGrid

SIZE = 8
GRID = PatchGrid(epsg=32633, left=500_000.0, top=4_000_080.0, size=SIZE, resolution=10.0)
LINES = 10.0 * np.arange(SIZE + 1)
CORNERS = shapely.MultiPoint([(GRID.left + x, GRID.top - y) for x in LINES for y in LINES])

# Metres from the patch's upper left corner, never on an edge of a pixel.
metres = st.integers(-30, 10 * SIZE + 30).map(lambda metre: metre + 0.37)


def box(left, upper, right, lower):
    """Return a rectangle given in metres from the patch's upper left corner, y downwards."""
    return shapely.box(GRID.left + left, GRID.top - lower, GRID.left + right, GRID.top - upper)


def pixels_touched(polygon):
    """Return the oracle: does each pixel's own square intersect the polygon?"""
    left, upper = np.meshgrid(LINES[:-1], LINES[:-1])
    return shapely.intersects(polygon, box(left, upper, left + 10, upper + 10)).astype(np.uint8)


@settings(deadline=None)
@given(st.lists(st.tuples(metres, metres), min_size=3, max_size=7, unique=True))
def test_every_pixel_that_a_polygon_touches_is_marked_and_no_other(points):
    polygon = shapely.Polygon([(GRID.left + x, GRID.top - y) for x, y in points])
    assume(polygon.is_valid)
    assume(polygon.boundary.distance(CORNERS) > 1e-6)
    np.testing.assert_array_equal(rasterize_mask([polygon], GRID), pixels_touched(polygon))


def test_the_oracle_is_not_always_empty_or_full():
    assert pixels_touched(box(12.0, 3.0, 18.0, 27.0)).sum() == 3


def test_a_mark_lies_at_its_row_and_column():
    mask = rasterize_mask([box(61.0, 12.0, 64.0, 15.0)], GRID)
    assert np.argwhere(mask).tolist() == [[1, 6]]


def test_a_polygon_smaller_than_a_pixel_leaves_a_mark():
    assert rasterize_mask([box(31.0, 31.0, 31.2, 31.2)], GRID).sum() == 1


def test_a_polygon_that_ends_on_the_edge_of_a_pixel_stays_on_its_side():
    assert np.argwhere(rasterize_mask([box(20.0, 30.0, 40.0, 40.0)], GRID)).tolist() == [[3, 2], [3, 3]]


def test_a_hole_is_left_out():
    outer, hole = box(1.0, 1.0, 79.0, 79.0), box(19.0, 19.0, 61.0, 61.0)
    mask = rasterize_mask([outer.difference(hole)], GRID)
    assert mask[3, 3] == 0
    assert mask.sum() == SIZE * SIZE - 16


def test_polygons_add_up_whether_or_not_they_overlap_or_come_as_one():
    parts = [box(1.0, 1.0, 25.0, 25.0), box(11.0, 11.0, 45.0, 15.0), box(61.0, 71.0, 65.0, 75.0)]
    together = rasterize_mask(parts, GRID)
    np.testing.assert_array_equal(together, np.maximum.reduce([rasterize_mask([part], GRID) for part in parts]))
    np.testing.assert_array_equal(together, rasterize_mask([shapely.union_all(parts)], GRID))
    assert set(np.unique(together)) == {0, 1}


def test_a_polygon_over_the_whole_patch_fills_it():
    assert rasterize_mask([box(-500.0, -500.0, 500.0, 500.0)], GRID).all()


@pytest.mark.parametrize("polygons", [[], [shapely.Polygon()], [box(200.0, 200.0, 300.0, 300.0)]])
def test_nothing_in_the_patch_gives_zeros_without_a_warning(polygons):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mask = rasterize_mask(polygons, GRID)
    assert mask.dtype == np.uint8
    assert mask.shape == (SIZE, SIZE)
    assert not mask.any()


def test_an_empty_polygon_does_not_hide_its_neighbours():
    assert rasterize_mask([shapely.Polygon(), box(1.0, 1.0, 5.0, 5.0)], GRID).sum() == 1


def polygon_of(points):
    return shapely.Polygon([(GRID.left + x, GRID.top - y) for x, y in points])


anywhere = st.floats(-30.0, 10.0 * SIZE + 30.0, allow_subnormal=False)
triangles = st.lists(st.tuples(anywhere, anywhere), min_size=3, max_size=7, unique=True).map(polygon_of)


def shares_by_pixel(polygons):
    """Return the oracle: pixel by pixel, the area of the union in metres; parts are added where they do not overlap."""
    shares = np.zeros((SIZE, SIZE))
    for row, column in np.ndindex(SIZE, SIZE):
        pixel = box(10.0 * column, 10.0 * row, 10.0 * column + 10.0, 10.0 * row + 10.0)
        free = pixel
        for polygon in polygons:
            free = free.difference(polygon)
        shares[row, column] = 1.0 - free.area / 100.0
    return shares


@settings(deadline=None, max_examples=60)
@given(st.lists(triangles, min_size=1, max_size=3))
def test_the_share_of_a_pixel_is_the_area_of_the_union_inside_it(polygons):
    assume(all(polygon.is_valid for polygon in polygons))
    share = rasterize_fraction(polygons, GRID)
    assert share.dtype == np.float32
    assert share.min() >= 0.0
    assert share.max() <= 1.0
    np.testing.assert_allclose(share, shares_by_pixel(polygons), atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.lists(triangles, min_size=1, max_size=3))
def test_shares_add_up_to_the_area_inside_the_patch(polygons):
    assume(all(polygon.is_valid for polygon in polygons))
    area = shapely.intersection(shapely.union_all(polygons), shapely.box(*GRID.bounds)).area
    assert rasterize_fraction(polygons, GRID).sum(dtype=np.float64) * 100.0 == pytest.approx(area, abs=1e-3)


@settings(deadline=None)
@given(triangles, st.lists(st.floats(-0.15, 0.15), min_size=16, max_size=16), st.data())
def test_a_pixel_with_a_share_is_marked_unless_the_share_is_a_sliver(polygon, jitter, data):
    assume(polygon.is_valid)
    corner = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))
    corners = data.draw(st.lists(corner, min_size=3, max_size=8, unique=True))
    near_edges = polygon_of([(10 * x + jitter[2 * i], 10 * y + jitter[2 * i + 1]) for i, (x, y) in enumerate(corners)])
    for drawn in (polygon, near_edges):
        if drawn.is_valid:
            share, mask = rasterize_fraction([drawn], GRID), rasterize_mask([drawn], GRID)
            assert share[mask == 0].max(initial=0.0) < SLIVER


def test_shares_of_a_rectangle_are_known():
    share = rasterize_fraction([box(15.0, 12.5, 40.0, 40.0)], GRID)
    expected = np.zeros((SIZE, SIZE), np.float32)
    expected[1:4, 1:4] = 1.0
    expected[1] *= 0.75
    expected[:, 1] *= 0.5
    np.testing.assert_array_equal(share, expected)


def test_the_shares_of_a_hole_are_left_out():
    outer, hole = box(-5.0, -5.0, 90.0, 90.0), box(20.0, 20.0, 35.0, 30.0)
    share = rasterize_fraction([outer.difference(hole)], GRID)
    assert share[2].tolist() == [1, 1, 0, 0.5, 1, 1, 1, 1]
    assert share.sum() == SIZE * SIZE - 1.5


def test_a_polygon_that_crosses_itself_counts_what_it_encloses():
    bow_tie = polygon_of([(0.0, 0.0), (20.0, 20.0), (20.0, 0.0), (0.0, 20.0)])
    assert not bow_tie.is_valid
    assert rasterize_fraction([bow_tie], GRID).sum() == pytest.approx(2.0)


@pytest.mark.parametrize("polygons", [[], [shapely.Polygon()], [box(200.0, 200.0, 300.0, 300.0)]])
def test_nothing_in_the_patch_has_no_share(polygons):
    share = rasterize_fraction(polygons, GRID)
    assert share.dtype == np.float32
    assert share.shape == (SIZE, SIZE)
    assert not share.any()


def test_a_polygon_that_ends_on_the_patch_has_no_share_in_it():
    assert not rasterize_fraction([box(-30.0, -30.0, 0.0, 40.0)], GRID).any()


@settings(deadline=None)
@given(st.lists(st.tuples(triangles, st.sampled_from([ABSENT, PRESENT, UNCERTAIN])), max_size=5))
def test_of_several_slides_on_a_pixel_the_present_one_wins_and_then_the_uncertain_one(slides):
    slides = [(polygon, state) for polygon, state in slides if polygon.is_valid]
    polygons, states = [polygon for polygon, _ in slides], [state for _, state in slides]
    touched = {
        state: rasterize_mask([polygon for polygon, held in slides if held == state], GRID) == 1
        for state in (PRESENT, UNCERTAIN)
    }
    expected = np.where(touched[PRESENT], 1, np.where(touched[UNCERTAIN], 255, 0))
    found = rasterize_states(polygons, states, GRID)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_the_order_of_slides_does_not_decide_which_wins():
    here = box(21.0, 21.0, 29.0, 29.0)
    for states in ([PRESENT, UNCERTAIN, ABSENT], [ABSENT, UNCERTAIN, PRESENT], [UNCERTAIN, PRESENT, ABSENT]):
        assert rasterize_states([here] * 3, states, GRID)[2, 2] == PRESENT
    assert rasterize_states([here] * 2, [UNCERTAIN, ABSENT], GRID)[2, 2] == UNCERTAIN


def test_slides_that_have_not_come_down_leave_no_mark():
    assert not rasterize_states([box(1.0, 1.0, 50.0, 50.0)], [ABSENT], GRID).any()
