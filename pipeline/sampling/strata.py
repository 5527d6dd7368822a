"""Strata: which regions places are drawn in, and how many in each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import shapely

from pipeline.grid import Floats, Geometries, Integers
from pipeline.sampling.cities import Cities
from pipeline.sampling.land import Flags, inside, read_polygons
from pipeline.sampling.tables import refusal

Quota = Literal["equal", "proportional"] | Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strata:
    """How places are spread over regions."""

    by: str | Path
    """`continent` or `country` of the city list, or the path of a vector file of polygons."""
    column: str = "name"
    """Column of the polygons file that names each region; polygons of one name are one region."""
    quota: Quota = "equal"
    """As many in each region, in proportion to its cities (its area where no city is drawn), or a number for each."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Regions:
    """The regions of strata, sorted by name."""

    names: tuple[str, ...]
    outlines: Geometries | None
    """Lon/lat polygon of each region, cut at the antimeridian; None where the city list says what is in a region."""

    def hold(self, region: Integers, *, lon: Floats, lat: Floats) -> Flags:
        """Tell which places [degrees] are in the region of theirs; always where there are no outlines."""
        if self.outlines is None:
            return np.ones(len(lon), np.bool_)
        held = np.zeros(len(lon), np.bool_)
        outline, place = inside(self.outlines, lon=lon, lat=lat)
        held[place[region[place] == outline]] = True
        return held


def read_regions(strata: Strata, cities: Cities | None) -> Regions:
    """Return the regions that places are to be drawn in.

    Raises
    ------
    RecipeError
        The polygons cannot be read or have no such column; the city list does not say; a quota names no region.
    """
    is_listed = str(strata.by) in {"continent", "country"}
    regions = _listed(str(strata.by), cities) if is_listed else _outlined(strata)
    if isinstance(strata.quota, str):
        return regions
    unknown = sorted(set(strata.quota) - set(regions.names))
    if unknown:
        raise refusal(f"there is no region {unknown[0]} to give a quota; there are: {', '.join(regions.names)}")
    wanted = [row for row, name in enumerate(regions.names) if strata.quota.get(name, 0) > 0]
    outlines = None if regions.outlines is None else regions.outlines[wanted]
    return Regions(names=tuple(regions.names[row] for row in wanted), outlines=outlines)


def _listed(column: str, cities: Cities | None) -> Regions:
    if cities is None:
        raise refusal(f"strata by {column} need the city sampler: give a file of polygons to draw places on land")
    names = sorted(set(cities.table[column]) - {""})
    if not names:
        raise refusal(f"{cities.source}: no city has a {column}; add that column, or give a file of polygons")
    return Regions(names=tuple(names), outlines=None)


def _outlined(strata: Strata) -> Regions:
    frame = read_polygons(strata.by)
    if strata.column not in frame.columns:
        others = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name)
        raise refusal(f"{strata.by} has no column {strata.column} to name its regions; its columns are: {others}")
    labels = frame[strata.column].astype(str).str.strip().to_numpy()
    names = sorted(set(labels) - {""})
    if not names:
        raise refusal(f"{strata.by}: column {strata.column} is blank; name the regions")
    polygons = np.asarray(frame.geometry.array, np.object_)
    outlines = np.array([shapely.union_all(polygons[labels == name]) for name in names], np.object_)
    return Regions(names=tuple(names), outlines=outlines)


def members(regions: Regions, cities: Cities, column: str) -> list[Integers]:
    """Return the rows of the cities of each region, sorted; raises RecipeError where a region has none."""
    if regions.outlines is None:
        labels = cities.table[column].to_numpy()
        rows = [np.flatnonzero(labels == name) for name in regions.names]
    else:
        outline, city = inside(regions.outlines, lon=cities.lon, lat=cities.lat)
        rows = [np.sort(city[outline == region]) for region in range(len(regions.names))]
    bare = [name for name, found in zip(regions.names, rows, strict=True) if not found.size]
    if bare:
        raise refusal(
            f"{len(bare)} of {len(rows)} regions have no city of {cities.source} (first: {bare[0]}); keep more cities, "
            "remove the regions, or draw on land"
        )
    return rows


def seats(strata: Strata, regions: Regions, sizes: Sequence[float] | Floats, *, count: int) -> Integers:
    """Return the region of each of the samples 0 to below `count`.

    The samples are dealt by the method of Webster and Sainte-Laguë, so at every one of them each region has its share
    of all before it, to the rounding, and a larger `count` changes none.

    Parameters
    ----------
    strata : Strata
        Its quota.
    regions : Regions
    sizes : float (n,)
        Cities or area of each region, for the proportional quota.
    count : int
        Samples to deal; with numbers for each region, their sum.

    Returns
    -------
    int64 (count,)
    """
    if strata.quota == "proportional":
        weights = np.asarray(sizes, np.float64)
    elif isinstance(strata.quota, str):
        weights = np.ones(len(regions.names))
    else:
        weights = np.array([float(strata.quota[name]) for name in regions.names])
        if weights.sum() != count:
            raise refusal(
                f"the quotas add up to {weights.sum():g}, but ids 0 to {count - 1} are to be drawn: make them equal"
            )
    # Enough turns that `count` seats are dealt whatever the weights.
    turns = np.floor(((2 * count + len(weights)) * weights / weights.sum() + 1.0) / 2.0).astype(np.int64)
    region = np.repeat(np.arange(len(weights)), turns)
    turn = np.arange(region.size) - np.repeat(np.cumsum(turns) - turns, turns)
    order = np.lexsort((region, (2.0 * turn + 1.0) / weights[region]))
    return np.asarray(region[order[:count]], np.int64)
