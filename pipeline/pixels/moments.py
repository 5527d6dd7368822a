"""Count, mean, spread and range of the valid pixels of an array.

Small integers are summed exactly. All else takes two passes with the correction for the mean's own rounding: Chan,
Golub and LeVeque (1983), Algorithms for computing the sample variance, equation 1.7.
"""

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import PixelError
from pipeline.records import Moments

_EXACT_DTYPES = ("uint8", "int8", "int16")
"""Their squares fit 32 bits, and 2**33 of the squares fit 64."""
_DTYPES = (*_EXACT_DTYPES, "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64")

_NO_INTEGER = 2**31 - 1
"""Stands for 'every integer is valid': no dtype that is summed exactly holds it."""
_INT32_MAX, _INT32_MIN = np.int32(2**31 - 1), np.int32(-(2**31))

_LANES = 256
"""Partial sums that run side by side. Their order is fixed here, not by the width of a machine's vectors, so the
result is the same everywhere and the loop still vectorises; they are few enough to stay in the fastest cache."""
_ROWS = 8
"""Values that each partial sum takes in, one after the other, before it is stored."""
_STEP = _LANES * _ROWS

_HALF_MAGNITUDE, _HALF_SIGN, _HALF_INFINITY = np.uint32(0x7FFF), np.uint32(0x8000), np.uint32(0x7C00)
_MANTISSA_SHIFT, _SIGN_SHIFT = np.uint32(13), np.uint32(16)
_SPECIAL = np.uint32(0x7F800000)
"""Exponent of infinity and NaN as float32."""
_REBIASED = np.float32(2.0**112)
"""Factor between the exponents' biases of float16 and float32."""


@njit(nogil=True, cache=True)
def _sum_exactly(values, nodata):  # type: ignore[no-untyped-def]
    count = np.int64(0)
    total = np.int64(0)
    squares = np.int64(0)
    smallest = _INT32_MAX
    largest = _INT32_MIN
    for i in range(values.size):
        value = np.int32(values[i])
        is_valid = value != nodata
        kept = np.int32(value if is_valid else 0)
        count += is_valid
        total += kept
        # The narrow product is what lets the loop vectorise well.
        squares += np.int64(np.int32(kept * kept))
        smallest = min(smallest, np.int32(value if is_valid else _INT32_MAX))
        largest = max(largest, np.int32(value if is_valid else _INT32_MIN))
    return count, total, squares, smallest, largest


@njit(nogil=True, cache=True)
def _sum_lanes(lanes):  # type: ignore[no-untyped-def]
    total = 0.0
    for lane in range(_LANES):
        total += lanes[lane]
    return total


@njit(nogil=True, cache=True)
def _is_valid(value, nodata):  # type: ignore[no-untyped-def]
    # False for NaN alone, like isnan, with which a loop does not vectorise.
    return (value == value) & (value != nodata)  # noqa: PLR0124


@njit(nogil=True, cache=True)
def _counted(value, nodata, sums):  # type: ignore[no-untyped-def]
    count, total, low, high = sums
    is_valid = _is_valid(value, nodata)
    return (
        count + is_valid,
        total + (value if is_valid else 0.0),
        value if is_valid & (value < low) else low,
        value if is_valid & (value > high) else high,
    )


@njit(nogil=True, cache=True)
def _sum_in_lanes(values, nodata):  # type: ignore[no-untyped-def]
    counts = np.zeros(_LANES, np.int64)
    totals = np.zeros(_LANES)
    smallest = np.full(_LANES, np.inf)
    largest = np.full(_LANES, -np.inf)
    whole = values.size // _STEP * _STEP
    for start in range(0, whole, _STEP):
        for lane in range(_LANES):
            sums = counts[lane], totals[lane], smallest[lane], largest[lane]
            for row in range(_ROWS):
                sums = _counted(np.float64(values[start + row * _LANES + lane]), nodata, sums)
            counts[lane], totals[lane], smallest[lane], largest[lane] = sums
    for i in range(whole, values.size):
        lane = i % _LANES
        sums = counts[lane], totals[lane], smallest[lane], largest[lane]
        sums = _counted(np.float64(values[i]), nodata, sums)
        counts[lane], totals[lane], smallest[lane], largest[lane] = sums
    return counts.sum(), _sum_lanes(totals), smallest.min(), largest.max()


@njit(nogil=True, cache=True)
def _sum_deviations_in_lanes(values, nodata, mean):  # type: ignore[no-untyped-def]
    deviations = np.zeros(_LANES)
    squares = np.zeros(_LANES)
    whole = values.size // _STEP * _STEP
    for start in range(0, whole, _STEP):
        for lane in range(_LANES):
            total, square = deviations[lane], squares[lane]
            for row in range(_ROWS):
                value = np.float64(values[start + row * _LANES + lane])
                deviation = (value if _is_valid(value, nodata) else mean) - mean
                total += deviation
                square += deviation * deviation
            deviations[lane], squares[lane] = total, square
    for i in range(whole, values.size):
        value = np.float64(values[i])
        deviation = (value if _is_valid(value, nodata) else mean) - mean
        deviations[i % _LANES] += deviation
        squares[i % _LANES] += deviation * deviation
    return _sum_lanes(deviations), _sum_lanes(squares)


# NumPy's own conversion takes longer than the sums.
@njit(nogil=True, cache=True)
def _widen(halves, out):  # type: ignore[no-untyped-def]
    for i in range(halves.size):
        half = np.uint32(halves[i])
        magnitude = np.uint32(half & _HALF_MAGNITUDE)
        shifted = np.uint32(magnitude << _MANTISSA_SHIFT)
        number = np.float32(shifted.view(np.float32) * _REBIASED).view(np.uint32)
        number = np.uint32(shifted | _SPECIAL) if magnitude >= _HALF_INFINITY else number
        signed = np.uint32(number | np.uint32(np.uint32(half & _HALF_SIGN) << _SIGN_SHIFT))
        out[i] = signed.view(np.float32)


def moments_of(values: NDArray[Any], *, nodata: float | None) -> Moments:
    """Return the moments of the valid pixels of `values`.

    The same pixels in another order give the same count and range; mean and m2 are then equal for the integers of up
    to 16 bits that are summed exactly (int8, uint8, int16) and differ by rounding, some 1e-14 of them, for the rest.

    Parameters
    ----------
    values : integer or floating point up to 64 bits, any shape
        NaN is never valid. Infinities are: they make the mean infinite or NaN, and m2 NaN.
    nodata : float or None
        Value that marks no data, compared as the dtype of `values` stores it; None where every number is valid.

    Returns
    -------
    Moments
        In the unit of `values`, computed in double precision; `Moments()` when no pixel is valid. 64-bit integers
        beyond 2**53 are rounded to doubles first.

    Raises
    ------
    PixelError
        When `values` is neither integer nor floating point of at most 64 bits.
    """
    if values.dtype.name not in _DTYPES:
        raise PixelError(f"values must be integer or float of at most 64 bits, got {values.dtype}")
    if values.dtype.name in _EXACT_DTYPES:
        return _integer_moments(values, nodata)
    return _floating_moments(values, nodata)


def merged_moments(frames: Iterable[Sequence[Moments]]) -> tuple[Moments, ...]:
    """Return the moments of every band of a series of images, each given by those of its bands.

    The same images in another order may differ by rounding: a file's are added in their order in the file.
    """
    return tuple(reduce(Moments.merge, band, Moments()) for band in zip(*frames, strict=True))


def frame_moments(frame: NDArray[Any], *, nodata: float | None) -> tuple[Moments, ...]:
    """Return the moments of each band of one image (band, y, x); see `moments_of`."""
    return tuple(moments_of(band, nodata=nodata) for band in frame)


def _integer_moments(values: NDArray[Any], nodata: float | None) -> Moments:
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    sums = _sum_exactly(native.reshape(-1), _integer_nodata(values.dtype, nodata))
    count, total, squares, smallest, largest = map(int, sums)
    if not count:
        return Moments()
    return Moments(
        count=count,
        mean=total / count,
        m2=(count * squares - total * total) / count,
        minimum=float(smallest),
        maximum=float(largest),
    )


def _integer_nodata(dtype: np.dtype[Any], nodata: float | None) -> int:
    if nodata is None or not float(nodata).is_integer():
        return _NO_INTEGER
    limits = np.iinfo(dtype)
    return int(nodata) if limits.min <= nodata <= limits.max else _NO_INTEGER


def _floating_moments(values: NDArray[Any], nodata: float | None) -> Moments:
    flat = _as_floats(values)
    marker = _floating_nodata(values.dtype, nodata)
    count, total, smallest, largest = _sum_in_lanes(flat, marker)
    if not count:
        return Moments()
    mean, m2 = total / count, math.nan
    if math.isfinite(mean):
        excess, squares = _sum_deviations_in_lanes(flat, marker, mean)
        mean, m2 = mean + excess / count, squares - excess * excess / count
    return Moments(count=int(count), mean=float(mean), m2=float(m2), minimum=float(smallest), maximum=float(largest))


def _as_floats(values: NDArray[Any]) -> NDArray[Any]:
    """Return `values` flat, as float32 or float64 of this machine's byte order."""
    if values.dtype.kind != "f" or values.dtype.itemsize != 2:
        return np.ascontiguousarray(values, np.result_type(values.dtype, np.float32)).reshape(-1)
    halves = np.ascontiguousarray(values, np.float16).reshape(-1)
    floats = np.empty(halves.size, np.float32)
    _widen(halves.view(np.uint16), floats)
    return floats


def _floating_nodata(dtype: np.dtype[Any], nodata: float | None) -> float:
    if nodata is None:
        return math.nan
    with np.errstate(over="ignore"):
        return float(dtype.type(nodata)) if dtype.kind == "f" else float(nodata)
