"""Sentinel-2 digital numbers, free of the offset that a product carries.

ESA, Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD: since processing baseline 04.00
reflectance = (DN + BOA_ADD_OFFSET) / BOA_QUANTIFICATION_VALUE, and DN 0 is no data.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import PixelError
from pipeline.records import S2_NODATA

_SMALLEST, _LARGEST = -32767, 32767


@njit(nogil=True, cache=True)
def _apply_offset(dn, valid, offset, out):  # type: ignore[no-untyped-def]
    is_zero_measured = offset == 0
    for band in range(dn.shape[0]):
        for i in range(dn.shape[1]):
            value = np.int64(dn[band, i])
            is_measured = valid[i] & (is_zero_measured | (value != 0))
            stored = min(max(value + offset, _SMALLEST), _LARGEST)
            out[band, i] = stored if is_measured else out[band, i]


def apply_offset(
    dn: NDArray[np.uint16] | NDArray[np.int32], valid: NDArray[np.bool_], *, offset: int
) -> NDArray[np.int16]:
    """Add `offset` to valid digital numbers, so that reflectance = stored / 10,000.

    Negative results are kept: they are what the offset was introduced for. A result beyond -32767 to 32767 takes the
    nearer of the two, so that a bright pixel can neither wrap around nor become no data.

    Parameters
    ----------
    dn : uint16 or int32 (..., y, x)
        Digital numbers as the product stores them [1e-4 with `offset`].
    valid : bool (y, x)
        True where the scene has data; holds for every band.
    offset : int
        Digital numbers to add, 0 or -1000. Unless it is 0, a digital number of 0 is no data too: it is the product's
        own no-data value. Offset-free products clamp dark water to 0, so there it is kept.

    Returns
    -------
    int16, shape of `dn`
        Reflectance [1e-4]; -32768 is no data.

    Raises
    ------
    PixelError
        When a dtype is another, or `valid` does not have the last two dimensions of `dn`.
    """
    out = np.full(dn.shape, S2_NODATA, np.int16)
    apply_offset_inplace(out, dn, valid, offset=offset)
    return out


def apply_offset_inplace(
    out: NDArray[np.int16], dn: NDArray[np.uint16] | NDArray[np.int32], valid: NDArray[np.bool_], *, offset: int
) -> None:
    """Put into `out` what `apply_offset` returns, where that is not no data; other pixels of `out` stay as they are.

    Parameters
    ----------
    out : int16, shape of `dn`
        In C order.

    Raises
    ------
    PixelError
        As `apply_offset`, or when `out` is another array.
    """
    if dn.dtype not in (np.uint16, np.int32):
        raise PixelError(f"dn must be uint16 or int32, got {dn.dtype}")
    if valid.dtype != np.bool_:
        raise PixelError(f"valid must be bool, got {valid.dtype}")
    if valid.ndim != 2 or dn.shape[-2:] != valid.shape:
        raise PixelError(f"valid must be (y, x) of dn, got shapes {valid.shape} and {dn.shape}")
    if out.dtype != np.int16 or out.shape != dn.shape or not out.flags.c_contiguous:
        raise PixelError(f"out must be int16 {dn.shape} in C order, got {out.dtype} {out.shape}")
    if dn.size:
        _apply_offset(
            np.ascontiguousarray(dn).reshape(-1, valid.size),
            np.ascontiguousarray(valid).reshape(-1),
            offset,
            out.reshape(-1, valid.size),
        )
