import warnings

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.pixels import rasterize_mask
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
