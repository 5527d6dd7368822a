"""The stretches of time that images of a place may come from: around its event, or one for each season."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b

from pipeline.plan.request import DAY, Span
from pipeline.records import Recipe, Sample
from pipeline.records.recipe import Seasons, Window

Interval = tuple[datetime, datetime]
"""Half-open: first moment, and the moment before which an image must lie; aware, UTC."""


def event_window(day: datetime, window: Window) -> Interval:
    """Return the interval around an event on `day`."""
    return day - timedelta(days=window.before), day + timedelta(days=window.after + 1)


def event_spans(sample: Sample) -> tuple[Span, ...]:
    """Return when the events of `sample` came, or its own day where it has none; nothing when it has no date."""
    if sample.event_from:
        pairs = zip(sample.event_from, sample.event_to, strict=True)
        return tuple(Span(opens=last_before + DAY, closes=first_after) for last_before, first_after in pairs)
    days = sample.event_dates or ((sample.date,) if sample.date else ())
    return tuple(Span(opens=day, closes=day + DAY) for day in days)


def season_windows(sample: Sample, seasons: Seasons, *, seed: int) -> tuple[tuple[Interval, ...], ...]:
    """Return for each season the intervals that its image may come from, this year's first.

    With a shift, all seasons of a place move into the past by one number of days that depends on seed and id alone.
    """
    return _shifted(seasons, shift_of(sample.id, seasons, seed=seed))


@lru_cache(maxsize=4096)
def _shifted(seasons: Seasons, days: int) -> tuple[tuple[Interval, ...], ...]:
    # Places share the few hundred shifts that there are.
    shift = timedelta(days=days)
    return tuple(
        tuple(_around(_years_back(day, back), seasons.half_width, shift) for back in range(seasons.years))
        for day in seasons.dates
    )


def shift_of(sample_id: str, seasons: Seasons, *, seed: int) -> int:
    """Return the days that a place's windows move into the past: 0 to `max_shift`, each equally likely."""
    digest = blake2b(f"{seed}|shift|{sample_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % (seasons.max_shift + 1)


def windows_of(sample: Sample, recipe: Recipe) -> tuple[Interval, ...]:
    """Return every interval that images of `sample` may come from; none when it has no date and needs one."""
    if recipe.seasons is not None:
        return tuple(i for season in season_windows(sample, recipe.seasons, seed=recipe.seed) for i in season)
    spans = event_spans(sample)
    if recipe.window is None or sample.date is None or not spans:
        return ()
    first, last = min(span.opens for span in spans), max(span.closes for span in spans) - DAY
    return ((event_window(first, recipe.window)[0], event_window(last, recipe.window)[1]),)


def widened(intervals: tuple[Interval, ...], days: int) -> tuple[Interval, ...]:
    """Return the intervals longer by `days` at both ends."""
    more = timedelta(days=days)
    return tuple((start - more, end + more) for start, end in intervals)


def merged(intervals: list[Interval]) -> list[Interval]:
    """Return the union of intervals, ascending and apart from each other."""
    union: list[Interval] = []
    for start, end in sorted(intervals):
        if union and start <= union[-1][1]:
            union[-1] = union[-1][0], max(end, union[-1][1])
        else:
            union.append((start, end))
    return union


def _around(day: date, half_width: int, shift: timedelta) -> Interval:
    middle = datetime(day.year, day.month, day.day, tzinfo=UTC) - shift
    return middle - timedelta(days=half_width), middle + timedelta(days=half_width + 1)


def _years_back(day: date, years: int) -> date:
    return day - timedelta(days=365 * years)
