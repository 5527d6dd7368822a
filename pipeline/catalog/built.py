"""What is written after building: the ledger, the metadata in v1.1 columns, and the statistics."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog.codec import from_table, to_table, write_table
from pipeline.catalog.decided import Decided
from pipeline.catalog.frames import frames_table
from pipeline.catalog.labels import labels_table
from pipeline.catalog.metadata import write_metadata
from pipeline.catalog.stored import Stored
from pipeline.plan.packing import ALL
from pipeline.records import Moments, PatchReport, PlanRow, Reason, Shard, ShardReport


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """State of one (sample, modality, timestep), or of one event that cannot be used."""

    sample_id: str
    """Empty for an event."""
    modality: str
    """Empty for an event."""
    timestep: int
    """-1 for an event."""
    state: str
    """written, missing, unfinished, or rejected for an event."""
    reason: str
    """Reason code where it is not written."""
    detail: str
    shard: str
    """Path of the file inside the dataset; empty when the sample is in none."""
    acquisition: str
    scene_ids: tuple[str, ...]
    valid: float
    """Share of values with data [1]."""
    filled: float
    """Share of values that were filled from the nearest valid pixel [1]."""
    cloud: float | None
    """Share of the patch under cloud [1], from the survey."""
    event_id: str = ""
    """The event that is rejected; else empty."""
    is_padding: bool = False
    """True where the series was too short and its last image stands here once more."""
    first_choice: str = ""
    """Acquisition that was planned here first and proved of no use where it was to be read, or went with one that did;
    else empty. It is `acquisition` itself where a mirror had it."""
    first_fault: str = ""
    """Reason code of that; empty where the series was merely chosen anew. What was read is in unreadable.parquet."""
    attempts: int = 0
    """How often building the file was begun, over all runs."""
    faults: tuple[str, ...] = ()
    """What ended the attempts that came to nothing, oldest first."""
    failed_requests: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Requests for the whole file that came to nothing, over all attempts: problem to count."""
    source: str = ""
    """Provider that the image was read from, the dataset's own source or a mirror; empty where nothing was read."""


Ledger = Sequence[LedgerRow]

Statistics = dict[str, dict[str, dict[str, Any]]]
"""Modality to band to count, mean, std, min and max over valid pixels."""


REJECTED = "rejected"
"""State of events in the ledger."""

CLASS_MODALITIES = frozenset({"SCL", "MASK_SERIES"})
"""Modalities of class numbers, whose mean says nothing."""


def write_built(
    root: Path, decided: Decided, shards: Sequence[Shard], reports: Sequence[ShardReport]
) -> tuple[Ledger, Statistics]:
    """Write ledger, frames, labels, metadata/*.parquet and statistics.json; returns ledger and statistics.

    The ledger's rows are read back as they are asked for.
    """
    write_table(root / "ledger.parquet", ledger_table(decided, shards, reports))
    write_table(root / "frames.parquet", frames_table(shards, reports, decided.source))
    write_table(root / "labels.parquet", labels_table(decided, shards, reports))
    write_metadata(root, decided, shards, reports)
    _write_splits(root, shards)
    statistics = band_statistics(shards, reports)
    _write_text(root / "statistics.json", json.dumps(statistics, indent=1, allow_nan=False) + "\n")
    return Stored(root / "ledger.parquet", LedgerRow), statistics


def make_ledger(decided: Decided, shards: Sequence[Shard], reports: Sequence[ShardReport]) -> list[LedgerRow]:
    """Return the rows of `ledger_table`."""
    return from_table(ledger_table(decided, shards, reports), LedgerRow)


def ledger_table(decided: Decided, shards: Sequence[Shard], reports: Sequence[ShardReport]) -> pa.Table:
    """Return the union of receipts, of what the plan could not give a place in any file, and of rejected events."""
    by_path = {report.path: report for report in reports}
    details = read_details(decided)
    parts = [
        to_table(file_rows(shard, by_path.get(shard.path), details, decided.source), LedgerRow) for shard in shards
    ]
    rest = [*unplaced_rows(decided), *rejected_rows(decided)]
    table = pa.concat_tables([*parts, to_table(rest, LedgerRow)])
    keys = ("sample_id", "modality", "timestep", "event_id")
    return table.take(pc.sort_indices(table, [(key, "ascending") for key in keys])).combine_chunks()


Details = Mapping[tuple[str, str], str]
"""What was read of images that proved of no use, by sample id and acquisition."""


def read_details(decided: Decided) -> Details:
    """Return what was read of the images that proved of no use."""
    return {(image.sample_id, image.acquisition): image.detail for image in reversed(decided.unreadable)}


def file_rows(shard: Shard, report: ShardReport | None, details: Details, source: str) -> list[LedgerRow]:
    """Return the ledger's rows of one file; `report` None where it was never built.

    `source` names the dataset's own source.
    """
    read_from = "" if shard.kind.product == "LABELS" else source
    if report is None or report.state != "done":
        detail = report.error if report else "not built"
        patches: Iterable[PatchReport] = (_unbuilt(row, detail) for row in shard.rows)
    else:
        patches = (_explained(patch, details) for patch in report.patches)
    told = (_ledger_row(patch, shard.modality, report, shard.path) for patch in patches)
    return [replace(row, source=row.source or read_from) if row.acquisition else row for row in told]


def unplaced_rows(decided: Decided) -> Iterator[LedgerRow]:
    """Yield the ledger's rows of what the plan could not give a place in any file."""
    return (_ledger_row(_planned_gap(row), row.modality) for row in decided.unplaced())


def rejected_rows(decided: Decided) -> list[LedgerRow]:
    """Return the ledger's rows of events that cannot be used, by id."""
    return [
        LedgerRow(
            sample_id="", modality="", timestep=-1, state=REJECTED, reason=event.reason, detail=event.detail, shard="",
            acquisition="", scene_ids=(), valid=0.0, filled=0.0, cloud=None, event_id=event.id,
        )
        for event in decided.rejected
    ]  # fmt: skip


def band_statistics(shards: Sequence[Shard], reports: Sequence[ShardReport]) -> Statistics:
    """Return modality → band → count, mean, std, min, max over valid pixels, merged in the order of file names."""
    merged: dict[str, dict[str, list[Moments]]] = {}
    by_path = {report.path: report for report in reports if report.state == "done"}
    files = [(shard.path, shard.modality, shard.bands) for shard in shards if shard.modality not in CLASS_MODALITIES]
    for path, modality, bands in sorted(files):
        report = by_path.get(path)
        if report is None:
            continue
        for band, moments in zip(bands, report.moments, strict=True):
            merged.setdefault(modality, {}).setdefault(band, []).append(moments)
    return {modality: {band: _summary(parts) for band, parts in bands.items()} for modality, bands in merged.items()}


def _summary(parts: Iterable[Moments]) -> dict[str, Any]:
    total = reduce(Moments.merge, parts, Moments())
    if not total.count:
        return {"count": 0, "mean": None, "std": None, "min": None, "max": None}
    return {
        "count": total.count,
        "mean": total.mean,
        "std": total.std,
        "min": total.minimum,
        "max": total.maximum,
    }


def _unbuilt(row: PlanRow, detail: str) -> PatchReport:
    return PatchReport(
        sample_id=row.sample_id, timestep=row.timestep, state="unfinished", detail=detail, is_padding=row.is_padding
    )


def _planned_gap(row: PlanRow) -> PatchReport:
    reason = row.reason or str(Reason.LEFT_OUT)
    return PatchReport(
        sample_id=row.sample_id, timestep=row.timestep, state="missing", reason=reason, is_padding=row.is_padding
    )


def _explained(patch: PatchReport, details: Details) -> PatchReport:
    """Return the report with what was read of the image that was planned first."""
    detail = patch.detail or details.get((patch.sample_id, patch.first_choice), "")
    return replace(patch, detail=detail) if detail else patch


def _ledger_row(patch: PatchReport, modality: str, report: ShardReport | None = None, shard: str = "") -> LedgerRow:
    return LedgerRow(
        sample_id=patch.sample_id,
        modality=modality,
        timestep=patch.timestep,
        state=patch.state,
        reason=patch.reason,
        detail=patch.detail,
        shard=shard,
        acquisition=patch.acquisition,
        scene_ids=patch.scene_ids,
        valid=patch.valid,
        filled=patch.filled,
        cloud=patch.cloud,
        is_padding=patch.is_padding,
        first_choice=patch.first_choice,
        first_fault=patch.first_fault,
        attempts=report.attempts if report else 0,
        faults=report.faults if report else (),
        failed_requests=report.failed_requests if report else {},
        source=patch.source,
    )


def _write_splits(root: Path, shards: Sequence[Shard]) -> None:
    """Write splits/{prefix}_{split}.txt: bare file names, ascending, one a line; the prefix stands before the split."""
    names: dict[str, set[str]] = {}
    for shard in shards:
        if shard.split != ALL:
            prefix = shard.name.split(shard.split)[0].rstrip("_-") or "files"
            names.setdefault(f"{prefix}_{shard.split}.txt", set()).add(f"{shard.name}.zarr.zip")
    for file, held in names.items():
        path = root / "splits" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_text(path, "".join(f"{name}\n" for name in sorted(held)))


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
