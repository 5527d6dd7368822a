"""The tables that are written before a spectral pixel is read: samples, events, rejected, scenes, survey, plan.

What proves to be of no use while it is read joins unreadable.parquet, what mirrors have of it copies.parquet, and the
plan is made again from all of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from pipeline import grid
from pipeline.catalog.codec import arrow_schema, from_table, read_table, to_table, with_geometry, write_table
from pipeline.catalog.files import StoredShards, rows_in_no_file
from pipeline.catalog.planned import PLAN_SCHEMA
from pipeline.catalog.scenes import SCENES_SCHEMA, SceneWriter, scenes_over
from pipeline.catalog.stored import Stored, open_table
from pipeline.errors import LayoutError
from pipeline.folder import read_mirrors, read_provenance
from pipeline.plan.mirrored import Copies
from pipeline.plan.packing import Place, packed, shards_from
from pipeline.plan.replacing import affected_samples
from pipeline.plan.rows import plan_rows
from pipeline.records import (
    MENDABLE,
    UNUSABLE,
    Copy,
    Event,
    PlanRow,
    Recipe,
    RejectedEvent,
    Sample,
    Scene,
    Score,
    Shard,
    Unreadable,
)

TABLES = ("samples", "events", "rejected", "scenes", "survey", "plan")
UNREADABLE, COPIES = "unreadable.parquet", "copies.parquet"
LARGEST_DEGREE = 540.0
"""Of a longitude that goes on beyond the antimeridian."""

_FOLDERS = ("all", "train", "val", "test")
_FILE_NAME = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Everything that decides a dataset's bytes, besides the recipe."""

    samples: tuple[Sample, ...]
    events: tuple[Event, ...]
    scenes: Sequence[Scene]
    scores: Sequence[Score]
    rows: Sequence[PlanRow]
    """By file, then in the order of samples, of the recipe and of time; rows of samples in no file come last."""
    places: Mapping[str, Place]
    """Where each sample lies, by its id."""
    rejected: tuple[RejectedEvent, ...] = ()
    """Events of the inventory that cannot be used, by id."""
    unreadable: tuple[Unreadable, ...] = ()
    """Images that proved to be of no use, ascending; the rows do without them."""
    copies: tuple[Copy, ...] = ()
    """What mirrors have of these images, by mirror, product and scene."""
    source: str = ""
    """The dataset's own source, as provenance.json names it."""
    mirrors: tuple[str, ...] = ()
    """Mirrors of the source, in the order in which they are asked."""

    @property
    def mirrored(self) -> Copies:
        """What planning reads from mirrors."""
        return Copies(mirrors=self.mirrors, found=self.copies)

    def shards(self, recipe: Recipe) -> Sequence[Shard]:
        """Return every file to write; where the rows are on disk, files are made as they are asked for."""
        files = packed(self.samples, {event.id: event for event in self.events}, self.places)
        if isinstance(self.rows, Stored):
            return StoredShards(self.rows.path, files, recipe)
        return shards_from(self.rows, files, recipe)

    def unplaced(self) -> Iterator[PlanRow]:
        """Yield the rows of samples in no file; of those on disk without their alternates."""
        if isinstance(self.rows, Stored):
            return rows_in_no_file(self.rows.path)
        return (row for row in self.rows if not self.places[row.sample_id].shard)


def replanned(decided: Decided, unreadable: Iterable[Unreadable], recipe: Recipe) -> Decided:
    """Return `decided` with the rows that the plan has when `unreadable` is all that proved to be of no use.

    Only samples that lost an image, or had lost one, are planned again; nothing moves to another file or place.
    """
    lost = tuple(sorted(set(unreadable)))
    affected = affected_samples(_once_replaced(decided.rows), lost)
    names = {name for name in affected if decided.places[name].shard}
    if not names:
        return replace(decided, unreadable=lost)
    samples = [sample for sample in decided.samples if sample.id in names]
    scores = {(s.sample_id, s.acquisition): s for s in decided.scores if s.sample_id in names}
    near, kinds = scenes_over(decided.scenes, samples)
    planned = plan_rows(samples, near, scores, recipe, lost, kinds=kinds, copies=decided.mirrored)
    made = {(row.sample_id, row.modality, row.timestep): row for row in planned}
    rows = tuple(made.get((row.sample_id, row.modality, row.timestep), row) for row in decided.rows)
    return replace(decided, rows=rows, unreadable=lost)


def _once_replaced(rows: Sequence[PlanRow]) -> Sequence[PlanRow]:
    """Return the rows, or none where a plan on disk tells in one column that nothing in it was ever replaced."""
    if isinstance(rows, Stored):
        first = read_table(rows.path, ("first_choice",))["first_choice"]
        return rows if any(first.unique().to_pylist()) else ()
    return rows


def write_decided(root: Path, decided: Decided) -> None:
    """Write the six tables, the plan last: a folder with a plan has everything that the plan rests on."""
    write_places(root, decided.samples, decided.places, decided.events, decided.rejected)
    with SceneWriter(root / "scenes.parquet") as scenes:
        scenes.add(decided.scenes)
        scenes.finish()
    write_table(root / "survey.parquet", to_table(decided.scores, Score))
    write_replanned(root, decided)


def write_replanned(root: Path, decided: Decided) -> None:
    """Write what mirrors have, what proved unreadable, and the plan, which can be made again from all other tables."""
    write_copies(root, decided.copies)
    if decided.unreadable or (root / UNREADABLE).exists():
        write_table(root / UNREADABLE, to_table(decided.unreadable, Unreadable))
    write_table(root / "plan.parquet", _plan_table(decided))


def write_copies(root: Path, copies: Sequence[Copy]) -> None:
    """Write what mirrors have; nothing where there never was anything to write."""
    if copies or (root / COPIES).exists():
        write_table(root / COPIES, to_table(copies, Copy))


def write_places(
    root: Path,
    samples: Sequence[Sample],
    places: Mapping[str, Place],
    events: Sequence[Event],
    rejected: Sequence[RejectedEvent],
) -> None:
    """Write samples and where they lie, events, and rejected events."""
    write_table(root / "samples.parquet", _samples_table(samples, [places[sample.id] for sample in samples]))
    write_table(root / "events.parquet", _outlined_table(events, Event))
    write_table(root / "rejected.parquet", _outlined_table(rejected, RejectedEvent))


def read_decided(root: Path) -> Decided:
    """Read the tables back, scenes, scores and rows only as they are asked for.

    Raises
    ------
    LayoutError
        A table is absent or damaged; of those that are read later, in what only its values tell, then.
    """
    samples = read_table(root / "samples.parquet")
    events, rejected = root / "events.parquet", root / "rejected.parquet"
    records = from_table(samples, Sample, root / "samples.parquet")
    places = from_table(samples, Place, root / "samples.parquet")
    for place in places:
        _require_inside(place, root)
    decided = Decided(
        samples=tuple(records),
        events=tuple(from_table(_read_outlined(events), Event, events)),
        scenes=Stored(root / "scenes.parquet", Scene, {"geometry": "footprint"}),
        scores=Stored(root / "survey.parquet", Score),
        rows=Stored(root / "plan.parquet", PlanRow),
        places={sample.id: place for sample, place in zip(records, places, strict=True)},
        rejected=tuple(from_table(_without_nulls(_read_outlined(rejected)), RejectedEvent, rejected)),
        unreadable=tuple(_read_unreadable(root)),
        copies=tuple(from_table(read_table(root / COPIES), Copy, root / COPIES)) if (root / COPIES).exists() else (),
        source=_source_of(root),
        mirrors=read_mirrors(root),
    )
    _require_known(root, decided)
    return decided


def reshaped_tables(root: Path) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield name and columns of each table whose columns, or their types, are not those that planning writes."""
    expected = {
        "samples.parquet": _samples_table((), ()).schema,
        "events.parquet": _outlined_table((), Event).schema,
        "rejected.parquet": _outlined_table((), RejectedEvent).schema,
        "scenes.parquet": SCENES_SCHEMA,
        "survey.parquet": arrow_schema(Score),
        "plan.parquet": PLAN_SCHEMA,
        UNREADABLE: arrow_schema(Unreadable),
        COPIES: arrow_schema(Copy),
    }
    for name, schema in expected.items():
        if name in {UNREADABLE, COPIES} and not (root / name).exists():
            continue
        with open_table(root / name) as file:
            if not file.schema_arrow.equals(schema):
                yield name, file.schema_arrow.names


def _require_known(root: Path, decided: Decided) -> None:
    """Refuse tables that name what another one lacks; raises LayoutError."""
    events = {event.id for event in decided.events}
    planned = set(pc.unique(read_table(root / "plan.parquet", ["sample_id"])["sample_id"]).to_pylist())
    named = (
        ("plan", "samples", planned - decided.places.keys()),
        ("unreadable", "samples", {image.sample_id for image in decided.unreadable} - decided.places.keys()),
        ("samples", "events", {event for sample in decided.samples for event in sample.event_ids} - events),
    )
    for table, other, lacking in named:
        if lacking:
            raise LayoutError(f"{root / table}.parquet names {min(lacking)!r}, which {other}.parquet lacks")


def _read_unreadable(root: Path) -> list[Unreadable]:
    """Return what proved unreadable: nothing in a dataset whose images all could be read."""
    path = root / UNREADABLE
    if not path.exists():
        return []
    table = read_table(path)
    if "source" not in table.column_names:
        # Before there were mirrors the source alone could lack an image.
        table = table.append_column("source", pa.array([""] * table.num_rows, pa.string()))
    rows = from_table(table, Unreadable, path)
    strange = {row.reason for row in rows} - UNUSABLE - MENDABLE
    if strange:
        raise LayoutError(f"{path} gives the reason {min(strange)!r}, for which no image is done without")
    return rows


def _source_of(root: Path) -> str:
    try:
        return read_provenance(root).get("source", "")
    except LayoutError:
        # Nothing is decided by its name.
        return ""


def _require_inside(place: Place, root: Path) -> None:
    """Refuse a place whose file would lie outside the dataset's folder."""
    is_inside = place.split in _FOLDERS and _FILE_NAME.fullmatch(place.shard)
    if not is_inside and place.shard:
        raise LayoutError(f"{root / 'samples.parquet'} names the file {place.split}/{place.shard}, which is no place")


def _samples_table(samples: Sequence[Sample], places: Sequence[Place]) -> pa.Table:
    table = to_table(samples, Sample)
    table = table.append_column("split", pa.array([place.split for place in places], pa.string()))
    table = table.append_column("shard", pa.array([place.shard for place in places], pa.string()))
    table = table.append_column("position", pa.array([place.position for place in places], pa.int64()))
    return with_geometry(table, list(shapely.to_wkb(grid.footprints([sample.grid for sample in samples]))))


def _outlined_table(events: Sequence[Any], record: type[Any]) -> pa.Table:
    return with_geometry(to_table(events, record).drop_columns("wkb"), [event.wkb or None for event in events])


def _without_nulls(table: pa.Table) -> pa.Table:
    index = table.column_names.index("wkb")
    return table.set_column(index, "wkb", pc.fill_null(table["wkb"], b""))


def _plan_table(decided: Decided) -> pa.Table:
    ranks = {sample.id: rank for rank, sample in enumerate(decided.samples)}

    def turn(row: PlanRow) -> tuple[bool, str, str, int]:
        place = decided.places[row.sample_id]
        return (not place.shard, place.split, place.shard, ranks.get(row.sample_id, len(ranks)))

    rows = sorted(decided.rows, key=turn)
    table = to_table(rows, PlanRow)
    shards = [decided.places[row.sample_id].shard for row in rows]
    return table.append_column("shard", pa.array(shards, pa.string()))


def _read_outlined(path: Path) -> pa.Table:
    """Read a table whose geometries are the records' `wkb`; raises LayoutError where they are none."""
    table = read_table(path)
    if "geometry" not in table.column_names:
        raise LayoutError(f"{path} has no column geometry")
    if not pa.types.is_binary(table["geometry"].type):
        raise LayoutError(f"{path}: column geometry must be binary, got {table['geometry'].type}")
    try:
        shapes = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    except (shapely.errors.ShapelyError, TypeError) as err:
        raise LayoutError(f"{path}: column geometry holds what is no geometry: {' '.join(str(err).split())}") from err
    if not (np.abs(shapely.get_coordinates(shapes)) <= LARGEST_DEGREE).all():
        raise LayoutError(f"{path}: column geometry holds coordinates that are no degrees")
    return table.rename_columns({"geometry": "wkb"})
