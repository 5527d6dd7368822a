"""When the landslides of an inventory came down, row by row: the day, the interval around it, how sure it is."""

import math
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.records import Reason
from pipeline.records.recipe import Columns
from pipeline.sampling.faults import Fault, fault
from pipeline.sampling.tables import column_of, day_of, is_missing

_OPTIONAL = ("date_from", "date_to", "confidence")
_MEND = "mend or remove the row"


class When(NamedTuple):
    """Day of an event, and what is known about it; midnights UTC."""

    day: datetime
    date_from: datetime | None
    """Last day without the slide."""
    date_to: datetime | None
    """First day with it."""
    confidence: float | None
    """0 to 1."""


def days_of(table: pd.DataFrame, columns: Columns, *, path: str | Path) -> list[When | Fault]:
    """Return when each row's event was, or what is wrong with what the row says about it.

    A day is a date or ISO text (YYYY-MM-DD, with or without a time). The last day before and the first day after may be
    blank; if given, they enclose the day: date_from ≤ date ≤ date_to, and date_from < date_to. The confidence is blank
    or a number from 0 to 1. Whatever else a row says makes it a bad date.

    Raises
    ------
    RecipeError
        There is no column of dates, or one that the recipe names is not there.
    """
    days = column_of(table, columns.date, path=path, key="date")
    others = [_optional(table, columns, key, path=path) for key in _OPTIONAL]
    return [_when(row, columns) for row in zip(days, *others, strict=True)]


def _optional(table: pd.DataFrame, columns: Columns, key: str, *, path: str | Path) -> list[Any]:
    name = getattr(columns, key)
    if name not in table.columns and name == Columns.model_fields[key].default:
        return [None] * len(table)
    return column_of(table, name, path=path, key=key)


def _when(row: tuple[Any, Any, Any, Any], columns: Columns) -> When | Fault:
    given, first, last, sure = row
    day, date_from, date_to = day_of(given), day_of(first), day_of(last)
    if day is None:
        return _bad(f"{given!r} in column {columns.date} is missing or not YYYY-MM-DD; {_MEND}")
    for value, found, name in ((first, date_from, columns.date_from), (last, date_to, columns.date_to)):
        if found is None and not is_missing(value):
            return _bad(f"{value!r} in column {name} is not YYYY-MM-DD; {_MEND}")
    if not _encloses(day, date_from, date_to):
        interval = f"{columns.date_from} {_text(date_from)} and {columns.date_to} {_text(date_to)}"
        return _bad(f"{_text(day)} does not lie between {interval}; {_MEND}")
    confidence = None if is_missing(sure) else _share(sure)
    if confidence is not None and math.isnan(confidence):
        return _bad(f"{sure!r} in column {columns.confidence} is not a number from 0 to 1; {_MEND}")
    return When(day, date_from, date_to, confidence)


def _bad(detail: str) -> Fault:
    return fault(Reason.BAD_DATE, detail)


def _encloses(day: datetime, date_from: datetime | None, date_to: datetime | None) -> bool:
    if date_from is not None and date_to is not None and date_from >= date_to:
        return False
    return (date_from is None or date_from <= day) and (date_to is None or day <= date_to)


def _share(value: Any) -> float:
    """Return a number from 0 to 1; NaN for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if 0.0 <= number <= 1.0 else math.nan


def _text(day: datetime | None) -> str:
    return f"{day:%Y-%m-%d}" if day is not None else "(blank)"
