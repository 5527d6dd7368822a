import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from pipeline.exports.sen12landslides.series import Frames, make_series, max_padding, usable

SIZE = 20


def radar(count, seed=0):
    values = np.random.default_rng(seed).uniform(-25.0, -1.0, (count, 2, SIZE, SIZE)).astype(np.float32)
    days = np.datetime64("2021-01-01") + 6 * np.arange(count)
    return Frames(
        values=values, valid=np.ones(values.shape, bool), days=days, offsets=np.zeros(count, np.int32), classes=None
    )


def optical(count, seed=0):
    generator = np.random.default_rng(seed)
    values = generator.integers(1, 9_000, (count, 10, SIZE, SIZE)).astype(np.int32)
    return Frames(
        values=values,
        valid=np.ones(values.shape, bool),
        days=np.datetime64("2021-01-01") + 5 * np.arange(count),
        offsets=np.zeros(count, np.int32),
        classes=generator.integers(1, 12, (count, SIZE, SIZE)).astype(np.uint8),
    )


def test_fifteen_images_may_lack_four_and_fewer_in_proportion():
    assert {length: max_padding(length) for length in (1, 4, 6, 8, 15, 30)} == {1: 1, 4: 1, 6: 2, 8: 2, 15: 4, 30: 8}


@given(st.integers(1, 20), st.integers(0, 20), st.integers(0, 3))
def test_a_series_is_whole_or_not_there(length, count, seed):
    frames = radar(min(count, length), seed)
    series = make_series(frames, length)
    if min(count, length) < max(1, length - max_padding(length)):
        assert series is None
        return
    assert series.values["raw"].shape == (length, 2, SIZE, SIZE)
    assert series.padded == tuple(range(min(count, length), length))
    expected = np.concatenate([frames.values, np.repeat(frames.values[-1:], len(series.padded), axis=0)])
    np.testing.assert_array_equal(series.values["harmonized"], np.clip(expected, -50, 10))
    assert (np.diff(series.days).astype(int) >= 0).all()
    assert not series.valid[list(series.padded)].any()
    assert series.valid[: min(count, length)].all()


def test_eleven_images_of_fifteen_are_padded_four_times_and_ten_are_too_few():
    assert make_series(radar(11), 15).padded == (11, 12, 13, 14)
    assert make_series(radar(10), 15) is None
    assert make_series(radar(15), 15).padded == ()


def test_gaps_take_the_nearest_valid_pixel_of_their_band():
    frames = optical(1)
    generator = np.random.default_rng(3)
    gaps = generator.random(frames.values.shape) < 0.04
    frames.valid[gaps] = False
    frames.values[gaps] = -32_768
    frames.classes[0, 4:6, 3] = 0
    series = make_series(frames, 1)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pixels = np.stack([rows.ravel(), columns.ravel()], axis=1)
    for band in range(10):
        valid = frames.valid[0, band].ravel()
        distance, _ = cKDTree(pixels[valid]).query(pixels)
        held = frames.values[0, band].ravel()
        for pixel, value in enumerate(series.values["harmonized"][0, band].ravel()):
            at = np.hypot(*(pixels - pixels[pixel]).T)
            nearest = valid & (np.abs(at - distance[pixel]) < 1e-9)
            assert value in held[nearest]
    assert (series.classes > 0).all()
    np.testing.assert_array_equal(series.valid, frames.valid)


@pytest.mark.parametrize("share", [0.05, 0.06])
def test_a_frame_may_lack_five_percent(share):
    frames = optical(2)
    gaps = round(share * SIZE * SIZE)
    frames.valid[1].reshape(10, -1)[:, :gaps] = False
    assert usable(frames).tolist() == [True, share <= 0.05]


def constant_band(frames):
    frames.values[1, 3] = 700


def empty_band(frames):
    frames.valid[1, 0] = False


def saturated_band(frames):
    frames.values[1, 2] += 20_000


def dark_band(frames):
    # Offset-free numbers below 0 are all 0, though the product's own numbers differ.
    frames.values[1, 4] = np.random.default_rng(1).integers(-900, 0, (SIZE, SIZE))
    frames.offsets[1] = -1000


def no_class(frames):
    frames.classes[1] = 0


@pytest.mark.parametrize("spoil", [constant_band, empty_band, saturated_band, dark_band, no_class])
def test_a_frame_with_an_empty_or_constant_band_is_not_used(spoil):
    frames = optical(3)
    assert usable(frames).tolist() == [True] * 3
    spoil(frames)
    assert usable(frames).tolist() == [True, False, True]


def test_nothing_is_not_used():
    assert usable(radar(0)).tolist() == []
    assert make_series(radar(0), 1) is None
