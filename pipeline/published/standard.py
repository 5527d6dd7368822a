"""What SSL4EO-S12 v1.1 says of its chunk files: folders, bands, and the names of the products in `file_id`."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import grid
from pipeline.records import MODALITIES

SPLITS = ("train", "val", "test", "all")
"""Folders that hold the modalities; v1.1 has train and val."""

SUFFIX = ".zarr.zip"

SPACING = 10.0
"""Size of a pixel [m]."""

SERIES = ("sample", "time")
"""First dims of everything that belongs to an image."""

_SENTINEL1_STAMP = slice(17, 32)
"""`S1B_IW_GRDH_1SDV_20201127T214646_…`: where sensing starts."""
_SENTINEL2_STAMP = slice(0, 15)
"""`20201116T023001_20201116T022955_T51JWN`: where sensing of the datatake starts."""
_TILE = re.compile(r"T(0[1-9]|[1-5]\d|60)[C-HJ-NP-X][A-HJ-NP-Z]{2}")
_STAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)", re.ASCII)

_RGB_LABELS = (("B04", "B03", "B02"), ("R", "G", "B"), ("r", "g", "b"), ("red", "green", "blue"))
"""The published labels of S2RGB are not known; its means say that red comes first."""


def is_sentinel1(modality: str) -> bool:
    """Tell whether `file_id` holds Sentinel-1 product names."""
    return modality.startswith("S1")


def is_sentinel2(modality: str) -> bool:
    """Tell whether `file_id` holds Earth Engine names of Sentinel-2 granules."""
    return modality.startswith("S2")


def is_series(modality: str) -> bool:
    """Tell whether a modality has the series' time axis; static ones have one of 1."""
    return modality not in MODALITIES or MODALITIES[modality].is_series


def has_known_bands(bands: Sequence[str], modality: str) -> bool:
    """Tell whether `bands` are some or all of the modality's, in its order; True where that is not known."""
    known = MODALITIES.get(modality)
    orders = _RGB_LABELS if modality == "S2RGB" else (known.band_names,) if known else ()
    if modality == "S2RGB" and not any(set(order) & set(bands) for order in orders):
        return True
    return not orders or any(tuple(band for band in order if band in bands) == tuple(bands) for order in orders)


def stamps_of(file_ids: NDArray[np.str_], modality: str) -> NDArray[np.datetime64]:
    """Return when each product of `file_id` was acquired: S1 the start of sensing, S2 that of its datatake.

    Returns
    -------
    datetime64[ns], shape of `file_ids`
        UTC, whole seconds; NaT where the name carries no stamp.
    """
    where = _SENTINEL1_STAMP if is_sentinel1(modality) else _SENTINEL2_STAMP
    stamps = [_parse_stamp(str(name)[where]) for name in file_ids.ravel()]
    return np.array(stamps, "datetime64[ns]").reshape(file_ids.shape)


def _parse_stamp(stamp: str) -> np.datetime64:
    match = _STAMP.fullmatch(stamp)
    try:
        return np.datetime64("{}-{}-{}T{}:{}:{}".format(*match.groups()) if match else "NaT", "ns")
    except ValueError:
        return np.datetime64("NaT", "ns")


def tiles_of(file_ids: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the MGRS tile of each Sentinel-2 `file_id` as `T51JWN`; empty where the name carries none."""
    ends = [name[-len("T51JWN") :] for name in map(str, file_ids.ravel())]
    return np.array([end if epsg_of_tile(end) else "" for end in ends], "<U6").reshape(file_ids.shape)


def epsg_of_tile(tile: str) -> int:
    """Return the EPSG code of the zone of a tile like `T51JWN`; 0 if it is none."""
    return grid.tile_epsg(tile) if _TILE.fullmatch(tile) else 0


def belong(stamps: NDArray[np.datetime64], times: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """Tell which times are those of the stamps, to the second; a missing one belongs to a missing one."""
    gap = np.abs(times.astype("datetime64[ns]") - stamps)
    return np.asarray((gap < np.timedelta64(1, "s")) | (np.isnat(times) & np.isnat(stamps)))


def misordered(file_ids: NDArray[np.str_], times: NDArray[np.datetime64], modality: str) -> NDArray[np.bool_]:
    """Tell which samples have the known fault of the published S1GRD: right times, in another order than the images.

    `bands` and `file_id` are in alphabetical order of product names (all S1A before S1B) while `time_` ascends: as
    soon as a sample mixes satellites, its times belong to other images.

    Parameters
    ----------
    file_ids, times : (sample, time)
    modality : str

    Returns
    -------
    bool (sample)
    """
    stamps = stamps_of(file_ids, modality)
    same_times = belong(np.sort(stamps, axis=1), np.sort(times, axis=1)).all(axis=1)
    return np.asarray(same_times & ~belong(stamps, times).all(axis=1))
