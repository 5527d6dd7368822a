"""When, as Sen12Landslides chose: one image for each of equal intervals, clouds or not, short series padded.

Follows `select_images` of the published preprocessing (github.com/PaulH97/Sen12Landslides), whose length is 15.
"""

from collections.abc import Iterable, Sequence
from datetime import date

from pipeline.plan.request import Image, Series, refused
from pipeline.records import Reason

MAX_MISSING = 0.05
"""Largest share of the patch without data that an image may have [1]."""
TOO_FEW = 5
"""A series that lacks this many images is refused; one that lacks fewer is padded."""


def select_compat(images: Iterable[Image], events: Iterable[date], length: int) -> Series:
    """Choose the series; images and events are told apart by their days.

    The days from the first to the last image are cut into `length` equal intervals, half-open, so that the last image
    is in none. The best image of each is taken, the earliest among equals, and the nearest ones strictly before and
    strictly after each event's day. Too few are filled up with the best of the rest; of too many the worst go, the
    earliest among equals, but none that stands beside an event. What is still too many is cut at the end; what is too
    few repeats the last image.

    Parameters
    ----------
    images
        Valid images; `bad` is the share of the patch that is not clear [1], whatever it is for.
    events
        Days of the events of an annotated patch; none for others.
    length
        Places in the series.

    Returns
    -------
    Series
        Refused as `no_scene` without images, `series_short` where five or more are lacking, and `no_image_after`
        where an event has no chosen image of its day or later.
    """
    ordered = sorted(images, key=lambda image: (image.acquired, image.name))
    if not ordered:
        return refused(Reason.NO_SCENE, length)
    if len(ordered) <= length - TOO_FEW:
        return refused(Reason.SERIES_SHORT, length)
    days = [image.acquired.date() for image in ordered]
    dates = sorted(set(events))
    critical = _beside_events(days, dates)
    chosen = {*_best_of_intervals(ordered, days, length), *critical}
    chosen = _to_length(chosen, critical, ordered, length)
    held = sorted(chosen)[:length]
    if dates and days[held[-1]] < dates[-1]:
        return refused(Reason.NO_IMAGE_AFTER, length)
    rest = sorted(set(range(len(ordered))) - set(held), key=lambda index: (ordered[index].bad, index))
    return Series(
        images=tuple(ordered[index] for index in held),
        missing=(),
        alternates=tuple(ordered[index] for index in rest),
        padding=length - len(held),
    )


def _best_of_intervals(ordered: Sequence[Image], days: Sequence[date], length: int) -> list[int]:
    whole = (days[-1] - days[0]).days
    best: dict[int, int] = {}
    for index, day in enumerate(days):
        if day == days[-1]:
            break
        interval = (day - days[0]).days * length // whole
        if interval not in best or ordered[index].bad < ordered[best[interval]].bad:
            best[interval] = index
    return list(best.values())


def _beside_events(days: Sequence[date], events: Sequence[date]) -> set[int]:
    beside: set[int] = set()
    for event in events:
        beside.update([index for index, day in enumerate(days) if day < event][-1:])
        beside.update([index for index, day in enumerate(days) if day > event][:1])
    return beside


def _to_length(chosen: set[int], critical: set[int], ordered: Sequence[Image], length: int) -> set[int]:
    excess = len(chosen) - length
    if excess > 0:
        worst = sorted(chosen - critical, key=lambda index: (-ordered[index].bad, index))
        return chosen - set(worst[:excess])
    rest = sorted(set(range(len(ordered))) - chosen, key=lambda index: (ordered[index].bad, index))
    return chosen | set(rest[:-excess] if excess else [])
