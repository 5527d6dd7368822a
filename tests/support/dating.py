"""Series made by hand, and the published dating told again without sharing a line with the package's."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from pipeline.dating.series import Observation, Series

STEP_DAY = date(2021, 1, 5)
"""First image of the step series that shows the slide."""


def make_series(
    ndvi: Sequence[float], undisturbed: Sequence[float] | float = 0.8, *, start: str = "2020-01-01", every: int = 10
) -> Series:
    days = np.datetime64(start, "D") + every * np.arange(len(ndvi))
    ring = np.broadcast_to(np.asarray(undisturbed, float), len(ndvi)).copy()
    return Series(days=days, ndvi=np.asarray(ndvi, float), undisturbed=ring)


def step_series() -> Series:
    """74 samples every ten days, 37 of them after a fall from 0.8 to 0.2 on `STEP_DAY`."""
    return make_series([0.8] * 37 + [0.2] * 37)


def make_observation(day: int, ndvi: float | None, ring: float | None = 0.8, **changes: object) -> Observation:
    """What an image `day` days after the first of 2020 shows."""
    acquired = datetime(2020, 1, 1, 10, tzinfo=UTC) + timedelta(days=day)
    fields = {"id": "a", "file_id": f"f{day}", "pixels": 10, "pixels_undisturbed": 90, "clear": 1.0, **changes}
    return Observation(acquired=acquired, ndvi=ndvi, ndvi_undisturbed=ring, **fields)


def smoothed(values: Sequence[float], span: int) -> list[float]:
    weight, out = 2.0 / (span + 1.0), [values[0]]
    for value in values[1:]:
        out.append(weight * value + (1.0 - weight) * out[-1])
    return out


def months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = (date(year + (month == 11), (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))


def published(days: Sequence[date], ndvi: Sequence[float], undisturbed: Sequence[float]) -> dict[str, object] | None:
    """The rule of dating_module.py as prose has it, one sample at a time; None where there is no date."""
    count = len(days)
    if count < 4:
        return None
    green, ring = smoothed(ndvi, 3), smoothed(undisturbed, 5)
    best: dict[str, object] | None = None
    for i in range(count - 1):
        if green[i + 1] - green[i] > -0.20:
            continue
        if not months_later(days[0], 3) <= days[i] <= months_later(days[-1], -3):
            continue
        before = [green[j] for j in range(count) if timedelta(0) < days[i] - days[j] <= timedelta(days=365)]
        after = [green[j] for j in range(count) if timedelta(0) < days[j] - days[i] <= timedelta(days=365)]
        level = (
            sorted(before)[len(before) // 2] if len(before) % 2 else sum(sorted(before)[len(before) // 2 - 1 :][:2]) / 2
        )
        persistence = sum(value < level for value in after) / len(after)
        run = 0
        while i + 1 + run < count and green[i + 1 + run] < ring[i + 1 + run]:
            run += 1
        spread = max(ring) - min(green)
        magnitude = max(0.0, ring[i] - green[i]) / spread if spread > 0 else 0.0
        confidence = 0.4 * run / count + 0.4 * persistence + 0.2 * magnitude
        if best is None or confidence > best["confidence"]:
            earlier = range(max(0, i - 10), i)
            later = range(i + 1, min(count, i + 10))
            best = {
                "before": days[max(earlier, key=lambda j: green[j])],
                "event": days[i],
                "after": days[min(later, key=lambda j: green[j])],
                "magnitude": magnitude,
                "persistence": persistence,
                "duration": run / count,
                "confidence": confidence,
            }
    return best
