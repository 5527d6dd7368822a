"""Which date a polygon ends up with: the inventory's own wins over what a method found, as in Sen12Landslides."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

from pipeline.dating.compat import FALLBACK_DAYS
from pipeline.dating.series import Finding

Method = Literal["interval", "compat"]
INVENTORY = "inventory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the inventory says about one polygon; None where it says nothing usable."""

    event: date | None = None
    date_from: date | None = None
    date_to: date | None = None
    pre: date | None = None
    post: date | None = None
    confidence: float | None = None
    """How sure the inventory is of its date [0 to 1]."""
    reason: str = ""
    """Why the geometry cannot be used; empty where it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedRow:
    """One polygon of the output: days as YYYY-MM-DD, None where there is none."""

    event_date: str | None = None
    date_from: str | None = None
    """Last day on which the slide was not there yet."""
    date_to: str | None = None
    """First day on which it was there."""
    event_conf: float = 0.0
    """How sure the date is [0 to 1]: 1 for the inventory's own where it says nothing else, 0 for none."""
    method: str | None = None
    """inventory, interval or compat: whose date it is; None where there is none."""
    magnitude: float | None = None
    persistence: float | None = None
    duration: float | None = None
    observations: int | None = None
    """Days that the method looked at; None where the polygon was not looked at."""
    reason: str | None = None
    """Why there is no date."""
    pre_dt2: str | None = None
    """What the method says, whosever date was taken: day before, day, and day after."""
    event_dt2: str | None = None
    post_dt2: str | None = None
    pre_date: str | None = None
    """The inventory's own day before, else the method's."""
    post_date: str | None = None
    """The inventory's own day after, else the method's."""


def assign(known: Known, found: Finding | None, method: Method) -> DatedRow:
    """Return the output row of a polygon.

    Parameters
    ----------
    known : Known
        What the inventory says.
    found : Finding or None
        What the method says; None where the polygon was not looked at.
    method : str
        With compat, a date of the inventory is certain whatever it says; and a polygon that has one and none by the
        method gets 30 days before and after it as `pre_dt2` and `post_dt2`.
    """
    looked = found or Finding()
    pre, event, post = _by_method(known, looked, method)
    row = DatedRow(
        magnitude=looked.magnitude,
        persistence=looked.persistence,
        duration=looked.duration,
        observations=found.observations if found else None,
        pre_dt2=_text(pre),
        event_dt2=_text(event),
        post_dt2=_text(post),
        pre_date=_text(known.pre or pre),
        post_date=_text(known.post or post),
    )
    if known.event is not None:
        confidence = 1.0 if method == "compat" or known.confidence is None else known.confidence
        return _dated(row, known.event, (known.date_from, known.date_to), confidence, INVENTORY)
    if looked.event is None:
        return replace(row, reason=known.reason or looked.reason)
    interval = (known.pre or pre, known.post or post) if method == "compat" else (pre, post)
    return _dated(row, looked.event, interval, looked.confidence, method)


def _by_method(known: Known, found: Finding, method: Method) -> tuple[date | None, date | None, date | None]:
    if method == "compat" and found.event is None and known.event is not None:
        month = timedelta(days=FALLBACK_DAYS)
        return known.event - month, None, known.event + month
    return found.before, found.event, found.after


def _dated(
    row: DatedRow, event: date, interval: tuple[date | None, date | None], confidence: float, whose: str
) -> DatedRow:
    """Return `row` with its date; an end of the interval that contradicts the date is dropped."""
    first, last = interval
    return replace(
        row,
        event_date=_text(event),
        date_from=_text(first) if first and first < event else None,
        date_to=_text(last) if last and last >= event else None,
        event_conf=confidence,
        method=whose,
    )


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None
