"""One patch of a dataset to its files: a file for each sensor and radiometry, or the reason why there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline import grid as grids
from pipeline.exports.request import ExportRequest, NormRule, Radiometry
from pipeline.exports.sen12landslides.attributes import Annotation, Box, patch_attributes
from pipeline.exports.sen12landslides.datasets import Dataset
from pipeline.exports.sen12landslides.netcdf import PatchFile, write_patch
from pipeline.exports.sen12landslides.radiometry import elevation
from pipeline.exports.sen12landslides.sensors import Sensor, inventory_of
from pipeline.exports.sen12landslides.series import Series, make_series, max_padding, usable
from pipeline.exports.sen12landslides.stored import StoredPatch
from pipeline.pixels.gaps import fill_nearest
from pipeline.pixels.moments import moments_of
from pipeline.records import Event, Moments, Reason, Sample

_MILLIMETRE = 3
"""Decimals of a box [m]: the way through lon/lat is good to some nanometres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """What became of one patch and sensor."""

    id: str
    sensor: str
    state: str
    """written or skipped."""
    reason: str
    """Reason code where it was skipped."""
    detail: str
    file: str
    """Path below data/data_<radiometry>; empty where it was skipped."""
    frames: int
    """Usable frames."""
    padded: int
    """Times at the end of the file that repeat the last frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One patch and sensor in the export."""

    sample: Sample
    sensor: str
    file: str
    """Path below data/data_<radiometry>."""
    pixel_annotated: int
    """Landslide pixels."""
    confidence: float
    """Mean of the distinct confidences of its dates [0 to 1]; 1 without a landslide."""
    moments: Mapping[Radiometry, Mapping[str, Moments]] = field(default_factory=dict)
    """Radiometry to variable to its statistics."""

    @property
    def inventory(self) -> str:
        """First token of the id."""
        return inventory_of(self.sample.id)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """What is the same for every sensor of a patch."""

    mask: NDArray[np.uint8]
    """(y, x) 1 where a polygon touches the pixel."""
    height: NDArray[np.int16]
    """(y, x) elevation without gaps [m]."""
    measured: NDArray[np.bool_]
    """(y, x) False where the elevation was filled."""
    annotations: tuple[Annotation, ...]


def read_ground(patch: StoredPatch, numbers: Mapping[str, int]) -> Ground | tuple[str, str]:
    """Return elevation, mask and landslides of a patch, or the reason code and the modality that is missing.

    `numbers` gives the whole number that stands for each event's id.
    """
    mask, height = patch.static("MASK"), patch.static("DEM")
    if mask is None:
        return patch.dataset.gap(patch.sample.id, "MASK") or str(Reason.EMPTY), "no MASK"
    measured = np.zeros((0, 0), np.bool_) if height is None else np.isfinite(height)
    if height is None or not measured.any():
        return patch.dataset.gap(patch.sample.id, "DEM") or str(Reason.EMPTY), "no DEM"
    return Ground(
        mask=(mask > 0).astype(np.uint8),
        height=elevation(fill_nearest(height, measured)),
        measured=measured,
        annotations=annotations_of(patch.sample, patch.dataset, numbers),
    )


def annotations_of(sample: Sample, dataset: Dataset, numbers: Mapping[str, int]) -> tuple[Annotation, ...]:
    """Return the landslides of a patch, by date and number."""
    events = [dataset.events[event_id] for event_id in sample.event_ids]
    found = [
        Annotation(
            id=numbers[event.id],
            date=event.date.date(),
            confidence=confidence_of(event),
            box=_clipped_box(event, sample),
        )
        for event in events
    ]
    return tuple(sorted(found, key=lambda item: (item.date, item.id)))


def confidence_of(event: Event) -> float:
    """Return how sure an event's date is [0 to 1]: 1 where the inventory gives the date and no confidence."""
    return 1.0 if event.confidence is None else event.confidence


def _clipped_box(event: Event, sample: Sample) -> Box:
    polygon = grids.project(shapely.from_wkb(event.wkb), sample.grid.epsg)
    part = shapely.intersection(shapely.make_valid(polygon), shapely.box(*sample.grid.bounds))
    left, bottom, right, top = (round(float(edge), _MILLIMETRE) for edge in shapely.bounds(part))
    return left, bottom, right, top


def write_sensor(
    patch: StoredPatch, ground: Ground, sensor: Sensor, *, data: Path, request: ExportRequest
) -> tuple[LedgerRow, Written | None]:
    """Write the files of one patch and sensor below `data`/data_<radiometry>; see `Series` for what they hold."""
    length, id_ = patch.dataset.recipe.series_length, patch.sample.id
    frames = patch.frames(sensor)
    chosen = frames.take(np.flatnonzero(usable(frames)))
    count = len(chosen.days)
    series = make_series(chosen, length)
    if series is None:
        detail = f"{count} of {length} frames are usable, {max(1, length - max_padding(length))} are needed"
        return skipped(id_, sensor.key, str(Reason.SERIES_SHORT), detail, frames=count), None
    name = f"{sensor.key}/{sensor.file_name(id_)}"
    moments = {}
    for radiometry in request.radiometries:
        content = _content(patch, ground, sensor, series, radiometry)
        write_patch(data / f"data_{radiometry}" / name, content, dims=request.dims)
        moments[radiometry] = _moments(content, ground, sensor, series, request.norm)
    row = LedgerRow(
        id=id_, sensor=sensor.key, state="written", reason="", detail="", file=name, frames=count,
        padded=len(series.padded),
    )  # fmt: skip
    written = Written(
        sample=patch.sample,
        sensor=sensor.key,
        file=name,
        pixel_annotated=int(ground.mask.sum()),
        confidence=_mean_confidence(ground.annotations),
        moments=moments,
    )
    return row, written


def skipped(id_: str, sensor: str, reason: str, detail: str, *, frames: int = 0) -> LedgerRow:
    """Return the row of a patch that has no file."""
    return LedgerRow(
        id=id_, sensor=sensor, state="skipped", reason=reason, detail=detail, file="", frames=frames, padded=0
    )


def _content(patch: StoredPatch, ground: Ground, sensor: Sensor, series: Series, radiometry: Radiometry) -> PatchFile:
    sample, length = patch.sample, len(series.days)
    values = series.values[radiometry]
    variables: dict[str, NDArray[Any]] = {name: values[:, index] for index, name in enumerate(sensor.bands)}
    if series.classes is not None:
        variables["SCL"] = series.classes.astype(np.int16)
    variables["MASK"] = np.broadcast_to(ground.mask, (length, *ground.mask.shape))
    variables["DEM"] = np.broadcast_to(ground.height, (length, *ground.height.shape))
    attributes = patch_attributes(
        ground.annotations, series.days, sensor=sensor, grid=sample.grid, annotated=sample.is_annotated
    )
    attributes["padded_frames"] = ",".join(map(str, series.padded))
    return PatchFile(variables=variables, days=series.days, grid=sample.grid, attributes=attributes)


def _moments(content: PatchFile, ground: Ground, sensor: Sensor, series: Series, rule: NormRule) -> dict[str, Moments]:
    if rule == "compat":
        # Its axes are in one order in every file, and so is the rounding.
        return {name: moments_of(content.variables[name], nodata=None) for name in (*sensor.bands, "DEM")}
    found = {
        name: moments_of(content.variables[name][series.valid[:, index]], nodata=None)
        for index, name in enumerate(sensor.bands)
    }
    return {**found, "DEM": moments_of(ground.height[ground.measured], nodata=None)}


def _mean_confidence(annotations: Sequence[Annotation]) -> float:
    values = sorted({item.confidence for item in annotations})
    return sum(values) / len(values) if values else 1.0
