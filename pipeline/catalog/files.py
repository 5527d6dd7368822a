"""The files that a plan asks for, made from plan.parquet a row group at a time."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog.codec import from_table
from pipeline.catalog.columns import fields_of
from pipeline.catalog.stored import KEPT_ROWS, open_table, read_columns
from pipeline.errors import LayoutError
from pipeline.plan.packing import Packed, shards_from
from pipeline.records import PlanRow, Recipe, Shard

Key = tuple[str, str]
"""Name of a file and its modality."""


class StoredShards(Sequence[Shard]):
    """Every file of a plan on disk, in the order of the plan; those of small plans are kept once they were made.

    A row group holds all rows of its files, as `planned.write_plan` has it; where it does not (a table of other
    making), the plan is read whole.
    """

    def __init__(self, path: Path, packed: Packed, recipe: Recipe) -> None:
        self._path, self._packed, self._recipe = path, packed, recipe
        self._groups = _keys(path)
        named = [key for keys in self._groups for key in keys]
        strangers = sorted({modality for _, modality in named} - {*recipe.modalities})
        if strangers:
            raise LayoutError(f"{path} names the modality {strangers[0]!r}, which the recipe lacks")
        self._is_by_file = len(named) == len(set(named))
        self._count = len(set(named))
        self._kept: list[Shard] | None = None

    def __len__(self) -> int:
        """Return the number of files, each modality's counted."""
        return self._count

    def __iter__(self) -> Iterator[Shard]:
        """Yield the files in the order of the plan."""
        return self.where(lambda _: True)

    def modalities(self) -> Iterator[str]:
        """Yield the modality of every file."""
        return (modality for _, modality in self._ordered())

    def where(self, is_wanted: Callable[[Key], bool]) -> Iterator[Shard]:
        """Yield the files whose name and modality are wanted; row groups without one are not read."""
        if self._kept is None and (not self._is_by_file or self._rows() <= KEPT_ROWS):
            numbers = range(len(self._groups))
            rows = pa.concat_tables([self._read(number) for number in numbers]) if self._groups else None
            self._kept = self._made(rows) if rows else []
        if self._kept is not None:
            yield from (shard for shard in self._kept if is_wanted((shard.name, shard.modality)))
            return
        for number, keys in enumerate(self._groups):
            wanted = {key for key in keys if is_wanted(key)}
            if wanted:
                rows = self._read(number)
                modalities = pa.array(sorted({modality for _, modality in wanted}))
                rows = rows.filter(pc.is_in(rows["modality"], modalities))
                yield from (shard for shard in self._made(rows) if (shard.name, shard.modality) in wanted)

    @overload
    def __getitem__(self, index: int) -> Shard: ...
    @overload
    def __getitem__(self, index: slice) -> list[Shard]: ...
    def __getitem__(self, index: int | slice) -> Shard | list[Shard]:
        """Return one file, or those of a slice."""
        keys = sorted({key for keys in self._groups for key in keys}) if self._kept else self._ordered()
        wanted = keys[index]
        if isinstance(wanted, list):
            chosen = set(wanted)
            return list(self.where(lambda key: key in chosen))
        return next(self.where(lambda key: key == wanted))

    def _ordered(self) -> list[Key]:
        return [key for keys in self._groups for key in sorted(keys)]

    def _rows(self) -> int:
        with open_table(self._path) as file:
            return int(file.metadata.num_rows)

    def _read(self, number: int) -> pa.Table:
        return _read_lean(self._path, number)

    def _made(self, rows: pa.Table) -> list[Shard]:
        return shards_from(from_table(rows, PlanRow, self._path), self._packed, self._recipe)


def modalities_of(shards: Sequence[Shard]) -> list[str]:
    """Return the modalities of files in the order in which they come; of files on disk no row is read."""
    names = shards.modalities() if isinstance(shards, StoredShards) else (shard.modality for shard in shards)
    return list(dict.fromkeys(names))


def rows_in_no_file(path: Path) -> Iterator[PlanRow]:
    """Yield the rows of a plan that are in no file, without their alternates; row groups without one are not read."""
    with open_table(path) as file:
        numbers = range(file.num_row_groups)
        held = {number: pc.equal(read_columns(file, path, number, ["shard"])["shard"], "") for number in numbers}
    for number, is_loose in held.items():
        if pc.any(is_loose).as_py():
            yield from from_table(_read_lean(path, number).filter(is_loose), PlanRow, path)


def _read_lean(path: Path, number: int) -> pa.Table:
    """Return a row group of a plan without alternates, which decide no byte."""
    names = [name for name in fields_of(PlanRow) if name != "alternates"]
    with open_table(path) as file:
        table = read_columns(file, path, number, names)
        kind = file.schema_arrow.field("alternates").type
    if not pa.types.is_list(kind):
        raise LayoutError(f"{path}: column alternates must be a list, got {kind}")
    none = pa.array(np.zeros(table.num_rows + 1), pa.int32())
    empty = pa.ListArray.from_arrays(none, pa.array([], kind.value_type), type=kind)
    return table.append_column("alternates", empty)


def _keys(path: Path) -> list[set[Key]]:
    """Return name and modality of the files in each row group."""
    found: list[set[Key]] = []
    with open_table(path) as file:
        if "shard" not in file.schema_arrow.names:
            raise LayoutError(f"{path} has no column shard")
        for number in range(file.num_row_groups):
            pairs = read_columns(file, path, number, ["shard", "modality"])
            held = pairs.group_by(["shard", "modality"]).aggregate([]).to_pydict()
            found.append({key for key in zip(held["shard"], held["modality"], strict=True) if key[0]})
    return found
