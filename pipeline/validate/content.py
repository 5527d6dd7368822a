"""Checks on what a shard's arrays hold, against the plan and the receipt."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.layouts.encoding import NO_DATA_CLASS
from pipeline.pixels import frame_moments, merged_moments
from pipeline.records import MODALITIES, Choice, Modality, Shard, ShardReport
from pipeline.validate.findings import Finding
from pipeline.validate.labels import label_fault
from pipeline.validate.listing import LARGEST_CLOUD_CLASS


class _Fault(NamedTuple):
    """One fault of one sample, frame or band; those of one kind become one finding."""

    kind: str
    where: str
    what: str


def check_content(dataset: xr.Dataset, shard: Shard, report: ShardReport) -> list[Finding]:
    """Return what is wrong inside arrays that have the right names, dims and dtypes: one line for each kind."""
    names = dataset["sample"].values.tolist()
    if names != [sample.id for sample in shard.samples]:
        return [Finding(shard.path, "samples are not those of the plan, in its order")]
    bands = dataset["band"].values.tolist()
    if bands != list(shard.bands):
        return [Finding(shard.path, f"bands are {bands}, expected {list(shard.bands)}")]
    dataset.load()
    faults = [
        *_place_faults(dataset, shard),
        *_frame_faults(dataset, shard, report),
        *_pixel_faults(dataset, shard, report),
        *_label_faults(dataset, shard, report),
    ]
    return _one_line_each(shard, faults or _moment_faults(dataset, shard, report))


def _one_line_each(shard: Shard, faults: Iterable[_Fault]) -> list[Finding]:
    kinds: dict[str, list[_Fault]] = {}
    for fault in faults:
        kinds.setdefault(fault.kind, []).append(fault)
    lines = []
    for (_, where, what), *others in kinds.values():
        lines.append(f"{where}: {what}{f' (and {len(others)} more)' if others else ''}")
    return [Finding(shard.path, line) for line in lines]


def _place_faults(dataset: xr.Dataset, shard: Shard) -> Iterator[_Fault]:
    for index, sample in enumerate(shard.samples):
        grid, here = sample.grid, dataset.isel(sample=index)
        centres = (np.arange(grid.size) + 0.5) * grid.resolution
        if int(here["crs"]) != grid.epsg:
            yield _Fault("crs", sample.id, f"crs is {int(here['crs'])}, expected {grid.epsg}")
        if not np.array_equal(here["x_"], grid.left + centres):
            yield _Fault("x_", sample.id, "x_ are not the pixel centres of its patch")
        if not np.array_equal(here["y_"], grid.top - centres):
            yield _Fault("y_", sample.id, "y_ are not the pixel centres of its patch, falling")
        if (float(here["center_lon"]), float(here["center_lat"])) != (sample.lon, sample.lat):
            yield _Fault("center", sample.id, "center_lon and center_lat are not its centre")
        expected = [f"{sample.id}_{step}" for step in range(shard.timesteps)]
        if here["sample_id"].values.tolist() != expected:
            yield _Fault("sample_id", sample.id, f"sample_id is not {expected[0]} and so on")


def _frame_faults(dataset: xr.Dataset, shard: Shard, report: ShardReport) -> Iterator[_Fault]:
    written = _written(report)
    choices = {(row.sample_id, row.timestep): row.choice for row in shard.rows}
    padded = _padded(shard)
    times, file_ids = dataset["time_"].values, dataset["file_id"].values
    for index, sample in enumerate(shard.samples):
        for step in range(shard.timesteps):
            choice = choices.get((sample.id, step)) if (sample.id, step) in written else None
            file_id, planned_id = str(file_ids[index, step]), choice.file_id if choice else ""
            time, planned_time = times[index, step], _time_of(choice)
            where = f"{sample.id}_{step}"
            if file_id != planned_id:
                yield _Fault("file_id", where, f"file_id is {file_id!r}, planned {planned_id!r}")
            if not np.array_equal(time, planned_time, equal_nan=True):
                yield _Fault("time_", where, f"time_ is {time}, planned {planned_time}")
        own = [step for step in range(shard.timesteps) if (sample.id, step) not in padded]
        known = times[index, own][~np.isnat(times[index, own])]
        if not shard.kind.is_paired and np.any(np.diff(known) <= np.timedelta64(0)):
            yield _Fault("time_", sample.id, "time_ does not ascend")


def _time_of(choice: Choice | None) -> np.datetime64:
    return np.datetime64(choice.acquired.replace(tzinfo=None) if choice else "NaT", "ns")


def _pixel_faults(dataset: xr.Dataset, shard: Shard, report: ShardReport) -> Iterator[_Fault]:
    modality, written = shard.kind, _written(report)
    padded = _padded(shard)
    bands = dataset["bands"].values
    masks = dataset["cloud_mask"].values if "cloud_mask" in dataset else None
    for index, sample in enumerate(shard.samples):
        for step in range(shard.timesteps):
            where, values = f"{sample.id}_{step}", bands[index, step]
            # A mask may be uncertain everywhere, which reads as no data.
            has_data = _has_data(values, modality)
            may_differ = modality.nodata is None or (modality.product == "LABELS" and not has_data)
            if not may_differ and has_data != ((sample.id, step) in written):
                yield _Fault("data", where, f"{'has' if has_data else 'has no'} data, its receipt says otherwise")
            if values.dtype.kind == "f" and np.isinf(values).any():
                yield _Fault("infinite", where, "holds infinite values")
            if (sample.id, step) in padded and values.tobytes() != bands[index, step - 1].tobytes():
                yield _Fault("padding", where, "differs from the image that it repeats")
            if masks is not None:
                yield from _cloud_mask_faults(where, values, masks[index, step])


def _label_faults(dataset: xr.Dataset, shard: Shard, report: ShardReport) -> Iterator[_Fault]:
    if shard.kind.product != "LABELS":
        return
    bands, written = dataset["bands"].values, _written(report)
    samples = {sample.id: (index, sample) for index, sample in enumerate(shard.samples)}
    for row in shard.rows:
        if row.choice is not None and (row.sample_id, row.timestep) in written:
            index, sample = samples[row.sample_id]
            what = label_fault(shard.modality, bands[index, row.timestep], sample, row.choice.acquired)
            if what:
                yield _Fault("mask", f"{sample.id}_{row.timestep}", what)


def _has_data(values: NDArray[Any], modality: Modality) -> bool:
    if values.dtype.kind == "f":
        return bool(np.isfinite(values).any())
    return modality.nodata is None or bool((values != modality.nodata).any())


def _cloud_mask_faults(where: str, values: NDArray[Any], mask: NDArray[Any]) -> Iterator[_Fault]:
    if mask.max() > LARGEST_CLOUD_CLASS:
        what = f"cloud_mask holds class {mask.max()}, expected 0 to {LARGEST_CLOUD_CLASS}"
        yield _Fault("cloud_mask", where, what)
    hidden = (values == MODALITIES["S2L2A"].nodata).all(axis=0)
    # A single band may lack a pixel that the classification knows: DN 0 of a product with an offset.
    if values.shape[0] > 1 and np.any(hidden & (mask != NO_DATA_CLASS)):
        yield _Fault("hidden", where, "cloud_mask gives a class to pixels without data")


def _moment_faults(dataset: xr.Dataset, shard: Shard, report: ShardReport) -> Iterator[_Fault]:
    nodata = shard.kind.nodata
    frames = dataset["bands"].values.reshape(-1, *dataset["bands"].shape[2:])
    found = merged_moments(frame_moments(frame, nodata=nodata) for frame in frames)
    for name, moments, summed in zip_longest(shard.bands, found, report.moments):
        if moments != summed:
            yield _Fault("moments", str(name), "its pixels do not add up to what its receipt says of them")


def _padded(shard: Shard) -> set[tuple[str, int]]:
    return {(row.sample_id, row.timestep) for row in shard.rows if row.is_padding}


def _written(report: ShardReport) -> set[tuple[str, int]]:
    return {(patch.sample_id, patch.timestep) for patch in report.patches if patch.state == "written"}
