"""The two files that dating writes: the inventory with its dates, and the series that they rest on."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
import pyarrow as pa
import shapely

from pipeline.catalog.codec import arrow_schema, with_geometry, write_table
from pipeline.dating.assign import DatedRow, Method
from pipeline.dating.polygons import Polygons
from pipeline.dating.series import Observation
from pipeline.records.recipe import Columns
from pipeline.sampling.tables import PARQUETS, refusal

_PUBLISHED_ONLY = ("pre_date", "post_date")
"""Columns that only the published rule has."""


def check_out(path: Path) -> None:
    """Refuse a name that nothing can be written to; raises RecipeError."""
    if path.suffix.lower() not in PARQUETS:
        raise refusal(f"{path} is not a name that dates are written to: end it with .parquet")
    for file in (path, series_path(path)):
        if file.exists():
            raise refusal(f"{file} is there already: give another name, or remove it")


def series_path(path: Path) -> Path:
    """Return where the series lie that belong to the dates in `path`: `x.ndvi.parquet` beside `x.parquet`."""
    return path.with_suffix(f".ndvi{path.suffix}")


def dated_table(polygons: Polygons, rows: Sequence[DatedRow], columns: Columns, method: Method) -> pa.Table:
    """Return the inventory with its dates as GeoParquet, one row for each of its rows, in its order.

    Identifier, date, interval and confidence are named as `columns` names them, so that the same recipe reads the
    table as its places; the inventory's other columns follow unchanged.
    """
    names = {
        "event_date": columns.date,
        "date_from": columns.date_from,
        "date_to": columns.date_to,
        "event_conf": columns.confidence,
    }
    schema = arrow_schema(DatedRow)
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    kept = [field.name for field in fields(DatedRow) if method == "compat" or field.name not in _PUBLISHED_ONLY]
    table = table.select(kept).rename_columns([names.get(name, name) for name in kept])
    table = table.add_column(0, columns.id or "id", pa.array(polygons.ids, pa.string()))
    for name, values in polygons.table.items():
        if str(name) not in (*table.column_names, "geometry"):
            table = table.append_column(str(name), _as_arrow(values))
    return with_geometry(table, list(shapely.to_wkb(polygons.geometries)))


def _as_arrow(values: pd.Series) -> pa.Array:
    """Return a column of any inventory; one that holds things of several kinds becomes text."""
    try:
        found = pa.Array.from_pandas(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        found = pa.array([None if value is None else str(value) for value in values], pa.string())
    return found.cast(pa.string()) if pa.types.is_large_string(found.type) else found


def series_table(observations: Sequence[tuple[int, Observation]]) -> pa.Table:
    """Return observations as a table by row of the polygon in the inventory (column `row`) and time."""
    ordered = sorted(observations, key=lambda item: (item[0], item[1].acquired, item[1].file_id))
    schema = arrow_schema(Observation)
    arrays = [pa.array([getattr(seen, name) for _, seen in ordered], schema.field(name).type) for name in schema.names]
    table = pa.Table.from_arrays(arrays, schema=schema)
    return table.append_column("row", pa.array([row for row, _ in ordered], pa.int64()))


def joined_series(tables: Sequence[pa.Table]) -> pa.Table:
    """Return tables of `series_table` as one, in the inventory's order, without `row`."""
    whole = pa.concat_tables([series_table([]), *tables])
    order = [("row", "ascending"), ("acquired", "ascending"), ("file_id", "ascending")]
    return whole.sort_by(order).drop_columns(["row"]).combine_chunks()


def write_dated(path: Path, dated: pa.Table, series: pa.Table) -> None:
    """Write both files; the dates come last, so that the series are complete wherever dates are."""
    write_table(series_path(path), series)
    write_table(path, dated)
