"""The arrays of one chunk file: names, dims and dtypes as v1.1 has them, and the small ones in memory."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import LayoutError
from pipeline.layouts.ssl4eo import open_shard
from pipeline.published.standard import has_known_bands, is_sentinel2
from pipeline.published.zips import FAULTS_OF_ZIP
from pipeline.records import MODALITIES
from pipeline.validate.listing import COORDINATES, DIMS, KINDS

_FAULTS = (*FAULTS_OF_ZIP, ValueError, TypeError, RuntimeError, KeyError)
"""What xarray, zarr and numcodecs raise on a store that is not what it says."""

_MASK = "cloud_mask"
_ALL_DIMS: dict[str, tuple[str, ...]] = {name: (name,) for name in COORDINATES} | DIMS
_MASKING = ("_FillValue", "scale_factor", "add_offset")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """Everything of one chunk file but its pixels."""

    where: str
    """Path inside the folder."""
    modality: str
    bands: tuple[str, ...]
    sizes: dict[str, int]
    samples: NDArray[np.str_]
    """(sample)"""
    sample_ids: NDArray[np.str_]
    """(sample, time)"""
    file_ids: NDArray[np.str_]
    """(sample, time)"""
    times: NDArray[np.datetime64]
    """datetime64[ns] (sample, time)"""
    epsg: NDArray[np.int64]
    """(sample)"""
    lon: NDArray[np.float64]
    """(sample) [degrees]"""
    lat: NDArray[np.float64]
    """(sample) [degrees]"""
    eastings: NDArray[np.float64]
    """(sample, x) [m]"""
    northings: NDArray[np.float64]
    """(sample, y) [m]"""

    @property
    def images(self) -> NDArray[np.str_]:
        """(sample, time) `{sample}_{time}`, as `sample_id` should be."""
        names = [[f"{sample}_{step}" for step in range(self.times.shape[1])] for sample in self.samples]
        return np.array(names, np.str_).reshape(self.times.shape)


@contextmanager
def opened(path: Path) -> Iterator[xr.Dataset]:
    """Open a chunk file; LayoutError, here or while it is read, when it is not what it says."""
    try:
        with warnings.catch_warnings():
            # That there is no consolidated metadata is a finding of its own.
            warnings.simplefilter("ignore", RuntimeWarning)
            dataset = open_shard(path)
        with dataset:
            yield dataset
    except LayoutError:
        raise
    except _FAULTS as err:
        raise LayoutError(f"{path} cannot be read: {' '.join(str(err).split())}") from err


def array_problems(dataset: xr.Dataset, modality: str) -> Iterator[tuple[str, bool]]:
    """Yield what is wrong with names, dims and dtypes: one line, and whether it forbids to read the labels."""
    for name, dims in _ALL_DIMS.items():
        if name not in dataset.variables:
            if name != _MASK or modality == "S2L2A":
                yield f"has no variable {name}", name != _MASK
        elif dataset[name].dims != dims:
            yield f"{name} has dims {_tuple(dataset[name].dims)}, expected {_tuple(dims)}", True
        else:
            yield from _dtype_problems(dataset[name], modality)
    for name in sorted(map(str, dataset.variables)):
        if name not in _ALL_DIMS or (name == _MASK and not is_sentinel2(modality)):
            yield f"has a variable {name} that the layout does not know", False


def _tuple(dims: tuple[Any, ...]) -> str:
    return f"({', '.join(map(str, dims))})"


def _dtype_problems(array: xr.DataArray, modality: str) -> Iterator[tuple[str, bool]]:
    name = str(array.name)
    if name == "bands":
        known = MODALITIES.get(modality)
        wanted = np.dtype(known.dtype).str[1:] if known else array.dtype.str[1:]
    else:
        wanted = KINDS[name]
    carried = [mark for mark in _MASKING if mark in array.attrs or mark in array.encoding]
    if carried and wanted[0] in "iu":
        yield f"{name} carries {carried[0]}: readers would change its dtype", False
    elif not array.dtype.str[1:].startswith(wanted):
        yield f"{name} is {array.dtype}, expected {_spelled(wanted)}", name not in {"bands", _MASK}


def _spelled(kind: str) -> str:
    return "fixed-width text" if kind == "U" else str(np.dtype(kind))


def read_labels(dataset: xr.Dataset, where: str, modality: str) -> Labels:
    """Read the small arrays of a file whose structure is right."""
    return Labels(
        where=where,
        modality=modality,
        bands=tuple(map(str, dataset["band"].values)),
        sizes={str(name): int(size) for name, size in dataset["bands"].sizes.items()},
        samples=dataset["sample"].values,
        sample_ids=dataset["sample_id"].values,
        file_ids=dataset["file_id"].values,
        times=dataset["time_"].values,
        epsg=dataset["crs"].values,
        lon=dataset["center_lon"].values,
        lat=dataset["center_lat"].values,
        eastings=dataset["x_"].values,
        northings=dataset["y_"].values,
    )


def index_problems(dataset: xr.Dataset) -> Iterator[str]:
    """Yield which of `time`, `x` and `y` do not count from 0."""
    for name in ("time", "y", "x"):
        if not np.array_equal(dataset[name].values, np.arange(dataset.sizes[name])):
            yield f"{name} is not 0, 1, 2 and so on"


def name_problems(labels: Labels) -> Iterator[str]:
    """Yield what is wrong with `band`, `sample` and `sample_id`."""
    if not has_known_bands(labels.bands, labels.modality):
        expected = ", ".join(MODALITIES[labels.modality].band_names)
        yield f"bands are {', '.join(labels.bands)}, expected {expected}, or some of them in this order"
    distinct, counts = np.unique(labels.samples, return_counts=True)
    if len(distinct) < len(labels.samples):
        yield f"holds {int((counts > 1).sum())} samples twice (first: {distinct[counts > 1][0]})"
    wanted = labels.images
    wrong = labels.sample_ids != wanted
    if wrong.any():
        first = f"{labels.sample_ids[wrong][0]}, expected {wanted[wrong][0]}"
        yield f"sample_id is not {{sample}}_{{time}} for {int(wrong.sum())} images (first: {first})"


def iter_chunks(array: xr.DataArray) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:
    """Yield every chunk of an array with the index of its first element; one is in memory at a time."""
    steps = array.encoding["chunks"]
    starts = (range(0, size, step) for size, step in zip(array.shape, steps, strict=True))
    for first in product(*starts):
        place = tuple(slice(begin, begin + step) for begin, step in zip(first, steps, strict=True))
        yield first, array[place].values
