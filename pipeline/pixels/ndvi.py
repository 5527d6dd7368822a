"""Vegetation index of ground that is seen clearly, and its median without outliers.

NDVI = (B08 - B04) / (B08 + B04) of surface reflectance: Rouse and others (1974), Monitoring vegetation systems in the
Great Plains with ERTS. Clear classes and the fence around the quartiles are those of Sen12Landslides. There the
classification, at 20 m, is laid beside NDVI at 10 m value by value, which pairs different pixels; here both lie on
one grid, and the offset of the product is taken off first.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import PixelError
from pipeline.pixels.classification import SceneClass
from pipeline.records import S2_NODATA

CLEAR_CLASSES = (SceneClass.VEGETATION, SceneClass.NOT_VEGETATED, SceneClass.WATER, SceneClass.UNCLASSIFIED)
"""Classes of ground that is seen: Sen12Landslides' own choice."""

_FIRST_CLEAR, _LAST_CLEAR = int(min(CLEAR_CLASSES)), int(max(CLEAR_CLASSES))
_UNITY = 10_000
"""Reflectance of 1 as it is stored."""
_FENCE = 1.5
"""Interquartile ranges beyond the quartiles where outliers begin."""


@njit(nogil=True, cache=True)
def _gather_ndvi(red, infrared, scl, chosen, out):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(scl.size):
        is_clear = chosen[i] & (scl[i] >= _FIRST_CLEAR) & (scl[i] <= _LAST_CLEAR)
        if is_clear and red[i] != S2_NODATA and infrared[i] != S2_NODATA:
            low = min(max(int(red[i]), 0), _UNITY)
            high = min(max(int(infrared[i]), 0), _UNITY)
            if low + high > 0:
                out[count] = (high - low) / (high + low)
                count += 1
    return count


@njit(nogil=True, cache=True)
def _quantile(ordered, share):  # type: ignore[no-untyped-def]
    position = share * (ordered.size - 1)
    lower = math.floor(position)
    upper = min(lower + 1, ordered.size - 1)
    part = position - lower
    step = ordered[upper] - ordered[lower]
    # As NumPy does it, so that a value on the fence falls on the same side.
    return ordered[upper] - step * (1.0 - part) if part >= 0.5 else ordered[lower] + step * part


@njit(nogil=True, cache=True)
def _median_within_fence(values):  # type: ignore[no-untyped-def]
    ordered = np.sort(values)
    first = _quantile(ordered, 0.25)
    third = _quantile(ordered, 0.75)
    reach = _FENCE * (third - first)
    start = np.searchsorted(ordered, first - reach, side="left")
    stop = np.searchsorted(ordered, third + reach, side="right")
    middle = (start + stop) // 2
    if (stop - start) % 2:
        return ordered[middle]
    return 0.5 * (ordered[middle - 1] + ordered[middle])


def clear_ndvi(
    red: NDArray[np.int16], infrared: NDArray[np.int16], scl: NDArray[np.uint8], chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the NDVI of every chosen pixel that is clear and has data, in the order of rows.

    Parameters
    ----------
    red, infrared : int16 (y, x)
        B04 and B08 without the product's offset, reflectance [1e-4]; -32768 is no data. Taken as at least 0 and at
        most 10,000.
    scl : uint8 (y, x)
        Scene classification of the same pixels; classes 4, 5, 6 and 7 are clear.
    chosen : bool (y, x)
        The pixels that are asked for.

    Returns
    -------
    float64 (n,)
        NDVI [-1 to 1]; pixels whose two reflectances are 0 have none and are left out.

    Raises
    ------
    PixelError
        A dtype is another, or the shapes differ.
    """
    dtypes = ", ".join(array.dtype.name for array in (red, infrared, scl, chosen))
    if dtypes != "int16, int16, uint8, bool":
        raise PixelError(f"red, infrared, scl and chosen must be int16, int16, uint8 and bool, got {dtypes}")
    if not red.shape == infrared.shape == scl.shape == chosen.shape:
        raise PixelError(
            f"red, infrared, scl and chosen must share one shape, got {red.shape}, {infrared.shape}, {scl.shape} "
            f"and {chosen.shape}"
        )
    out = np.empty(scl.size, np.float64)
    count = _gather_ndvi(red.ravel(), infrared.ravel(), scl.ravel(), chosen.ravel(), out)
    return out[:count].copy()


def robust_median(values: NDArray[np.float64]) -> float:
    """Return the median of what lies no further than 1.5 interquartile ranges from the quartiles.

    Quartiles are interpolated linearly. At least half of the values always stay, so the published rule for fewer (a
    median trimmed by a tenth at both ends) never comes into force and is not here.

    Parameters
    ----------
    values : float64 (n,)
        Finite numbers of any order.

    Returns
    -------
    float
        NaN when there are no values.

    Raises
    ------
    PixelError
        When `values` is not float64 of one dimension.
    """
    if values.dtype != np.float64 or values.ndim != 1:
        raise PixelError(f"values must be float64 (n,), got {values.dtype} of shape {values.shape}")
    return float(_median_within_fence(np.ascontiguousarray(values))) if values.size else math.nan
