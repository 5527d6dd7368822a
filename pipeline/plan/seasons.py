"""When, for a series of seasons: one image for each window, in the order of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.plan.request import Image
from pipeline.plan.windows import Interval
from pipeline.records import Reason

Rule = Literal["least_cloudy", "newest", "nearest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonalSeries:
    """The chosen images, oldest first, and the reasons of the seasons that have none."""

    images: tuple[Image, ...]
    missing: tuple[Reason, ...]
    alternates: tuple[tuple[Image, ...], ...]
    """For each chosen image what could stand in for it, best first."""


def select_seasons(
    images: Sequence[Image], windows: Sequence[Sequence[Interval]], *, max_bad: float, choose: Rule
) -> SeasonalSeries:
    """Choose one usable image for each season; no image serves two seasons.

    `least_cloudy` breaks ties by nearness to the window's middle, then by time and name; `newest` takes the last one,
    and `nearest` the one nearest to the middle.
    """
    taken: set[str] = set()
    chosen: list[tuple[Image, tuple[Image, ...]]] = []
    missing: list[Reason] = []
    for intervals in windows:
        offered = [image for image in images if any(start <= image.acquired < end for start, end in intervals)]
        usable = [image for image in offered if image.bad <= max_bad and image.name not in taken]
        if not usable:
            missing.append(Reason.TOO_CLOUDY if offered else Reason.NO_SCENE)
            continue
        ranked = sorted(usable, key=lambda image: _rank(image, intervals, choose))
        taken.add(ranked[0].name)
        chosen.append((ranked[0], tuple(ranked[1:])))
    chosen.sort(key=lambda pair: (pair[0].acquired, pair[0].name))
    return SeasonalSeries(
        images=tuple(image for image, _ in chosen),
        missing=tuple(missing),
        alternates=tuple(others for _, others in chosen),
    )


def _rank(image: Image, intervals: Sequence[Interval], choose: Rule) -> tuple[float, float, float, str]:
    moment = image.acquired.timestamp()
    middles = [(start.timestamp() + end.timestamp()) / 2 for start, end in intervals]
    distance = min(abs(moment - middle) for middle in middles)
    if choose == "newest":
        return (-moment, image.bad, distance, image.name)
    if choose == "nearest":
        return (distance, image.bad, moment, image.name)
    return (image.bad, distance, moment, image.name)
