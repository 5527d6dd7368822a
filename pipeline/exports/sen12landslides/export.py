"""The whole export: every patch file, then what rests on them; the folder appears when it is whole."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.catalog.codec import to_table, write_table
from pipeline.errors import RecipeError
from pipeline.exports.request import ExportRequest, ExportSummary, Progress
from pipeline.exports.sen12landslides.datasets import Dataset, open_datasets
from pipeline.exports.sen12landslides.inventories import number_events, write_inventories
from pipeline.exports.sen12landslides.parts import write_parts
from pipeline.exports.sen12landslides.patches import (
    LedgerRow,
    Written,
    read_ground,
    skipped,
    write_sensor,
)
from pipeline.exports.sen12landslides.splits import open_splitter
from pipeline.exports.sen12landslides.stored import StoredPatch, stored_patches
from pipeline.exports.sen12landslides.tasks import TaskWriter
from pipeline.records import Reason


def export_sen12landslides(request: ExportRequest, progress: Progress) -> ExportSummary:
    """Write datasets as Sen12Landslides has them; `out` is there when everything is.

    Raises
    ------
    RecipeError
        The folder is taken, the datasets do not fit the layout or each other, or a split is not there.
    LayoutError
        A folder holds no finished dataset, or a file of it is damaged.
    """
    _check(request)
    datasets = open_datasets(request.roots)
    splitter = open_splitter(request.roots, request.split)
    with _whole_folder(request.out) as out:
        held = _write_patches(datasets, request, out, progress)
        notes: list[str] = []
        TaskWriter(out=out, request=request, splitter=splitter, notes=notes).write(held.written)
        for radiometry in request.radiometries:
            write_inventories(out / "data" / f"data_{radiometry}" / "inventories.shp.zip", datasets, held.numbers)
        rows = sorted(held.rows, key=lambda row: (row.id, row.sensor))
        write_table(out / "export.parquet", to_table(rows, LedgerRow))
        _write_all_parts(request, out)
    return ExportSummary(
        written=dict(sorted(Counter(row.sensor for row in rows if row.state == "written").items())),
        skipped=dict(sorted(Counter((row.sensor, row.reason) for row in rows if row.state != "written").items())),
        notes=tuple(notes),
    )


def _check(request: ExportRequest) -> None:
    out = request.out
    if out.exists() and not out.is_dir():
        raise RecipeError(f"{out} is a file; name a folder for the export")
    if out.is_dir() and any(out.iterdir()):
        raise RecipeError(f"{out} is not empty; name another folder for the export")
    if request.part_size is not None and request.part_size < 1:
        raise RecipeError(f"--tar {request.part_size} is not a number of files")
    if not request.roots:
        raise RecipeError("no dataset to export: name its folder")


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside `out` that takes its place in the end; nothing is left of it when something fails."""
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    numbers: Sequence[dict[str, int]]
    """Number of every event, by dataset."""
    rows: list[LedgerRow] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)


def _write_patches(datasets: Sequence[Dataset], request: ExportRequest, out: Path, progress: Progress) -> _Held:
    held = _Held(numbers=number_events(datasets))
    total = sum(bool(place.shard) for dataset in datasets for place in dataset.decided.places.values())
    done = 0
    for dataset, numbers in zip(datasets, held.numbers, strict=True):
        for radiometry in request.radiometries:
            for sensor in dataset.sensors:
                (out / "data" / f"data_{radiometry}" / sensor.key).mkdir(parents=True, exist_ok=True)
        _add_unplaced(held, dataset)
        for patch in stored_patches(dataset, lend=request.lend):
            _write_patch(held, patch, numbers, request, out)
            done += 1
            progress(done, total)
    return held


def _add_unplaced(held: _Held, dataset: Dataset) -> None:
    """Name the patches that lie in no file of the dataset."""
    for sample in dataset.decided.samples:
        if not dataset.decided.places[sample.id].shard:
            for sensor in dataset.sensors:
                reason = dataset.gap(sample.id, sensor.modality) or str(Reason.LEFT_OUT)
                held.rows.append(skipped(sample.id, sensor.key, reason, "the patch is in no file of the dataset"))


def _write_patch(held: _Held, patch: StoredPatch, numbers: dict[str, int], request: ExportRequest, out: Path) -> None:
    ground = read_ground(patch, numbers)
    for sensor in patch.dataset.sensors:
        if isinstance(ground, tuple):
            held.rows.append(skipped(patch.sample.id, sensor.key, *ground))
            continue
        row, written = write_sensor(patch, ground, sensor, data=out / "data", request=request)
        held.rows.append(row)
        if written is not None:
            held.written.append(written)


def _write_all_parts(request: ExportRequest, out: Path) -> None:
    if request.part_size is None:
        return
    for radiometry in request.radiometries:
        folder = out / "data" / f"data_{radiometry}"
        for sensor in sorted(path.name for path in folder.iterdir() if path.is_dir()):
            write_parts(folder, sensor, request.part_size)
