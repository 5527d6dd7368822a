"""Tables that are written and read a row group at a time, so that none has to fit into memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalog.codec import from_table, require_columns, require_fitting
from pipeline.catalog.columns import fields_of
from pipeline.errors import LayoutError

Record = TypeVar("Record")

KEPT_ROWS = 100_000
"""Tables of up to so many rows are kept once they were read."""
_LARGEST_GROUP = 2**31 - 1


class TableWriter:
    """Writes a parquet file a row group at a time; the file has its name when it is whole.

    Left by an exception, it leaves nothing behind.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._temporary = path, path.with_name(f".{path.name}.tmp")
        self._schema = schema
        self._writer = pq.ParquetWriter(self._temporary, schema, compression="zstd")

    def write(self, table: pa.Table) -> None:
        """Append one row group; a table without rows adds none."""
        if table.num_rows:
            self._writer.write_table(table.cast(self._schema), row_group_size=_LARGEST_GROUP)

    def describe(self, key: str, value: str) -> None:
        """Put a key and its value into the file's metadata."""
        self._writer.add_key_value_metadata({key: value})

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the file its name, or remove it where something went wrong."""
        try:
            self._writer.close()
            if kind is None:
                self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


class Stored(Sequence[Record], Generic[Record]):
    """The rows of a parquet table as records, read a row group at a time; small tables are read once.

    Parameters
    ----------
    path
        The table.
    record
        Dataclass of its rows; columns that it does not have are not read.
    renamed
        Column of the file to field of the record, where they differ.

    Raises
    ------
    LayoutError
        The table is absent, no whole parquet file, or lacks a column; on reading, a column holds something else.
    """

    def __init__(self, path: Path, record: type[Record], renamed: Mapping[str, str] | None = None) -> None:
        self.path, self._record = path, record
        self._fields = {name: column for column, name in (renamed or {}).items()}
        with open_table(path) as file:
            schema = file.schema_arrow
            self._sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        for column in self._fields.values():
            if column not in schema.names:
                raise LayoutError(f"{path} has no column {column}")
        require_columns(_named(schema, self._fields), record, path)
        self._kept: list[Record] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(self._sizes)

    def __iter__(self) -> Iterator[Record]:
        """Yield the rows in order."""
        if self._kept is None and len(self) <= KEPT_ROWS:
            self._kept = [row for group in self.groups() for row in group]
        yield from (row for group in self.groups() for row in group) if self._kept is None else self._kept

    def groups(self) -> Iterator[list[Record]]:
        """Yield the rows of each row group."""
        for number in range(len(self._sizes)):
            yield self._group(number)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """Return one row, or those of a slice."""
        if isinstance(index, slice):
            wanted = set(range(*index.indices(len(self))))
            rows = {number: row for number, row in enumerate(self) if number in wanted}
            return [rows[number] for number in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        for number, row in enumerate(self):
            if number == at:
                return row
        raise IndexError(index)

    def __eq__(self, other: object) -> bool:
        """Tell whether the rows are those of another sequence."""
        if self is other:
            return True
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def _group(self, number: int) -> list[Record]:
        return from_table(read_group(self.path, number, self._record, self._fields), self._record, self.path)


def open_table(path: Path) -> pq.ParquetFile:
    """Open a parquet file; raises LayoutError when it is absent or damaged."""
    if not path.is_file():
        raise LayoutError(f"{path} does not exist")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as err:
        raise _damaged(path, err) from err
    require_fitting(path, file.metadata)
    return file


def read_group(path: Path, number: int, record: type[Any], columns: Mapping[str, str] | None = None) -> pa.Table:
    """Return the fields of `record` of one row group; `columns` names those that the file calls otherwise."""
    names = list(fields_of(record))
    stored = [(columns or {}).get(name, name) for name in names]
    with open_table(path) as file:
        return read_columns(file, path, number, stored).select(stored).rename_columns(names)


def read_columns(file: pq.ParquetFile, path: Path, number: int, columns: Sequence[str]) -> pa.Table:
    """Return some columns of one row group of `file`, which lies at `path`.

    Raises
    ------
    LayoutError
        One of them is absent, or damaged: its pages cannot be read, or hold text that is no UTF-8.
    """
    for name in columns:
        if name not in file.schema_arrow.names:
            raise LayoutError(f"{path} has no column {name}")
    try:
        table = file.read_row_group(number, columns=list(columns))
        # Text that is no UTF-8 would be noticed by whoever looks at it first.
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as err:
        raise _damaged(path, err) from err
    return table


def _named(schema: pa.Schema, fields: Mapping[str, str]) -> pa.Schema:
    names = {column: name for name, column in fields.items()}
    return pa.schema([field.with_name(names.get(field.name, field.name)) for field in schema])


def _damaged(path: Path, err: Exception) -> LayoutError:
    return LayoutError(f"{path} is not a whole parquet file: {' '.join(str(err).split())}")
