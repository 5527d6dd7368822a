"""Metadata in the columns of SSL4EO-S12 v1.1, one row per place and time, with our own columns after them."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
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
from pipeline.catalog.codec import write_table
from pipeline.catalog.decided import Decided
from pipeline.catalog.files import modalities_of
from pipeline.records import Choice, PatchReport, Sample, Shard, ShardReport

HALF_TURN = 180.0
"""Corners further apart [degrees] lie on both sides of the antimeridian."""

Key = tuple[str, str, int]
"""Modality, sample id, timestep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    """What was written, by modality, sample and timestep."""

    patches: Mapping[Key, PatchReport]
    choices: Mapping[Key, Choice]
    radar: str
    """Modality whose images are paired with the optical ones; empty when there is none."""
    source: str
    """The dataset's own source."""


def write_metadata(root: Path, decided: Decided, shards: Sequence[Shard], reports: Sequence[ShardReport]) -> None:
    """Write metadata/{split}_metadata.parquet for every folder that something was written to."""
    for split, table in metadata_tables(decided, shards, reports).items():
        write_table(root / "metadata" / f"{split}_metadata.parquet", table)


def metadata_tables(decided: Decided, shards: Sequence[Shard], reports: Sequence[ShardReport]) -> dict[str, pa.Table]:
    """Return the metadata of every folder that something was written to, by its split.

    Rows describe Sentinel-2 where there is one, as in v1.1, else the first modality.
    """
    by_path = {report.path: report for report in reports if report.state == "done"}
    samples = {sample.id: sample for sample in decided.samples}
    rows: dict[str, list[dict[str, Any]]] = {}
    modalities = modalities_of(shards)
    reference = "S2L2A" if "S2L2A" in modalities else modalities[0] if modalities else ""
    radar = "S1GRD" if "S1GRD" in modalities else ""
    # The modalities of a file lie beside each other: more of the plan need not be held.
    for _, files in groupby(shards, key=lambda shard: (shard.split, shard.name)):
        held = list(files)
        built = _built(held, by_path, radar, decided.source)
        for shard in held:
            if shard.modality == reference:
                rows.setdefault(shard.split, []).extend(_rows(shard, samples, built))
    return {split: metadata_table(metadata_frame(found)) for split, found in rows.items() if found}


def metadata_frame(rows: Sequence[Mapping[str, Any]]) -> gpd.GeoDataFrame:
    """Return rows with at least the eight columns of v1.1 (`idx` among them) as v1.1 orders, types and indexes them."""
    frame = pd.DataFrame(rows).sort_values(["sample_id", "time_id"], kind="stable").set_index("idx")
    types = {"time": "datetime64[ns]", "orbit": "Int64", "cloud": "float64", "bad": "float64"}
    frame = frame.astype({name: kind for name, kind in types.items() if name in frame})
    return gpd.GeoDataFrame(frame, geometry="geometry", crs="EPSG:4326")


def metadata_table(frame: gpd.GeoDataFrame) -> pa.Table:
    """Return `frame` as GeoParquet 1.0.0 with plain strings: pandas 3 makes large ones, v1.1 and all readers do not."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, schema_version="1.0.0")
    table = pq.read_table(buffer)
    fields = [field.with_type(pa.string()) if field.type == pa.large_string() else field for field in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))


def _built(shards: Sequence[Shard], by_path: Mapping[str, ShardReport], radar: str, source: str) -> _Built:
    patches: dict[Key, PatchReport] = {}
    choices: dict[Key, Choice] = {}
    for shard in shards:
        report = by_path.get(shard.path)
        for patch in report.patches if report else ():
            if patch.state == "written":
                patches[shard.modality, patch.sample_id, patch.timestep] = patch
        for row in shard.rows:
            if row.choice is not None:
                choices[shard.modality, row.sample_id, row.timestep] = row.choice
    return _Built(patches=patches, choices=choices, radar=radar, source=source)


def _rows(shard: Shard, samples: Mapping[str, Sample], built: _Built) -> Iterator[dict[str, Any]]:
    positions = {sample.id: index for index, sample in enumerate(shard.samples)}
    for row in shard.rows:
        patch = built.patches.get((shard.modality, row.sample_id, row.timestep))
        if row.choice is None or patch is None:
            continue
        sample, choice = samples[row.sample_id], row.choice
        yield {
            "idx": f"{row.sample_id}_{row.timestep}",
            "sample_id": row.sample_id,
            "time_id": row.timestep,
            "time": choice.acquired.replace(tzinfo=None),
            "tile_id": choice.tile,
            "geometry": square(sample),
            "tile_crs": grid.tile_epsg(choice.tile) if choice.tile else sample.grid.epsg,
            "file": f"{shard.name}.zarr.zip",
            "sample_crs": sample.grid.epsg,
            "position": positions[row.sample_id],
            "file_id": choice.file_id,
            "orbit": choice.relative_orbit,
            "baseline": choice.baseline,
            "offset_rule": choice.offset_rule,
            "cloud": choice.cloud,
            "bad": choice.bad,
            "filled": patch.filled,
            "is_padding": patch.is_padding,
            "is_annotated": sample.is_annotated,
            "source": patch.source or built.source,
            "first_choice": patch.first_choice,
            "first_fault": patch.first_fault,
            **_radar_columns(row.sample_id, row.timestep, choice, built),
            **_picture_columns(row.sample_id, row.timestep, built),
        }


def _radar_columns(sample_id: str, step: int, optical: Choice, built: _Built) -> dict[str, Any]:
    if not built.radar:
        return {}
    key = (built.radar, sample_id, step)
    radar = built.choices.get(key) if key in built.patches else None
    if radar is None:
        return {"s1_time": pd.NaT, "s1_file_id": "", "s1_orbit_state": "", "s1_gap_days": np.nan}
    gap = (radar.acquired - optical.acquired).total_seconds() / 86_400
    return {
        "s1_time": radar.acquired.replace(tzinfo=None),
        "s1_file_id": radar.file_id,
        "s1_orbit_state": radar.orbit_state,
        "s1_gap_days": gap,
    }


def _picture_columns(sample_id: str, step: int, built: _Built) -> dict[str, Any]:
    patch = built.patches.get(("S2RGB", sample_id, step))
    return dict(zip(("rgb_low", "rgb_high"), patch.stretch, strict=True)) if patch and patch.stretch else {}


def square(sample: Sample) -> BaseGeometry:
    """Return the patch's outline as v1.1 has it: the four corners in lon/lat, in the order of `shapely.box`."""
    left, bottom, right, top = sample.grid.bounds
    lon, lat = grid.to_lonlat(
        easting=[right, right, left, left], northing=[bottom, top, top, bottom], epsg=sample.grid.epsg
    )
    if np.ptp(lon) > HALF_TURN:
        return grid.footprint(sample.grid)
    return shapely.Polygon(np.column_stack([lon, lat]))
