"""Records to Arrow tables and back: one codec for every parquet file, derived from the records' types."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pydantic import TypeAdapter, ValidationError
from shapely.geometry.base import BaseGeometry

from pipeline.errors import LayoutError

Record = TypeVar("Record")

ALWAYS_FITS = 1 << 28
"""Bytes that a table may take in memory whatever the size of its file is."""
LARGEST_EXPANSION = 100
MOST_ROWS = 1_000_000
"""Rows that a table may have whatever the size of its file is."""
ROWS_A_BYTE = 10
"""Beyond that; rows have ids, which take more."""

_SIMPLE: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def arrow_schema(record: type[Any]) -> pa.Schema:
    """Return the Arrow schema of a dataclass: nested records become structs, tuples lists, mappings maps."""
    return pa.schema(list(_arrow_type(record)))


def _arrow_type(annotation: Any) -> pa.DataType:
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return _arrow_type(next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return pa.list_(_arrow_type(arguments[0]))
    if origin is typing.Literal:
        return pa.string()
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return pa.map_(_arrow_type(arguments[0]), _arrow_type(arguments[1]))
    if dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        return pa.struct([(field.name, _arrow_type(hints[field.name])) for field in dataclasses.fields(annotation)])
    raise TypeError(f"no Arrow type for {annotation}")


def to_table(records: Sequence[Any], record: type[Any]) -> pa.Table:
    """Return `records`, all of the dataclass `record`, as a table with one column per field."""
    return pa.Table.from_pylist([dataclasses.asdict(item) for item in records], schema=arrow_schema(record))


def from_table(table: pa.Table, record: type[Record]) -> list[Record]:
    """Return the table's rows as `record`; columns that the record does not have are ignored.

    Raises
    ------
    LayoutError
        A column is missing or holds something else.
    """
    names = [field.name for field in dataclasses.fields(record)]  # type: ignore[arg-type]
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise LayoutError(f"table has no column {missing[0]}")
    try:
        rows = table.select(names).to_pylist(maps_as_pydicts="strict")
    except (ValueError, OverflowError, KeyError, pa.ArrowException) as err:
        # Text that is no UTF-8, times beyond the calendar, a mapping with a key twice.
        raise LayoutError(f"table holds a damaged value: {' '.join(str(err).split())}") from err
    try:
        return TypeAdapter(list[record]).validate_python(rows)  # type: ignore[valid-type]
    except ValidationError as err:
        first = err.errors()[0]
        raise LayoutError(f"table row {first['loc'][0]}: {first['loc'][-1]}: {first['msg']}") from err


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
            _require_fitting(path, file.metadata)
            table = file.read(None if columns is None else list(columns))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as err:
        problem = " ".join(str(err).split())
        raise LayoutError(f"{path} is not a whole parquet file: {problem}") from err
    for name in columns or ():
        if name.partition(".")[0] not in table.column_names:
            raise LayoutError(f"{path} has no column {name}")
    return table


def _require_fitting(path: Path, metadata: pq.FileMetaData) -> None:
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
    described: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted({shape.geom_type for shape in shapes}),
    }
    if shapes:
        described["bbox"] = [float(value) for value in shapely.total_bounds(shapes)]
    geo = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": described}}
    table = table.append_column("geometry", column)
    metadata = {**(table.schema.metadata or {}), b"geo": json.dumps(geo, sort_keys=True).encode()}
    return table.replace_schema_metadata(metadata)
