"""Landslide inventories: dated polygons read from a vector file, checked, in lon/lat."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from pipeline.grid import Geometries, cut_at_antimeridian
from pipeline.records import Event
from pipeline.records.recipe import Places
from pipeline.sampling.tables import (
    column_of,
    day_of,
    ids_of,
    open_places,
    refusal,
    refuse_any,
    region_of,
    to_lonlat_frame,
)

_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Dated landslide polygons of one region."""

    name: str
    """Region: the prefix of every sample's id."""
    events: tuple[Event, ...]
    """By date and id; polygons are cut at the antimeridian."""


def read_inventory(path: str | Path, places: Places) -> Inventory:
    """Read dated polygons from a GeoPackage, GeoJSON, Shapefile (also zipped) or GeoParquet file of any CRS.

    Raises
    ------
    RecipeError
        The file is missing, unreadable or empty, or says no CRS; a date is missing or not ISO; ids repeat; a geometry
        is null, empty, invalid, not a polygon, or outside lon/lat. One line with the path and what to do.
    """
    return inventory_of(open_places(path), path=path, places=places)


def inventory_of(table: pd.DataFrame, *, path: str | Path, places: Places) -> Inventory:
    """Return the inventory that an opened places file holds; see `read_inventory`."""
    if not isinstance(table, gpd.GeoDataFrame):
        raise refusal(f"{path} holds no polygons: an inventory is a GeoPackage, GeoJSON, Shapefile or GeoParquet file")
    if table.empty:
        raise refusal(f"{path} is empty: an inventory needs at least one polygon with a date")
    ids = ids_of(table, places.columns.id, path=path)
    names = [f"event {id_}" for id_ in ids]
    values = column_of(table, places.columns.date, path=path, key="date")
    days = [day_of(value) for value in values]
    refuse_any(
        np.array([day is None for day in days]),
        [f"{name}, {value!r}" for name, value in zip(names, values, strict=True)],
        path=path,
        what=f"dates in column {places.columns.date} are missing or not YYYY-MM-DD",
        advice="mend or remove these rows, or name another column with --set places.columns.date=NAME",
    )
    wkb = shapely.to_wkb(_polygons(table, names, path=path))
    events = [
        Event(id=id_, date=day, wkb=polygon)
        for id_, day, polygon in zip(ids, days, wkb, strict=True)
        if day is not None
    ]
    name = region_of(path, places.region)
    return Inventory(name=name, events=tuple(sorted(events, key=attrgetter("date", "id"))))


def _polygons(table: Any, names: Sequence[str], *, path: str | Path) -> Geometries:
    source: Geometries = shapely.force_2d(np.asarray(table.geometry.array, np.object_))
    _refuse_shapes(source, names, path=path)
    lonlat = to_lonlat_frame(table.set_geometry(source, crs=table.crs), path=path)
    polygons = np.asarray(lonlat.geometry.array, np.object_)
    _refuse_places(shapely.bounds(polygons), names, path=path)
    polygons = _unwrapped(polygons)
    # Reprojection may push a hole through a shell that it touched: judge a projected polygon as it was drawn.
    judged = source if table.crs is not None and table.crs.is_projected else polygons
    reasons = shapely.is_valid_reason(judged)
    refuse_any(
        ~shapely.is_valid(judged),
        [f"{name}: {reason}" for name, reason in zip(names, reasons, strict=True)],
        path=path,
        what="geometries are invalid",
        advice="repair them, for example with shapely.make_valid or 'Fix geometries' in QGIS",
    )
    return cut_at_antimeridian(polygons)


def _refuse_shapes(source: Geometries, names: Sequence[str], *, path: str | Path) -> None:
    refuse_any(
        shapely.is_missing(source) | shapely.is_empty(source),
        names,
        path=path,
        what="geometries are null or empty",
        advice="remove these rows",
    )
    refuse_any(
        ~np.isin(shapely.get_type_id(source), _POLYGONS),
        [f"{name}, a {geometry.geom_type}" for name, geometry in zip(names, source, strict=True)],
        path=path,
        what="geometries are not polygons",
        advice="an inventory holds polygons only; a points file holds points only",
    )


def _refuse_places(bounds: NDArray[np.float64], names: Sequence[str], *, path: str | Path) -> None:
    west, south, east, north = bounds.T
    refuse_any(
        ~((west >= -180.0) & (east <= 180.0) & (south >= -90.0) & (north <= 90.0)),
        [f"{name}, from {box[0]:.6g} {box[1]:.6g}" for name, box in zip(names, bounds.tolist(), strict=True)],
        path=path,
        what="polygons leave longitude ±180 or latitude ±90",
        advice="check the CRS that the file states, and that longitude and latitude are not swapped",
    )


def _unwrapped(polygons: Geometries) -> Geometries:
    """Lay parts that seem to span more than half the globe, and so cross the antimeridian, out in one piece."""
    bounds = shapely.bounds(polygons)
    whole = polygons.copy()
    for index in np.flatnonzero(bounds[:, 2] - bounds[:, 0] > 180.0):
        parts = [_turned(part) for part in shapely.get_parts(polygons[index])]
        whole[index] = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return whole


def _turned(part: shapely.Polygon) -> shapely.Polygon:
    west, _, east, _ = part.bounds
    if east - west <= 180.0:
        return part
    turned: shapely.Polygon = shapely.transform(part, lambda xy: xy + 360.0 * (xy < 0.0) * [1.0, 0.0])
    return turned
