"""Dating by an interval: the last clear image without the slide, and the first one with it.

What is looked at is NDVI of the polygon less that of the undisturbed ring, which takes seasons, droughts and what is
left of haze out. The series is never interpolated: a gap in it makes the interval longer, not the answer wrong.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from pipeline.dating.series import Finding, Series, Undatable
from pipeline.errors import RecipeError

_CERTAIN = 2.0
"""Falls of so many times the least one have the full strength."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalRules:
    """What counts as a landslide in a series.

    Raises
    ------
    RecipeError
        A value is out of its range.
    """

    min_drop: float = 0.2
    """Least fall of the median of NDVI relative to the ring [0 to 2]."""
    min_observations: int = 3
    """Least number of clear days before and after it, each."""
    window: int = 365
    """Days before and after it that are compared."""
    min_clear: float = 0.5
    """Least clear share of the polygon's pixels on a day that counts [1]."""

    def __post_init__(self) -> None:
        if not 0.0 < self.min_drop <= 2.0:
            raise RecipeError(f"min-drop must be above 0 and at most 2, got {self.min_drop}")
        if self.min_observations < 1:
            raise RecipeError(f"min-observations must be at least 1, got {self.min_observations}")
        if self.window < 1:
            raise RecipeError(f"window must be at least 1 day, got {self.window}")
        if not 0.0 <= self.min_clear <= 1.0:
            raise RecipeError(f"min-clear must be between 0 and 1, got {self.min_clear}")


@njit(nogil=True, cache=True)
def _spread(values, level):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(values.size):
        total += abs(values[i] - level)
    return total


@njit(nogil=True, cache=True)
def _judge_splits(days, relative, window, fewest, out):  # type: ignore[no-untyped-def]
    """Fill `out` (3, n - 1) with the levels before and after each split, and with what two levels gain over one."""
    for index in range(days.size - 1):
        first = np.searchsorted(days, days[index] - window, side="left")
        last = np.searchsorted(days, days[index + 1] + window, side="right")
        # A long gap must not leave fewer samples than the rules ask for.
        first = max(0, min(first, index + 1 - fewest))
        last = min(days.size, max(last, index + 1 + fewest))
        before, after, both = relative[first : index + 1], relative[index + 1 : last], relative[first:last]
        out[0, index] = np.median(before)
        out[1, index] = np.median(after)
        apart = _spread(before, out[0, index]) + _spread(after, out[1, index])
        out[2, index] = _spread(both, np.median(both)) - apart


def date_by_interval(series: Series, rules: IntervalRules) -> Finding:
    """Find the interval in which one polygon lost its vegetation.

    Of all places where the median of the window falls by `min_drop` or more, the one where two levels describe the
    window best, in absolute differences, is the event; the earliest of equals. Where it has too few samples on one
    side, the polygon is not dated: the next best place would be a wrong one.

    Parameters
    ----------
    series : Series
        Days with at least `rules.min_clear` of the polygon clear.
    rules : IntervalRules
        What counts as a landslide.

    Returns
    -------
    Finding
        `before` and `after` are the days of the last clear image without and the first one with the slide, so the
        event lies in (before, after]; `event` is `after`, the first day on which the slide is seen to be there.
        Magnitude is the fall of the median [NDVI]; persistence the share of all later samples below the middle of the
        two levels; duration that of the uninterrupted run of these; confidence 0.4 · duration + 0.4 · persistence +
        0.2 · magnitude / (2 · `min_drop`), the last term at most 0.2.
    """
    count = len(series.days)
    if count < 2 * rules.min_observations:
        return Finding(observations=count, reason=str(Undatable.TOO_FEW_OBSERVATIONS))
    relative = series.ndvi - series.undisturbed
    before, after, gains = _splits(series.days, relative, rules)
    found = np.flatnonzero(before - after >= rules.min_drop)
    if not found.size:
        return Finding(observations=count, reason=str(Undatable.NO_DROP))
    best = int(found[np.argmax(gains[found])])
    if min(best + 1, count - 1 - best) < rules.min_observations:
        return Finding(observations=count, reason=str(Undatable.TOO_FEW_OBSERVATIONS))
    return _finding(series.days, relative, best, (float(before[best]), float(after[best])), rules)


def _splits(days: NDArray[np.datetime64], relative: NDArray[np.float64], rules: IntervalRules) -> NDArray[np.float64]:
    """Return levels before and after, and the gain, float64 (3, n - 1), of the split after each sample."""
    out = np.empty((3, len(days) - 1), np.float64)
    _judge_splits(days.astype(np.int64), relative, rules.window, rules.min_observations, out)
    # Equal gains shall be equal in spite of the order of their sums.
    out[2] = out[2].round(9)
    return out


def _finding(
    days: NDArray[np.datetime64],
    relative: NDArray[np.float64],
    index: int,
    levels: tuple[float, float],
    rules: IntervalRules,
) -> Finding:
    level_before, level_after = levels
    magnitude = level_before - level_after
    is_low = relative[index + 1 :] < level_after + 0.5 * magnitude
    persistence = float(is_low.mean())
    duration = float(np.cumprod(is_low).sum() / is_low.size)
    strength = min(1.0, magnitude / (_CERTAIN * rules.min_drop))
    after = _day(days[index + 1])
    return Finding(
        before=_day(days[index]),
        event=after,
        after=after,
        magnitude=magnitude,
        persistence=persistence,
        duration=duration,
        confidence=0.4 * duration + 0.4 * persistence + 0.2 * strength,
        observations=len(days),
    )


def _day(moment: np.datetime64) -> date:
    return pd.Timestamp(moment).date()
