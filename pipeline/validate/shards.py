"""Checks on one shard file: its receipt, its zip, its arrays, and its pixels against the plan."""

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.assemble import CLOUD_MASK_MODALITIES, NO_DATA_CLASS, band_attributes
from pipeline.errors import LayoutError
from pipeline.layouts.ssl4eo import file_digest, open_shard
from pipeline.receipts import load_receipt, plan_digest
from pipeline.records import MODALITIES, Modality, Recipe, Shard, ShardReport
from pipeline.validate.findings import Finding

DIMS = {
    "bands": ("sample", "time", "band", "y", "x"),
    "cloud_mask": ("sample", "time", "y", "x"),
    "center_lat": ("sample",),
    "center_lon": ("sample",),
    "crs": ("sample",),
    "file_id": ("sample", "time"),
    "sample_id": ("sample", "time"),
    "time_": ("sample", "time"),
    "x_": ("sample", "x"),
    "y_": ("sample", "y"),
}
KINDS = {
    "cloud_mask": "u1", "center_lat": "f8", "center_lon": "f8", "crs": "i8", "file_id": "U", "sample_id": "U",
    "time_": "M8[ns]", "x_": "f8", "y_": "f8", "sample": "U", "time": "i8", "band": "U", "x": "i8", "y": "i8",
}  # fmt: skip

LARGEST_CLOUD_CLASS = 6


def check_shard(root: Path, shard: Shard, recipe: Recipe) -> list[Finding]:
    """Return everything that is wrong with one file; the first broken layer hides those above it."""
    path = root / shard.path
    if not path.is_file():
        return [Finding(shard.path, "is missing; build it with --resume")]
    report, findings = _check_receipt(root, shard, recipe)
    torn = _check_zip(path, shard)
    if torn:
        return findings + torn
    try:
        with open_shard(path) as dataset:
            broken = list(_check_arrays(dataset, shard, recipe))
            if not broken and report is not None:
                broken = list(_check_content(dataset, shard, report))
    except (LayoutError, ValueError, RuntimeError, KeyError) as err:
        broken = [Finding(shard.path, f"cannot be read: {' '.join(str(err).split())}")]
    return findings + broken


def _check_receipt(root: Path, shard: Shard, recipe: Recipe) -> tuple[ShardReport | None, list[Finding]]:
    receipt = root / shard.receipt_path
    if not receipt.is_file():
        return None, [Finding(shard.path, "has no receipt; build it with --resume")]
    try:
        report = load_receipt(receipt)
    except LayoutError:
        return None, [Finding(shard.receipt_path, "is damaged; build it with --resume")]
    findings = []
    if report.plan_digest != plan_digest(shard, recipe):
        findings.append(Finding(shard.path, "was built from another plan or recipe than the folder's"))
    if report.sha256 != file_digest(root / shard.path):
        findings.append(Finding(shard.path, "is not the file that its receipt describes: checksums differ"))
    return report, findings


def _check_zip(path: Path, shard: Shard) -> list[Finding]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as err:
        return [Finding(shard.path, f"is not a whole zip: {err}")]
    findings = []
    if damaged is not None:
        findings.append(Finding(shard.path, f"entry {damaged} is damaged: its CRC differs"))
    twice = [name for name, count in Counter(info.filename for info in infos).items() if count > 1]
    if twice:
        findings.append(Finding(shard.path, f"holds {len(twice)} entries twice (first: {twice[0]})"))
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        findings.append(Finding(shard.path, "has compressed zip entries; the layout stores them"))
    if ".zmetadata" not in {info.filename for info in infos}:
        findings.append(Finding(shard.path, "has no consolidated metadata (.zmetadata)"))
    absent = sorted(_expected_chunks(shard) - {info.filename for info in infos})
    if absent:
        findings.append(Finding(shard.path, f"lacks {len(absent)} chunks (first: {absent[0]})"))
    return findings


def _expected_chunks(shard: Shard) -> set[str]:
    frames = list(product(range(len(shard.samples)), range(shard.timesteps)))
    chunks = {f"bands/{sample}.{step}.0.0.0" for sample, step in frames}
    if shard.modality in CLOUD_MASK_MODALITIES:
        chunks |= {f"cloud_mask/{sample}.{step}.0.0" for sample, step in frames}
    return chunks


def _check_arrays(dataset: xr.Dataset, shard: Shard, recipe: Recipe) -> Iterator[Finding]:
    expected = [name for name in DIMS if name != "cloud_mask" or shard.modality in CLOUD_MASK_MODALITIES]
    yield from _check_variables(dataset, shard, expected)
    modality = MODALITIES[shard.modality]
    for name in ("sample", "time", "band", "x", "y", *expected):
        if name in dataset and not _has_kind(dataset[name].dtype, name, modality):
            wanted = modality.dtype if name == "bands" else KINDS[name]
            yield Finding(shard.path, f"{name} is {dataset[name].dtype}, expected {wanted}")
    size = shard.samples[0].grid.size
    sizes = {"sample": len(shard.samples), "time": shard.timesteps, "band": len(shard.bands), "y": size, "x": size}
    if dict(dataset.sizes) != sizes:
        yield Finding(shard.path, f"has sizes {dict(dataset.sizes)}, expected {sizes}")
    if "bands" in dataset:
        yield from _check_band_attributes(dataset["bands"], shard, recipe)


def _check_variables(dataset: xr.Dataset, shard: Shard, expected: Sequence[str]) -> Iterator[Finding]:
    for name in expected:
        if name not in dataset:
            yield Finding(shard.path, f"has no variable {name}")
        elif dataset[name].dims != DIMS[name]:
            yield Finding(shard.path, f"{name} has dims {dataset[name].dims}, expected {DIMS[name]}")
    for name in sorted(map(str, dataset.data_vars)):
        if name not in expected:
            yield Finding(shard.path, f"has a variable {name} that the layout does not know")


def _has_kind(dtype: np.dtype[Any], name: str, modality: Modality) -> bool:
    if name == "bands":
        return dtype == np.dtype(modality.dtype)
    kind = KINDS[name]
    return dtype.kind == "U" if kind == "U" else dtype == np.dtype(kind)


def _check_band_attributes(bands: xr.DataArray, shard: Shard, recipe: Recipe) -> Iterator[Finding]:
    for name, value in band_attributes(MODALITIES[shard.modality], recipe).items():
        if bands.attrs.get(name) != value:
            yield Finding(shard.path, f"bands attribute {name} is {bands.attrs.get(name)!r}, expected {value!r}")
    for name in ("_FillValue", "scale_factor", "add_offset"):
        if (name in bands.attrs or name in bands.encoding) and bands.dtype.kind != "f":
            yield Finding(shard.path, f"bands carries {name}: readers would change its dtype")


def _check_content(dataset: xr.Dataset, shard: Shard, report: ShardReport) -> Iterator[Finding]:
    names = [str(name) for name in dataset["sample"].values]
    if names != [sample.id for sample in shard.samples]:
        yield Finding(shard.path, "samples are not those of the plan, in its order")
        return
    if tuple(str(name) for name in dataset["band"].values) != shard.bands:
        yield Finding(shard.path, f"bands are {list(dataset['band'].values)}, expected {list(shard.bands)}")
        return
    yield from _check_places(dataset, shard)
    yield from _check_frames(dataset, shard, report)
    yield from _check_pixels(dataset, shard, report)


def _check_places(dataset: xr.Dataset, shard: Shard) -> Iterator[Finding]:
    for index, sample in enumerate(shard.samples):
        grid, here = sample.grid, dataset.isel(sample=index)
        centres = (np.arange(grid.size) + 0.5) * grid.resolution
        if int(here["crs"]) != grid.epsg:
            yield Finding(shard.path, f"{sample.id}: crs is {int(here['crs'])}, expected {grid.epsg}")
        if not np.array_equal(here["x_"], grid.left + centres):
            yield Finding(shard.path, f"{sample.id}: x_ are not the pixel centres of its patch")
        if not np.array_equal(here["y_"], grid.top - centres):
            yield Finding(shard.path, f"{sample.id}: y_ are not the pixel centres of its patch, falling")
        if (float(here["center_lon"]), float(here["center_lat"])) != (sample.lon, sample.lat):
            yield Finding(shard.path, f"{sample.id}: center_lon and center_lat are not its centre")
        expected = [f"{sample.id}_{step}" for step in range(shard.timesteps)]
        if [str(name) for name in here["sample_id"].values] != expected:
            yield Finding(shard.path, f"{sample.id}: sample_id is not {expected[0]} and so on")


def _check_frames(dataset: xr.Dataset, shard: Shard, report: ShardReport) -> Iterator[Finding]:
    planned = {(row.sample_id, row.timestep): row.choice for row in shard.rows}
    written = {(patch.sample_id, patch.timestep) for patch in report.patches if patch.state == "written"}
    times, file_ids = dataset["time_"].values, dataset["file_id"].values
    for index, sample in enumerate(shard.samples):
        for step in range(shard.timesteps):
            choice = planned.get((sample.id, step)) if (sample.id, step) in written else None
            file_id = choice.file_id if choice else ""
            moment = np.datetime64(choice.acquired.replace(tzinfo=None), "ns") if choice else np.datetime64("NaT", "ns")
            if str(file_ids[index, step]) != file_id:
                yield Finding(
                    shard.path, f"{sample.id}_{step}: file_id is {file_ids[index, step]!r}, planned {file_id!r}"
                )
            if times[index, step] != moment and not (np.isnat(times[index, step]) and np.isnat(moment)):
                yield Finding(shard.path, f"{sample.id}_{step}: time_ is {times[index, step]}, planned {moment}")
        known = times[index][~np.isnat(times[index])]
        if np.any(np.diff(known) <= np.timedelta64(0)):
            yield Finding(shard.path, f"{sample.id}: time_ does not ascend")


def _check_pixels(dataset: xr.Dataset, shard: Shard, report: ShardReport) -> Iterator[Finding]:
    modality = MODALITIES[shard.modality]
    written = {(patch.sample_id, patch.timestep) for patch in report.patches if patch.state == "written"}
    for index, sample in enumerate(shard.samples):
        for step in range(shard.timesteps):
            frame = dataset.isel(sample=index, time=step)
            values = frame["bands"].values
            where = f"{sample.id}_{step}"
            has_data = _has_data(values, modality)
            if modality.nodata is not None and has_data != ((sample.id, step) in written):
                yield Finding(
                    shard.path, f"{where}: {'has' if has_data else 'has no'} data, its receipt says otherwise"
                )
            if modality.dtype == "float32" and np.isinf(values).any():
                yield Finding(shard.path, f"{where}: holds infinite values")
            if modality.product == "LABELS":
                yield from _check_mask(shard.path, where, values, is_annotated=bool(sample.events))
            if "cloud_mask" in dataset:
                yield from _check_cloud_mask(shard.path, where, values, frame["cloud_mask"].values)


def _has_data(values: np.ndarray[Any, np.dtype[Any]], modality: Modality) -> bool:
    if values.dtype.kind == "f":
        return bool(np.isfinite(values).any())
    return modality.nodata is None or bool((values != modality.nodata).any())


def _check_mask(
    path: str, where: str, values: np.ndarray[Any, np.dtype[Any]], *, is_annotated: bool
) -> Iterator[Finding]:
    if values.max() > 1:
        yield Finding(path, f"{where}: mask holds {values.max()}, expected 0 and 1")
    elif bool(values.any()) != is_annotated:
        yield Finding(path, f"{where}: mask is {'empty' if is_annotated else 'set'}, its events say otherwise")


def _check_cloud_mask(
    path: str, where: str, values: np.ndarray[Any, np.dtype[Any]], mask: np.ndarray[Any, np.dtype[Any]]
) -> Iterator[Finding]:
    if mask.max() > LARGEST_CLOUD_CLASS:
        yield Finding(path, f"{where}: cloud_mask holds class {mask.max()}, expected 0 to {LARGEST_CLOUD_CLASS}")
    hidden = (values == MODALITIES["S2L2A"].nodata).all(axis=0)
    if np.any(hidden & (mask != NO_DATA_CLASS)):
        yield Finding(path, f"{where}: cloud_mask gives a class to pixels without data")
