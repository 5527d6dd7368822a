"""Places that a file gives, published or a user's own: taken as they are, after checks."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from pipeline.grid import Floats, wrap_longitude
from pipeline.records import Recipe
from pipeline.sampling.draw import Drawn
from pipeline.sampling.land import open_land
from pipeline.sampling.overlap import SquareIndex, reach_of, squares_of
from pipeline.sampling.points import points_of
from pipeline.sampling.tables import ids_of, open_places, refusal, region_of, to_lonlat_frame

_DIGITS = 7
"""Digits of published ids: v1.0's coordinates file has them without leading zeros."""

_FEWEST_TO_DOUBT = 10
"""Places from which on a file with nothing on land is doubted."""

_NO_DRAWS = {"id": "str", "attempt": "int64", "lon": "float64", "lat": "float64", "reason": "str", "overlapped": "str"}


def match_places(path: str | Path, recipe: Recipe, *, land: str | Path | None = None) -> Drawn:
    """Return the places of a file, by id: nothing is drawn or rejected, and coordinates stay as given.

    Parameters
    ----------
    path : str or Path
        Whatever `read_points` reads, and CSV of id, lon, lat without a header, as published with SSL4EO-S12 v1.0,
        whose whole numbers become ids of seven digits.
    recipe : Recipe
        Column names, and the patches that `overlapping` is counted for.
    land : str or Path, optional
        Polygons of land, by default GLOBE; they give swapped coordinates away.

    Raises
    ------
    RecipeError
        As `read_points` does, for repeated ids among others; or longitude and latitude are swapped.
    """
    table = _opened(path, recipe)
    samples = points_of(table, path=path, recipe=recipe)
    column = recipe.places.columns.id or ("id" if "id" in table.columns else None)
    ids = ids_of(table, column, path=path, prefix=f"{region_of(path, recipe.places.region)}_")
    order = np.argsort(np.array(ids, np.object_), kind="stable")
    lon, lat = (axis[order] for axis in _given(table, path=path, recipe=recipe))
    _refuse_swapped(lon, lat, path=path, land=land)
    squares = squares_of([sample.grid for sample in samples])
    one, other = SquareIndex(squares, reach=reach_of(recipe.step)).overlaps(squares)
    blank = {"city": "", "country": "", "region": "", "attempts": 0}
    return Drawn(
        places=pd.DataFrame({"id": [sample.id for sample in samples], "lon": lon, "lat": lat, **blank}),
        rejected=pd.DataFrame(columns=list(_NO_DRAWS)).astype(_NO_DRAWS),
        unplaced=(),
        overlapping=int((one < other).sum()),
        sources=(Path(path).name,),
        settings={"match": Path(path).name},
    )


def _opened(path: str | Path, recipe: Recipe) -> pd.DataFrame:
    table = open_places(path)
    if Path(path).suffix.lower() != ".csv" or not all(_is_number(name) for name in table.columns):
        return table
    if len(table.columns) != 3:
        raise refusal(f"{path} has no header: give it one, or the three columns id, lon, lat")
    columns = recipe.places.columns
    names = [columns.id or "id", columns.lon, columns.lat]
    bare = pd.read_csv(
        path, header=None, names=names, dtype=str, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig"
    )
    if bare[names[0]].str.fullmatch(r"\d+").all():
        bare[names[0]] = bare[names[0]].str.zfill(_DIGITS)
    return bare


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True


def _given(table: pd.DataFrame, *, path: str | Path, recipe: Recipe) -> tuple[Floats, Floats]:
    """Return the coordinates as the file has them; `points_of` has checked that they are numbers."""
    if isinstance(table, gpd.GeoDataFrame):
        places = np.asarray(to_lonlat_frame(table, path=path).geometry.array, np.object_)
        return wrap_longitude(shapely.get_x(places)), shapely.get_y(places)
    columns = recipe.places.columns
    lon, lat = (np.asarray(pd.to_numeric(table[name]), np.float64) for name in (columns.lon, columns.lat))
    return wrap_longitude(lon), lat


def _refuse_swapped(lon: Floats, lat: Floats, *, path: str | Path, land: str | Path | None) -> None:
    if len(lon) < _FEWEST_TO_DOUBT or np.abs(lon).max() > 90.0:
        return
    there = open_land(land)
    if there.holds(lon=lon, lat=lat).any() or not there.holds(lon=lat, lat=lon).all():
        return
    raise refusal(
        f"{path}: none of {len(lon)} places is on land, but all are when longitude and latitude are swapped; "
        "swap the two columns"
    )
