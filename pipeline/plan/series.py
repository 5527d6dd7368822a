"""When: the images of a series, chosen around the events that it is for.

The nearest usable image before and after each event is taken first; the rest is spread over the window by quality.
Every tie is broken by time and name, so the same images always give the same series.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.records import Reason

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One acquisition over one patch, as far as choosing needs it."""

    name: str
    acquired: datetime
    bad: float
    """Share of the patch where the ground is not seen [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRequest:
    """What a series is for."""

    events: tuple[datetime, ...]
    """Days of the events, midnight UTC, ascending; at least one."""
    start: datetime
    """First moment that an image may have."""
    end: datetime
    """Moment before which every image lies."""
    length: int
    """Places in the series."""
    max_bad: float
    """Largest `bad` that is usable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The chosen images, oldest first, why the rest is empty, and what could stand in."""

    images: tuple[Image, ...]
    missing: tuple[Reason, ...]
    """One reason for each empty place; images and reasons together have the asked length."""
    alternates: tuple[Image, ...]
    """Usable images that were not chosen, best first."""


def select_series(images: Iterable[Image], request: SeriesRequest) -> Series:
    """Choose the series.

    An image of the event's own day may show either state: it fills neither guaranteed place. When no usable image
    exists before the first (or after the last) event, one place stays empty and says so, unless the series has only
    one. A series too short for all events takes what lies before the first and after the last one first.
    """
    offered = sorted(
        (image for image in images if request.start <= image.acquired < request.end),
        key=lambda image: (image.acquired, image.name),
    )
    usable = [image for image in offered if image.bad <= request.max_bad]
    unmet = _unmet_guarantees(usable, request) if request.length > 1 else []
    places = max(request.length - len(unmet), 1)
    chosen = _guaranteed(usable, request)[:places]
    _spread(chosen, usable, request, places)
    _fill(chosen, usable, request, places)
    rest = Reason.SERIES_SHORT if usable else Reason.TOO_CLOUDY if offered else Reason.NO_SCENE
    empty = request.length - len(chosen)
    reasons = [*(unmet if usable else []), *[rest] * empty][:empty]
    left = [image for image in usable if image not in chosen]
    return Series(
        images=tuple(sorted(chosen, key=lambda image: (image.acquired, image.name))),
        missing=tuple(reasons),
        alternates=tuple(sorted(left, key=lambda image: _rank(image, request))),
    )


def _before(image: Image, event: datetime) -> bool:
    return image.acquired < event


def _after(image: Image, event: datetime) -> bool:
    return image.acquired >= event + DAY


def _unmet_guarantees(usable: Sequence[Image], request: SeriesRequest) -> list[Reason]:
    unmet = []
    if not any(_before(image, request.events[0]) for image in usable):
        unmet.append(Reason.NO_IMAGE_BEFORE)
    if not any(_after(image, request.events[-1]) for image in usable):
        unmet.append(Reason.NO_IMAGE_AFTER)
    return unmet


def _guaranteed(usable: Sequence[Image], request: SeriesRequest) -> list[Image]:
    chosen: list[Image] = []
    for first, last in [(request.events[0], request.events[-1]), *zip(request.events, request.events, strict=True)]:
        before = [image for image in usable if _before(image, first)][-1:]
        after = [image for image in usable if _after(image, last)][:1]
        nearest = [(_distance(image, first), image) for image in before]
        nearest += [(_distance(image, last), image) for image in after]
        nearest.sort(key=lambda pair: (pair[0], pair[1].acquired))
        chosen += [image for _, image in nearest if image not in chosen]
    return chosen


def _spread(chosen: list[Image], usable: Sequence[Image], request: SeriesRequest, places: int) -> None:
    span = (request.end - request.start) / places
    held = {int((image.acquired - request.start) / span) for image in chosen}
    picks = []
    for index in range(places):
        first = request.start + index * span
        inside = [image for image in usable if first <= image.acquired < first + span]
        if index in held or not inside:
            continue
        middle = first + span / 2
        picks.append(min(inside, key=lambda image: (image.bad, _distance(image, middle), image.acquired, image.name)))
    picks = [image for image in picks if image not in chosen]
    picks.sort(key=lambda image: _rank(image, request))
    chosen += picks[: places - len(chosen)]


def _fill(chosen: list[Image], usable: Sequence[Image], request: SeriesRequest, places: int) -> None:
    left = sorted((image for image in usable if image not in chosen), key=lambda image: _rank(image, request))
    chosen += left[: places - len(chosen)]


def _rank(image: Image, request: SeriesRequest) -> tuple[float, timedelta, datetime, str]:
    nearest = min(_distance(image, event) for event in request.events)
    return (image.bad, nearest, image.acquired, image.name)


def _distance(image: Image, moment: datetime) -> timedelta:
    return abs(image.acquired - moment)
