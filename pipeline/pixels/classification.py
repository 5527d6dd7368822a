"""Sentinel-2 scene classification (SCL): what each class means to us.

Class numbers: ESA, Level-2A Algorithm Theoretical Basis Document (Sen2Cor), S2-PDGS-MPC-ATBD-L2A, issue 2.10 (2021),
scene classification map. Cloud mask classes: SSL4EO-S12 v1.1.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import PixelError


class SceneClass(IntEnum):
    """Value of the SCL band; larger values do not exist and are no data."""

    NO_DATA = 0
    SATURATED_OR_DEFECTIVE = 1
    DARK_AREA = 2
    """Dark area or, since processing baseline 04.00, topographic casted shadow."""
    CLOUD_SHADOW = 3
    VEGETATION = 4
    NOT_VEGETATED = 5
    WATER = 6
    UNCLASSIFIED = 7
    CLOUD_MEDIUM_PROBABILITY = 8
    CLOUD_HIGH_PROBABILITY = 9
    THIN_CIRRUS = 10
    SNOW = 11


class CloudMask(IntEnum):
    """Value of `cloud_mask` in SSL4EO-S12 v1.1."""

    LAND = 0
    WATER = 1
    SNOW = 2
    THIN_CLOUD = 3
    THICK_CLOUD = 4
    CLOUD_SHADOW = 5
    NO_DATA = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassShares:
    """Shares of a window by what hides its ground; each 0 to 1, together at most 1."""

    nodata: float
    """Class 0 and the values above 11; saturated or defective pixels (class 1) count as `dark`."""
    cloud: float
    """Classes 8, 9 and 10."""
    shadow: float
    """Class 3."""
    snow: float
    """Class 11."""
    dark: float
    """Classes 1 and 2."""


def _cloud_mask_table() -> NDArray[np.uint8]:
    table = np.full(256, CloudMask.NO_DATA, np.uint8)
    table[SceneClass.DARK_AREA] = CloudMask.LAND
    table[SceneClass.CLOUD_SHADOW] = CloudMask.CLOUD_SHADOW
    table[SceneClass.VEGETATION] = CloudMask.LAND
    table[SceneClass.NOT_VEGETATED] = CloudMask.LAND
    table[SceneClass.WATER] = CloudMask.WATER
    table[SceneClass.UNCLASSIFIED] = CloudMask.LAND
    table[SceneClass.CLOUD_MEDIUM_PROBABILITY] = CloudMask.THICK_CLOUD
    table[SceneClass.CLOUD_HIGH_PROBABILITY] = CloudMask.THICK_CLOUD
    table[SceneClass.THIN_CIRRUS] = CloudMask.THIN_CLOUD
    table[SceneClass.SNOW] = CloudMask.SNOW
    return table


_CLOUD_MASK = _cloud_mask_table()

_NO_DATA, _SHADOW, _SNOW = int(SceneClass.NO_DATA), int(SceneClass.CLOUD_SHADOW), int(SceneClass.SNOW)
_DEFECTIVE, _DARK = int(SceneClass.SATURATED_OR_DEFECTIVE), int(SceneClass.DARK_AREA)
_FIRST_CLOUD, _LAST_CLOUD = int(SceneClass.CLOUD_MEDIUM_PROBABILITY), int(SceneClass.THIN_CIRRUS)


@njit(nogil=True, cache=True)
def _map_classes(scl, out):  # type: ignore[no-untyped-def]
    for i in range(scl.size):
        out[i] = _CLOUD_MASK[scl[i]]


@njit(nogil=True, cache=True)
def _count_classes(scl):  # type: ignore[no-untyped-def]
    nodata = 0
    cloud = 0
    shadow = 0
    snow = 0
    dark = 0
    # Sums of comparisons vectorise; a histogram, a store for every pixel, does not.
    for i in range(scl.size):
        value = scl[i]
        nodata += (value == _NO_DATA) | (value > _SNOW)
        cloud += (value >= _FIRST_CLOUD) & (value <= _LAST_CLOUD)
        shadow += value == _SHADOW
        snow += value == _SNOW
        dark += (value == _DEFECTIVE) | (value == _DARK)
    return nodata, cloud, shadow, snow, dark


def cloud_mask_from_scl(scl: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Translate the scene classification to the cloud mask classes of SSL4EO-S12 v1.1.

    The published masks come from a cloud model (SEnSeI v2), not from SCL: these have the same classes, not the same
    pixels. Unclassified ground and dark areas become land; saturated or defective pixels become no data.

    Parameters
    ----------
    scl : uint8, any shape
        `SceneClass` values.

    Returns
    -------
    uint8, shape of `scl`
        `CloudMask` values, 0 to 6.

    Raises
    ------
    PixelError
        When `scl` is not uint8.
    """
    _check_dtype(scl)
    out = np.empty(scl.shape, np.uint8)
    _map_classes(np.ascontiguousarray(scl).reshape(-1), out.reshape(-1))
    return out


def class_shares(scl: NDArray[np.uint8]) -> ClassShares:
    """Return the shares of no data, cloud, cloud shadow, snow and dark or defective ground in a window.

    Parameters
    ----------
    scl : uint8 (y, x)
        `SceneClass` values, at least one pixel.

    Returns
    -------
    ClassShares
        Pixels of each group divided by all pixels of the window [1].

    Raises
    ------
    PixelError
        When `scl` is not uint8, not two-dimensional, or empty.
    """
    _check_dtype(scl)
    if scl.ndim != 2 or not scl.size:
        raise PixelError(f"scl must be (y, x) with at least one pixel, got shape {scl.shape}")
    counts = _count_classes(np.ascontiguousarray(scl).reshape(-1))
    nodata, cloud, shadow, snow, dark = (int(count) / scl.size for count in counts)
    return ClassShares(nodata=nodata, cloud=cloud, shadow=shadow, snow=snow, dark=dark)


def _check_dtype(scl: NDArray[np.uint8]) -> None:
    if scl.dtype != np.uint8:
        raise PixelError(f"scl must be uint8, got {scl.dtype}")
