import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import PixelError
from pipeline.pixels import apply_offset, apply_offset_inplace
from pipeline.records import S2_NODATA


def expected_numbers(dn, valid, offset):
    measured = valid & ((dn != 0) | (offset == 0))
    return np.where(measured, np.clip(dn.astype(np.int64) + offset, -32767, 32767), -32768)


def one(dn, *, offset, valid=True, dtype=np.uint16):
    return int(apply_offset(np.array([[dn]], dtype), np.array([[valid]]), offset=offset)[0, 0])


@st.composite
def windows(draw):
    dtype = draw(st.sampled_from([np.uint16, np.int32]))
    y, x = draw(st.tuples(st.integers(0, 6), st.integers(0, 6)))
    leading = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    limits = np.iinfo(dtype)
    numbers = st.one_of(st.integers(0, 12000), st.integers(int(limits.min), int(limits.max)))
    return draw(hnp.arrays(dtype, (*leading, y, x), elements=numbers)), draw(hnp.arrays(bool, (y, x)))


@settings(deadline=None)
@given(windows(), st.sampled_from([0, -1000, 1000, -1]))
def test_numbers_equal_a_sum_that_cannot_overflow(window, offset):
    dn, valid = window
    stored = apply_offset(dn, valid, offset=offset)
    assert stored.dtype == np.int16
    np.testing.assert_array_equal(stored, expected_numbers(dn, valid, offset))


def test_negative_reflectance_is_kept():
    assert one(1, offset=-1000) == -999
    assert one(999, offset=-1000) == -1
    assert one(1000, offset=-1000) == 0


def test_a_digital_number_of_0_is_no_data_only_where_there_is_an_offset():
    assert one(0, offset=-1000) == S2_NODATA
    assert one(0, offset=0) == 0


def test_invalid_pixels_are_no_data_whatever_they_hold():
    assert one(0, offset=0, valid=False) == S2_NODATA
    assert one(5000, offset=0, valid=False) == S2_NODATA
    assert one(5000, offset=-1000, valid=False) == S2_NODATA


@pytest.mark.parametrize(("dn", "stored"), [(32767, 32767), (32768, 32767), (65535, 32767)])
def test_a_bright_pixel_saturates_instead_of_wrapping(dn, stored):
    assert one(dn, offset=0) == stored


def test_the_brightest_pixel_with_an_offset_saturates_too():
    assert one(33767, offset=-1000) == 32767
    assert one(33766, offset=-1000) == 32766
    assert one(65535, offset=-1000) == 32767


@pytest.mark.parametrize("dn", [-32768, -32767, -(2**31)])
def test_a_measurement_never_becomes_no_data(dn):
    assert one(dn, offset=0, dtype=np.int32) == -32767


def test_the_extremes_of_int32_do_not_overflow():
    assert one(2**31 - 1, offset=1000, dtype=np.int32) == 32767
    assert one(-(2**31), offset=-1000, dtype=np.int32) == -32767


def test_one_validity_mask_holds_for_every_band():
    dn = np.full((2, 3, 4, 5), 1500, np.uint16)
    valid = np.zeros((4, 5), bool)
    valid[1, 2] = True
    stored = apply_offset(dn, valid, offset=-1000)
    assert (stored[..., 1, 2] == 500).all()
    assert (stored != S2_NODATA).sum() == 6


@pytest.mark.parametrize("view", [lambda a: a[..., ::-1, :], lambda a: a[..., ::2], lambda a: a.swapaxes(-1, -2)])
def test_memory_order_does_not_matter(view):
    rng = np.random.default_rng(0)
    dn = view(rng.integers(0, 20000, (3, 8, 8)).astype(np.uint16))
    valid = view(rng.random((8, 8)) < 0.5)
    np.testing.assert_array_equal(apply_offset(dn, valid, offset=-1000), expected_numbers(dn, valid, -1000))


def test_the_input_is_left_alone_and_may_be_read_only():
    dn, valid = np.full((2, 2), 1200, np.uint16), np.ones((2, 2), bool)
    dn.flags.writeable = valid.flags.writeable = False
    assert (apply_offset(dn, valid, offset=-1000) == 200).all()
    assert (dn == 1200).all()


@pytest.mark.parametrize("dtype", ["int16", "uint8", "int64", "float32", ">u2"])
def test_other_dtypes_of_dn_are_refused_by_name(dtype):
    with pytest.raises(PixelError, match=f"^dn must be uint16 or int32, got {np.dtype(dtype)}$"):
        apply_offset(np.zeros((2, 2), dtype), np.ones((2, 2), bool), offset=0)


def test_a_mask_that_is_not_bool_is_refused_by_name():
    with pytest.raises(PixelError, match=r"^valid must be bool, got uint8$"):
        apply_offset(np.zeros((2, 2), np.uint16), np.ones((2, 2), np.uint8), offset=0)


@pytest.mark.parametrize(
    ("dn", "valid"), [((3, 2), (2, 3)), ((2,), (2,)), ((2, 2), ()), ((4, 2, 2), (4, 2, 2)), ((), (1, 1))]
)
def test_shapes_that_do_not_fit_are_refused(dn, valid):
    with pytest.raises(PixelError, match=r"^valid must be \(y, x\) of dn, got shapes \("):
        apply_offset(np.zeros(dn, np.uint16), np.ones(valid, bool), offset=0)


@settings(deadline=None)
@given(windows(), st.sampled_from([0, -1000]))
def test_in_place_only_pixels_with_a_number_are_written(window, offset):
    dn, valid = window
    out = np.full(dn.shape, 77, np.int16)
    apply_offset_inplace(out, dn, valid, offset=offset)
    numbers = expected_numbers(dn, valid, offset)
    np.testing.assert_array_equal(out, np.where(numbers == S2_NODATA, 77, numbers))


@pytest.mark.parametrize(
    "out", [np.zeros((2, 2), np.int32), np.zeros((2, 3), np.int16), np.zeros((2, 2), np.int16, order="F")]
)
def test_in_place_another_array_is_refused(out):
    with pytest.raises(PixelError, match="out must be int16"):
        apply_offset_inplace(out, np.zeros((2, 2), np.uint16), np.ones((2, 2), bool), offset=0)
