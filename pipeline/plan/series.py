"""When: the images of a series, chosen around the events that it is for.

The nearest usable image before and after each event is taken first; places are kept for images before the first and
after the last event; the rest is spread over the window by quality. Every tie is broken by time and name, so the same
images always give the same series.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pipeline.plan.request import Image, Series, SeriesRequest, Span, refused
from pipeline.plan.spacing import is_near, link, stretch_around
from pipeline.records import Reason


def select_series(images: Iterable[Image], request: SeriesRequest) -> Series:
    """Choose the series.

    An image of the event's own day, or of the days between which it came, may show either state: it fills neither
    guaranteed place. Where fewer usable images exist before the first (or after the last) event than places are kept
    for them, these places stay empty and say so, unless the series has only one. A series too short for all events
    takes what lies before the first and after the last one first.

    With a largest gap, images that no chain of usable images links to the guaranteed ones are not usable either, and
    what closes a gap goes before what the places are kept for. Where guaranteed images cannot be linked to each other
    with the places that there are, the whole series is refused.
    """
    offered = sorted(
        (image for image in images if request.start <= image.acquired < request.end),
        key=lambda image: (image.acquired, image.name),
    )
    usable = [image for image in offered if image.bad <= request.max_bad]
    if not usable:
        return refused(request.unusable if offered else Reason.NO_SCENE, request.length)
    if request.max_gap is not None:
        linked = stretch_around(usable, _anchors(usable, request), request.max_gap)
        if linked is None:
            return refused(Reason.GAP_TOO_LONG, request.length)
        usable = linked
    return _series(usable, request)


def _series(usable: Sequence[Image], request: SeriesRequest) -> Series:
    unmet = _unmet(usable, request) if request.length > 1 else []
    places = max(request.length - len(unmet), 1)
    required = _guaranteed(usable, request)[:places]
    chosen = list(required)
    _take(chosen, _spread(required, usable, request, places), usable, request, places)
    _take(chosen, _ranked(usable, request), usable, request, places)
    if request.max_gap is not None:
        linked = _linked(chosen, required, usable, request, places)
        if linked is None:
            return refused(Reason.GAP_TOO_LONG, request.length)
        chosen = linked
    empty = request.length - len(chosen)
    return Series(
        images=tuple(sorted(chosen, key=lambda image: (image.acquired, image.name))),
        missing=tuple([*unmet, *[Reason.SERIES_SHORT] * empty][:empty]),
        alternates=tuple(image for image in _ranked(usable, request) if image not in chosen),
    )


def _anchors(usable: Sequence[Image], request: SeriesRequest) -> list[Image]:
    return _guaranteed(usable, request)[: request.length] or _ranked(usable, request)[:1]


def _sides(images: Sequence[Image], request: SeriesRequest) -> tuple[int, int]:
    """Return how many of the images lie before the first event, and how many after the last one."""
    whole = request.whole
    return sum(map(whole.is_before, images)), sum(map(whole.is_after, images))


def _unmet(usable: Sequence[Image], request: SeriesRequest) -> list[Reason]:
    before, after = _sides(usable, request)
    return [
        *[Reason.NO_IMAGE_BEFORE] * (request.before - before),
        *[Reason.NO_IMAGE_AFTER] * (request.after - after),
    ]


def _guaranteed(usable: Sequence[Image], request: SeriesRequest) -> list[Image]:
    chosen: list[Image] = []
    for span in (request.whole, *request.events):
        around = [image for image in usable if span.is_before(image)][-1:]
        around += [image for image in usable if span.is_after(image)][:1]
        around.sort(key=lambda image: (span.distance(image), image.acquired))
        chosen += [image for image in around if image not in chosen]
    return chosen


def _spread(chosen: Sequence[Image], usable: Sequence[Image], request: SeriesRequest, places: int) -> list[Image]:
    """Return the best image of each stretch of the window that has none yet, best first."""
    length = (request.end - request.start) / places
    held = {int((image.acquired - request.start) / length) for image in chosen}
    picks = []
    for index in range(places):
        first = request.start + index * length
        inside = [image for image in usable if first <= image.acquired < first + length]
        if index in held or not inside:
            continue
        middle = first + length / 2
        picks.append(
            min(inside, key=lambda image: (image.bad, abs(image.acquired - middle), image.acquired, image.name))
        )
    return _ranked(picks, request)


def _owed(chosen: Sequence[Image], usable: Sequence[Image], request: SeriesRequest) -> tuple[int, int]:
    """Return how many images before the first and after the last event are still to be taken."""
    (before, after), (offered_before, offered_after) = _sides(chosen, request), _sides(usable, request)
    return max(min(request.before, offered_before) - before, 0), max(min(request.after, offered_after) - after, 0)


def _take(
    chosen: list[Image], offer: Sequence[Image], usable: Sequence[Image], request: SeriesRequest, places: int
) -> None:
    """Add what is offered in its order; the places that are kept go to what they are kept for."""
    whole = request.whole
    before, after = _owed(chosen, usable, request)
    for image in offer:
        room = places - len(chosen)
        if room <= 0:
            return
        if image in chosen:
            continue
        if before and whole.is_before(image):
            before -= 1
        elif after and whole.is_after(image):
            after -= 1
        elif room <= before + after:
            continue
        chosen.append(image)


def _linked(
    chosen: Sequence[Image], required: Sequence[Image], usable: Sequence[Image], request: SeriesRequest, places: int
) -> list[Image] | None:
    """Return the series without gaps that are too long, filled up again; None where there is none."""
    gap = request.max_gap or 0
    optional = _kept_first([image for image in chosen if image not in required], required, usable, request)
    series = link(required, optional, usable, gap=gap, places=places)
    while series is not None and len(series) < places:
        free = [image for image in usable if image not in series and _fits(image, series, gap)]
        if not free:
            break
        series.append(_kept_first(_ranked(free, request), series, usable, request)[0])
        series.sort(key=lambda image: (image.acquired, image.name))
    return series


def _kept_first(
    ranked: Sequence[Image], chosen: Sequence[Image], usable: Sequence[Image], request: SeriesRequest
) -> list[Image]:
    """Return the images in their order, but first those that places are kept for beside the chosen ones."""
    whole = request.whole
    before, after = _owed(chosen, usable, request)
    first = [image for image in ranked if whole.is_before(image)][:before]
    first += [image for image in ranked if whole.is_after(image)][:after]
    return [*(image for image in ranked if image in first), *(image for image in ranked if image not in first)]


def _fits(image: Image, series: Sequence[Image], gap: int) -> bool:
    return is_near(image, series[0], gap) and is_near(series[-1], image, gap)


def _ranked(images: Sequence[Image], request: SeriesRequest) -> list[Image]:
    return sorted(images, key=lambda image: _rank(image, request.events))


def _rank(image: Image, events: Sequence[Span]) -> tuple[float, timedelta, datetime, str]:
    nearest = min(span.distance(image) for span in events)
    return (image.bad, nearest, image.acquired, image.name)
