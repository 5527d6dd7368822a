import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import PixelError
from pipeline.pixels import moments_of
from pipeline.records import Moments

EXACT = ["uint8", "int8", "int16"]
DTYPES = [*EXACT, "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]

decibels = st.one_of(st.floats(-60, 40, width=32), st.just(math.nan))


def exact_moments(values):
    """Return the oracle: count, mean and m2 without any rounding until the end."""
    exact = [Fraction(float(value)) for value in values.ravel() if not np.isnan(value)]
    mean = sum(exact) / len(exact)
    return len(exact), float(mean), float(sum((value - mean) ** 2 for value in exact))


def numpy_moments(valid):
    valid = valid.astype(np.float64)
    return valid.size, valid.mean(), np.sum((valid - valid.mean()) ** 2), valid.min(), valid.max()


def fields(moments):
    return moments.count, moments.mean, moments.m2, moments.minimum, moments.maximum


def assert_close(got, expected, rel):
    """Compare, leaving the rounding of numbers as large as these room where they are nearly all alike."""
    largest = max(abs(expected.minimum), abs(expected.maximum)) if expected.count else 0.0
    noise = 1e-10 * largest
    assert (got.count, got.minimum, got.maximum) == (expected.count, expected.minimum, expected.maximum)
    assert got.mean == pytest.approx(expected.mean, rel=rel, abs=1e-14 * largest)
    assert got.m2 == pytest.approx(expected.m2, rel=rel, abs=expected.count * noise * noise)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 2047, 2048, 2049, 100_003])
def test_moments_equal_numpy_in_double_precision(dtype, size):
    values = np.random.default_rng(size).integers(1, 100, size).astype(dtype)
    np.testing.assert_allclose(fields(moments_of(values, nodata=None)), numpy_moments(values), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_is_never_counted(dtype):
    rng = np.random.default_rng(0)
    values = rng.normal(-12, 4, (3, 101, 67)).astype(dtype)
    values[rng.random(values.shape) < 0.2] = np.nan
    for nodata in (None, math.nan):
        moments = moments_of(values, nodata=nodata)
        np.testing.assert_allclose(fields(moments), numpy_moments(values[~np.isnan(values)]), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_pixels_equal_to_no_data_are_not_counted(dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(-900, 12000, (101, 67)).astype(dtype)
    values[rng.random(values.shape) < 0.2] = -32768
    moments = moments_of(values, nodata=-32768)
    np.testing.assert_allclose(fields(moments), numpy_moments(values[values != -32768]), rtol=1e-12)


@settings(deadline=None)
@given(st.sampled_from(EXACT).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(1, 40))))
def test_small_integers_are_summed_exactly(values):
    moments = moments_of(values, nodata=None)
    assert (moments.count, moments.mean, moments.m2) == exact_moments(values)
    assert (moments.minimum, moments.maximum) == (values.min(), values.max())


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 600), elements=st.floats(-60, 40, width=32)))
def test_floats_equal_rational_arithmetic(values):
    count, mean, m2 = exact_moments(values)
    expected = Moments(count=count, mean=mean, m2=m2, minimum=float(values.min()), maximum=float(values.max()))
    assert_close(moments_of(values, nodata=None), expected, rel=1e-12)


@pytest.mark.parametrize("level", [1e4, 1e7, 1e10])
def test_a_small_spread_on_a_high_level_is_not_lost(level):
    values = level + np.random.default_rng(0).normal(0, 1, 50_000)
    exact = exact_moments(values)
    moments = moments_of(values, nodata=None)
    np.testing.assert_allclose((moments.count, moments.mean, moments.m2), exact, rtol=1e-12)
    assert abs(moments.mean - exact[1]) <= np.spacing(exact[1])


@pytest.mark.parametrize("dtype", [d for d in DTYPES if np.dtype(d).kind in "iu"])
def test_the_whole_range_of_an_integer_dtype_is_summed_without_overflow(dtype):
    limits = np.iinfo(dtype)
    values = np.array([limits.min, limits.max, limits.max, 0, 1] * 100, dtype)
    moments = moments_of(values, nodata=None)
    np.testing.assert_allclose((moments.count, moments.mean, moments.m2), exact_moments(values), rtol=1e-12)
    assert (moments.minimum, moments.maximum) == (float(limits.min), float(limits.max))


def test_a_million_of_the_largest_squares_do_not_overflow():
    assert moments_of(np.full(10**6, -32768, np.int16), nodata=None) == Moments(
        count=10**6, mean=-32768.0, m2=0.0, minimum=-32768.0, maximum=-32768.0
    )


@settings(deadline=None)
@given(st.floats(-1e30, 1e30), st.integers(1, 2000))
def test_the_spread_of_a_constant_is_never_negative(value, size):
    moments = moments_of(np.full(size, value), nodata=None)
    assert 0 <= moments.m2 <= size * (1e-14 * value) ** 2
    assert moments.std >= 0
    assert moments.mean == pytest.approx(value, rel=1e-15)


@st.composite
def parts(draw):
    """Draw an array and places to cut it at."""
    dtype, elements = draw(st.sampled_from([(np.float32, decibels), (np.int16, None), (np.uint8, None)]))
    values = draw(hnp.arrays(dtype, st.integers(0, 700), elements=elements))
    cuts = draw(st.lists(st.integers(0, values.size), max_size=6))
    return values, np.split(values, sorted(cuts))


@settings(deadline=None)
@given(parts(), st.sampled_from([None, 0, -32768]), st.randoms(use_true_random=False))
def test_any_split_merged_in_any_order_equals_the_whole(drawn, nodata, random):
    values, pieces = drawn
    random.shuffle(pieces)
    merged = Moments()
    for piece in pieces:
        merged = merged.merge(moments_of(piece, nodata=nodata))
    assert_close(merged, moments_of(values, nodata=nodata), rel=1e-9)


@pytest.mark.parametrize("dtype", EXACT)
def test_the_order_of_pixels_does_not_matter_to_small_integers(dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 127, (50, 70)).astype(dtype)
    expected = moments_of(values, nodata=0)
    assert moments_of(rng.permuted(values.ravel()), nodata=0) == expected
    assert moments_of(values.T[::-1, ::2], nodata=0) == moments_of(values.T[::-1, ::2].copy(), nodata=0)


def test_the_order_of_pixels_changes_floats_by_rounding_only():
    rng = np.random.default_rng(0)
    values = rng.normal(-12, 4, 70_000).astype(np.float32)
    expected = moments_of(values, nodata=None)
    for _ in range(5):
        shuffled = moments_of(rng.permuted(values), nodata=None)
        np.testing.assert_allclose(fields(shuffled), fields(expected), rtol=1e-13)


def test_the_same_call_gives_the_same_bits():
    values = np.random.default_rng(0).normal(-12, 4, 70_000).astype(np.float32)
    assert len({moments_of(values.copy(), nodata=None) for _ in range(5)}) == 1


@pytest.mark.parametrize("dtype", [d for d in DTYPES if np.dtype(d).itemsize > 1])
def test_foreign_byte_order_and_strides_do_not_matter(dtype):
    values = np.random.default_rng(0).integers(1, 100, (40, 50)).astype(dtype)
    foreign = values.astype(np.dtype(dtype).newbyteorder("S"))
    assert moments_of(foreign, nodata=7) == moments_of(values, nodata=7)
    assert moments_of(np.repeat(values, 2, axis=1)[:, ::2], nodata=7) == moments_of(values, nodata=7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_without_a_valid_pixel_have_no_moments(dtype):
    assert moments_of(np.empty((3, 0), dtype), nodata=None) == Moments()
    assert moments_of(np.full((3, 4), 5, dtype), nodata=5) == Moments()


def test_a_0_d_array_is_one_pixel():
    assert moments_of(np.array(3, np.int16), nodata=None).count == 1
    assert moments_of(np.array(np.nan, np.float32), nodata=None).count == 0


def test_no_data_is_compared_as_the_array_stores_it():
    for dtype in ("float16", "float32", "float64"):
        assert moments_of(np.array([0.1, 1], dtype), nodata=0.1).count == 1
    assert moments_of(np.array([-0.0, 1], np.float32), nodata=0).count == 1
    assert moments_of(np.array([np.inf, 1], np.float16), nodata=1e9).count == 1


@pytest.mark.parametrize("nodata", [-32768, 256, 0.5, 2**31 - 1, 1e300, math.nan, math.inf, -math.inf])
def test_no_data_that_an_integer_cannot_hold_excludes_nothing(nodata):
    assert moments_of(np.arange(256, dtype=np.uint8), nodata=nodata).count == 256


def test_infinities_are_counted_and_show():
    moments = moments_of(np.array([1, np.inf, np.nan], np.float32), nodata=None)
    assert (moments.count, moments.mean, moments.minimum, moments.maximum) == (2, math.inf, 1, math.inf)
    assert math.isnan(moments.m2)
    both = moments_of(np.array([-np.inf, np.inf], np.float32), nodata=None)
    assert math.isnan(both.mean)
    assert (both.minimum, both.maximum) == (-math.inf, math.inf)


def test_subnormals_are_numbers():
    moments = moments_of(np.array([1e-45, 3e-45], np.float32), nodata=None)
    assert moments.minimum == float(np.float32(1e-45))
    assert moments.mean > moments.minimum


def test_the_result_is_plain_python():
    for dtype in ("int16", "float32"):
        assert [type(field) for field in fields(moments_of(np.ones(3, dtype), nodata=None))] == [int] + [float] * 4


@pytest.mark.parametrize("dtype", ["bool", "complex64", "datetime64[s]", "object", "U3"])
def test_other_dtypes_are_refused_by_name(dtype):
    values = np.zeros(3, dtype)
    with pytest.raises(PixelError, match=r"^values must be integer or float of at most 64 bits, got ") as caught:
        moments_of(values, nodata=None)
    assert str(caught.value).endswith(str(values.dtype))


@pytest.mark.parametrize("value", np.arange(0, 1 << 16, 1 << 10))
def test_every_half_precision_number_is_taken_for_what_it_is(value):
    halves = np.arange(value, value + (1 << 10)).astype(np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    if finite.size:
        assert moments_of(finite, nodata=None) == moments_of(finite.astype(np.float32), nodata=None)
        for one in finite[:: 1 << 7]:
            assert moments_of(np.array([one]), nodata=None).mean == float(one)
    assert moments_of(halves[np.isnan(halves)], nodata=None) == Moments()


def test_infinite_halves_stay_infinite():
    moments = moments_of(np.array([np.inf, 1.0], np.float16), nodata=None)
    assert (moments.count, moments.mean, moments.maximum) == (2, np.inf, np.inf)
