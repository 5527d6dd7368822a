"""plan.parquet by files: what neighbourhoods decide is sorted on disk, and read back file by file.

Neighbours are decided together, because they share scenes; a file of a shuffled dataset holds patches of everywhere.
Between the two lies a sort that does not fit into memory: every neighbourhood leaves a part on disk, divided by where
its patches come in the order of packing, and the plan is put together from one stretch of that order after the other.

The plan lies in the order of files, a row group holds whole files, and rows of patches in no file come last. Within a
file rows come in the order of samples, of the recipe, and of time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.catalog.codec import arrow_schema, to_table
from pipeline.catalog.stored import TableWriter, open_table
from pipeline.plan.packing import Place
from pipeline.records import PlanRow

STRETCH = 1024
"""Patches in a stretch of the order of packing: what is sorted at a time."""
GROUP_ROWS = 16_384
"""A row group ends with the file that reaches so many rows."""

PLAN_SCHEMA = pa.schema([*arrow_schema(PlanRow), pa.field("shard", pa.string())])
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


def write_part(path: Path, rows: Sequence[PlanRow], stretch: Mapping[str, int], count: int) -> None:
    """Write what a neighbourhood decided: one record batch for each of `count` stretches, empty ones among them.

    Parameters
    ----------
    path
        An Arrow file, overwritten.
    rows
        The rows of a sample one after the other.
    stretch
        Stretch of the order of packing that each sample lies in, from 0.
    """
    ordered = sorted(rows, key=lambda row: stretch[row.sample_id])
    edges = np.searchsorted([stretch[row.sample_id] for row in ordered], np.arange(count + 1)).tolist()
    table = to_table(ordered, PlanRow)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_file(path, table.schema, options=_OPTIONS) as file:
        for first, last in pairwise(edges):
            batches = table.slice(first, last - first).to_batches()
            file.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Where samples come in the plan."""

    places: Mapping[str, Place]
    """Place of each sample; one whose file is empty lies in none."""
    turns: Mapping[str, int]
    """Number of each sample in the order of packing."""
    ranks: Mapping[str, int]
    """Number of each sample in the order of samples."""


def write_plan(path: Path, parts: Sequence[Path], count: int, order: Order) -> None:
    """Write plan.parquet from the parts of all neighbourhoods, each of `count` stretches."""
    unplaced = path.with_name(f".{path.name}.unplaced.tmp")
    try:
        with TableWriter(path, PLAN_SCHEMA) as plan:
            with TableWriter(unplaced, PLAN_SCHEMA) as rest:
                waiting = arrow_schema(PlanRow).empty_table()
                for number in range(count):
                    rows, loose = _sorted(pa.concat_tables([waiting, _stretch(parts, number)]), order)
                    rest.write(loose)
                    waiting = _write_files(plan, rows, is_last=number == count - 1).drop_columns("shard")
            with open_table(unplaced) as held:
                for number in range(held.num_row_groups):
                    plan.write(held.read_row_group(number))
    finally:
        unplaced.unlink(missing_ok=True)


def _stretch(parts: Sequence[Path], number: int) -> pa.Table:
    batches = []
    for part in parts:
        with pa.memory_map(str(part)) as source, pa.ipc.open_file(source) as file:
            batches.append(file.get_batch(number))
    return pa.Table.from_batches(batches).combine_chunks()


def _sorted(rows: pa.Table, order: Order) -> tuple[pa.Table, pa.Table]:
    """Return the rows with their files: those in one, by file and sample, and those in none, by sample."""
    ids = rows["sample_id"].to_pylist()
    files = pa.array([order.places[name].shard for name in ids], pa.string())
    rows = rows.append_column("shard", files)
    names = files.dictionary_encode()
    number = names.indices.to_numpy()
    first = np.full(len(names.dictionary), len(order.turns), np.int64)
    np.minimum.at(first, number, np.array([order.turns[name] for name in ids], np.int64))
    in_order = np.lexsort((np.array([order.ranks[name] for name in ids], np.int64), first[number]))
    is_placed = pc.not_equal(files, "").to_numpy(zero_copy_only=False)[in_order]
    return rows.take(pa.array(in_order[is_placed])), rows.take(pa.array(in_order[~is_placed]))


def _write_files(plan: TableWriter, rows: pa.Table, *, is_last: bool) -> pa.Table:
    """Write whole files in row groups; returns the rows of the last file, which the next stretch may go on with."""
    starts = _file_starts(rows)
    ends = [*starts[1:].tolist(), rows.num_rows] if is_last else starts[1:].tolist()
    first = 0
    for number, end in enumerate(ends):
        if end - first >= GROUP_ROWS or number == len(ends) - 1:
            plan.write(rows.slice(first, end - first))
            first = end
    return rows.slice(first).combine_chunks()


def _file_starts(rows: pa.Table) -> NDArray[np.int64]:
    if not rows.num_rows:
        return np.empty(0, np.int64)
    names = rows["shard"].combine_chunks()
    changes = pc.not_equal(names[1:], names[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])
