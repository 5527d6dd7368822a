"""Mean and standard deviation of every band of a folder, in the form that v1.1 publishes.

Each image is reduced to its moments, and these are added without rounding: the result is the same bits whatever the
order of files, samples and times, and whatever the chunks.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.catalog.built import CLASS_MODALITIES
from pipeline.errors import LayoutError, RecipeError
from pipeline.pixels.moments import moments_of
from pipeline.pixels.totals import ExactTotal
from pipeline.published.arrays import iter_chunks, opened
from pipeline.published.folder import open_folder, path_of
from pipeline.records import Moments

Statistics = dict[str, dict[str, list[Any]]]
"""Modality to `bands` (names), `mean` and `std`, each one per band in storage order."""


def folder_statistics(root: Path, split: str = "train") -> Statistics:
    """Return mean and population standard deviation of every band over the valid pixels of one split.

    Valid is what is not NaN and not the value that `bands` declares in its attribute `nodata`; the published files
    declare none. Modalities of classes are left out. One chunk is in memory at a time.

    Parameters
    ----------
    root : Path
        Folder of train/, val/ and so on, in the layout of SSL4EO-S12 v1.1 (chunk files).
    split : str
        Folder to read.

    Returns
    -------
    dict
        Modality to `bands`, `mean`, `std`: lists in storage order, ready for JSON; double precision, in the unit of the
        stored numbers; None where a band has no valid pixel.

    Raises
    ------
    RecipeError
        There is no such split.
    LayoutError
        A file cannot be read, has other bands than the first of its modality, or holds infinite values.
    """
    folder = open_folder(root)
    if split not in folder.files:
        raise RecipeError(f"{root} has no split {split}; it has {', '.join(folder.splits)}")
    modalities = {name: files for name, files in folder.files[split].items() if name not in CLASS_MODALITIES}
    return {
        modality: _statistics([root / path_of(split, modality, name) for name in names])
        for modality, names in sorted(modalities.items())
    }


def _statistics(paths: list[Path]) -> dict[str, list[Any]]:
    bands = _bands(paths[0])
    totals = [ExactTotal() for _ in bands]
    for path in paths:
        if (held := _bands(path)) != bands:
            raise LayoutError(f"{path} has bands {', '.join(held)}, but {paths[0]} {', '.join(bands)}")
        with opened(path) as dataset:
            _add_file(dataset["bands"], totals, path)
    return {"bands": list(bands), "mean": [total.mean for total in totals], "std": [total.std for total in totals]}


def _bands(path: Path) -> tuple[str, ...]:
    with opened(path) as dataset:
        return tuple(map(str, dataset["band"].values))


def _add_file(bands: xr.DataArray, totals: list[ExactTotal], path: Path) -> None:
    for band, moments in _iter_moments(bands):
        if not math.isfinite(moments.mean):
            raise LayoutError(f"{path} holds infinite values in band {band}; its mean means nothing")
        totals[band].add(moments)


def _iter_moments(bands: xr.DataArray) -> Iterator[tuple[int, Moments]]:
    """Yield the moments of each image's bands, with the band's number."""
    nodata = float(bands.attrs.get("nodata", math.nan))
    for first, values in iter_chunks(bands):
        for sample, step, band in np.ndindex(*values.shape[:3]):
            yield first[2] + band, moments_of(values[sample, step, band], nodata=nodata)
