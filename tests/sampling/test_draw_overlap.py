import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.sampling import GEOD, RECIPE, SPECK, shared_ground

from pipeline.grid import patch_around, patches_around
from pipeline.records import PatchGrid
from pipeline.sampling.overlap import SquareIndex, joined, reach_of, squares_of

SIDE = RECIPE.step

borders = st.builds(
    lambda border, off: (border + off + 180.0) % 360.0 - 180.0,
    st.sampled_from([-180.0, -120.0, 0.0, 3.0, 6.0, 9.0, 12.0, 21.0, 33.0, 174.0]),
    st.floats(-0.02, 0.02),
)
places = st.tuples(
    st.one_of(borders, st.floats(-180.0, 180.0, exclude_max=True)),
    st.one_of(st.floats(-79.9, 83.9), st.floats(83.5, 83.9), st.floats(-79.9, -79.5), st.floats(-0.02, 0.02)),
)


def meets(one: PatchGrid, other: PatchGrid, *, gap: float = 0.0) -> bool:
    first, second = squares_of([one], gap=gap), squares_of([other], gap=gap)
    found = SquareIndex(first, reach=reach_of(SIDE + gap)).overlaps(second)[0].size > 0
    assert (SquareIndex(second, reach=reach_of(SIDE + gap)).overlaps(first)[0].size > 0) == found
    return found


def shifted(patch: PatchGrid, *, east: float = 0.0, north: float = 0.0) -> PatchGrid:
    return PatchGrid(
        epsg=patch.epsg, left=patch.left + east, top=patch.top + north, size=patch.size, resolution=patch.resolution
    )


@given(places, st.floats(0.0, 360.0), st.floats(0.0, 4500.0))
@example((179.999, 70.0), 90.0, 2500.0)
@example((-180.0, 0.0), 315.0, 2000.0)
@example((9.0, 83.8), 90.0, 2600.0)
@example((6.0, 0.0), 180.0, 2630.0)
@settings(max_examples=200)
def test_overlap_is_what_an_azimuthal_projection_shows(place, azimuth, distance) -> None:
    lon, lat, _ = GEOD.fwd(*place, azimuth, distance)
    assume(-80.0 <= lat <= 84.0)
    one, other = patches_around(lon=[place[0], lon], lat=[place[1], lat], recipe=RECIPE)
    area = shared_ground(one, other)
    assume(not 0.0 < area < SPECK)
    assert meets(one, other) == (area > 0.0)


@pytest.mark.parametrize(("lon", "lat"), [(15.0, 48.0), (179.999, -17.0), (20.0, 83.9), (9.001, 78.0)])
def test_patches_that_touch_do_not_overlap_and_a_pixel_more_does(lon, lat) -> None:
    patch = patch_around(lon=lon, lat=lat, recipe=RECIPE)
    for step in (SIDE, -SIDE):
        for move in ({"east": step}, {"north": step}, {"east": step, "north": step}):
            near = {axis: value - np.sign(value) * 10.0 for axis, value in move.items()}
            assert not meets(patch, shifted(patch, **move))
            assert meets(patch, shifted(patch, **near))
            assert meets(patch, shifted(patch, **move), gap=20.0)
    assert meets(patch, patch)


def test_the_equator_parts_no_zone() -> None:
    north, south = patches_around(lon=[15.0, 15.0], lat=[0.001, -0.001], recipe=RECIPE)
    assert (north.epsg, south.epsg) == (32633, 32733)
    assert meets(north, south)
    assert meets(north, shifted(south, north=north.bounds[1] - (south.top - 10_000_000.0) + 10.0))
    assert not meets(north, shifted(south, north=north.bounds[1] - (south.top - 10_000_000.0)))


def test_pairs_among_many_are_those_of_all_against_all() -> None:
    rng = np.random.default_rng(3)
    lon = np.concatenate([rng.uniform(179.8, 180.0, 60), rng.uniform(-180.0, -179.8, 60), rng.uniform(0.0, 60.0, 60)])
    lat = np.concatenate([rng.uniform(-0.2, 0.2, 120), rng.uniform(83.9, 84.0, 60)])
    grids = patches_around(lon=lon, lat=lat, recipe=RECIPE)
    squares = squares_of(grids)
    pairs = np.stack(SquareIndex(squares, reach=reach_of(SIDE)).overlaps(squares), axis=-1)
    assert (np.lexsort((pairs[:, 1], pairs[:, 0])) == np.arange(len(pairs))).all()
    near = [(a, b) for a in range(180) for b in range(180) if GEOD.inv(lon[a], lat[a], lon[b], lat[b])[2] < 4000.0]
    areas = {pair: shared_ground(grids[pair[0]], grids[pair[1]]) for pair in near}
    assert set(map(tuple, pairs.tolist())) == {pair for pair, area in areas.items() if area > SPECK}
    assert not [area for area in areas.values() if SPECK / 100.0 < area < SPECK]
    assert len(pairs) > 250


def test_patches_of_several_sizes_are_compared() -> None:
    large = patch_around(lon=15.0, lat=48.0, recipe=RECIPE)
    small = PatchGrid(epsg=32633, left=large.left + SIDE - 10.0, top=large.top, size=8, resolution=10.0)
    both = joined([squares_of([large]), squares_of([small])])
    one, other = SquareIndex(both, reach=reach_of(SIDE)).overlaps(both)
    assert list(zip(one.tolist(), other.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
