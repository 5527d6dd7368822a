"""Landslide inventories: dated polygons read from a vector file, judged row by row, in lon/lat."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from pipeline.grid import Geometries
from pipeline.records import Event, Reason, RejectedEvent
from pipeline.records.recipe import Places
from pipeline.sampling.dates import When, days_of
from pipeline.sampling.duplicates import SAME, duplicates_of
from pipeline.sampling.faults import Fault, fault
from pipeline.sampling.shapes import polygons_of
from pipeline.sampling.tables import ids_of, names_of, open_places, refusal, region_of, slug_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Dated landslide polygons of one region or several, and the rows that cannot be used."""

    name: str
    """What errors call it; the region of events that name none."""
    events: tuple[Event, ...]
    """By date and id; polygons are cut at the antimeridian."""
    rejected: tuple[RejectedEvent, ...] = ()
    """By id."""

    def region_of(self, event: Event) -> str:
        """Return the region that an event belongs to: the prefix of the ids of its samples."""
        return event.region or self.name


def read_inventory(path: str | Path, places: Places) -> Inventory:
    """Read dated polygons from a GeoPackage, GeoJSON, Shapefile (also zipped) or GeoParquet file of any CRS.

    A row that cannot be used is rejected with a reason, and the others stay: no polygon, an invalid one or one outside
    the UTM zones; a date that is none, or that its own interval contradicts (see `dates.days_of`); a region whose name
    is taken; the same ground on the same day as an earlier row.

    Raises
    ------
    RecipeError
        The file is missing, unreadable or empty, says no CRS, lacks a column, or has no row that can be used; ids
        repeat. One line with the path and what to do.
    """
    return inventory_of(open_places(path), path=path, places=places)


def inventory_of(table: pd.DataFrame, *, path: str | Path, places: Places) -> Inventory:
    """Return the inventory that an opened places file holds; see `read_inventory`."""
    if not isinstance(table, gpd.GeoDataFrame):
        raise refusal(f"{path} holds no polygons: an inventory is a GeoPackage, GeoJSON, Shapefile or GeoParquet file")
    if table.empty:
        raise refusal(f"{path} is empty: an inventory needs at least one polygon with a date")
    ids = ids_of(table, places.columns.id, path=path)
    regions = _regions(table, places, path=path)
    whens = days_of(table, places.columns, path=path)
    polygons, shape_faults = polygons_of(table, path=path)
    faults: dict[int, Fault] = {}
    for index, (shape, when) in enumerate(zip(shape_faults, whens, strict=True)):
        if shape is not None:
            faults[index] = shape
        elif isinstance(when, Fault):
            faults[index] = when
    days = {index: when for index, when in enumerate(whens) if isinstance(when, When) and index not in faults}
    faults |= _taken_names(regions, {index: when.day for index, when in days.items()})
    faults |= _repeated([index for index in days if index not in faults], ids, days, polygons)
    _require_events(faults, ids, path=path)
    wkb = [b"" if polygon is None else shapely.to_wkb(polygon) for polygon in polygons]
    slugs = regions if places.columns.region is None else [slug_of(name) for name in regions]
    events = [
        Event(
            id=ids[index], date=when.day, wkb=wkb[index], date_from=when.date_from, date_to=when.date_to,
            confidence=when.confidence, region=slugs[index],
        )
        for index, when in days.items()
        if index not in faults
    ]  # fmt: skip
    rejected = [
        RejectedEvent(id=ids[i], region=slugs[i], reason=str(bad.reason), detail=bad.detail, wkb=wkb[i])
        for i, bad in faults.items()
    ]
    return Inventory(
        name=region_of(path, places.region),
        events=tuple(sorted(events, key=attrgetter("date", "id"))),
        rejected=tuple(sorted(rejected, key=attrgetter("id"))),
    )


def _regions(table: pd.DataFrame, places: Places, *, path: str | Path) -> list[str]:
    """Return the name of each row's region as the file or the recipe spells it."""
    column = places.columns.region
    if column is None:
        return [region_of(path, places.region)] * len(table)
    if places.region is not None:
        raise refusal(
            f"places.region {places.region} names one region, places.columns.region {column} several: set one to null"
        )
    return names_of(table, column, path=path, key="region")


def _taken_names(regions: Sequence[str], days: Mapping[int, datetime]) -> dict[int, Fault]:
    """Return the rows whose region shares its slug with one of an earlier day, or of an earlier name that day."""
    first: dict[str, tuple[datetime, str]] = {}
    for index, day in days.items():
        slug, claim = slug_of(regions[index]), (day, regions[index])
        first[slug] = min(first.get(slug, claim), claim)
    holders = {slug: name for slug, (_, name) in first.items()}
    return {
        index: fault(
            Reason.REGION_NAME_TAKEN,
            f"region {regions[index]!r} would be called {slug_of(regions[index])}, as is "
            f"{holders[slug_of(regions[index])]!r}; spell one of them otherwise, or both alike if they are one",
        )
        for index in days
        if regions[index] != holders[slug_of(regions[index])]
    }


def _repeated(
    rows: Sequence[int], ids: Sequence[str], days: Mapping[int, When], polygons: Geometries
) -> dict[int, Fault]:
    """Return the rows that cover the same ground on the same day as one before them by date and id."""
    ordered = sorted(rows, key=lambda index: (days[index].day, ids[index]))
    found = duplicates_of(polygons[np.array(ordered, np.int64)], [days[index].day for index in ordered])
    return {
        ordered[index]: fault(
            Reason.DUPLICATE,
            f"same day and at least {SAME:.0%} the same ground as event {ids[ordered[kept]]}; remove one of them",
        )
        for index, kept in found.items()
    }


def _require_events(faults: Mapping[int, Fault], ids: Sequence[str], *, path: str | Path) -> None:
    if len(faults) < len(ids):
        return
    counts = Counter(str(bad.reason) for bad in faults.values())
    listed = ", ".join(f"{count} × {reason}" for reason, count in sorted(counts.items()))
    first = min(faults)
    raise refusal(
        f"{path}: none of {len(ids)} events can be used: {listed} (first: event {ids[first]}: {faults[first].detail})"
    )
