"""How the tables that follow a build differ: rows by their key, and the columns in which they do."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.catalog.codec import read_table
from pipeline.errors import LayoutError

KEYS: dict[str, tuple[str, ...]] = {
    "ledger.parquet": ("sample_id", "modality", "timestep", "event_id"),
    "frames.parquet": ("sample_id", "modality", "timestep"),
    "labels.parquet": ("sample_id", "event_id"),
}
"""What names a row of each table; metadata/*.parquet have sample_id and time_id."""

_METADATA_KEY = ("sample_id", "time_id")
_COURSE = frozenset({"attempts", "faults", "failed_requests"})
"""Columns that say how building went, which is another story each time, not what was built."""
EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDifference:
    """How one table of B differs from A's."""

    name: str
    only_in_a: int = 0
    """Rows whose key only A has."""
    only_in_b: int = 0
    differing: int = 0
    """Rows that both have and that differ."""
    columns: tuple[str, ...] = ()
    """Columns in which they differ, or that only one has."""
    note: str = ""

    def __str__(self) -> str:
        counts = [
            (self.only_in_a, "rows only in A"),
            (self.only_in_b, "rows only in B"),
            (self.differing, f"rows differ in {', '.join(self.columns)}"),
        ]
        parts = [f"{count} {what}" for count, what in counts if count]
        if self.columns and not self.differing:
            parts.append(f"columns differ: {', '.join(self.columns)}")
        return f"{self.name}: {'; '.join([*parts, *([self.note] if self.note else [])])}"


def compare_tables(a: Path, b: Path) -> tuple[TableDifference, ...]:
    """Return the tables that differ: ledger, frames, labels, metadata and statistics."""
    metadata = sorted({file.name for root in (a, b) for file in (root / "metadata").glob("*.parquet")})
    keys = {**KEYS, **{f"metadata/{name}": _METADATA_KEY for name in metadata}}
    found = [_compare_table(name, a / name, b / name, key) for name, key in keys.items()]
    found.append(_compare_statistics(a / "statistics.json", b / "statistics.json"))
    return tuple(difference for difference in found if difference is not None)


def _compare_table(name: str, a: Path, b: Path, key: Sequence[str]) -> TableDifference | None:
    if not (a.is_file() and b.is_file()):
        return _lone(name, a, b)
    if a.read_bytes() == b.read_bytes():
        return None
    one, other = read_table(a), read_table(b)
    for table in (one, other):
        if not set(key) <= set(table.column_names):
            return TableDifference(name=name, note="differs, and cannot be compared row by row")
    shared = [column for column in one.column_names if column in other.column_names and column not in _COURSE]
    single = sorted((set(one.column_names) ^ set(other.column_names)) - _COURSE)
    left, right = _by_key(one.select(shared), key), _by_key(other.select(shared), key)
    both = [name for name in left if name in right]
    unlike = {row: [column for column in shared if left[row][column] != right[row][column]] for row in both}
    differing = {row: columns for row, columns in unlike.items() if columns}
    columns = (*dict.fromkeys(column for names in differing.values() for column in names), *single)
    difference = TableDifference(
        name=name,
        only_in_a=len(left) - len(both),
        only_in_b=len(right) - len(both),
        differing=len(differing),
        columns=columns,
    )
    # The same rows may be stored in another order, or by another release of the library.
    return difference if differing or single or len(left) != len(both) or len(right) != len(both) else None


def _by_key(table: pa.Table, key: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = table.to_pylist()
    return {tuple(row[name] for name in key): {name: _comparable(value) for name, value in row.items()} for row in rows}


def _comparable(value: Any) -> Any:
    # NaN is not equal to itself.
    return "NaN" if isinstance(value, float) and value != value else value  # noqa: PLR0124


def _lone(name: str, a: Path, b: Path) -> TableDifference | None:
    if a.is_file() == b.is_file():
        return None
    return TableDifference(name=name, note=f"only {'A' if a.is_file() else 'B'} has it")


def _compare_statistics(a: Path, b: Path) -> TableDifference | None:
    if not (a.is_file() and b.is_file()):
        return _lone(a.name, a, b)
    one, other = _read_json(a), _read_json(b)
    names = sorted({*one, *other})
    unlike = [f"{name} {band}" for name in names for band in _unlike(one.get(name, {}), other.get(name, {}))]
    if not unlike:
        return None
    more = f" and {len(unlike) - EXAMPLES} more" if len(unlike) > EXAMPLES else ""
    return TableDifference(name=a.name, note=f"other values of {', '.join(unlike[:EXAMPLES])}{more}")


def _unlike(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [band for band in sorted({*a, *b}) if a.get(band) != b.get(band)]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as err:
        raise LayoutError(f"{path} is not JSON") from err
    if not isinstance(content, dict):
        raise LayoutError(f"{path} is not a JSON object")
    return content
