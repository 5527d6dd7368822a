"""What a cell without landslides must satisfy to be drawn: coverage, distance, land; slope is asked last of all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.grid import (
    NORTH,
    SOUTH,
    Floats,
    Geometries,
    Integers,
    cell_grid,
    footprints,
    to_lonlat,
    utm_epsgs,
)
from pipeline.records import PatchGrid, Recipe, Sample
from pipeline.sampling.land import Land, land_shares_of
from pipeline.sampling.lattice import LatticeZone

Slopes = Callable[[Sequence[Sample]], Floats]
"""Mean slope [degrees] of each patch; NaN where there is no elevation."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Terms:
    """What a cell must satisfy to be drawn."""

    recipe: Recipe
    coverage: BaseGeometry | None
    """Lon/lat area that a cell must lie wholly inside."""
    is_one_zone: bool
    land: Land | None = None
    """What tells land from sea, where a share of land is asked for."""
    slopes: Slopes | None = None
    """What tells the slope, where one is asked for."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Surroundings:
    """What lies around the cells of one region in one zone."""

    polygons: Geometries
    """Every polygon near them, of whatever region, rejected ones too [m]."""
    owners: NDArray[np.object_]
    """Regions of the annotated cells of every region in the zone, by id; empty where there is one region only."""
    owner_cells: Integers
    """Columns and rows of these cells; int64 (n, 2)."""


def usable(ids: Integers, zone: LatticeZone, around: Surroundings, terms: Terms) -> Integers:
    """Return the cells that satisfy everything but the slope, by number, in the order given."""
    recipe = terms.recipe
    if not terms.is_one_zone:
        ids = ids[_is_inside_zone(ids, zone, recipe)]
    if around.owners.size:
        ids = ids[_is_own(ids, zone, around)]
    if terms.coverage is not None:
        ids = ids[_is_covered(ids, zone, recipe, terms.coverage)]
    if recipe.places.min_distance > 0.0:
        ids = ids[_is_distant(ids, zone, around, recipe)]
    if terms.land is not None and recipe.places.min_land is not None:
        shares = land_shares_of(terms.land, _grids(ids, zone, recipe), recipe)
        ids = ids[shares >= recipe.places.min_land]
    return ids


def _is_inside_zone(ids: Integers, zone: LatticeZone, recipe: Recipe) -> NDArray[np.bool_]:
    # Cells are tried a tenth larger: zone borders bow against grid lines.
    corners = np.array([-0.05, 1.05])
    inside = np.ones(ids.size, np.bool_)
    for across in corners:
        for up in corners:
            lon, lat = _places(ids, zone, recipe, across=across, up=up)
            within = (lat >= SOUTH) & (lat <= NORTH)
            inside &= within & (utm_epsgs(lon=lon, lat=np.clip(lat, SOUTH, NORTH)) == zone.epsg)
    return inside


def _is_own(ids: Integers, zone: LatticeZone, around: Surroundings) -> NDArray[np.bool_]:
    """Tell which cells belong to the region: the nearest annotated cell is its own, the one of lowest id of equals."""
    cells = np.stack(zone.extent.cells(ids), axis=1).astype(np.float64)
    nearest = nearest_of(cells, around.owner_cells.astype(np.float64))
    return np.asarray(around.owners[nearest] == zone.region, np.bool_)


def nearest_of(places: Floats, others: Floats) -> Integers:
    """Return for each place (n, 2) the index of the nearest one of `others` (m, 2), the lowest index of equals."""
    points: Geometries = np.asarray(shapely.points(others), np.object_)
    place, match = shapely.STRtree(points).query_nearest(shapely.points(places), all_matches=True)
    first = np.full(len(places), len(others))
    np.minimum.at(first, place, match)
    return first


def _is_covered(ids: Integers, zone: LatticeZone, recipe: Recipe, coverage: BaseGeometry) -> NDArray[np.bool_]:
    lon, lat = _places(ids, zone, recipe, across=0.5, up=0.5)
    covered = np.asarray(shapely.intersects_xy(coverage, lon, lat), np.bool_)
    covered[covered] = shapely.covers(coverage, footprints(_grids(ids[covered], zone, recipe)))
    return covered


def _is_distant(ids: Integers, zone: LatticeZone, around: Surroundings, recipe: Recipe) -> NDArray[np.bool_]:
    ix, iy = zone.extent.cells(ids)
    left, bottom = recipe.anchor[0] + ix * recipe.step, recipe.anchor[1] + iy * recipe.step
    cells = shapely.box(left, bottom, left + recipe.step, bottom + recipe.step)
    distant = np.ones(ids.size, np.bool_)
    distance, tree = recipe.places.min_distance, shapely.STRtree(around.polygons)
    near, match = tree.query(cells, predicate="dwithin", distance=distance)
    # A polygon at exactly the distance is far enough.
    distant[near[shapely.distance(cells[near], around.polygons[match]) < distance]] = False
    return distant


def _grids(ids: Integers, zone: LatticeZone, recipe: Recipe) -> list[PatchGrid]:
    ix, iy = (axis.tolist() for axis in zone.extent.cells(ids))
    return [cell_grid(x, y, epsg=zone.epsg, recipe=recipe) for x, y in zip(ix, iy, strict=True)]


def _places(ids: Integers, zone: LatticeZone, recipe: Recipe, *, across: float, up: float) -> tuple[Floats, Floats]:
    ix, iy = zone.extent.cells(ids)
    easting = recipe.anchor[0] + (ix + across) * recipe.step
    northing = recipe.anchor[1] + (iy + up) * recipe.step
    return to_lonlat(easting=easting, northing=northing, epsg=zone.epsg)
