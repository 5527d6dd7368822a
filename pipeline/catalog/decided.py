"""The tables that are written before a spectral pixel is read: samples, events, rejected, scenes, survey, plan.

What proves to be of no use while it is read joins unreadable.parquet, and the plan is made again from all of them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import shapely

from pipeline import grid
from pipeline.catalog.codec import arrow_schema, from_table, read_table, to_table, with_geometry, write_table
from pipeline.errors import LayoutError
from pipeline.plan.packing import Place
from pipeline.plan.replacing import affected_samples
from pipeline.plan.rows import plan_rows
from pipeline.records import Event, PlanRow, Recipe, RejectedEvent, Sample, Scene, Score, Unreadable

UNREADABLE = "unreadable.parquet"

_FOLDERS = ("all", "train", "val", "test")
_FILE_NAME = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Everything that decides a dataset's bytes, besides the recipe."""

    samples: tuple[Sample, ...]
    events: tuple[Event, ...]
    scenes: tuple[Scene, ...]
    scores: tuple[Score, ...]
    rows: tuple[PlanRow, ...]
    places: Mapping[str, Place]
    """Where each sample lies, by its id."""
    rejected: tuple[RejectedEvent, ...] = ()
    """Events of the inventory that cannot be used, by id."""
    unreadable: tuple[Unreadable, ...] = ()
    """Images that proved to be of no use, ascending; the rows do without them."""


def replanned(decided: Decided, unreadable: Iterable[Unreadable], recipe: Recipe) -> Decided:
    """Return `decided` with the rows that the plan has when `unreadable` is all that proved to be of no use.

    Only samples that lost an image, or had lost one, are planned again; nothing moves to another file or place.
    """
    lost = tuple(sorted(set(unreadable)))
    names = {name for name in affected_samples(decided.rows, lost) if decided.places[name].shard}
    if not names:
        return replace(decided, unreadable=lost)
    samples = [sample for sample in decided.samples if sample.id in names]
    scores = {(s.sample_id, s.acquisition): s for s in decided.scores if s.sample_id in names}
    made = {(r.sample_id, r.modality, r.timestep): r for r in plan_rows(samples, decided.scenes, scores, recipe, lost)}
    rows = tuple(made.get((row.sample_id, row.modality, row.timestep), row) for row in decided.rows)
    return replace(decided, rows=rows, unreadable=lost)


def write_decided(root: Path, decided: Decided) -> None:
    """Write the six tables, the plan last: a folder with a plan has everything that the plan rests on."""
    write_table(root / "samples.parquet", _samples_table(decided))
    write_table(root / "events.parquet", _events_table(decided))
    write_table(root / "rejected.parquet", _rejected_table(decided))
    scenes = to_table(decided.scenes, Scene).drop_columns("footprint")
    write_table(root / "scenes.parquet", with_geometry(scenes, [scene.footprint for scene in decided.scenes]))
    write_table(root / "survey.parquet", to_table(decided.scores, Score))
    write_replanned(root, decided)


def write_replanned(root: Path, decided: Decided) -> None:
    """Write what proved unreadable, and then the plan, which can be made again from it and the other tables."""
    if decided.unreadable or (root / UNREADABLE).exists():
        write_table(root / UNREADABLE, to_table(decided.unreadable, Unreadable))
    write_table(root / "plan.parquet", _plan_table(decided))


def read_decided(root: Path) -> Decided:
    """Read the tables back; raises LayoutError when one is absent or damaged."""
    samples = read_table(root / "samples.parquet")
    events = read_table(root / "events.parquet")
    rejected = read_table(root / "rejected.parquet")
    scenes = read_table(root / "scenes.parquet")
    records = from_table(samples, Sample)
    places = from_table(samples, Place)
    for place in places:
        _require_inside(place, root)
    return Decided(
        samples=tuple(records),
        events=tuple(from_table(_rename(events, "wkb"), Event)),
        scenes=tuple(from_table(_with_checksums(_rename(scenes, "footprint")), Scene)),
        scores=tuple(from_table(read_table(root / "survey.parquet"), Score)),
        rows=tuple(from_table(read_table(root / "plan.parquet"), PlanRow)),
        places={sample.id: place for sample, place in zip(records, places, strict=True)},
        rejected=tuple(from_table(_without_nulls(_rename(rejected, "wkb")), RejectedEvent)),
        unreadable=tuple(_read_unreadable(root)),
    )


def _read_unreadable(root: Path) -> list[Unreadable]:
    """Return what proved unreadable: nothing in a dataset whose images all could be read."""
    path = root / UNREADABLE
    return from_table(read_table(path), Unreadable) if path.exists() else []


def _require_inside(place: Place, root: Path) -> None:
    """Refuse a place whose file would lie outside the dataset's folder."""
    is_inside = place.split in _FOLDERS and _FILE_NAME.fullmatch(place.shard)
    if not is_inside and place.shard:
        raise LayoutError(f"{root / 'samples.parquet'} names the file {place.split}/{place.shard}, which is no place")


def _with_checksums(scenes: pa.Table) -> pa.Table:
    """Return the table of scenes as it is written now: elder ones know of no checksums."""
    if "checksums" in scenes.column_names:
        return scenes
    column = arrow_schema(Scene).field("checksums")
    return scenes.append_column(column, pa.array([{}] * scenes.num_rows, column.type))


def _samples_table(decided: Decided) -> pa.Table:
    table = to_table(decided.samples, Sample)
    places = [decided.places[sample.id] for sample in decided.samples]
    table = table.append_column("split", pa.array([place.split for place in places], pa.string()))
    table = table.append_column("shard", pa.array([place.shard for place in places], pa.string()))
    table = table.append_column("position", pa.array([place.position for place in places], pa.int64()))
    return with_geometry(table, list(shapely.to_wkb(grid.footprints([sample.grid for sample in decided.samples]))))


def _events_table(decided: Decided) -> pa.Table:
    table = to_table(decided.events, Event).drop_columns("wkb")
    return with_geometry(table, [event.wkb for event in decided.events])


def _rejected_table(decided: Decided) -> pa.Table:
    table = to_table(decided.rejected, RejectedEvent).drop_columns("wkb")
    return with_geometry(table, [event.wkb or None for event in decided.rejected])


def _without_nulls(table: pa.Table) -> pa.Table:
    index = table.column_names.index("wkb")
    return table.set_column(index, "wkb", pc.fill_null(table["wkb"], b""))


def _plan_table(decided: Decided) -> pa.Table:
    table = to_table(decided.rows, PlanRow)
    shards = [decided.places[row.sample_id].shard for row in decided.rows]
    return table.append_column("shard", pa.array(shards, pa.string()))


def _rename(table: pa.Table, name: str) -> pa.Table:
    if "geometry" not in table.column_names:
        raise LayoutError("table has no column geometry")
    try:
        shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    except (shapely.errors.ShapelyError, TypeError) as err:
        raise LayoutError(f"column geometry holds what is no geometry: {' '.join(str(err).split())}") from err
    return table.rename_columns({"geometry": name})
