"""The whole of dating, from an inventory and a source to the tables; for any driver that runs functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa

from pipeline.cluster import Runner
from pipeline.dating.assign import DatedRow, Known, Method, assign
from pipeline.dating.compat import date_by_published_rule
from pipeline.dating.interval import IntervalRules, date_by_interval
from pipeline.dating.look import look
from pipeline.dating.polygons import Polygons, days_in, read_polygons, shares_in
from pipeline.dating.reading import BANDS
from pipeline.dating.series import Finding, Observation, series_of
from pipeline.dating.tables import dated_table, joined_series, series_table
from pipeline.dating.targets import Grounds
from pipeline.errors import RecipeError
from pipeline.grid import Integers
from pipeline.plan.candidates import scenes_with
from pipeline.plan.choices import MASK_BAND
from pipeline.records import Recipe, Scene
from pipeline.sources import Query, Source, cluster_places

Progress = Callable[[int, int], None]
"""Called with how many polygons are done, and how many there are."""

GROUP = 1024
"""Polygons whose outlines and observations are held at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatingRequest:
    """What a user asks for.

    Raises
    ------
    RecipeError
        `end` is before `start`.
    """

    recipe: Recipe
    """Its `places` say how the inventory is read, its `collections` which Sentinel-2 collection is searched."""
    places: str
    start: date
    end: date
    """Last day of images."""
    method: Method = "interval"
    rules: IntervalRules = field(default_factory=IntervalRules)
    is_all: bool = False
    """True looks at polygons with a date of their own, too; compat always does."""

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise RecipeError(f"the end, {self.end}, is before the start, {self.start}")

    def date_of(self, observations: Sequence[Observation]) -> Finding:
        """Return what the method says about a polygon."""
        if self.method == "compat":
            return date_by_published_rule(series_of(observations))
        return date_by_interval(series_of(observations, min_clear=self.rules.min_clear), self.rules)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dated:
    """What dating made."""

    rows: tuple[DatedRow, ...]
    """One for each row of the inventory, in its order."""
    table: pa.Table
    """The inventory with its dates, as GeoParquet."""
    series: pa.Table
    """One row for each polygon and acquisition."""
    unreadable: int
    """Observations that could not be read."""


def date_inventory(request: DatingRequest, source: Source, runner: Runner, progress: Progress) -> Dated:
    """Date an inventory.

    Raises
    ------
    RecipeError
        The inventory is wrong, or the source has no image of any polygon in this time.
    TransientSourceError
        The provider could not be reached now.
    """
    polygons = read_polygons(request.places, request.recipe.places)
    grounds = Grounds(ids=polygons.ids, polygons=polygons.geometries, usable=polygons.usable)
    groups = _groups(polygons, request, source)
    total = sum(len(rows) for rows, _ in groups)
    findings: dict[int, Finding] = {}
    tables: list[pa.Table] = []
    unreadable = done = 0
    progress(0, total)
    for rows, scenes in groups:
        before, size = done, len(rows)
        seen = look(
            grounds,
            rows,
            scenes,
            source=source,
            runner=runner,
            progress=lambda share, before=before, size=size: progress(before + int(share * size), total),  # type: ignore[misc]
        )
        findings |= {row: Finding(reason=reason) for row, reason in seen.undatable.items()}
        findings |= {row: request.date_of(items) for row, items in seen.observations.items()}
        tables.append(series_table([(row, item) for row, items in seen.observations.items() for item in items]))
        unreadable += seen.unreadable
        done += size
    rows_out = tuple(
        assign(known, findings.get(row), request.method) for row, known in enumerate(_known(polygons, request))
    )
    return Dated(
        rows=rows_out,
        table=dated_table(polygons, rows_out, request.recipe.places.columns, request.method),
        series=joined_series(tables),
        unreadable=unreadable,
    )


def _groups(polygons: Polygons, request: DatingRequest, source: Source) -> list[tuple[Integers, Sequence[Scene]]]:
    """Return neighbouring rows to be looked at together, and the scenes over them."""
    is_wanted = np.array([request.is_all or request.method == "compat" or day is None for day in polygons.days])
    wanted = polygons.usable[is_wanted[polygons.usable]]
    groups: list[tuple[Integers, Sequence[Scene]]] = []
    for area, members in cluster_places(list(polygons.geometries[wanted])):
        rows = wanted[list(members)]
        query = Query(product="S2L2A", footprint=area, start=_midnight(request.start), end=_midnight(request.end, 1))
        scenes = _serving(source.search(query), source)
        groups += [(rows[first : first + GROUP], scenes) for first in range(0, len(rows), GROUP)]
    if groups and not any(scenes for _, scenes in groups):
        raise RecipeError(
            f"{request.places} lies outside the archive: {source.name} has no S2L2A scene over its {len(wanted)} "
            f"polygons between {request.start} and {request.end}; check coordinates and dates"
        )
    return groups


def _serving(scenes: Sequence[Scene], source: Source) -> list[Scene]:
    needed = (*BANDS, MASK_BAND)
    serving = scenes_with(scenes, needed, None)
    if scenes and not serving:
        raise RecipeError(
            f"no scene of {source.name} has all of {', '.join(needed)}, which dating needs: name another collection"
        )
    return serving


def _midnight(day: date, later: int = 0) -> datetime:
    return datetime.combine(day, time(), UTC) + timedelta(days=later)


def _known(polygons: Polygons, request: DatingRequest) -> list[Known]:
    columns, table = request.recipe.places.columns, polygons.table
    names = (columns.date_from, columns.date_to, "pre_date", "post_date")
    stated = zip(
        polygons.days,
        *(days_in(table, name) for name in names),
        shares_in(table, columns.confidence),
        polygons.reasons,
        strict=True,
    )
    return [
        Known(
            event=_day(event), date_from=_day(first), date_to=_day(last), pre=_day(pre), post=_day(post),
            confidence=confidence, reason=reason,
        )
        for event, first, last, pre, post, confidence, reason in stated
    ]  # fmt: skip


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None
