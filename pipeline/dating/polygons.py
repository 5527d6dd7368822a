"""Reading an inventory that may lack dates or geometries: every row is kept, and why it cannot be used is said."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from pipeline.errors import RecipeError
from pipeline.grid import NORTH, SOUTH, Geometries, cut_at_antimeridian
from pipeline.records import Reason
from pipeline.records.recipe import Columns, Places
from pipeline.sampling.shapes import unwrapped
from pipeline.sampling.tables import column_of, day_of, ids_of, open_places, refusal, to_lonlat_frame

_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Polygons:
    """All rows of an inventory, in its order."""

    table: pd.DataFrame
    """The inventory's columns without the geometry."""
    ids: tuple[str, ...]
    days: tuple[datetime | None, ...]
    """The inventory's own date of each row; None where it is missing, impossible or not ISO."""
    geometries: Geometries
    """Lon/lat on WGS 84 as the inventory has them, cut at the antimeridian; None where there is none."""
    reasons: tuple[str, ...]
    """Why a geometry cannot be used; empty where it can."""

    @property
    def usable(self) -> NDArray[np.int64]:
        """Rows whose geometry can be used."""
        return np.flatnonzero([not reason for reason in self.reasons])


def read_polygons(path: str | Path, places: Places) -> Polygons:
    """Read every row of an inventory, dated or not.

    Identifiers are those of the recipe's column; where it names none, of a column `id` if its values are unique, else
    the rows' numbers from 1. An inventory without the default date column is wholly undated.

    Raises
    ------
    RecipeError
        The file is missing, unreadable, empty or without polygons, says no CRS, lacks a column that the recipe names,
        or repeats identifiers.
    """
    table = open_places(path)
    if (
        not isinstance(table, gpd.GeoDataFrame)
        or not np.isin(table.geom_type.dropna(), ["Polygon", "MultiPolygon"]).any()
    ):
        raise refusal(f"{path} holds no polygons: an inventory is a GeoPackage, GeoJSON, Shapefile or GeoParquet file")
    geometries, reasons = _geometries(table, path)
    return Polygons(
        table=pd.DataFrame(table.drop(columns=table.geometry.name)),
        ids=tuple(_ids(table, places.columns, path)),
        days=tuple(_days(table, places.columns, path)),
        geometries=geometries,
        reasons=tuple(reasons),
    )


def _ids(table: pd.DataFrame, columns: Columns, path: str | Path) -> list[str]:
    if columns.id is None and "id" in table.columns:
        try:
            return ids_of(table, "id", path=path)
        except RecipeError:
            return ids_of(table, None, path=path)
    return ids_of(table, columns.id, path=path)


def _days(table: pd.DataFrame, columns: Columns, path: str | Path) -> list[datetime | None]:
    if columns.date not in table.columns and columns.date == Columns().date:
        return [None] * len(table)
    return [day_of(value) for value in column_of(table, columns.date, path=path, key="date")]


def _geometries(table: Any, path: str | Path) -> tuple[Geometries, list[str]]:
    source: Geometries = shapely.force_2d(np.asarray(table.geometry.array, np.object_))
    lonlat = np.asarray(
        to_lonlat_frame(table.set_geometry(source, crs=table.crs), path=path).geometry.array, np.object_
    )
    is_absent = shapely.is_missing(source) | shapely.is_empty(source)
    bounds = shapely.bounds(lonlat)
    west, south, east, north = bounds.T
    on_globe = (west >= -180.0) & (east <= 180.0) & (south >= -90.0) & (north <= 90.0)
    is_polygon = np.isin(shapely.get_type_id(source), _POLYGONS)
    whole = lonlat.copy()
    usable = ~is_absent & on_globe & is_polygon
    whole[usable] = cut_at_antimeridian(unwrapped(lonlat[usable]))
    # Reprojection may push a hole through a shell that it touched: judge a projected polygon as it was drawn.
    judged = source if table.crs is not None and table.crs.is_projected else whole
    is_valid = usable & shapely.is_valid(judged)
    reached = (south >= SOUTH) & (north <= NORTH)
    reasons = np.select(
        [is_absent, ~is_valid, ~reached],
        [str(Reason.NO_GEOMETRY), str(Reason.INVALID_GEOMETRY), str(Reason.OUTSIDE_SOURCE)],
        "",
    )
    return whole, [str(reason) for reason in reasons]


def shares_in(table: pd.DataFrame, column: str) -> Sequence[float | None]:
    """Return the numbers from 0 to 1 of a column, None where a cell holds none; all None without such a column."""
    if column not in table.columns:
        return [None] * len(table)
    numbers = pd.to_numeric(table[column], errors="coerce").tolist()
    return [float(number) if 0.0 <= number <= 1.0 else None for number in numbers]


def days_in(table: pd.DataFrame, column: str) -> Sequence[datetime | None]:
    """Return the days of a column, None where a cell holds none; all None where there is no such column."""
    return [day_of(value) for value in table[column].tolist()] if column in table.columns else [None] * len(table)
