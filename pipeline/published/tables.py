"""The metadata table of a split against the files: columns, order, and each image's time, tile and place."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline import grid
from pipeline.catalog.codec import read_table
from pipeline.errors import LayoutError
from pipeline.published.arrays import Labels
from pipeline.published.folder import Folder
from pipeline.published.images import is_utm
from pipeline.published.lists import bare_name_problems, compare_names
from pipeline.published.standard import epsg_of_tile, tiles_of
from pipeline.validate.findings import Finding
from pipeline.validate.tables import V1_1_COLUMNS

_KINDS = {"sample_id": "string", "time_id": "int64", "tile_id": "string", "tile_crs": "int64", "file": "string"}

EDGE_TOLERANCE = 0.5
"""Metres; corners are stored in degrees."""


class Table:
    """A metadata table with v1.1's eight columns, and what is wrong with it so far."""

    def __init__(self, where: str, frame: pd.DataFrame) -> None:
        self.where = where
        self.frame = frame
        self._rows = frame.groupby("file", sort=False).indices

    def rows(self, file: str) -> pd.DataFrame:
        """Return the rows of one file."""
        return self.frame.iloc[self._rows.get(file, np.array([], np.int64))]


def open_table(folder: Folder, path: Path) -> tuple[Table | None, list[Finding]]:
    """Read a metadata table; None where it cannot be read or lacks columns of v1.1."""
    where = folder.inside(path)
    try:
        table = read_table(path)
    except LayoutError as err:
        return None, [Finding(where, str(err).removeprefix(f"{path} "))]
    if "tile_crs" not in table.column_names:
        # The first published tables call it so.
        table = table.rename_columns(["tile_crs" if name == "crs" else name for name in table.column_names])
    findings = [Finding(where, what) for what in _column_problems(table)]
    if findings:
        return None, findings
    frame = table.select([*V1_1_COLUMNS, "idx"]).to_pandas(ignore_metadata=True)
    return Table(where, frame), [Finding(where, what) for what in _row_problems(frame)]


def _column_problems(table: pa.Table) -> Iterator[str]:
    names = tuple(table.column_names)
    absent = [name for name in (*V1_1_COLUMNS, "idx") if name not in names]
    if absent:
        yield f"has no column {', '.join(absent)}"
        return
    if names[: len(V1_1_COLUMNS)] != V1_1_COLUMNS:
        yield f"columns begin {', '.join(names[: len(V1_1_COLUMNS)])}, expected {', '.join(V1_1_COLUMNS)}"
    for name, kind in _KINDS.items():
        came = str(table.schema.field(name).type).removeprefix("large_")
        if came != kind:
            yield f"column {name} is {came}, expected {kind}"
    empty = [name for name in V1_1_COLUMNS if table[name].null_count]
    if empty:
        yield f"has rows without {', '.join(empty)}"
    if not pa.types.is_timestamp(table.schema.field("time").type):
        yield f"column time is {table.schema.field('time').type}, expected timestamp[ns]"


def _row_problems(frame: pd.DataFrame) -> Iterator[str]:
    expected = frame["sample_id"] + "_" + frame["time_id"].astype(str)
    wrong = frame["idx"] != expected
    if wrong.any():
        yield f"idx is not {{sample_id}}_{{time_id}} in {int(wrong.sum())} rows (first: {frame['idx'][wrong].iloc[0]})"
    if frame["idx"].duplicated().any():
        twice = frame["idx"][frame["idx"].duplicated()]
        yield f"holds {twice.nunique()} images twice (first: {twice.iloc[0]})"
    if not frame["idx"].is_monotonic_increasing:
        yield "rows are not in ascending order of idx"
    zones = frame["tile_id"].map({tile: epsg_of_tile(tile) for tile in frame["tile_id"].unique()})
    off = (zones != frame["tile_crs"]) & (frame["tile_id"] != "")
    if off.any():
        first = f"{frame['idx'][off].iloc[0]}: {frame['tile_id'][off].iloc[0]}"
        yield f"tile_crs is not the zone of tile_id in {int(off.sum())} rows (first: {first})"


def check_names(table: Table, folder: Folder, split: str) -> Iterator[Finding]:
    """Yield how the files that the table names differ from those that are there."""
    names = table.frame["file"].unique().tolist()
    for what in (*bare_name_problems(names), *compare_names(names, folder.names(split), split)):
        yield Finding(table.where, what)


def check_rows(table: Table, name: str, labels: Labels) -> Iterator[Finding]:
    """Yield how the rows of file `name` differ from its Sentinel-2 labels."""
    rows = table.rows(name)
    if rows.empty:
        return
    for what in _row_differences(rows, labels):
        yield Finding(table.where, f"{name}: {what}")


def _row_differences(rows: pd.DataFrame, labels: Labels) -> Iterator[str]:
    there = labels.file_ids != ""
    images = pd.DataFrame(
        {"time": labels.times[there], "tile_id": tiles_of(labels.file_ids)[there]}, index=labels.images[there]
    )
    images = images[~images.index.duplicated()]
    rows = rows.drop_duplicates("idx").set_index("idx")
    absent, unknown = images.index.difference(rows.index), rows.index.difference(images.index)
    if len(absent):
        yield f"has no rows for {len(absent)} of its images (first: {absent[0]})"
    if len(unknown):
        yield f"has {len(unknown)} rows for images that it does not hold (first: {unknown[0]})"
    both = rows.index.intersection(images.index)
    for name in ("time", "tile_id"):
        off = rows.loc[both, name].to_numpy() != images.loc[both, name].to_numpy()
        if off.any():
            idx = both[off][0]
            first = f"{idx}: {rows.loc[idx, name]}, there {images.loc[idx, name]}"
            yield f"{name} differs from {labels.modality} in {int(off.sum())} rows (first: {first})"
    yield from _place_differences(rows.loc[both].drop_duplicates("sample_id"), labels)


def _place_differences(rows: pd.DataFrame, labels: Labels) -> Iterator[str]:
    try:
        outlines = shapely.from_wkb(rows["geometry"].to_numpy())
    except (shapely.errors.ShapelyError, TypeError) as err:
        yield f"geometry is no WKB: {' '.join(str(err).split())}"
        return
    positions = {name: index for index, name in enumerate(labels.samples.tolist())}
    at = np.array([positions.get(name, -1) for name in rows["sample_id"]], np.int64)
    off = [
        name
        for name, place, outline in zip(rows["sample_id"], at, outlines, strict=True)
        if place >= 0 and _is_elsewhere(outline, labels, int(place))
    ]
    if off:
        yield f"geometry is not the outline of x_ and y_ for {len(off)} samples (first: {off[0]})"


def _is_elsewhere(outline: BaseGeometry, labels: Labels, place: int) -> bool:
    if not is_utm(labels.epsg[place : place + 1])[0]:
        return False
    x, y = labels.eastings[place], labels.northings[place]
    half_x, half_y = (x[-1] - x[0]) / (x.size - 1) / 2, (y[0] - y[-1]) / (y.size - 1) / 2
    edges = np.array([x[0] - half_x, y[-1] - half_y, x[-1] + half_x, y[0] + half_y])
    bounds = np.array(shapely.bounds(grid.project(outline, int(labels.epsg[place]))))
    return not bool((np.abs(bounds - edges) <= EDGE_TOLERANCE).all())
