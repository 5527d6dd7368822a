"""Repair of the published S1GRD order fault: `time_` in another order than `bands` and `file_id`."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from numcodecs import blosc
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from pipeline.errors import LayoutError, RecipeError
from pipeline.layouts.stored_zip import write_zip
from pipeline.published.arrays import array_problems, opened
from pipeline.published.folder import Folder, open_folder, path_of
from pipeline.published.standard import SERIES, belong, is_sentinel1, stamps_of
from pipeline.published.zips import zip_problems
from pipeline.validate.findings import Finding

_BY_POSITION = frozenset({"sample_id"})
"""Belongs to the place in the series, not to the image that stands there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a repair did."""

    repaired: tuple[Finding, ...]
    """One line per file that was put in order."""
    left: tuple[Finding, ...]
    """One line per file with samples that cannot be put in order: their `file_id` carries no time."""
    copied: int
    """Files that were copied as they are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Order:
    """How one file is put in order."""

    where: str
    take: NDArray[np.int64]
    """(sample, time) position that the image at each place comes from."""
    times: NDArray[np.datetime64]
    """(sample, time) `time_` as it will be."""
    moved: NDArray[np.str_]
    """Samples that change."""
    stuck: NDArray[np.str_]
    """Samples at fault that cannot be repaired."""


def repair_folder(root: Path, out: Path) -> Repair:
    """Write `root` to `out` with the order of Sentinel-1 images repaired from `file_id`; `root` is not changed.

    `bands` and `file_id` of an image always belong together; its time is the one in its `file_id`. Samples whose
    `time_` contradicts that are put in ascending order of acquisition, `time_` included: against Sentinel-2 dates that
    ascend, as v1.1 has them, no other pairing has a smaller sum of time differences. A single image may still be nearer
    to a date that another image is paired with. Samples whose `time_` is right are left as they are, ascending or not,
    since a dataset may pair its images otherwise. Everything else, hidden files apart, is copied. The same `root` gives
    the same bytes.

    Parameters
    ----------
    root : Path
        Folder of train/, val/ and so on.
    out : Path
        Folder to make; may exist if it is empty. It appears only when it is complete.

    Raises
    ------
    RecipeError
        `out` is not empty, or lies inside `root`.
    LayoutError
        `root` holds no chunk file, or a Sentinel-1 file that cannot be read; nothing is written then.
    """
    _check_out(root, out)
    folder = open_folder(root)
    orders = {order.where: order for order in _orders(folder) if order.moved.size or order.stuck.size}
    changed = {where: order for where, order in orders.items() if order.moved.size}
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        copied = _write_all(root, staging, changed)
        if out.is_dir():
            out.rmdir()
        staging.replace(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    stuck = (order for order in orders.values() if order.stuck.size)
    return Repair(
        repaired=tuple(Finding(order.where, f"put in order: {_listed(order.moved)}") for order in changed.values()),
        left=tuple(Finding(order.where, f"left, no time in file_id: {_listed(order.stuck)}") for order in stuck),
        copied=copied,
    )


def _listed(samples: NDArray[np.str_]) -> str:
    return f"{samples.size} samples (first: {samples[0]})"


def _check_out(root: Path, out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecipeError(f"{out} exists and is not an empty folder; name another: a repair overwrites nothing")
    if out.resolve().is_relative_to(root.resolve()):
        raise RecipeError(f"{out} lies inside {root}; name a folder elsewhere")


def _orders(folder: Folder) -> Iterator[_Order]:
    for split, modalities in folder.files.items():
        for modality in filter(is_sentinel1, modalities):
            for name in modalities[modality]:
                yield _order_of(folder.root, path_of(split, modality, name), modality)


def _order_of(root: Path, where: str, modality: str) -> _Order:
    # Which of two entries of one name is right cannot be known, so no container fault is repaired.
    for what, _ in zip_problems(root / where):
        raise LayoutError(f"{root / where} {what}; a repair needs sound files")
    with opened(root / where) as dataset:
        for what, is_fatal in array_problems(dataset, modality):
            if is_fatal:
                raise LayoutError(f"{root / where} {what}; a repair needs sound files")
        return _put_in_order(where, modality, dataset)


def _put_in_order(where: str, modality: str, dataset: xr.Dataset) -> _Order:
    file_ids, times = dataset["file_id"].values, dataset["time_"].values
    stamps = stamps_of(file_ids, modality)
    faulty = ~belong(stamps, times).all(axis=1)
    unknown = ((file_ids != "") & np.isnat(stamps)).any(axis=1)
    unknown |= np.isnat(stamps).sum(axis=1) > np.isnat(times).sum(axis=1)
    take = np.tile(np.arange(times.shape[1]), (len(times), 1))
    new_times = times.copy()
    for sample in np.flatnonzero(faulty & ~unknown):
        held = np.flatnonzero(~np.isnat(stamps[sample]))
        take[sample, held] = held[np.argsort(stamps[sample, held], kind="stable")]
        new_times[sample] = stamps[sample, take[sample]]
    samples = dataset["sample"].values
    return _Order(
        where=where,
        take=take,
        times=new_times,
        moved=samples[faulty & ~unknown],
        stuck=samples[faulty & unknown],
    )


def _write_all(root: Path, staging: Path, changed: dict[str, _Order]) -> int:
    copied = 0
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if not path.is_file() or any(part.startswith(".") for part in inside.parts):
            continue
        target = staging / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        order = changed.get(inside.as_posix())
        if order is None:
            shutil.copyfile(path, target)
            copied += 1
        else:
            write_zip(target, _reordered(path, order))
    return copied


def _reordered(path: Path, order: _Order) -> dict[str, bytes]:
    """Return the zip's entries with the images of each sample in their new order; codecs and chunks stay."""
    # Blosc's threads store blocks in the order that they finish: the bytes would differ from run to run.
    blosc.use_threads = False
    make_buffer = default_buffer_prototype().buffer.from_bytes
    with zipfile.ZipFile(path) as archive:
        held = {name: make_buffer(archive.read(name)) for name in archive.namelist()}
    group = zarr.open_group(MemoryStore(held), mode="r+", zarr_format=2, use_consolidated=False)
    for name, array in group.arrays():
        dims: Any = array.attrs.get("_ARRAY_DIMENSIONS", ())
        if tuple(dims[:2]) != SERIES or name in _BY_POSITION:
            continue
        stored = np.asarray(array[...])
        values = _encoded_times(path, stored, order) if name == "time_" else _taken(stored, order.take)
        array.with_config({"write_empty_chunks": True})[...] = values
    return {name: held[name].to_bytes() for name in held}


def _taken(values: NDArray[np.generic], take: NDArray[np.int64]) -> NDArray[np.generic]:
    return np.take_along_axis(values, take.reshape(*take.shape, *(1,) * (values.ndim - 2)), axis=1)


def _encoded_times(path: Path, numbers: NDArray[Any], order: _Order) -> NDArray[Any]:
    """Return stored times, changed where `order` changes them, in the units of their file."""
    with opened(path) as dataset:
        before, units = dataset["time_"].values, str(dataset["time_"].encoding["units"])
    known, missing = ~np.isnat(before), np.isnat(order.times)
    if not known.any():
        raise LayoutError(f"{path} has no time at all in time_; a repair needs one to count from")
    unit = pd.Timedelta(f"1 {units.split(maxsplit=1)[0]}").as_unit("ns").value
    changed = ~missing & (before != order.times)
    gaps = (order.times[changed] - before[known][0]).astype(np.int64)
    is_whole = numbers.dtype.kind != "f"
    if is_whole and (gaps % unit).any():
        raise LayoutError(f"{path}: its time units, {units}, cannot hold whole seconds")
    after = numbers.copy()
    after[changed] = numbers[known][0] + (gaps // unit if is_whole else gaps / unit)
    # A repair only moves missing times, so where one is needed the file has a number for it.
    after[missing] = numbers[~known][:1] if missing.any() else 0
    return after
