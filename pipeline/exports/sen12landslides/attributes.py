"""Attributes of a patch file: landslides as text, written as the release spells them and read back.

The release takes dates and confidences from Python sets, in no fixed order. Here both are distinct values, rising.
Two attributes of our own, `ann_event_date` and `ann_date_confidence`, have an item for each item of `ann_id`.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import LayoutError
from pipeline.exports.sen12landslides.sensors import Sensor
from pipeline.records import PatchGrid

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One landslide in a patch."""

    id: int
    date: date
    confidence: float
    """How sure the date is [0 to 1]."""
    box: Box
    """Left, bottom, right, top [m] of the part of its polygon that lies in the patch, in the patch's UTM zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedAttributes:
    """What a file's attributes say, ours or a released one's."""

    ids: tuple[int, ...]
    boxes: tuple[Box, ...]
    """Paired with `ids`."""
    event_dates: tuple[date | None, ...]
    """Distinct dates; None where the file has `None` or nothing."""
    confidences: tuple[float, ...]
    """Distinct values [0 to 1]; not paired with `event_dates`."""
    pre_post: tuple[tuple[int, int], ...]
    """Times before and after each of `event_dates`."""
    is_annotated: bool


def annotation_attributes(annotations: Sequence[Annotation], days: NDArray[np.datetime64]) -> dict[str, str]:
    """Return the attributes that tell of landslides; each is empty where there is none.

    Parameters
    ----------
    annotations : sequence of Annotation
        By date and id.
    days : datetime64[D] (time)
        Dates of the file's frames, rising.
    """
    dates = sorted({item.date for item in annotations})
    pairs = [pre_post_indices(day, days) for day in dates]
    return {
        "ann_id": _joined(item.id for item in annotations),
        "ann_bbox": _joined(tuple(map(float, item.box)) for item in annotations),
        "event_date": _joined(day.isoformat() for day in dates),
        "date_confidence": _joined(sorted({float(item.confidence) for item in annotations})),
        "pre_post_dates": _joined({"pre": pre, "post": post} for pre, post in pairs),
        "ann_event_date": _joined(item.date.isoformat() for item in annotations),
        "ann_date_confidence": _joined(float(item.confidence) for item in annotations),
    }


def patch_attributes(
    annotations: Sequence[Annotation], days: NDArray[np.datetime64], *, sensor: Sensor, grid: PatchGrid, annotated: bool
) -> dict[str, Any]:
    """Return a file's attributes in the order of the release.

    `center_lat` and `center_lon` are, as released, northing and easting [m] of the patch's middle; all else is text.
    """
    told = annotation_attributes(annotations, days)
    ours = {name: told.pop(name) for name in ("ann_event_date", "ann_date_confidence")}
    half = grid.size // 2 * grid.resolution
    return {
        **told,
        "annotated": str(annotated),
        "satellite": sensor.satellite,
        "center_lat": float(grid.top - half),
        "center_lon": float(grid.left + half),
        "crs": f"EPSG:{grid.epsg}",
        **ours,
    }


def pre_post_indices(day: date, days: NDArray[np.datetime64]) -> tuple[int, int]:
    """Return the times before and after an event by the rule of the release.

    An image of the event's own day is after it. An event before the first image has 0 twice, one after the last image
    the last index twice.
    """
    after = int(np.searchsorted(days, np.datetime64(day, "D"), side="left"))
    if after == 0:
        return 0, 0
    last = len(days) - 1
    return (last, last) if after > last else (after - 1, after)


def parse_attributes(attributes: Mapping[str, Any]) -> ParsedAttributes:
    """Read the attributes of a file back; raises LayoutError when one is absent or not spelt as released."""
    try:
        pairs = _literals(attributes["pre_post_dates"])
        return ParsedAttributes(
            ids=tuple(int(item) for item in _items(attributes["ann_id"])),
            boxes=tuple(_literals(attributes["ann_bbox"])),
            event_dates=tuple(_day(item) for item in _items(attributes["event_date"])),
            confidences=tuple(float(item) for item in _items(attributes["date_confidence"])),
            pre_post=tuple((int(pair["pre"]), int(pair["post"])) for pair in pairs),
            is_annotated=attributes["annotated"] == "True",
        )
    except (KeyError, TypeError, ValueError, SyntaxError) as err:
        raise LayoutError(f"attributes are not those of a Sen12Landslides patch: {' '.join(str(err).split())}") from err


def _joined(items: Any) -> str:
    return ",".join(str(item) for item in items)


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text else []


def _literals(text: str) -> list[Any]:
    return list(ast.literal_eval(f"[{text}]"))


def _day(text: str) -> date | None:
    if text in {"", "None"}:
        return None
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
