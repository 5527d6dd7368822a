"""Sentinel-1 backscatter: linear power to decibels.

Power is split into 2**exponent * mantissa, and the mantissa's logarithm is its artanh series: NIST Digital Library of
Mathematical Functions, 4.6.4. It needs only IEEE 754 double addition, multiplication and division, in a fixed order,
so every machine returns the same bytes; a C library's or NumPy's log10 does not promise that.
"""

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


# The default error model checks for division by zero, and such a loop does not vectorise.
@njit(nogil=True, cache=True, error_model="numpy")
def _power_to_db(power, out):  # type: ignore[no-untyped-def]
    for i in range(power.size):
        linear = power[i]
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
        out[i] = db if is_measured else _NAN


def power_to_db(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert backscatter from linear power to decibels, 10 log10(power).

    Parameters
    ----------
    power : float32, any shape
        Gamma nought [1]; NaN, both infinities and values <= 0 are no data.

    Returns
    -------
    float32, shape of `power`
        Gamma nought [dB], -448.5 to 385.3; NaN where there was no data. Over every positive float32 at most one unit
        in the last place from the double-precision value rounded to float32, equal to it but for some 50 of the
        2**31, and never falling where power rises.

    Raises
    ------
    PixelError
        When `power` is not float32.
    """
    if power.dtype != np.float32:
        raise PixelError(f"power must be float32, got {power.dtype}")
    out = np.empty(power.shape, np.float32)
    _power_to_db(np.ascontiguousarray(power).reshape(-1), out.reshape(-1))
    return out
