"""Checks on the tables: plan, ledger, frames, labels, metadata and statistics against each other and the receipts."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import zip_longest
from pathlib import Path

import pyarrow as pa
import shapely

from pipeline.catalog import Decided, reshaped_tables
from pipeline.catalog.built import LedgerRow, band_statistics, make_ledger
from pipeline.catalog.codec import arrow_schema, from_table, read_table
from pipeline.catalog.frames import frames_table
from pipeline.catalog.labels import labels_table
from pipeline.catalog.metadata import metadata_tables
from pipeline.errors import LayoutError
from pipeline.receipts import load_receipt, tells_every_band
from pipeline.records import Shard, ShardReport
from pipeline.validate.findings import Finding

V1_1_COLUMNS = ("sample_id", "time_id", "time", "tile_id", "geometry", "tile_crs", "file")
"""Columns of SSL4EO-S12 v1.1's metadata, in order, before the index `idx`."""

SAME_PLACE = 1e-7
"""Corners this near [degrees] are the same: a centimetre."""

Image = tuple[str, datetime, str]
"""Index, acquisition and file of one metadata row."""


def check_tables(root: Path, decided: Decided, shards: Sequence[Shard]) -> list[Finding]:
    """Return what is wrong with the tables beside the shards; a lost receipt hides what is made of all of them."""
    reports = _reports(root, shards)
    if len(reports) < len(shards):
        return list(_check_samples(decided))
    return [
        *_check_samples(decided),
        *_check_ledger(root, decided, shards, reports),
        *_check_made(root, "frames.parquet", frames_table(shards, reports, decided.source)),
        *_check_made(root, "labels.parquet", labels_table(decided, shards, reports)),
        *_check_metadata(root, decided, shards, reports),
        *_check_statistics(root, shards, reports),
    ]


def _reports(root: Path, shards: Sequence[Shard]) -> list[ShardReport]:
    reports = []
    for shard in shards:
        try:
            report = load_receipt(root / shard.receipt_path)
        except (LayoutError, OSError):
            continue
        reports += [report] if tells_every_band(report, shard) else []
    return reports


def check_columns(root: Path) -> Iterator[Finding]:
    """Yield the decided tables whose columns, or their types, are not those of planning."""
    for name, columns in reshaped_tables(root):
        yield Finding(name, f"columns are {list(columns)}, not those that planning writes, of their types")


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
        table = read_table(root / "ledger.parquet")
        held = from_table(table, LedgerRow, root / "ledger.parquet")
    except LayoutError as err:
        yield Finding("ledger.parquet", _short(root, "ledger.parquet", err))
        return
    if not table.schema.equals(arrow_schema(LedgerRow)):
        yield Finding("ledger.parquet", f"columns are {table.column_names}, not those of a ledger, of their types")
    expected = make_ledger(decided, shards, reports)
    if held != expected:
        different = len(set(held) ^ set(expected)) or abs(len(held) - len(expected))
        yield Finding("ledger.parquet", f"is not the union of the receipts: {different} rows differ")
    open_rows = sum(row.state == "unfinished" for row in held)
    if open_rows:
        yield Finding("ledger.parquet", f"{open_rows} patches are unfinished; build with --resume")


def _check_made(root: Path, name: str, expected: pa.Table) -> Iterator[Finding]:
    """Compare a table with the one that plan and receipts make."""
    try:
        held = read_table(root / name)
    except LayoutError as err:
        yield Finding(name, _short(root, name, err))
        return
    if held.schema != expected.schema:
        yield Finding(name, f"columns are {held.column_names}, expected {expected.column_names} of their types")
    elif not held.equals(expected):
        rows = zip_longest(held.to_pylist(), expected.to_pylist())
        yield Finding(name, f"is not what plan and receipts make: {sum(a != b for a, b in rows)} rows differ")


def _check_metadata(
    root: Path, decided: Decided, shards: Sequence[Shard], reports: Sequence[ShardReport]
) -> Iterator[Finding]:
    made = metadata_tables(decided, shards, reports)
    for split in sorted({shard.split for shard in shards}):
        name = f"metadata/{split}_metadata.parquet"
        expected = _expected_images([shard for shard in shards if shard.split == split], reports)
        if not expected and not (root / name).exists():
            continue
        try:
            table = read_table(root / name)
        except LayoutError as err:
            yield Finding(name, _short(root, name, err))
            continue
        if tuple(table.column_names[: len(V1_1_COLUMNS)]) != V1_1_COLUMNS:
            yield Finding(name, f"columns begin {table.column_names[:7]}, expected {list(V1_1_COLUMNS)}")
            continue
        different = set(_images(table)) ^ expected
        if different or table.num_rows != len(expected):
            first = min(different, default=("one twice",), key=str)[0]
            yield Finding(name, f"rows are not the images in the files: {len(different)} differ (first: {first})")
        elif split in made and (problem := _difference(table, made[split])):
            yield Finding(name, problem)


def _difference(held: pa.Table, expected: pa.Table) -> str:
    """Return how metadata differs from what plan and receipts make; nothing where it does not."""
    if not held.schema.equals(expected.schema):
        return f"columns are {held.column_names}, expected {expected.column_names} of their types"
    if held.num_rows != expected.num_rows:
        return f"has {held.num_rows} rows, expected {expected.num_rows}"
    different = [name for name in held.column_names if name != "geometry" and held[name] != expected[name]]
    try:
        ours, made = (shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False)) for table in (held, expected))
        # Versions of PROJ differ in the last digits.
        is_same = bool(shapely.equals_exact(ours, made, SAME_PLACE).all())
    except shapely.errors.ShapelyError:
        is_same = False
    different += [] if is_same else ["geometry"]
    return f"is not what plan and receipts make: {', '.join(different)} differ" if different else ""


def _expected_images(shards: Sequence[Shard], reports: Sequence[ShardReport]) -> set[Image]:
    """Return index, time and file of every image that was written, of Sentinel-2 where the dataset has it."""
    modalities = list(dict.fromkeys(shard.modality for shard in shards))
    reference = "S2L2A" if "S2L2A" in modalities else modalities[0]
    written = {
        (report.path, patch.sample_id, patch.timestep)
        for report in reports
        for patch in report.patches
        if patch.state == "written"
    }
    return {
        (f"{row.sample_id}_{row.timestep}", row.choice.acquired.replace(tzinfo=None), f"{shard.name}.zarr.zip")
        for shard in shards
        if shard.modality == reference
        for row in shard.rows
        if row.choice is not None and (shard.path, row.sample_id, row.timestep) in written
    }


def _images(table: pa.Table) -> Iterator[Image]:
    if "idx" not in table.column_names:
        return
    names, times, files = (table[column].to_pylist() for column in ("idx", "time", "file"))
    yield from zip(names, times, files, strict=True)


def _check_statistics(root: Path, shards: Sequence[Shard], reports: Sequence[ShardReport]) -> Iterator[Finding]:
    try:
        held = json.loads((root / "statistics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        yield Finding("statistics.json", "is absent or damaged")
        return
    if held != json.loads(json.dumps(band_statistics(shards, reports))):
        yield Finding("statistics.json", "is not what the receipts add up to")


def _short(root: Path, name: str, err: Exception) -> str:
    return " ".join(str(err).split()).removeprefix(f"{root / name} ")
