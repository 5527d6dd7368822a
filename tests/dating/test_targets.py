"""Rings and grids, judged by distances between pixel centres and shapes."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.features import rasterize
from shapely.geometry import box
from support.records import make_grid

from pipeline.dating.targets import Grounds, Target, draw_zones
from pipeline.grid import project_all

TO_LONLAT = Transformer.from_crs(32633, 4326, always_xy=True)


def lonlat(*shapes):
    return np.array(
        [shapely.transform(shape, lambda xy: np.column_stack(TO_LONLAT.transform(*xy.T))) for shape in shapes], object
    )


def grounds_of(*shapes):
    polygons = lonlat(*shapes)
    names = tuple(str(number) for number in range(len(shapes)))
    return Grounds(ids=names, polygons=polygons, usable=np.arange(len(shapes)))


def centres(grid):
    steps = (np.arange(grid.size) + 0.5) * grid.resolution
    x, y = np.meshgrid(grid.left + steps, grid.top - steps)
    return shapely.points(x, y)


squares = st.tuples(st.floats(0, 900), st.floats(0, 900), st.floats(15, 200), st.floats(15, 200)).map(
    lambda s: box(500_000 + s[0], 5_000_000 + s[1], 500_000 + s[0] + s[2], 5_000_000 + s[1] + s[3])
)


@settings(max_examples=25)
@given(st.lists(squares, min_size=1, max_size=4))
def test_a_ring_is_what_lies_near_the_polygon_and_far_from_all(shapes):
    for made in grounds_of(*shapes).iter_targets(np.arange(len(shapes))):
        assert isinstance(made, Target)
        grid, own = made.grid, shapes[made.row]
        assert (grid.epsg, grid.left % 10, grid.top % 10, grid.resolution) == (32633, 0, 0, 10.0)
        points = centres(grid)
        to_own = shapely.distance(points, own)
        to_any = np.min([shapely.distance(points, shape) for shape in shapes], axis=0)
        ring = made.zones == 1
        assert (to_own[ring] <= 302).all()
        assert (to_any[ring] >= 48).all()
        # Simplified outlines move by a metre or two.
        assert ring[(to_own < 296) & (to_any > 52)].all()
        inside = made.zones == 2
        assert inside[shapely.contains(own.buffer(-0.01), points)].all()
        assert (to_own[inside] < 0.01).all()
        left, bottom, right, top = grid.bounds
        assert box(left, bottom, right, top).contains(own.buffer(299))


def test_a_polygon_smaller_than_a_pixel_has_the_pixel_that_it_lies_in():
    speck = box(500_001.0, 5_000_001.0, 500_002.0, 5_000_002.0)
    (target,) = grounds_of(speck).iter_targets(np.array([0]))
    (row,), (column,) = np.nonzero(target.zones == 2)
    assert target.grid.left + 10 * column == 500_000
    assert target.grid.top - 10 * row == 5_000_010


def test_a_polygon_that_holds_a_centre_has_no_more_than_the_centres_that_it_holds():
    grid = make_grid()
    shape = box(grid.left + 16, grid.top - 34, grid.left + 34, grid.top - 16)
    expected = rasterize([shape], out_shape=(32, 32), transform=grid.geobox.affine)
    zones = draw_zones(shape, shapely.Polygon(), grid)
    np.testing.assert_array_equal(zones, 2 * expected)
    assert expected.sum() == 1


def test_only_asked_for_rows_become_targets_but_all_polygons_are_kept_clear_of():
    near = [box(500_000, 5_000_000, 500_100, 5_000_100), box(500_200, 5_000_000, 500_300, 5_000_100)]
    (alone,) = grounds_of(near[0]).iter_targets(np.array([0]))
    (target,) = grounds_of(*near).iter_targets(np.array([0]))
    assert (target.row, target.id) == (0, "0")
    assert (target.zones == 1).sum() < (alone.zones == 1).sum() - 300


def test_why_there_is_no_target_is_said():
    crowd = box(500_000, 5_000_000, 502_000, 5_002_000)
    within = box(500_900, 5_000_900, 501_000, 5_001_000)
    large = box(600_000, 5_000_000, 620_000, 5_000_100)
    made = list(grounds_of(within, crowd, large).iter_targets(np.array([0, 2])))
    assert made == [(0, "no_undisturbed_ground"), (2, "too_large")]


def test_polygons_of_two_zones_lie_on_grids_of_their_own_zone():
    polygons = np.array([box(11.999, 45, 11.9995, 45.0005), box(12.0005, 45, 12.001, 45.0005)], object)
    made = list(Grounds(ids=("a", "b"), polygons=polygons, usable=np.arange(2)).iter_targets(np.arange(2)))
    assert [target.grid.epsg for target in made] == [32632, 32633]
    for target in made:
        other = project_all(polygons, target.grid.epsg)[1 - target.row]
        distance = shapely.distance(centres(target.grid), other)
        assert distance[target.zones == 1].min() > 48


def test_neighbours_across_the_antimeridian_are_kept_clear_of():
    polygons = np.array([box(179.9985, 0.1, 179.999, 0.1005), box(-179.9995, 0.1, -179.999, 0.1005)], object)
    (target,) = Grounds(ids=("a", "b"), polygons=polygons, usable=np.arange(2)).iter_targets(np.array([0]))
    other = project_all(polygons, target.grid.epsg)[1]
    assert shapely.distance(centres(target.grid), other)[target.zones == 1].min() > 48
    assert (shapely.distance(centres(target.grid), other) < 48).any()


@pytest.mark.parametrize("rows", [[0], [1, 0]])
def test_a_target_is_the_same_whatever_is_asked_for_beside_it(rows):
    shapes = [box(500_000, 5_000_000, 500_100, 5_000_100), box(500_200, 5_000_000, 500_300, 5_000_100)]
    everything = {made.row: made for made in grounds_of(*shapes).iter_targets(np.arange(2))}
    for made in grounds_of(*shapes).iter_targets(np.array(rows)):
        assert made == everything[made.row]
