import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.exports.sen12landslides.radiometry import (
    elevation,
    harmonized_backscatter,
    harmonized_reflectance,
    raw_backscatter,
    raw_reflectance,
)

NUMBERS = hnp.arrays(np.int32, (3, 2, 4, 4), elements=st.integers(-32_767, 32_767))


def stack(*values):
    """One pixel in one band for each frame."""
    return np.array(values, np.int32).reshape(-1, 1, 1, 1)


def test_dates_on_both_sides_of_the_change_of_2022_come_back_to_what_each_product_had():
    # Products of 24, 25 and 26 January with digital numbers 10000, 0 and 500; the later ones carry +1000.
    products = {"2022-01-24": 0, "2022-01-25": -1000, "2022-01-26": -1000}
    offsets = np.array(list(products.values()), np.int32)
    for number in (10_000, 500, 1):
        offset_free = stack(*(number + offset for offset in offsets))
        assert raw_reflectance(offset_free, offsets).ravel().tolist() == [number] * 3
        expected = [max(number + offset, 0) for offset in offsets]
        assert harmonized_reflectance(offset_free).ravel().tolist() == expected


def test_the_offset_goes_before_the_clip_so_saturation_is_the_same_on_every_date():
    # 12000 in an older product and 13000 in a newer one are the same surface.
    offset_free = stack(12_000, 12_000)
    assert harmonized_reflectance(offset_free).ravel().tolist() == [10_000, 10_000]
    assert raw_reflectance(offset_free, np.array([0, -1000], np.int32)).ravel().tolist() == [10_000, 10_000]
    # Clipped first, the newer one would have ended at 9000.
    assert harmonized_reflectance(stack(9_500)).item() == 9_500


@given(NUMBERS, st.lists(st.sampled_from([0, -1000]), min_size=3, max_size=3))
def test_every_band_of_every_frame_moves_by_its_own_offset(numbers, offsets):
    moved = raw_reflectance(numbers, np.array(offsets, np.int32))
    assert moved.dtype == np.int16
    for frame, offset in enumerate(offsets):
        np.testing.assert_array_equal(moved[frame], np.clip(numbers[frame] - offset, 0, 10_000))


def test_backscatter_has_a_floor_and_a_ceiling_and_no_value_is_made_of_none():
    decibel = np.array([-np.inf, -60.0, -50.0, -10.0, 0.0, 3.0, 25.0, np.nan], np.float32)
    expected = [-50.0, -50.0, -50.0, -10.0, 0.0, 3.0, 10.0, np.nan]
    np.testing.assert_array_equal(harmonized_backscatter(decibel), np.array(expected, np.float32))
    power = raw_backscatter(decibel)
    assert power.dtype == np.float32
    np.testing.assert_allclose(power, [0.0, 1e-6, 1e-5, 0.1, 1.0, 1.0, 1.0, np.nan], rtol=1e-6)


@given(hnp.arrays(np.float32, 20, elements=st.floats(-49.0, -0.25, width=32)))
def test_power_comes_back_to_decibel(decibel):
    np.testing.assert_allclose(10.0 * np.log10(raw_backscatter(decibel)), decibel, atol=1e-5)


@pytest.mark.parametrize(("height", "stored"), [(-3.7, 0), (0.9, 0), (1.999, 1), (812.5, 812), (12_345.0, 10_000)])
def test_elevation_is_cut_toward_zero_after_its_range(height, stored):
    assert elevation(np.array([[height]], np.float32)).tolist() == [[stored]]
