import hashlib
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from pipeline.errors import RecipeError
from pipeline.splits.audit import audit, read_locations
from pipeline.splits.blocks import BUFFER, SPLITS, TEST, TRAIN, VAL, BlockRule, block_splits
from pipeline.splits.grouping import keep_together

GEOD = Geod(ellps="WGS84")
LD = "golden/sen12landslides/tasks/S12LS-LD/harmonized/s2/patch_locations.geojson"


@st.composite
def crowds(draw):
    """Places drawn close to one another, anywhere: at the antimeridian, the equator and the last latitudes too."""
    count = draw(st.integers(2, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lat = draw(st.sampled_from([-79.9, -45.0, 0.0, 37.9, 60.0, 83.9]) | st.floats(-79.0, 83.0))
    lon = draw(st.sampled_from([-180.0, 0.0, 6.0, 179.999]) | st.floats(-180.0, 179.9))
    spread = draw(st.sampled_from([0.05, 0.3, 1.0]))
    lats = np.clip(lat + rng.uniform(-spread, spread, count), -80.0, 84.0)
    lons = lon + rng.uniform(-spread, spread, count) / np.cos(np.radians(lats))
    return (lons + 180.0) % 360.0 - 180.0, lats


RULES = st.builds(
    BlockRule,
    block=st.sampled_from([5_000.0, 12_800.0, 25_600.0]),
    buffer=st.sampled_from([0.0, 2_560.0, 6_400.0, 10_000.0]),
    seed=st.integers(0, 9),
)


def between(lon, lat, first, second):
    """Geodesic distances [m] of every pair."""
    left, right = np.flatnonzero(first), np.flatnonzero(second)
    left, right = (part.ravel() for part in np.meshgrid(left, right))
    return GEOD.inv(lon[left], lat[left], lon[right], lat[right])[2]


@given(crowds(), RULES)
def test_no_split_comes_near_a_stronger_one(places, rule):
    lon, lat = places
    codes = block_splits(lon=lon, lat=lat, rule=rule)
    for weak, strong in ((TRAIN, TEST), (TRAIN, VAL), (VAL, TEST)):
        assert (between(lon, lat, codes == weak, codes == strong) >= rule.buffer).all()


@given(crowds(), crowds(), RULES)
def test_more_places_change_nothing(places, others, rule):
    alone = block_splits(lon=places[0], lat=places[1], rule=rule)
    together = block_splits(
        lon=np.concatenate([others[0], places[0]]), lat=np.concatenate([others[1], places[1]]), rule=rule
    )
    assert np.array_equal(together[len(others[0]) :], alone)


def densely(rule, *, lon, lat, side=0.4, count=160):
    lats, lons = np.meshgrid(
        np.linspace(lat - side, lat + side, count),
        lon + np.linspace(-side, side, count) / np.cos(np.radians(lat)),
        indexing="ij",
    )
    plain = BlockRule(block=rule.block, buffer=0.0, seed=rule.seed)
    return (
        lons.ravel(),
        lats.ravel(),
        block_splits(lon=lons.ravel(), lat=lats.ravel(), rule=rule),
        block_splits(lon=lons.ravel(), lat=lats.ravel(), rule=plain),
    )


@pytest.mark.parametrize(("lon", "lat"), [(15.0, 38.0), (179.99, -17.0), (100.0, 80.0), (-60.0, -75.0)])
def test_the_buffer_is_as_wide_as_it_says_and_no_wider(lon, lat):
    rule = BlockRule()
    lons, lats, codes, drawn = densely(rule, lon=lon, lat=lat)
    inner = np.abs(lats - lat) < 0.3
    inner &= np.abs((lons - lon + 180.0) % 360.0 - 180.0) * np.cos(np.radians(lat)) < 0.3
    stronger = [np.flatnonzero(drawn > code) for code in range(4)]
    spacing = 0.8 / 160 * 111_320.0
    for place in np.flatnonzero(inner)[::37]:
        others = stronger[drawn[place]]
        nearest = np.inf
        if others.size:
            around = [np.full(others.size, value) for value in (lons[place], lats[place])]
            nearest = GEOD.inv(*around, lons[others], lats[others])[2].min()
        if codes[place] == BUFFER:
            assert nearest <= rule.buffer * 1.005 + spacing
        else:
            assert codes[place] == drawn[place]
            assert nearest > rule.buffer * 1.005


def test_shares_of_blocks_and_their_size():
    rng = np.random.default_rng(5)
    lon, lat = rng.uniform(-180.0, 180.0, 60_000), np.degrees(np.arcsin(rng.uniform(-0.98, 0.99, 60_000)))
    drawn = block_splits(lon=lon, lat=lat, rule=BlockRule(buffer=0.0))
    assert np.bincount(drawn, minlength=4) / drawn.size == pytest.approx([0.0, 0.64, 0.16, 0.20], abs=0.01)


@pytest.mark.parametrize("lat", [-79.0, -30.0, 0.1, 52.0, 83.0])
def test_blocks_are_nearly_square(lat):
    rule = BlockRule(buffer=0.0, block=20_000.0)
    north, east = (
        block_splits(lon=lons, lat=lats, rule=rule)
        for lons, lats in (
            (np.full(40_000, 10.0), np.linspace(lat, lat + 0.9, 40_000)),
            (np.linspace(-180.0, 179.99, 40_000), np.full(40_000, lat)),
        )
    )
    # Of neighbouring blocks, 1 - (0.64² + 0.16² + 0.2²) = 0.525 differ.
    metres = 360.0 * 111_320.0 * np.cos(np.radians(lat)) / (np.count_nonzero(np.diff(east)) / 0.525)
    assert metres == pytest.approx(20_000.0, rel=0.2)
    assert np.count_nonzero(np.diff(north)) <= 6


def test_seeds_differ_and_repeat():
    lon, lat = np.linspace(-20.0, 20.0, 500), np.linspace(-10.0, 50.0, 500)
    first, again, other = (block_splits(lon=lon, lat=lat, rule=BlockRule(seed=seed)) for seed in (42, 42, 43))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_draw_is_a_hash_of_seed_row_and_column():
    for lon, lat in ((15.0, 37.96), (-179.99, -0.01), (179.99, 83.0), (-60.0, -33.3)):
        row = math.floor(lat * 111_320 / 25_600)
        middle = math.radians((row + 0.5) * 25_600 / 111_320)
        column = math.floor((lon + 180) / 360 * round(360 * 111_320 * math.cos(middle) / 25_600))
        number = int.from_bytes(hashlib.blake2b(f"7|block|{row}|{column}".encode(), digest_size=8).digest(), "little")
        expected = TEST if number < 0.20 * 2**64 else VAL if number < 0.36 * 2**64 else TRAIN
        assert block_splits(lon=[lon], lat=[lat], rule=BlockRule(seed=7, buffer=0.0)).tolist() == [expected]


def test_the_published_patches_do_not_leak(shared):
    locations = read_locations(shared / LD)
    codes = block_splits(lon=locations.lon, lat=locations.lat, rule=BlockRule())
    names = np.array(SPLITS)[codes]
    assert pd.Series(names).value_counts().to_dict() == {"train": 1828, "buffer": 1571, "val": 917, "test": 672}
    found = audit(locations.assign(split=names)[codes != BUFFER])
    assert (found.edge_share, found.neighbour_share, found.near_share) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("lat", [-80.5, 84.5, float("nan")])
def test_places_outside_the_zones(lat):
    with pytest.raises(RecipeError, match="outside the UTM zones"):
        block_splits(lon=[3.0, 4.0], lat=[10.0, lat], rule=BlockRule())


@pytest.mark.parametrize(
    "wrong",
    [{"block": 10.0}, {"block": float("nan")}, {"buffer": -1.0}, {"buffer": 60_000.0}, {"test": 0.0},
     {"val": 0.8}, {"val": -0.1}],
)  # fmt: skip
def test_wrong_rules(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        BlockRule(**wrong)


def test_patches_of_an_event_share_a_split():
    codes = np.array([TRAIN, TEST, TRAIN, VAL, TRAIN, BUFFER, TEST], np.int8)
    kept = keep_together(codes, patches=[0, 1, 2, 3, 5, 4, 5, 6], keys=["a", "a", "b", "b", "c", "c", "d", "d"])
    assert kept.tolist() == [BUFFER, TEST, BUFFER, VAL, TRAIN, BUFFER, TEST]


def test_events_chain_patches():
    codes = np.array([TRAIN, TRAIN, VAL, TEST, TRAIN], np.int8)
    kept = keep_together(codes, patches=[0, 1, 1, 2, 2, 3], keys=["a", "a", "b", "b", "c", "c"])
    assert kept.tolist() == [BUFFER, BUFFER, BUFFER, TEST, TRAIN]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30).flatmap(
        lambda codes: st.tuples(
            st.just(codes), st.lists(st.tuples(st.integers(0, len(codes) - 1), st.integers(0, 8)), max_size=40)
        )
    )
)
def test_no_event_is_in_two_splits_and_none_moves_but_to_the_buffer(drawn):
    codes, links = np.array(drawn[0], np.int8), drawn[1]
    kept = keep_together(codes, patches=[row for row, _ in links], keys=[str(key) for _, key in links])
    assert ((kept == codes) | (kept == BUFFER)).all()
    for key in range(9):
        held = {int(kept[row]) for row, other in links if other == key} - {BUFFER}
        assert len(held) <= 1
    assert set(kept[codes == TEST]) <= {TEST}
