"""What dating looks at and what it finds: observations of a polygon, its series of days, and a finding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Reason


class Undatable(StrEnum):
    """Why a polygon gets no date; stable codes, beside those of `Reason` that concern geometries and coverage."""

    TOO_FEW_OBSERVATIONS = "too_few_observations"
    NO_DROP = "no_drop"
    DROP_AT_EDGE = "drop_at_edge"
    NO_UNDISTURBED_GROUND = "no_undisturbed_ground"
    TOO_LARGE = "too_large"


REASONS: Mapping[str, str] = {
    Undatable.TOO_FEW_OBSERVATIONS: "too few clear images of polygon and surroundings",
    Undatable.NO_DROP: "the vegetation index never falls and stays low",
    Undatable.DROP_AT_EDGE: "it falls only within three months of the first or last image",
    Undatable.NO_UNDISTURBED_GROUND: "other polygons cover all ground around the polygon",
    Undatable.TOO_LARGE: "polygon and surroundings are wider than 20 km",
    Reason.NO_GEOMETRY: "the geometry is null or empty",
    Reason.INVALID_GEOMETRY: "the geometry is no valid polygon on the globe",
    Reason.OUTSIDE_SOURCE: "the source has no image of it in this time",
}
"""What each code means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one acquisition shows of a polygon and of the ring around it."""

    id: str
    """The polygon."""
    acquired: datetime
    """UTC, whole seconds."""
    file_id: str
    ndvi: float | None
    """Robust median of the clear pixels in the polygon [-1 to 1]; None where none is clear."""
    ndvi_undisturbed: float | None
    """The same in the ring; None where none is clear, or the polygon is not seen and the ring was not read."""
    pixels: int
    """Clear pixels in the polygon."""
    pixels_undisturbed: int
    """Clear pixels in the ring; 0 where it was not read."""
    clear: float
    """Clear share of the polygon's pixels [1]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Observations that show both polygon and ring, one for a day, oldest first."""

    days: NDArray[np.datetime64]
    """datetime64[D] (n,), ascending, no day twice."""
    ndvi: NDArray[np.float64]
    """(n,) in the polygon [-1 to 1]."""
    undisturbed: NDArray[np.float64]
    """(n,) in the ring [-1 to 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a method says about one polygon."""

    before: date | None = None
    """Last day without the slide, by the rules of the method."""
    event: date | None = None
    """Day of the event; None where the polygon cannot be dated."""
    after: date | None = None
    """Day by which the slide had come down, by the rules of the method."""
    magnitude: float | None = None
    persistence: float | None = None
    duration: float | None = None
    confidence: float = 0.0
    """[0 to 1]."""
    observations: int = 0
    """Length of the series that was looked at."""
    reason: str = ""
    """Why there is no date."""


def series_of(observations: Sequence[Observation], *, min_clear: float = 0.0) -> Series:
    """Return the series of one polygon; of several observations on one day the one with most clear pixels stays.

    Parameters
    ----------
    observations : sequence of Observation
        Of one polygon, in any order.
    min_clear : float
        Least clear share of the polygon [1].
    """
    by_day: dict[date, Observation] = {}
    for seen in sorted(observations, key=attrgetter("acquired", "file_id")):
        if seen.ndvi is None or seen.ndvi_undisturbed is None or seen.clear < min_clear:
            continue
        held = by_day.get(seen.acquired.date())
        if held is None or seen.pixels > held.pixels:
            by_day[seen.acquired.date()] = seen
    kept = list(by_day.values())
    return Series(
        days=np.array([seen.acquired.date() for seen in kept], "datetime64[D]"),
        ndvi=np.array([seen.ndvi for seen in kept], np.float64),
        undisturbed=np.array([seen.ndvi_undisturbed for seen in kept], np.float64),
    )
