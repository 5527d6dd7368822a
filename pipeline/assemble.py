"""One shard: its patches read, put together and written; the same plan always gives the same bytes."""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import AllowanceError, SourceError, TransientSourceError
from pipeline.layouts import LAYOUTS
from pipeline.layouts.ssl4eo import NO_TIME, ShardContent
from pipeline.patches import Patch, PatchReader, close_gaps
from pipeline.pixels.moments import moments_of
from pipeline.receipts import find_receipt, plan_digest, save_receipt
from pipeline.records import (
    Modality,
    PatchReport,
    PlanRow,
    Reason,
    Recipe,
    Shard,
    ShardReport,
)
from pipeline.sources.earth_engine.parity import attributes_of
from pipeline.sources.reading import open_reader
from pipeline.sources.window import Signer

logger = logging.getLogger(__name__)

CLOUD_MASK_MODALITIES = frozenset({"S2L2A", "S2L1C", "S2RGB"})
OPTICAL = frozenset({"S2L2A", "S2L1C"})
"""Products whose numbers carry the recipe's offset."""
NO_DATA_CLASS = 6
"""Class of `cloud_mask` where nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What building needs besides the plan; none of it changes a byte of the result."""

    root: Path
    """The dataset's folder."""
    source: Signer
    threads: int = 8
    """Scenes read at the same time."""


def build_shard(shard: Shard, recipe: Recipe, options: BuildOptions) -> ShardReport:
    """Build one file and its receipt, or return the receipt of a file that is already whole.

    Expected failures (gaps, unreadable scenes) are in the report. A transient fault leaves no file behind and comes
    back with state `unfinished`: running the shard again is safe. Raises only for bugs, a target that cannot be
    written, and AllowanceError when the source may not be asked any more.
    """
    digest = plan_digest(shard, recipe)
    done = find_receipt(options.root, shard, digest)
    if done is not None:
        return done
    started = time.perf_counter()
    try:
        report = _build(shard, recipe, options, digest)
    except AllowanceError:
        raise
    except TransientSourceError as err:
        logger.warning("%s: unfinished: %s", shard.path, err)
        return ShardReport(path=shard.path, plan_digest=digest, state="unfinished", error=str(err))
    report = replace(report, seconds=round(time.perf_counter() - started, 3))
    save_receipt(options.root / shard.receipt_path, report)
    logger.info("%s: %d patches, %d bytes, %.1f s", shard.path, len(shard.samples), report.bytes, report.seconds)
    return report


def _build(shard: Shard, recipe: Recipe, options: BuildOptions, digest: str) -> ShardReport:
    canvas = _blank(shard)
    reports = _paint(canvas, shard, recipe, options)
    write = LAYOUTS[recipe.layout].write
    sha256, size = write(options.root / shard.path, _content(canvas, shard, recipe, reports))
    nodata = canvas.modality.nodata
    return ShardReport(
        path=shard.path,
        plan_digest=digest,
        state="done",
        sha256=sha256,
        bytes=size,
        patches=reports,
        moments=tuple(moments_of(canvas.bands[:, :, band], nodata=nodata) for band in range(len(shard.bands))),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Canvas:
    """Arrays of one shard while they are filled; every patch has its own part, so threads never meet."""

    modality: Modality
    bands: NDArray[Any]
    cloud_mask: NDArray[np.uint8] | None
    positions: dict[str, int]

    def put(self, row: PlanRow, patch: Patch) -> None:
        at = self.positions[row.sample_id], row.timestep
        self.bands[at] = patch.values
        if self.cloud_mask is not None and patch.cloud_mask is not None:
            self.cloud_mask[at] = patch.cloud_mask


def _blank(shard: Shard) -> _Canvas:
    modality = shard.kind
    size = shard.samples[0].grid.size
    frames = (len(shard.samples), shard.timesteps)
    fill = 0 if modality.nodata is None else modality.nodata
    has_mask = modality.name in CLOUD_MASK_MODALITIES
    return _Canvas(
        modality=modality,
        bands=np.full((*frames, len(shard.bands), size, size), fill, np.dtype(modality.dtype)),
        cloud_mask=np.full((*frames, size, size), NO_DATA_CLASS, np.uint8) if has_mask else None,
        positions={sample.id: index for index, sample in enumerate(shard.samples)},
    )


def _paint(canvas: _Canvas, shard: Shard, recipe: Recipe, options: BuildOptions) -> tuple[PatchReport, ...]:
    def paint_group(rows: Sequence[PlanRow]) -> list[PatchReport]:
        with open_reader(options.source) as reader:
            patches = PatchReader(shard=shard, recipe=recipe, reader=reader)
            return [_paint_row(row, canvas, patches) for row in rows]

    groups = _by_first_scene(shard.rows)
    with ThreadPoolExecutor(max_workers=max(1, min(options.threads, len(groups)))) as pool:
        reports = [report for group in pool.map(paint_group, groups) for report in group]
    return tuple(sorted(reports, key=lambda report: (canvas.positions[report.sample_id], report.timestep)))


def _by_first_scene(rows: Sequence[PlanRow]) -> list[list[PlanRow]]:
    groups: dict[str, list[PlanRow]] = {}
    for row in rows:
        key = row.choice.assets[0].hrefs[0] if row.choice and row.choice.assets else ""
        groups.setdefault(key, []).append(row)
    return [groups[key] for key in sorted(groups)]


def _paint_row(row: PlanRow, canvas: _Canvas, patches: PatchReader) -> PatchReport:
    choice = row.choice
    if choice is None:
        return PatchReport(sample_id=row.sample_id, timestep=row.timestep, state="missing", reason=row.reason)
    report = PatchReport(
        sample_id=row.sample_id,
        timestep=row.timestep,
        state="written",
        acquisition=choice.acquisition,
        scene_ids=tuple(asset.scene_id for asset in choice.assets),
        cloud=choice.cloud,
        is_padding=row.is_padding,
    )
    try:
        patch = patches.read(choice, patches.shard.samples[canvas.positions[row.sample_id]])
    except TransientSourceError:
        raise
    except SourceError as err:
        return replace(report, state="missing", reason=str(Reason.UNREADABLE), detail=str(err))
    return _put(report, row, patch, canvas, patches.recipe.max_missing)


def _put(report: PatchReport, row: PlanRow, patch: Patch, canvas: _Canvas, max_missing: float | None) -> PatchReport:
    nodata = canvas.modality.nodata
    valid = patch.valid_share(nodata)
    report = replace(report, stretch=tuple(patch.stretch or ()), valid=valid)
    is_label = canvas.modality.product == "LABELS"
    if valid == 0.0 and not is_label:
        return replace(report, state="missing", reason=str(Reason.EMPTY))
    # What is uncertain in a label is not a gap to be filled.
    if is_label or max_missing is None or valid == 1.0:
        canvas.put(row, patch)
        return report
    if 1.0 - valid > max_missing or not patch.is_fillable(nodata):
        return replace(report, state="missing", reason=str(Reason.TOO_MUCH_MISSING))
    canvas.put(row, close_gaps(patch, canvas.modality))
    return replace(report, filled=1.0 - valid)


def _content(canvas: _Canvas, shard: Shard, recipe: Recipe, reports: Sequence[PatchReport]) -> ShardContent:
    samples = shard.samples
    file_ids, times = _frames(canvas, shard, reports)
    half = np.arange(samples[0].grid.size) + 0.5
    return ShardContent(
        bands=canvas.bands,
        band_names=shard.bands,
        sample_ids=tuple(sample.id for sample in samples),
        file_ids=file_ids,
        times=times,
        epsg=np.array([sample.grid.epsg for sample in samples], np.int64),
        lon=np.array([sample.lon for sample in samples], np.float64),
        lat=np.array([sample.lat for sample in samples], np.float64),
        eastings=np.array([s.grid.left + half * s.grid.resolution for s in samples], np.float64),
        northings=np.array([s.grid.top - half * s.grid.resolution for s in samples], np.float64),
        cloud_mask=canvas.cloud_mask,
        band_attributes=shard_attributes(shard, recipe),
        store=recipe.store,
        attributes={"layout": recipe.layout, "recipe": recipe.name, "modality": shard.modality},
    )


def _hrefs(shard: Shard) -> Iterator[str]:
    return (href for row in shard.rows if row.choice for asset in row.choice.assets for href in asset.hrefs)


def _frames(
    canvas: _Canvas, shard: Shard, reports: Sequence[PatchReport]
) -> tuple[NDArray[np.str_], NDArray[np.datetime64]]:
    written = {(report.sample_id, report.timestep) for report in reports if report.state == "written"}
    frames = (len(shard.samples), shard.timesteps)
    names = np.full(frames, "", object)
    times = np.full(frames, NO_TIME)
    for row in shard.rows:
        if row.choice is not None and (row.sample_id, row.timestep) in written:
            at = canvas.positions[row.sample_id], row.timestep
            names[at] = row.choice.file_id
            times[at] = np.datetime64(row.choice.acquired.replace(tzinfo=None), "ns")
    width = max(1, *(len(name) for name in names.ravel()))
    return names.astype(f"<U{width}"), times


def shard_attributes(shard: Shard, recipe: Recipe) -> dict[str, Any]:
    """Return the attributes of a shard's `bands`: those of its modality, and what its source says differently."""
    return {**band_attributes(shard.kind, recipe), **attributes_of(_hrefs(shard))}


def band_attributes(modality: Modality, recipe: Recipe) -> dict[str, Any]:
    """Return what a reader must know about `bands`: unit, no data, offset, resampling."""
    own = recipe.own_modalities.get(modality.name)
    meaning = _MEANING[modality.name] if own is None else {"quantity": own.quantity}
    attributes: dict[str, Any] = {"units": modality.unit, **meaning}
    if modality.product in OPTICAL and modality.dtype == "int16":
        attributes["offset"] = recipe.offset
    if modality.nodata is not None:
        attributes["nodata"] = "NaN" if np.isnan(modality.nodata) else int(modality.nodata)
    if modality.product != "LABELS":
        attributes["resampling"] = recipe.resampling_of(modality.name)
    return attributes


_GAMMA = {"quantity": "terrain-corrected gamma nought, 10 log10 of linear power"}
_MEANING: dict[str, dict[str, Any]] = {
    "S2L2A": {"quantity": "surface reflectance times 10000, plus offset"},
    "S2L1C": {"quantity": "top-of-atmosphere reflectance times 10000, plus offset"},
    "S2RGB": {
        "quantity": "picture of S2L2A: 2 to 98 % quantile of the image stretched to 1 to 255, lower end at most 1000, "
        "upper end at least 2000; the ends of each image are in the metadata table"
    },
    "S1GRD": {**_GAMMA, "note": "gamma nought in place of the published sigma nought"},
    "SCL": {"quantity": "Sentinel-2 scene classification"},
    "S1ASC": {**_GAMMA, "orbit_state": "ascending"},
    "S1DSC": {**_GAMMA, "orbit_state": "descending"},
    "S1RTC": {**_GAMMA, "orbit_state": "unknown"},
    "DEM": {"quantity": "surface height above the geoid"},
    "LULC": {"quantity": "land cover class of the collection that the plan names"},
    "MASK": {"quantity": "1 where a landslide polygon touches the pixel, 0 elsewhere"},
    "MASK_FRACTION": {"quantity": "share of the pixel inside landslide polygons"},
    "MASK_SERIES": {
        "quantity": "1 where a polygon touches the pixel and the slide had come down at time_, 0 where none had, 255 "
        "where that is uncertain"
    },
}
