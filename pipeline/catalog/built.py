"""What is written after building: the ledger, the metadata in v1.1 columns, and the statistics."""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline import grid
from pipeline.catalog.codec import to_table, write_table
from pipeline.catalog.decided import Decided
from pipeline.records import Moments, PatchReport, PlanRow, Reason, Sample, Shard, ShardReport


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """State of one (sample, modality, timestep)."""

    sample_id: str
    modality: str
    timestep: int
    state: str
    """written, missing, or unfinished."""
    reason: str
    """Reason code where it is not written."""
    detail: str
    shard: str
    """Path of the file inside the dataset; empty when the sample is in none."""
    acquisition: str
    scene_ids: tuple[str, ...]
    valid: float
    """Share of values with data [1]."""
    cloud: float | None
    """Share of the patch under cloud [1], from the survey."""


Ledger = Sequence[LedgerRow]

Statistics = dict[str, dict[str, dict[str, Any]]]
"""Modality to band to count, mean, std, min and max over valid pixels."""


HALF_TURN = 180.0
"""Corners further apart [degrees] lie on both sides of the antimeridian."""

CLASS_MODALITIES = frozenset({"SCL"})
"""Modalities of class numbers, whose mean says nothing."""


def write_built(
    root: Path, decided: Decided, shards: Sequence[Shard], reports: Sequence[ShardReport]
) -> tuple[list[LedgerRow], Statistics]:
    """Write ledger.parquet, metadata/*.parquet and statistics.json; returns ledger and statistics."""
    ledger = make_ledger(decided, shards, reports)
    write_table(root / "ledger.parquet", to_table(ledger, LedgerRow))
    _write_metadata(root, decided, shards, ledger)
    statistics = band_statistics(shards, reports)
    _write_text(root / "statistics.json", json.dumps(statistics, indent=1, allow_nan=False) + "\n")
    return ledger, statistics


def make_ledger(decided: Decided, shards: Sequence[Shard], reports: Sequence[ShardReport]) -> list[LedgerRow]:
    """Return the union of receipts and of what the plan could not give a place in any file."""
    by_path = {report.path: report for report in reports}
    rows: list[LedgerRow] = []
    for shard in shards:
        report = by_path.get(shard.path)
        if report is None or report.state != "done":
            detail = report.error if report else "not built"
            rows += [_ledger_row(_unbuilt(row, detail), shard.modality, shard.path) for row in shard.rows]
        else:
            rows += [_ledger_row(patch, shard.modality, shard.path) for patch in report.patches]
    unplaced = (row for row in decided.rows if not decided.places[row.sample_id].shard)
    rows += [_ledger_row(_planned_gap(row), row.modality, "") for row in unplaced]
    return sorted(rows, key=lambda row: (row.sample_id, row.modality, row.timestep))


def band_statistics(shards: Sequence[Shard], reports: Sequence[ShardReport]) -> Statistics:
    """Return modality → band → count, mean, std, min, max over valid pixels, merged in the order of file names."""
    merged: dict[str, dict[str, list[Moments]]] = {}
    by_path = {report.path: report for report in reports if report.state == "done"}
    for shard in sorted(shards, key=lambda shard: shard.path):
        if shard.modality in CLASS_MODALITIES:
            continue
        report = by_path.get(shard.path)
        for band, moments in zip(shard.bands, report.moments if report else (), strict=False):
            merged.setdefault(shard.modality, {}).setdefault(band, []).append(moments)
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
    return PatchReport(sample_id=row.sample_id, timestep=row.timestep, state="unfinished", detail=detail)


def _planned_gap(row: PlanRow) -> PatchReport:
    reason = row.reason or str(Reason.LEFT_OUT)
    return PatchReport(sample_id=row.sample_id, timestep=row.timestep, state="missing", reason=reason)


def _ledger_row(patch: PatchReport, modality: str, shard: str) -> LedgerRow:
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
        cloud=patch.cloud,
    )


def _write_metadata(root: Path, decided: Decided, shards: Sequence[Shard], ledger: Ledger) -> None:
    frames: dict[str, list[dict[str, Any]]] = {}
    written = {(row.shard, row.sample_id, row.timestep) for row in ledger if row.state == "written"}
    samples = {sample.id: sample for sample in decided.samples}
    reference = _reference_modality(shards)
    for shard in shards:
        if shard.modality == reference:
            rows = _metadata_rows(shard, samples)
            held = [row for row in rows if (shard.path, row["sample_id"], row["time_id"]) in written]
            frames.setdefault(shard.split, []).extend(held)
    for split, rows in frames.items():
        if not rows:
            continue
        write_table(root / "metadata" / f"{split}_metadata.parquet", _geo_table(_metadata_frame(rows)))


def _reference_modality(shards: Sequence[Shard]) -> str:
    """Return the modality that metadata rows describe: Sentinel-2 where there is one, as in v1.1."""
    present = list(dict.fromkeys(shard.modality for shard in shards))
    return "S2L2A" if "S2L2A" in present else present[0] if present else ""


def _metadata_frame(rows: list[dict[str, Any]]) -> gpd.GeoDataFrame:
    frame = pd.DataFrame(rows).sort_values(["sample_id", "time_id"], kind="stable").set_index("idx")
    frame = frame.astype({"time": "datetime64[ns]", "orbit": "Int64", "cloud": "float64", "bad": "float64"})
    # v1.1 squares have five vertices, in EPSG:4326.
    return gpd.GeoDataFrame(frame, geometry="geometry", crs="EPSG:4326")


def _geo_table(frame: gpd.GeoDataFrame) -> pa.Table:
    """Return `frame` as GeoParquet 1.0.0 with plain strings: pandas 3 makes large ones, v1.1 and all readers do not."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, schema_version="1.0.0")
    table = pq.read_table(buffer)
    fields = [field.with_type(pa.string()) if field.type == pa.large_string() else field for field in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))


def _metadata_rows(shard: Shard, samples: dict[str, Sample]) -> list[dict[str, Any]]:
    positions = {sample.id: index for index, sample in enumerate(shard.samples)}
    rows = []
    for row in shard.rows:
        sample, choice = samples[row.sample_id], row.choice
        if choice is None:
            continue
        rows.append(
            {
                "idx": f"{row.sample_id}_{row.timestep}",
                "sample_id": row.sample_id,
                "time_id": row.timestep,
                "time": choice.acquired.replace(tzinfo=None),
                "tile_id": choice.tile,
                "geometry": _square(sample),
                "tile_crs": _tile_epsg(choice.tile, sample),
                "file": f"{shard.name}.zarr.zip",
                "sample_crs": sample.grid.epsg,
                "position": positions[row.sample_id],
                "file_id": choice.file_id,
                "orbit": choice.relative_orbit,
                "cloud": choice.cloud,
                "bad": choice.bad,
                "baseline": choice.baseline,
                "offset_rule": choice.offset_rule,
                "is_annotated": sample.is_annotated,
            }
        )
    return rows


def _square(sample: Sample) -> BaseGeometry:
    """Return the patch's outline as v1.1 has it: the four corners in lon/lat, in the order of `shapely.box`."""
    left, bottom, right, top = sample.grid.bounds
    lon, lat = grid.to_lonlat(
        easting=[right, right, left, left], northing=[bottom, top, top, bottom], epsg=sample.grid.epsg
    )
    if np.ptp(lon) > HALF_TURN:
        return grid.footprint(sample.grid)
    return shapely.Polygon(np.column_stack([lon, lat]))


def _tile_epsg(tile: str, sample: Sample) -> int:
    if len(tile) < len("T33TWM"):
        return sample.grid.epsg
    north = tile[3] >= "N"
    return (32600 if north else 32700) + int(tile[1:3])


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
