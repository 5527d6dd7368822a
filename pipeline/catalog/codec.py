"""Records to Arrow tables and back: one codec for every parquet file, derived from the records' types."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pydantic import TypeAdapter, ValidationError
from shapely.geometry.base import BaseGeometry

from pipeline.catalog.columns import UnexpectedColumn, arrow_type, decode_records, encode, fields_of
from pipeline.errors import LayoutError

Record = TypeVar("Record")

ALWAYS_FITS = 1 << 28
"""Bytes that a table may take in memory whatever the size of its file is."""
LARGEST_EXPANSION = 100
MOST_ROWS = 1_000_000
"""Rows that a table may have whatever the size of its file is."""
ROWS_A_BYTE = 10
"""Beyond that; rows have ids, which take more."""


def arrow_schema(record: type[Any]) -> pa.Schema:
    """Return the Arrow schema of a dataclass: nested records become structs, tuples lists, mappings maps."""
    return pa.schema([(name, arrow_type(hint)) for name, hint in fields_of(record).items()])


def to_table(records: Sequence[Any], record: type[Any]) -> pa.Table:
    """Return `records`, all of the dataclass `record`, as a table with one column per field."""
    columns = [encode([getattr(item, name) for item in records], hint) for name, hint in fields_of(record).items()]
    return pa.Table.from_arrays(columns, schema=arrow_schema(record))


def from_table(table: pa.Table, record: type[Record], where: str | Path = "table") -> list[Record]:
    """Return the table's rows as `record`; columns that the record does not have are ignored.

    `where` is what errors call the table.

    Raises
    ------
    LayoutError
        A column is missing or holds something else; a time that names no zone is something else, too.
    """
    require_columns(table.schema, record, where)
    try:
        try:
            return [item for batch in table.to_batches() for item in decode_records(_columns(batch, record), record)]
        except UnexpectedColumn:
            rows = table.select(list(fields_of(record))).to_pylist(maps_as_pydicts="strict")
    except (ValueError, OverflowError, KeyError, pa.ArrowException) as err:
        # Text that is no UTF-8, times beyond the calendar, a mapping with a key twice.
        raise LayoutError(f"{where} holds a damaged value: {' '.join(str(err).split())}") from err
    return _checked(rows, record, where)


def require_columns(schema: pa.Schema, record: type[Any], where: str | Path = "table") -> None:
    """Raise LayoutError when a table lacks a field of `record`."""
    missing = [name for name in fields_of(record) if name not in schema.names]
    if missing:
        raise LayoutError(f"{where} has no column {missing[0]}")


def _columns(batch: pa.RecordBatch, record: type[Any]) -> dict[str, pa.Array]:
    return {name: batch.column(name) for name in fields_of(record)}


def _checked(rows: Sequence[Mapping[str, Any]], record: type[Record], where: str | Path) -> list[Record]:
    """Return the rows as `record`, each value looked at; says which one is wrong."""
    try:
        records: list[Record] = TypeAdapter(list[record]).validate_python(rows)  # type: ignore[valid-type]
    except ValidationError as err:
        first = err.errors()[0]
        raise LayoutError(f"{where} row {first['loc'][0]}: {first['loc'][-1]}: {first['msg']}") from err
    for number, item in enumerate(records):
        for name in fields_of(record):
            if _lacks_zone(getattr(item, name)):
                raise LayoutError(f"{where} row {number}: {name}: a time without its time zone")
    return records


def _lacks_zone(value: Any) -> bool:
    if isinstance(value, datetime):
        return value.tzinfo is None
    if isinstance(value, tuple):
        return any(map(_lacks_zone, value))
    if is_dataclass(value):
        return any(_lacks_zone(getattr(value, field.name)) for field in fields(value))
    return False


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a parquet file; raises LayoutError when it is absent or damaged, or lacks one of `columns`.

    `columns` are the only ones to read, by default all; `choice.acquisition` reads one field of the struct `choice`.
    """
    if not path.is_file():
        raise LayoutError(f"{path} does not exist")
    try:
        with pq.ParquetFile(path) as file:
            require_fitting(path, file.metadata)
            table = file.read(None if columns is None else list(columns))
        # Text that is no UTF-8 would be noticed by whoever looks at it first.
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as err:
        problem = " ".join(str(err).split())
        raise LayoutError(f"{path} is not a whole parquet file: {problem}") from err
    for name in columns or ():
        if name.partition(".")[0] not in table.column_names:
            raise LayoutError(f"{path} has no column {name}")
    return table


def require_fitting(path: Path, metadata: pq.FileMetaData) -> None:
    """Refuse a table that would be far larger in memory than its file; raises LayoutError."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    unpacked = sum(group.total_byte_size for group in groups)
    held = path.stat().st_size
    if unpacked > ALWAYS_FITS + LARGEST_EXPANSION * held or metadata.num_rows > MOST_ROWS + held * ROWS_A_BYTE:
        raise LayoutError(
            f"{path} has {held} bytes, but would hold {metadata.num_rows} rows of {unpacked} bytes: refused"
        )


def with_geometry(table: pa.Table, geometries: Sequence[bytes | None]) -> pa.Table:
    """Return `table` as GeoParquet 1.0.0 with a WKB column `geometry` in lon/lat (OGC:CRS84); None is null."""
    column = pa.array(geometries, pa.binary())
    shapes: list[BaseGeometry] = list(shapely.from_wkb([wkb for wkb in geometries if wkb is not None]))
    bounds = [float(value) for value in shapely.total_bounds(shapes)] if shapes else None
    geo = geo_metadata({shape.geom_type for shape in shapes}, bounds)
    table = table.append_column("geometry", column)
    metadata = {**(table.schema.metadata or {}), b"geo": json.dumps(geo, sort_keys=True).encode()}
    return table.replace_schema_metadata(metadata)


def geo_metadata(kinds: Iterable[str], bounds: Sequence[float] | None) -> dict[str, Any]:
    """Return what GeoParquet 1.0.0 says of a WKB column `geometry` in lon/lat (OGC:CRS84).

    `kinds` are the types of its geometries, `bounds` west, south, east, north [degrees], None where there are none.
    """
    described: dict[str, Any] = {"encoding": "WKB", "geometry_types": sorted(kinds)}
    if bounds is not None:
        described["bbox"] = list(bounds)
    return {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": described}}
