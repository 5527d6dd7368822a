"""Checks on the tables: plan, ledger, metadata and statistics against each other and the receipts."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.catalog import Decided
from pipeline.catalog.built import LedgerRow, band_statistics, make_ledger
from pipeline.catalog.codec import from_table, read_table
from pipeline.errors import LayoutError
from pipeline.receipts import load_receipt
from pipeline.records import Shard, ShardReport
from pipeline.validate.findings import Finding

V1_1_COLUMNS = ("sample_id", "time_id", "time", "tile_id", "geometry", "tile_crs", "file")
"""Columns of SSL4EO-S12 v1.1's metadata, in order, before the index `idx`."""


def check_tables(root: Path, decided: Decided, shards: Sequence[Shard]) -> list[Finding]:
    """Return everything that is wrong with the tables beside the shards."""
    reports = _reports(root, shards)
    return [
        *_check_samples(decided),
        *_check_ledger(root, decided, shards, reports),
        *_check_metadata(root, shards),
        *_check_statistics(root, shards, reports),
    ]


def _reports(root: Path, shards: Sequence[Shard]) -> list[ShardReport]:
    reports = []
    for shard in shards:
        try:
            reports.append(load_receipt(root / shard.receipt_path))
        except (LayoutError, OSError):
            continue
    return reports


def _check_samples(decided: Decided) -> Iterator[Finding]:
    twice = [name for name, count in Counter(sample.id for sample in decided.samples).items() if count > 1]
    if twice:
        yield Finding("samples.parquet", f"{len(twice)} samples are there twice (first: {twice[0]})")
    known = {sample.id for sample in decided.samples}
    lost = [row.sample_id for row in decided.rows if row.sample_id not in known]
    if lost:
        yield Finding("plan.parquet", f"{len(lost)} rows belong to no sample (first: {lost[0]})")
    seen = Counter((row.sample_id, row.modality, row.timestep) for row in decided.rows)
    double = [key for key, count in seen.items() if count > 1]
    if double:
        yield Finding("plan.parquet", f"{len(double)} places are planned twice (first: {double[0]})")
    torn = [row.sample_id for row in decided.rows if (row.choice is None) != bool(row.reason)]
    if torn:
        yield Finding("plan.parquet", f"{len(torn)} rows have neither image nor reason, or both (first: {torn[0]})")


def _check_ledger(
    root: Path, decided: Decided, shards: Sequence[Shard], reports: Sequence[ShardReport]
) -> Iterator[Finding]:
    try:
        held = from_table(read_table(root / "ledger.parquet"), LedgerRow)
    except LayoutError as err:
        yield Finding("ledger.parquet", _short(root, err))
        return
    expected = make_ledger(decided, shards, reports)
    if held != expected:
        different = len(set(held) ^ set(expected)) or abs(len(held) - len(expected))
        yield Finding("ledger.parquet", f"is not the union of the receipts: {different} rows differ")
    open_rows = sum(row.state == "unfinished" for row in held)
    if open_rows:
        yield Finding("ledger.parquet", f"{open_rows} patches are unfinished; build with --resume")


def _check_metadata(root: Path, shards: Sequence[Shard]) -> Iterator[Finding]:
    for split in sorted({shard.split for shard in shards}):
        name = f"metadata/{split}_metadata.parquet"
        try:
            table = read_table(root / name)
        except LayoutError as err:
            yield Finding(name, _short(root, err))
            continue
        if tuple(table.column_names[: len(V1_1_COLUMNS)]) != V1_1_COLUMNS:
            yield Finding(name, f"columns begin {table.column_names[:7]}, expected {list(V1_1_COLUMNS)}")
            continue
        files = {f"{shard.name}.zarr.zip" for shard in shards if shard.split == split}
        strangers = sorted(set(table["file"].to_pylist()) - files)
        if strangers:
            yield Finding(name, f"names {len(strangers)} files that are not in the plan (first: {strangers[0]})")


def _check_statistics(root: Path, shards: Sequence[Shard], reports: Sequence[ShardReport]) -> Iterator[Finding]:
    try:
        held = json.loads((root / "statistics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        yield Finding("statistics.json", "is absent or damaged")
        return
    if held != json.loads(json.dumps(band_statistics(shards, reports))):
        yield Finding("statistics.json", "is not what the receipts add up to")


def _short(root: Path, err: Exception) -> str:
    return str(err).removeprefix(f"{root}/")
