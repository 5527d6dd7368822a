"""Checks on one shard file: its receipt, its zip and its arrays; what these hold is checked in `content`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.assemble import CLOUD_MASK_MODALITIES, shard_attributes
from pipeline.errors import LayoutError
from pipeline.layouts.ssl4eo import file_digest, open_shard
from pipeline.receipts import load_receipt, plan_digest, tells_every_band
from pipeline.records import Modality, Recipe, Shard, ShardReport
from pipeline.validate.content import check_content
from pipeline.validate.findings import Finding
from pipeline.validate.listing import COORDINATES, DIMS, KINDS
from pipeline.validate.zips import check_zip


def check_shard(root: Path, shard: Shard, recipe: Recipe) -> list[Finding]:
    """Return everything that is wrong with one file; the first broken layer hides those above it."""
    path = root / shard.path
    if not path.is_file():
        return [Finding(shard.path, "is missing; build it with --resume")]
    report, findings = _check_receipt(root, shard, recipe)
    torn = check_zip(path, shard, recipe.store)
    if torn:
        return findings + torn
    try:
        with open_shard(path) as dataset:
            broken = list(_check_arrays(dataset, shard, recipe))
            if not broken and report is not None:
                broken = check_content(dataset, shard, report)
    except (LayoutError, ValueError, RuntimeError, KeyError) as err:
        problem = " ".join(str(err).split()).removeprefix(f"{path} ")
        broken = [Finding(shard.path, f"cannot be read: {problem}")]
    return findings + broken


def _check_receipt(root: Path, shard: Shard, recipe: Recipe) -> tuple[ShardReport | None, list[Finding]]:
    receipt = root / shard.receipt_path
    if not receipt.is_file():
        return None, [Finding(shard.path, "has no receipt; build it with --resume")]
    try:
        report = load_receipt(receipt)
    except LayoutError:
        report = None
    if report is None or not tells_every_band(report, shard):
        return None, [Finding(shard.receipt_path, "is damaged; build it with --resume")]
    findings = []
    if report.state != "done":
        findings.append(Finding(shard.path, f"is {report.state} by its receipt ({report.error}); build with --resume"))
    if report.plan_digest != plan_digest(shard, recipe):
        findings.append(Finding(shard.path, "was built from another plan or recipe than the folder's"))
    if report.sha256 != file_digest(root / shard.path):
        findings.append(Finding(shard.path, "is not the file that its receipt describes: checksums differ"))
    return report, findings


def _check_arrays(dataset: xr.Dataset, shard: Shard, recipe: Recipe) -> Iterator[Finding]:
    expected = [name for name in DIMS if name != "cloud_mask" or shard.modality in CLOUD_MASK_MODALITIES]
    yield from _check_variables(dataset, shard, expected)
    modality = shard.kind
    for name in (*COORDINATES, *expected):
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
    for name, value in shard_attributes(shard, recipe).items():
        if bands.attrs.get(name) != value:
            yield Finding(shard.path, f"bands attribute {name} is {bands.attrs.get(name)!r}, expected {value!r}")
    is_float = shard.kind.dtype.startswith("float")
    for name in ("scale_factor", "add_offset") if is_float else ("_FillValue", "scale_factor", "add_offset"):
        if name in bands.attrs or name in bands.encoding:
            yield Finding(shard.path, f"bands carries {name}: readers would change its values or dtype")
