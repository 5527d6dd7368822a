"""Points files: one patch around each named place."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from pipeline.errors import RecipeError
from pipeline.grid import Floats, centres, epsg_of, patches_around
from pipeline.records import Recipe, Sample
from pipeline.sampling.tables import (
    column_of,
    day_of,
    ids_of,
    is_missing,
    open_places,
    refusal,
    refuse_any,
    region_of,
    to_lonlat_frame,
)

_ID = re.compile(r"[A-Za-z0-9._-]+")
_USUAL_DATES = ("event_date", "date")
"""Date columns that a points file may do without."""


def read_points(path: str | Path, recipe: Recipe) -> tuple[Sample, ...]:
    """Read places from a CSV or Parquet table, or a vector file of points, and put a patch around each.

    Identifiers are text (leading zeros stay) and come from `places.columns.id`, else from a column `id`, else they are
    the region and the row's number from 1. A row's date is its own, else `places.date`, else none.

    Returns
    -------
    tuple of Sample
        By id; in the UTM zone of each point, or in `places.crs`. Patches may overlap.

    Raises
    ------
    RecipeError
        The file is missing, unreadable or empty; a column is missing; ids are empty, repeated or hold other characters
        than letters, digits, '.', '_' and '-'; a place is no number or not on the globe; a date is not ISO.
    """
    return points_of(open_places(path), path=path, recipe=recipe)


def points_of(table: pd.DataFrame, *, path: str | Path, recipe: Recipe) -> tuple[Sample, ...]:
    """Return the samples of an opened points file; see `read_points`."""
    if table.empty:
        raise refusal(f"{path} is empty: a points file needs at least one row")
    region = region_of(path, recipe.places.region)
    ids = _ids(table, path=path, recipe=recipe, region=region)
    names = [f"point {id_}" for id_ in ids]
    places = _places(table, names, path=path, recipe=recipe)
    dates = _dates(table, names, path=path, recipe=recipe)
    epsg = None if recipe.places.crs is None else epsg_of(recipe.places.crs)
    try:
        grids = patches_around(lon=places[:, 0], lat=places[:, 1], recipe=recipe, epsg=epsg)
    except RecipeError as err:
        raise refusal(f"{path}: {err}; remove that row") from err
    samples = [
        Sample(id=id_, region=region, grid=grid, lon=place.lon, lat=place.lat, date=date, is_annotated=False)
        for id_, grid, place, date in zip(ids, grids, centres(grids), dates, strict=True)
    ]
    return tuple(sorted(samples, key=lambda sample: sample.id))


def _ids(table: pd.DataFrame, *, path: str | Path, recipe: Recipe, region: str) -> list[str]:
    column = recipe.places.columns.id
    if column is None and "id" in table.columns:
        column = "id"
    ids = ids_of(table, column, path=path, prefix=f"{region}_")
    refuse_any(
        np.array([_ID.fullmatch(id_) is None for id_ in ids]),
        [repr(id_) for id_ in ids],
        path=path,
        what="ids hold other characters than letters, digits, '.', '_' and '-'",
        advice="rename them",
    )
    return ids


def _places(table: Any, names: Sequence[str], *, path: str | Path, recipe: Recipe) -> Floats:
    if isinstance(table, gpd.GeoDataFrame):
        lon, lat = _from_geometry(table, names, path=path)
    else:
        columns = recipe.places.columns
        lon = _numbers(table, columns.lon, names, path=path, key="lon")
        lat = _numbers(table, columns.lat, names, path=path, key="lat")
    spelled = [f"{name} at lon {x:.6g}, lat {y:.6g}" for name, x, y in zip(names, lon, lat, strict=True)]
    for is_off, what in ((np.abs(lon) > 180.0, "longitudes leave ±180"), (np.abs(lat) > 90.0, "latitudes leave ±90")):
        refuse_any(is_off, spelled, path=path, what=what, advice="check that longitude and latitude are not swapped")
    return np.stack([lon, lat], axis=1)


def _from_geometry(table: Any, names: Sequence[str], *, path: str | Path) -> tuple[Floats, Floats]:
    geometry = np.asarray(table.geometry.array, np.object_)
    is_place = (shapely.get_type_id(geometry) == shapely.GeometryType.POINT) & ~shapely.is_empty(geometry)
    refuse_any(~is_place, names, path=path, what="geometries are not points", advice="remove these rows")
    lonlat = np.asarray(to_lonlat_frame(table, path=path).geometry.array, np.object_)
    return shapely.get_x(lonlat), shapely.get_y(lonlat)


def _numbers(table: pd.DataFrame, column: str, names: Sequence[str], *, path: str | Path, key: str) -> Floats:
    values = column_of(table, column, path=path, key=key)
    numbers = np.asarray(pd.to_numeric(pd.Series(values, dtype=object), errors="coerce"), np.float64)
    refuse_any(
        ~np.isfinite(numbers),
        [f"{name}, {value!r}" for name, value in zip(names, values, strict=True)],
        path=path,
        what=f"values of column {column} are not numbers",
        advice="write degrees as in -12.345",
    )
    return numbers


def _dates(table: pd.DataFrame, names: Sequence[str], *, path: str | Path, recipe: Recipe) -> list[datetime | None]:
    default = day_of(recipe.places.date)
    if recipe.places.date is not None and default is None:
        raise refusal(f"places.date must be YYYY-MM-DD, got {recipe.places.date!r}")
    column = _date_column(table, recipe.places.columns.date)
    if column is None:
        return [default] * len(table)
    values = column_of(table, column, path=path, key="date")
    days = [day_of(value) for value in values]
    refuse_any(
        np.array([day is None and not is_missing(value) for day, value in zip(days, values, strict=True)]),
        [f"{name}, {value!r}" for name, value in zip(names, values, strict=True)],
        path=path,
        what=f"dates in column {column} are not YYYY-MM-DD",
        advice="mend them, or leave them blank to use places.date",
    )
    return [default if day is None else day for day in days]


def _date_column(table: pd.DataFrame, asked: str) -> str | None:
    if asked in table.columns or asked not in _USUAL_DATES:
        return asked
    return "date" if "date" in table.columns else None
