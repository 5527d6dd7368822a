"""Sentinel-1 backscatter: linear power to decibels.

Power is split into 2**exponent * mantissa, and the mantissa's logarithm is its artanh series: NIST Digital Library of
Mathematical Functions, 4.6.4. It needs only IEEE 754 double addition, multiplication and division, in a fixed order,
so every machine returns the same bytes; a C library's or NumPy's log10 does not promise that.

Half precision needs fewer bits, so there the series is summed in single precision, in vectors twice as wide. Where that
lies so near the middle of two half-precision numbers that it might round to the wrong one, double precision decides:
the bytes are those of the double-precision kernel, for every power.
"""

from typing import Literal, overload

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import PixelError

_MANTISSA_BITS = np.int64(52)
_SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
_DB_PER_OCTAVE = 3.010299956639812
"""10 log10(2); written out, like the next, because a C library's logarithm may differ in its last bit."""
_DB_PER_ARTANH = 8.685889638065037
"""20 / ln(10)."""
_C3, _C5, _C7, _C9, _C11, _C13 = (1.0 / n for n in (3, 5, 7, 9, 11, 13))
_NAN = np.float32(np.nan)

_BLOCK = 64
"""Powers that are looked over together; one in doubt, and all of them are computed again in double precision."""
_MARGIN = np.uint32(8)
"""Distance from a tie below which single precision is in doubt, in units of its last place; it is off by at most 4."""
_SINGLE_MANTISSA_BITS = np.int32(23)
_SINGLE_SQRT_HALF_BITS = np.int32(0x3F3504F3)
_SINGLE_ONE = np.float32(1.0)
_SINGLE_DB_PER_OCTAVE = np.float32(_DB_PER_OCTAVE)
_D1, _D3, _D5, _D7, _D9 = (np.float32(_DB_PER_ARTANH / n) for n in (1, 3, 5, 7, 9))
_SMALLEST_NORMAL, _INFINITY = np.int32(0x00800000), np.int32(0x7F800000)
"""Bits of float32."""
_SUBNORMALS = np.uint32(0x007FFFFF)
_DROPPED = np.uint32(13)
"""Bits of a float32's mantissa that a float16 has not."""
_DROPPED_BITS, _TIE, _BELOW_TIE = np.uint32(0x1FFF), np.uint32(0x1000), np.uint32(0x0FFF)
_NEAREST_TO_TIE, _NEAR_TIE = np.uint32(_TIE - _MARGIN), np.uint32(2 * _MARGIN)
_SMALLEST_NORMAL_HALF = np.uint32(0x38800000)
"""2**-14 as float32."""
_REBIAS = np.uint32(112 << 10)
"""Difference of the exponents' biases, 127 - 15, where a float16 has its exponent."""
_SIGN, _MAGNITUDE, _SIGN_SHIFT = np.uint32(0x8000), np.uint32(0x7FFFFFFF), np.uint32(16)
_HALF_NAN = np.uint32(0x7E00)
_HALF, _HALF_BITS = np.float32(0.5), np.uint32(0x3F000000)
_ONE_BIT = np.uint32(1)


# The default error model checks for division by zero, and such a loop does not vectorise.
@njit(nogil=True, cache=True, error_model="numpy")
def _decibels(linear):  # type: ignore[no-untyped-def]
    is_measured = (linear > 0.0) & (linear < np.inf)
    # A float32 subnormal is a normal float64, so the split below holds for it too.
    bits = np.float64(abs(linear)).view(np.int64)
    exponent = (bits - _SQRT_HALF_BITS) >> _MANTISSA_BITS
    # In [sqrt(1/2), sqrt(2)), where |s| <= 0.172 and the terms left out are below 2e-12 of the sum.
    mantissa = np.int64(bits - (exponent << _MANTISSA_BITS)).view(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    w = s * s
    w2 = w * w
    w4 = w2 * w2
    series = ((1.0 + _C3 * w) + w2 * (_C5 + _C7 * w)) + w4 * ((_C9 + _C11 * w) + w2 * _C13)
    db = np.float32(np.float64(exponent) * _DB_PER_OCTAVE + s * (_DB_PER_ARTANH * series))
    return db if is_measured else _NAN


@njit(nogil=True, cache=True, error_model="numpy")
def _power_to_db(power, out):  # type: ignore[no-untyped-def]
    for i in range(power.size):
        out[i] = _decibels(power[i])


@njit(nogil=True, cache=True, error_model="numpy")
def _half_bits(value):  # type: ignore[no-untyped-def]
    """Return the bits of a float32 rounded to float16, ties to even; |value| < 65504, or NaN."""
    bits = np.float32(value).view(np.uint32)
    magnitude = np.uint32(bits & _MAGNITUDE)
    # Added to 1/2, a number keeps just the bits that a subnormal float16 has.
    subnormal = np.uint32(np.float32(np.float32(abs(value)) + _HALF).view(np.uint32) - _HALF_BITS)
    is_odd = np.uint32(np.uint32(magnitude >> _DROPPED) & _ONE_BIT)
    normal = np.uint32(np.uint32(np.uint32(magnitude + _BELOW_TIE + is_odd) >> _DROPPED) - _REBIAS)
    rounded = subnormal if magnitude < _SMALLEST_NORMAL_HALF else normal
    signed = np.uint32(rounded | np.uint32(np.uint32(bits >> _SIGN_SHIFT) & _SIGN))
    return signed if value == value else _HALF_NAN  # noqa: PLR0124


@njit(nogil=True, cache=True, error_model="numpy")
def _decide(power, out, start, stop):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        out[i] = _half_bits(_decibels(power[i]))


# Numba widens the result of every operation on 32-bit integers to 64: the casts keep vectors twice as long.
@njit(nogil=True, cache=True, error_model="numpy")
def _power_to_half_db(power, out):  # type: ignore[no-untyped-def]
    whole = power.size // _BLOCK * _BLOCK
    for start in range(0, whole, _BLOCK):
        is_doubtful = np.uint32(0)
        for i in range(start, start + _BLOCK):
            bits = np.float32(power[i]).view(np.int32)
            is_measured = (bits >= _SMALLEST_NORMAL) & (bits < _INFINITY)
            exponent = np.int32(np.int32(bits - _SINGLE_SQRT_HALF_BITS) >> _SINGLE_MANTISSA_BITS)
            mantissa = np.int32(bits - np.int32(exponent << _SINGLE_MANTISSA_BITS)).view(np.float32)
            s = (mantissa - _SINGLE_ONE) / (mantissa + _SINGLE_ONE)
            w = s * s
            series = _D1 + w * (_D3 + w * (_D5 + w * (_D7 + w * _D9)))
            db = np.float32(np.float32(exponent) * _SINGLE_DB_PER_OCTAVE + s * series).view(np.uint32)
            magnitude = np.uint32(db & _MAGNITUDE)
            is_near_tie = np.uint32(np.uint32(db & _DROPPED_BITS) - _NEAREST_TO_TIE) <= _NEAR_TIE
            is_subnormal = np.uint32(np.uint32(bits) - _ONE_BIT) < _SUBNORMALS
            is_close = is_measured & (is_near_tie | (magnitude < _SMALLEST_NORMAL_HALF))
            is_doubtful = np.uint32(is_doubtful | np.uint32(is_close | is_subnormal))
            half = np.uint32(np.uint32(np.uint32(magnitude + _TIE) >> _DROPPED) - _REBIAS)
            half = np.uint32(half | np.uint32(np.uint32(db >> _SIGN_SHIFT) & _SIGN))
            out[i] = half if is_measured else _HALF_NAN
        if is_doubtful:
            _decide(power, out, start, start + _BLOCK)
    _decide(power, out, whole, power.size)


@overload
def power_to_db(power: NDArray[np.float32]) -> NDArray[np.float32]: ...


@overload
def power_to_db(power: NDArray[np.float32], *, dtype: Literal["float16"]) -> NDArray[np.float16]: ...


@overload
def power_to_db(power: NDArray[np.float32], *, dtype: str) -> NDArray[np.float32] | NDArray[np.float16]: ...


def power_to_db(power: NDArray[np.float32], *, dtype: str = "float32") -> NDArray[np.float32] | NDArray[np.float16]:
    """Convert backscatter from linear power to decibels, 10 log10(power).

    Parameters
    ----------
    power : float32, any shape
        Gamma nought [1]; NaN, both infinities and values <= 0 are no data.
    dtype : str
        What to store: float32, or float16, which is the float32 result rounded to nearest, ties to even.

    Returns
    -------
    `dtype`, shape of `power`
        Gamma nought [dB], -448.5 to 385.3; NaN where there was no data. Over every positive float32 at most one unit
        in the last place from the double-precision value rounded to float32, equal to it but for some 50 of the
        2**31, and never falling where power rises.

    Raises
    ------
    PixelError
        When `power` is not float32, or `dtype` is neither of the two.
    """
    if power.dtype != np.float32:
        raise PixelError(f"power must be float32, got {power.dtype}")
    if dtype not in ("float32", "float16"):
        raise PixelError(f"decibels are stored as float32 or float16, not {dtype}")
    flat = np.ascontiguousarray(power).reshape(-1)
    if dtype == "float16":
        half = np.empty(power.shape, np.float16)
        _power_to_half_db(flat, half.reshape(-1).view(np.uint16))
        return half
    out = np.empty(power.shape, np.float32)
    _power_to_db(flat, out.reshape(-1))
    return out
