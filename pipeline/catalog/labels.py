"""labels.parquet: every event of every patch, where it lies in the patch and which images frame it in time."""

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import shapely

from pipeline import grid as grids
from pipeline.catalog.codec import to_table
from pipeline.catalog.decided import Decided
from pipeline.catalog.frames import written_rows
from pipeline.pixels import rasterize_mask
from pipeline.records import Event, Sample, Shard, ShardReport, store_order

NOT_THERE = -1
"""Stands for a timestep where no written image is certainly before, or after, the event."""

REPEATED = frozenset({"SCL", "S2RGB"})
"""Series of the same images as S2L2A, which say nothing more where that is there."""

Moments = Sequence[tuple[datetime, int]]
"""Acquisition and timestep of written images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One event in one patch."""

    sample_id: str
    event_id: str
    region: str
    """Region of the inventory that the event belongs to."""
    date: datetime
    """Day of the event, midnight UTC."""
    date_from: datetime | None
    """Last day on which the slide was not there yet; None where the inventory does not say."""
    date_to: datetime | None
    """First day on which it was there; None where the inventory does not say."""
    confidence: float | None
    """How sure the date is [0 to 1]; None where the inventory does not say."""
    left: float | None
    """Easting of the left edge of the part inside the patch [m], in the patch's zone; None where nothing is inside."""
    bottom: float | None
    right: float | None
    top: float | None
    pixels: int
    """Pixels of the patch that the polygon touches."""
    area: float
    """Area of the part inside the patch [m²]."""


def labels_table(decided: Decided, shards: Sequence[Shard], reports: Sequence[ShardReport]) -> pa.Table:
    """Return labels.parquet: one row for each event of each sample that has a place in a file, by sample and date.

    After the columns of `LabelRow` come `before_<modality>` and `after_<modality>` for every series of images in the
    dataset: the timestep of the last written image that is certainly before the event, and of the first that is
    certainly after it; -1 where there is none. An image of the event's own day, or within the interval of its date, is
    neither.
    """
    events = {event.id: event for event in decided.events}
    pairs = [
        (sample, event)
        for sample in decided.samples
        if decided.places[sample.id].shard
        for event in sorted((events[name] for name in sample.event_ids), key=lambda event: (event.date, event.id))
    ]
    table = to_table([_label_row(sample, event) for sample, event in pairs], LabelRow)
    for modality, images in _images(shards, reports, {sample.id for sample, _ in pairs}).items():
        steps = [_nearest(event, images.get(sample.id, ())) for sample, event in pairs]
        table = table.append_column(f"before_{modality}", pa.array([before for before, _ in steps], pa.int64()))
        table = table.append_column(f"after_{modality}", pa.array([after for _, after in steps], pa.int64()))
    return table


def _label_row(sample: Sample, event: Event) -> LabelRow:
    polygon = grids.project(shapely.from_wkb(event.wkb), sample.grid.epsg)
    inside = shapely.intersection(shapely.make_valid(polygon), shapely.box(*sample.grid.bounds))
    left, bottom, right, top = (None if math.isnan(edge) else edge for edge in shapely.bounds(inside).tolist())
    return LabelRow(
        sample_id=sample.id,
        event_id=event.id,
        region=event.region,
        date=event.date,
        date_from=event.date_from,
        date_to=event.date_to,
        confidence=None if event.confidence is None or math.isnan(event.confidence) else event.confidence,
        left=left,
        bottom=bottom,
        right=right,
        top=top,
        pixels=int(rasterize_mask([polygon], sample.grid).sum()),
        area=float(inside.area),
    )


def _images(
    shards: Sequence[Shard], reports: Sequence[ShardReport], ids: Container[str]
) -> dict[str, Mapping[str, Moments]]:
    """Return modality → sample → written images of some samples, modalities in the order of the store table."""
    by_path = {report.path: report for report in reports if report.state == "done"}
    found: dict[str, dict[str, list[tuple[datetime, int]]]] = {}
    left_out = REPEATED if any(shard.modality == "S2L2A" for shard in shards) else frozenset()
    for shard in shards:
        modality = shard.kind
        if not modality.is_series or modality.product == "LABELS" or modality.name in left_out:
            continue
        held = found.setdefault(shard.modality, {})
        for row, choice in _written(shard, by_path.get(shard.path)):
            if row in ids:
                held.setdefault(row, []).append(choice)
    return {name: found[name] for name in sorted(found, key=store_order)}


def _written(shard: Shard, report: ShardReport | None) -> Iterator[tuple[str, tuple[datetime, int]]]:
    for row, choice, _ in written_rows(shard, report) if report else ():
        if not row.is_padding:
            yield row.sample_id, (choice.acquired, row.timestep)


def _nearest(event: Event, images: Moments) -> tuple[int, int]:
    before = max(((acquired, step) for acquired, step in images if event.is_before(acquired)), default=None)
    after = min(((acquired, step) for acquired, step in images if event.is_after(acquired)), default=None)
    return (before[1] if before else NOT_THERE, after[1] if after else NOT_THERE)
