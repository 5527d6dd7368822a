"""One shard: its patches read, put together and written; the same plan always gives the same bytes."""

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import AllowanceError, SourceError, TransientSourceError
from pipeline.layouts import LAYOUTS
from pipeline.layouts.encoding import PixelEncoder, PixelShape
from pipeline.layouts.ssl4eo import NO_TIME, ShardLabels
from pipeline.patches import OPTICAL, Patch, PatchReader, close_gaps
from pipeline.pixels.moments import frame_moments, merged_moments
from pipeline.receipts import STOPPED, Attempts, plan_digest
from pipeline.records import (
    Modality,
    Moments,
    PatchReport,
    PlanRow,
    Reason,
    Recipe,
    Shard,
    ShardReport,
)
from pipeline.sources.access import Signer
from pipeline.sources.earth_engine.parity import attributes_of
from pipeline.sources.mirrors import NO_MIRRORS, Mirrors
from pipeline.sources.reading import Together, open_reader, together_of
from pipeline.sources.watching import Failures, added, watched
from pipeline.targets import Target, target_of

logger = logging.getLogger(__name__)

CLOUD_MASK_MODALITIES = frozenset({"S2L2A", "S2L1C", "S2RGB"})
READ_THREADS = 8
READ_TOGETHER = 32
"""Patches that are announced together. Of files they are in memory before they are put together: some 30 MB of twelve
bands at 264 px of one scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What building needs besides the plan; none of it changes a byte of the result."""

    root: Path
    """The dataset's folder."""
    source: Signer
    mirrors: Mirrors = NO_MIRRORS
    """Where images are read from that the plan takes from another provider."""
    store: str = ""
    """URL of the object store that takes files and receipts in place of the folder; empty: the folder does."""
    threads: int = READ_THREADS
    """Scenes, or patches where the source reads dates together, that are read at the same time."""
    verify: str = ""
    """Name of a run in which every asset is compared with its checksum, once a process; empty: nothing is."""


def build_shard(shard: Shard, recipe: Recipe, options: BuildOptions) -> ShardReport:
    """Build one file and its receipt, or return the receipt of a file that is already whole.

    Expected failures (gaps, unreadable scenes) are in the report. A transient fault leaves no file behind and comes
    back with state `unfinished`: running the shard again is safe.

    Raises
    ------
    TargetError
        The dataset's place cannot be written.
    AllowanceError
        The source may not be asked any more.
    """
    digest = plan_digest(shard, recipe)
    target = target_of(options.root, options.store)
    before = Attempts(plan_digest=digest)
    failures = Failures()
    watch = partial(watched, failures=failures, run=options.verify, checksums=shard.checksums)
    options = replace(options, source=watch(options.source), mirrors=options.mirrors.each(watch))
    try:
        done = target.find(shard, digest)
        if done is not None:
            target.forget(shard)
            return done
        before = _begin(target, shard, digest)
        started = time.perf_counter()
        report = _build(shard, recipe, options, target, digest)
        seconds = round(time.perf_counter() - started, 3)
        report = replace(
            report, seconds=seconds, attempts=before.count + 1, faults=before.faults,
            failed_requests=added(before.failed_requests, failures.counts()),
        )  # fmt: skip
        target.accept(shard, report)
        target.forget(shard)
    except TransientSourceError as err:
        tried = before.ended(str(err), failures.counts())
        with suppress(TransientSourceError):
            target.note(shard, tried)
        if isinstance(err, AllowanceError):
            raise
        logger.warning("%s: unfinished: %s", shard.path, err)
        return unfinished(shard.path, digest, str(err), tried)
    logger.info("%s: %d patches, %d bytes, %.1f s", shard.path, len(shard.samples), report.bytes, report.seconds)
    return report


def _begin(target: Target, shard: Shard, digest: str) -> Attempts:
    """Note that the shard is being built, and return the attempts before at the same plan."""
    before = target.attempts(shard)
    if before.plan_digest != digest:
        before = Attempts(plan_digest=digest)
    target.note(shard, before.ended(STOPPED))
    return before


def unfinished(path: str, digest: str, error: str, tried: Attempts) -> ShardReport:
    """Return the report of a shard that has no file yet."""
    return ShardReport(
        path=path, plan_digest=digest, state="unfinished", error=error, attempts=tried.count, faults=tried.faults,
        failed_requests=tried.failed_requests,
    )  # fmt: skip


def _build(shard: Shard, recipe: Recipe, options: BuildOptions, target: Target, digest: str) -> ShardReport:
    shape = _shape_of(shard, recipe)
    with LAYOUTS[recipe.layout].encoder(shape) as encoder:
        canvas = _Canvas(shard.kind, encoder, _positions(shard))
        reports, fallbacks = _paint(canvas, shard, recipe, options)
        labels = _labels(canvas, shard, recipe, reports)
        stored = target.write(shard, recipe.layout, labels, encoder.finish())
    return ShardReport(
        path=shard.path,
        plan_digest=digest,
        state="done",
        sha256=stored.sha256,
        etag=stored.etag,
        bytes=stored.bytes,
        patches=reports,
        fallbacks=dict(sorted(fallbacks.items())),
        moments=_moments(canvas, shape),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    """One shard while it is filled: every patch goes to be compressed at once, and only its statistics stay."""

    modality: Modality
    encoder: PixelEncoder
    positions: dict[str, int]
    moments: dict[tuple[int, int], tuple[Moments, ...]] = field(default_factory=dict)

    def put(self, row: PlanRow, patch: Patch, moments: tuple[Moments, ...]) -> None:
        at = self.positions[row.sample_id], row.timestep
        self.encoder.put(*at, patch.values, patch.cloud_mask)
        self.moments[at] = moments


def _moments(canvas: _Canvas, shape: PixelShape) -> tuple[Moments, ...]:
    blank = np.full((shape.bands, shape.height, shape.width), shape.fill, shape.dtype)
    missing = frame_moments(blank, nodata=canvas.modality.nodata)
    return merged_moments(canvas.moments.get(at, missing) for at in product(range(shape.samples), range(shape.times)))


def _shape_of(shard: Shard, recipe: Recipe) -> PixelShape:
    modality = shard.kind
    size = shard.samples[0].grid.size
    return PixelShape(
        samples=len(shard.samples),
        times=shard.timesteps,
        bands=len(shard.bands),
        height=size,
        width=size,
        dtype=np.dtype(modality.dtype),
        fill=0 if modality.nodata is None else modality.nodata,
        has_cloud_mask=modality.name in CLOUD_MASK_MODALITIES,
        store=recipe.store,
    )


def _positions(shard: Shard) -> dict[str, int]:
    return {sample.id: index for index, sample in enumerate(shard.samples)}


def _paint(
    canvas: _Canvas, shard: Shard, recipe: Recipe, options: BuildOptions
) -> tuple[tuple[PatchReport, ...], Counter[str]]:
    """Fill the canvas; return what became of each patch, and why how many windows were left to GDAL."""
    samples = {sample.id: sample for sample in shard.samples}

    def paint_group(batches: Sequence[Sequence[PlanRow]]) -> tuple[list[PatchReport], Mapping[str, int]]:
        choice = batches[0][0].choice
        source = options.mirrors.get(choice.source) if choice and choice.source else options.source
        with open_reader(source) as reader:
            patches = PatchReader(shard=shard, recipe=recipe, reader=reader)
            reports = []
            for batch in batches:
                patches.read_ahead((row.choice, samples[row.sample_id]) for row in batch if row.choice)
                reports += [_paint_row(row, canvas, patches) for row in batch]
            return reports, reader.left_to_reference

    groups = batches_of(shard, together_of(options.source))
    with ThreadPoolExecutor(max_workers=max(1, min(options.threads, len(groups)))) as pool:
        painted = list(pool.map(paint_group, groups))
    reports = [report for group, _ in painted for report in group]
    fallbacks = sum((Counter(left) for _, left in painted), Counter())
    return tuple(sorted(reports, key=lambda report: (canvas.positions[report.sample_id], report.timestep))), fallbacks


def batches_of(shard: Shard, together: Together) -> list[list[Sequence[PlanRow]]]:
    """Return the rows of a shard as they are read: each group by one reader, its batches in their order.

    A group are the patches of one first scene, and so of one provider, from north-west to south-east, or the dates of
    one patch.
    """
    grids = {sample.id: sample.grid for sample in shard.samples}

    def place(row: PlanRow) -> tuple[float, float, str, int]:
        grid = grids[row.sample_id]
        return -grid.top, grid.left, row.sample_id, row.timestep

    groups: dict[tuple[str, str], list[PlanRow]] = {}
    for row in sorted(shard.rows, key=place):
        scene = row.choice.assets[0].hrefs[0] if row.choice and row.choice.assets else ""
        source = row.choice.source if row.choice else ""
        groups.setdefault((row.sample_id if together == "patch" else scene, source), []).append(row)
    return [
        [groups[key][first : first + READ_TOGETHER] for first in range(0, len(groups[key]), READ_TOGETHER)]
        for key in sorted(groups)
    ]


def _paint_row(row: PlanRow, canvas: _Canvas, patches: PatchReader) -> PatchReport:
    choice = row.choice
    place = PatchReport(
        sample_id=row.sample_id,
        timestep=row.timestep,
        state="missing",
        reason=row.reason,
        first_choice=row.first_choice,
        first_fault=row.first_fault,
    )
    if choice is None:
        return place
    report = replace(
        place,
        state="written",
        acquisition=choice.acquisition,
        scene_ids=tuple(asset.scene_id for asset in choice.assets),
        cloud=choice.cloud,
        is_padding=row.is_padding,
        source=choice.source,
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
    moments = frame_moments(patch.values, nodata=nodata)
    valid = _valid_share(patch, moments, nodata)
    report = replace(report, stretch=tuple(patch.stretch or ()), valid=valid)
    is_label = canvas.modality.product == "LABELS"
    if valid == 0.0 and not is_label:
        return replace(report, state="missing", reason=str(Reason.EMPTY))
    # What is uncertain in a label is not a gap to be filled.
    if is_label or max_missing is None or valid == 1.0:
        canvas.put(row, patch, moments)
        return report
    if 1.0 - valid > max_missing or not patch.is_fillable(nodata):
        return replace(report, state="missing", reason=str(Reason.TOO_MUCH_MISSING))
    whole = close_gaps(patch, canvas.modality)
    canvas.put(row, whole, frame_moments(whole.values, nodata=nodata))
    return replace(report, filled=1.0 - valid)


def _valid_share(patch: Patch, moments: Sequence[Moments], nodata: float | None) -> float:
    """Return the share of values with data [1], as they were counted; infinities, which have none, were counted too."""
    is_counted = all(math.isfinite(band.minimum) and math.isfinite(band.maximum) for band in moments)
    return sum(band.count for band in moments) / patch.values.size if is_counted else patch.valid_share(nodata)


def _labels(canvas: _Canvas, shard: Shard, recipe: Recipe, reports: Sequence[PatchReport]) -> ShardLabels:
    samples = shard.samples
    file_ids, times = _frames(canvas, shard, reports)
    half = np.arange(samples[0].grid.size) + 0.5
    return ShardLabels(
        band_names=shard.bands,
        sample_ids=tuple(sample.id for sample in samples),
        file_ids=file_ids,
        times=times,
        epsg=np.array([sample.grid.epsg for sample in samples], np.int64),
        lon=np.array([sample.lon for sample in samples], np.float64),
        lat=np.array([sample.lat for sample in samples], np.float64),
        eastings=np.array([s.grid.left + half * s.grid.resolution for s in samples], np.float64),
        northings=np.array([s.grid.top - half * s.grid.resolution for s in samples], np.float64),
        band_attributes=shard_attributes(shard, recipe),
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
