import re
import warnings

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import PixelError
from pipeline.pixels import power_to_db
from pipeline.pixels.sar import _decibels, _half_bits, _power_to_db, _power_to_half_db

INFINITY_BITS = 0x7F800000
MANY = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="too many values for interpreted kernels")

powers = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0), elements=st.floats(width=32))


def exact_db(power):
    """Return the oracle: double precision, then rounded once."""
    with np.errstate(divide="ignore", invalid="ignore"):
        db = 10 * np.log10(power.astype(np.float64))
    return np.where((power > 0) & np.isfinite(power), db, np.nan).astype(np.float32)


def ordered(db):
    """Return integers that are one apart for neighbouring float32."""
    bits = db.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def ulps(left, right):
    return np.abs(ordered(left) - ordered(right))


def floats_from_bits(start, stop, step=1):
    return np.arange(start, stop, step, dtype=np.uint32).view(np.float32)


def assert_within_one_ulp(power):
    db = power_to_db(power)
    distance = ulps(db, exact_db(power))
    assert distance.max() <= 1
    assert np.count_nonzero(distance) <= 60
    assert np.all(np.diff(db) >= 0)


@settings(deadline=None)
@given(powers)
def test_decibels_are_within_one_ulp_of_the_double_precision_value(power):
    db, expected = power_to_db(power), exact_db(power)
    assert db.dtype == np.float32
    assert db.shape == power.shape
    np.testing.assert_array_equal(np.isnan(db), np.isnan(expected))
    measured = ~np.isnan(expected)
    assert np.all(ulps(db[measured], expected[measured]) <= 1)


@MANY
@pytest.mark.parametrize("exponent", range(-4, 4))
def test_every_power_of_an_octave_near_0_db_is_within_one_ulp(exponent):
    assert_within_one_ulp(floats_from_bits((127 + exponent) << 23, (128 + exponent) << 23))


@MANY
def test_powers_from_the_smallest_subnormal_to_the_largest_float_are_within_one_ulp():
    assert_within_one_ulp(floats_from_bits(1, INFINITY_BITS, 211))


@MANY
@pytest.mark.slow
def test_every_positive_float32_is_within_one_ulp():
    for exponent in range(255):
        assert_within_one_ulp(floats_from_bits(max(exponent << 23, 1), (exponent + 1) << 23))


def assert_half_is_rounded_single(power):
    with np.errstate(under="ignore"):
        expected = power_to_db(power).astype(np.float16)
    assert power_to_db(power, dtype="float16").tobytes() == expected.tobytes()


@settings(deadline=None)
@given(powers)
def test_half_precision_is_single_precision_rounded(power):
    assert_half_is_rounded_single(power)
    assert power_to_db(power, dtype="float16").shape == power.shape


@pytest.mark.parametrize("size", [1, 63, 64, 65, 127, 128, 129, 4099])
def test_half_precision_holds_whatever_the_size(size):
    rng = np.random.default_rng(size)
    strange = np.array([np.nan, np.inf, 0.0, -0.0, -1.0, 1e-45, 1e-39, 1.0, 1.0000001, 0.9999999], np.float32)
    power = np.where(rng.random(size) < 0.3, rng.choice(strange, size), rng.gamma(1.0, 0.1, size))
    assert_half_is_rounded_single(power.astype(np.float32))


@MANY
def test_powers_beside_every_tie_of_half_precision_round_as_single_precision_does():
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    ties = (halves[:-1] + halves[1:]) / 2
    ties = ties[ties < 370]
    middle = (10.0 ** (np.concatenate([-ties, ties]) / 10)).astype(np.float32).view(np.int32)
    near = (middle[:, None] + np.arange(-4, 5)).astype(np.int32).view(np.float32)
    assert near.size > 400_000
    assert_half_is_rounded_single(near)


@MANY
@pytest.mark.slow
def test_half_precision_is_single_precision_rounded_for_every_float32_that_is_not_negative():
    for start in range(0, 1 << 31, 1 << 24):
        bits = np.arange(start, start + (1 << 24), dtype=np.int64).astype(np.uint32)
        assert_half_is_rounded_single(bits.view(np.float32))


@pytest.mark.parametrize("dtype", ["float64", "int16", "half"])
def test_decibels_are_stored_in_single_or_half_precision_only(dtype):
    with pytest.raises(PixelError, match=f"^decibels are stored as float32 or float16, not {dtype}$"):
        power_to_db(np.zeros(3, np.float32), dtype=dtype)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="there is no machine code to read")
@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        (_decibels, (np.float32(2),)),
        (_half_bits, (np.float32(2),)),
        (_power_to_db, (np.ones(99, np.float32), np.empty(99, np.float32))),
        (_power_to_half_db, (np.ones(99, np.float32), np.empty(99, np.uint16))),
    ],
    ids=["one", "rounded", "single", "half"],
)
def test_kernels_are_compiled_without_fused_multiply_add_so_that_every_machine_gives_the_same_bytes(kernel, arguments):
    compiled = numba.njit(error_model="numpy")(kernel.py_func)
    compiled(*arguments)
    (assembly,) = compiled.inspect_asm().values()
    assert re.search("mul|add", assembly)
    assert not re.search(r"\bv?fn?m(add|sub|la|ls)", assembly)


@pytest.mark.parametrize(
    "power",
    [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, -1e-45, -3e38],
)
def test_no_data_and_powers_that_are_not_positive_become_nan_without_a_warning(power):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(power_to_db(np.array([power], np.float32))).all()


def test_powers_of_ten_are_whole_tens_of_decibels():
    power = np.array([1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e-1, 1e-2, 1e-3], np.float32)
    assert power_to_db(power).tolist() == [0, 10, 20, 30, 40, 50, 60, -10, -20, -30]


def test_subnormal_powers_have_decibels():
    power = np.array([1e-45, 1e-40, 1.1754942e-38], np.float32)
    np.testing.assert_allclose(power_to_db(power), [-448.534694, -400, -379.297794], rtol=1e-6)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.T,
        lambda a: a[::-1],
        lambda a: a[:, ::3],
        lambda a: a[1:, 2:-1],
        np.asfortranarray,
        lambda a: np.broadcast_to(a[0], a.shape),
    ],
)
def test_memory_order_does_not_matter(view):
    power = view(np.random.default_rng(0).gamma(1.0, 0.1, (13, 17)).astype(np.float32))
    np.testing.assert_array_equal(power_to_db(power), power_to_db(np.array(power, order="C")))
    assert power_to_db(power).flags.c_contiguous


def test_empty_and_0_d_arrays_keep_their_shape():
    assert power_to_db(np.empty((2, 0, 3), np.float32)).shape == (2, 0, 3)
    assert power_to_db(np.array(10, np.float32)).shape == ()
    assert power_to_db(np.array(10, np.float32)) == 10


def test_the_input_is_left_alone_and_may_be_read_only():
    power = np.array([0.5, np.nan, -1.0, 2.0], np.float32)
    kept = power.copy()
    power.flags.writeable = False
    power_to_db(power)
    np.testing.assert_array_equal(power, kept)


@pytest.mark.parametrize("dtype", ["int16", "float16", "float64", "bool", ">f4"])
def test_other_dtypes_are_refused_by_name(dtype):
    with pytest.raises(PixelError, match=f"^power must be float32, got {np.dtype(dtype)}$"):
        power_to_db(np.zeros(3, dtype))
