"""The published dating of Sen12Landslides, step by step, its peculiarities included (dating_module.py).

The date that it gives is that of the last image *before* the fall, the magnitude is measured before it, and the
duration is divided by the length of the whole series; `interval` does better on all three.
"""

from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.dating.series import Finding, Series, Undatable

DROP = -0.20
"""Change between neighbouring smoothed values that counts as a fall."""
EDGE_MONTHS = 3
WINDOW = np.timedelta64(365, "D")
SPAN, SPAN_UNDISTURBED = 3, 5
"""Spans of the exponential smoothing of the polygon and of the ring."""
FEWEST = 4
SEARCH = 10
"""Samples before and after the fall in which the greenest and the barest day are looked for."""
FALLBACK_DAYS = 30
"""Days around a date of the inventory where the algorithm finds none of its own."""


def date_by_published_rule(series: Series) -> Finding:
    """Date one polygon as Sen12Landslides does.

    Parameters
    ----------
    series : Series
        All days on which polygon and ring have a value.

    Returns
    -------
    Finding
        `before` and `after` are the days of the greenest sample before and the barest one after the fall; magnitude
        [1] is that of the sample before the fall, duration [1] a share of the whole series.
    """
    count = len(series.days)
    if count < FEWEST:
        return Finding(observations=count, reason=str(Undatable.TOO_FEW_OBSERVATIONS))
    smooth = Series(
        days=series.days,
        ndvi=_smoothed(series.ndvi, SPAN),
        undisturbed=_smoothed(series.undisturbed, SPAN_UNDISTURBED),
    )
    drops = np.flatnonzero(np.diff(smooth.ndvi) <= DROP)
    if not drops.size:
        return Finding(observations=count, reason=str(Undatable.NO_DROP))
    first, last = _core(smooth.days)
    inner = drops[(smooth.days[drops] >= first) & (smooth.days[drops] <= last)]
    if not inner.size:
        return Finding(observations=count, reason=str(Undatable.DROP_AT_EDGE))
    findings = [_judge(smooth, int(index)) for index in inner]
    return max(findings, key=lambda finding: finding.confidence)


def _smoothed(values: NDArray[np.float64], span: int) -> NDArray[np.float64]:
    return np.asarray(pd.Series(values).ewm(span=span, adjust=False).mean(), np.float64)


def _core(days: NDArray[np.datetime64]) -> tuple[np.datetime64, np.datetime64]:
    months = pd.DateOffset(months=EDGE_MONTHS)
    first, last = pd.Timestamp(days[0]) + months, pd.Timestamp(days[-1]) - months
    return first.to_datetime64(), last.to_datetime64()


def _judge(smooth: Series, index: int) -> Finding:
    days, ndvi, moment = smooth.days, smooth.ndvi, smooth.days[index]
    before = ndvi[(days >= moment - WINDOW) & (days < moment)]
    after = ndvi[(days > moment) & (days <= moment + WINDOW)]
    persistence = float(np.mean(after < np.median(before))) if before.size and after.size else 0.0
    is_low = ndvi[index + 1 :] < smooth.undisturbed[index + 1 :]
    duration = float(np.cumprod(is_low).sum()) / len(days)
    spread = float(smooth.undisturbed.max() - ndvi.min())
    excess = max(0.0, float(smooth.undisturbed[index] - ndvi[index]))
    magnitude = excess / spread if spread > 0.0 else 0.0
    return Finding(
        before=_day(days[_greenest(ndvi, index)]),
        event=_day(moment),
        after=_day(days[index + 1 + int(np.argmin(ndvi[index + 1 : index + SEARCH]))]),
        magnitude=magnitude,
        persistence=persistence,
        duration=duration,
        confidence=0.4 * duration + 0.4 * persistence + 0.2 * magnitude,
        observations=len(days),
    )


def _greenest(ndvi: NDArray[np.float64], index: int) -> int:
    first = max(0, index - SEARCH)
    return first + int(np.argmax(ndvi[first:index])) if index else 0


def _day(moment: np.datetime64) -> date:
    return pd.Timestamp(moment).date()
