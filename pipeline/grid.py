"""Where patches lie: UTM zones, the lattice of cells, patches around points, footprints; pure.

Zones are those of the Military Grid Reference System, which Sentinel-2 tiles follow (NGA.STND.0037, section 11.2:
UTM with the exceptions for Norway and Svalbard). The lattice law is that of Sen12Landslides.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import Transformer
from shapely import MultiPolygon, Polygon
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from pipeline.errors import RecipeError
from pipeline.records import PatchGrid, Recipe

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Geometries = NDArray[np.object_]

SOUTH, NORTH = -80.0, 84.0
"""Latitudes that UTM ends at [degrees]."""

FARTHEST = 20.0
"""Degrees from a zone's central meridian beyond which its metres are no longer metres on the ground (about 6 %)."""

_SEGMENTS = 8
_SEAM = 1e-6
"""Grid [m] that the two sides of a seam at the antimeridian are snapped to before they are joined."""
_WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)


class LonLat(NamedTuple):
    """A place on WGS 84 [degrees], longitude from -180 to below 180."""

    lon: float
    lat: float


class Cell(NamedTuple):
    """Column and row of a cell on the absolute lattice, counted eastwards and northwards from the anchor."""

    ix: int
    iy: int


def wrap_longitude(lon: ArrayLike) -> Floats:
    """Return longitudes [degrees] of any turn as the same meridians from -180 to below 180."""
    given = np.asarray(lon, np.float64)
    with np.errstate(invalid="ignore"):
        wrapped = np.where((given >= -180.0) & (given < 180.0), given, np.mod(given + 180.0, 360.0) - 180.0)
    return np.where(wrapped >= 180.0, -180.0, wrapped)


def utm_epsgs(*, lon: ArrayLike, lat: ArrayLike) -> Integers:
    """Return the EPSG code of each place's UTM zone: 326zz on the equator and north of it, else 327zz.

    Parameters
    ----------
    lon, lat : float, same shape
        Places on WGS 84 [degrees]; any longitude is wrapped, latitudes lie within -80 to 84.

    Raises
    ------
    RecipeError
        A place lies outside the UTM zones; names the first one.
    """
    lons, lats = np.broadcast_arrays(wrap_longitude(lon), np.asarray(lat, np.float64))
    inside = (lats >= SOUTH) & (lats <= NORTH) & np.isfinite(lons)
    if not inside.all():
        where = np.unravel_index(int(np.argmin(inside)), inside.shape)
        raise RecipeError(f"lon {lons[where]:.6g}, lat {lats[where]:.6g} lies outside the UTM zones (80° S to 84° N)")
    zone = (np.floor(lons / 6.0) + 31.0).astype(np.int64)
    zone = np.where((lats >= 56.0) & (lats < 64.0) & (lons >= 3.0) & (lons < 12.0), 32, zone)
    svalbard = np.searchsorted([0.0, 9.0, 21.0, 33.0, 42.0], lons, side="right")
    zone = np.where((lats >= 72.0) & (lons >= 0.0) & (lons < 42.0), 29 + 2 * svalbard, zone)
    return np.asarray(zone + np.where(lats >= 0.0, 32600, 32700), np.int64)


def utm_epsg(*, lon: float, lat: float) -> int:
    """Return the EPSG code of the UTM zone of one place; see `utm_epsgs`."""
    return int(utm_epsgs(lon=lon, lat=lat))


def epsg_of(crs: str) -> int:
    """Return the code of a UTM zone written as `EPSG:32633`; raises RecipeError when it is none."""
    code = crs.removeprefix("EPSG:")
    if not (code.isdecimal() and int(code) // 100 in {326, 327} and 1 <= int(code) % 100 <= 60):
        raise RecipeError(f"places.crs {crs} is not a UTM zone: EPSG:326zz or EPSG:327zz with zz from 01 to 60")
    return int(code)


def tile_epsg(tile: str) -> int:
    """Return the EPSG code of an MGRS tile written as `T33TWM`: latitude bands from N on are north."""
    return (32600 if tile[3] >= "N" else 32700) + int(tile[1:3])


def is_far(lon: ArrayLike, *, epsg: int) -> NDArray[np.bool_]:
    """Tell which longitudes [degrees] lie more than `FARTHEST` from the central meridian of the zone."""
    return np.abs(wrap_longitude(np.asarray(lon, np.float64) - (epsg % 100 * 6.0 - 183.0))) > FARTHEST


@cache
def _transformer(source: int, target: int) -> Transformer:
    return Transformer.from_crs(f"EPSG:{source}", f"EPSG:{target}", always_xy=True)


def to_utm(*, lon: ArrayLike, lat: ArrayLike, epsg: int) -> tuple[Floats, Floats]:
    """Return easting and northing [m] in zone `epsg` of places on WGS 84 [degrees]; infinite where undefined."""
    easting, northing = _transformer(4326, epsg).transform(np.asarray(lon), np.asarray(lat))
    return np.asarray(easting, np.float64), np.asarray(northing, np.float64)


def to_lonlat(*, easting: ArrayLike, northing: ArrayLike, epsg: int) -> tuple[Floats, Floats]:
    """Return longitude (-180 to below 180) and latitude [degrees] of places in zone `epsg` [m]."""
    lon, lat = _transformer(epsg, 4326).transform(np.asarray(easting), np.asarray(northing))
    return wrap_longitude(lon), np.asarray(lat, np.float64)


def cell_indices(
    easting: ArrayLike, northing: ArrayLike, *, step: float, anchor: tuple[float, float]
) -> tuple[Integers, Integers]:
    """Return column and row of the cell that each place [m] lies in; left and lower edges belong to the cell."""
    return _floors(easting, step, anchor[0]), _floors(northing, step, anchor[1])


def _floors(coordinate: ArrayLike, step: float, anchor: float) -> Integers:
    given = np.asarray(coordinate, np.float64)
    index = np.floor((given - anchor) / step)
    # The quotient may round across an edge; the edge as `cell_grid` computes it decides.
    index = index - (anchor + index * step > given) + (anchor + (index + 1.0) * step <= given)
    return np.asarray(index, np.int64)


def cell_index(easting: float, northing: float, *, step: float, anchor: tuple[float, float]) -> Cell:
    """Return the cell of one place [m]; see `cell_indices`."""
    ix, iy = cell_indices(easting, northing, step=step, anchor=anchor)
    return Cell(int(ix), int(iy))


def cell_grid(ix: int, iy: int, *, epsg: int, recipe: Recipe) -> PatchGrid:
    """Return the patch that fills a cell: left = anchor + ix · step, bottom = anchor + iy · step."""
    return PatchGrid(
        epsg=epsg,
        left=recipe.anchor[0] + ix * recipe.step,
        top=recipe.anchor[1] + (iy + 1) * recipe.step,
        size=recipe.patch_size,
        resolution=recipe.resolution,
    )


def grid_id(ix: int, iy: int, *, origin: Cell, rows: int) -> int:
    """Return the number of a cell, counted up each column of `rows` cells from `origin`, columns eastwards."""
    return rows * (ix - origin.ix) + (iy - origin.iy)


def cell_of_grid_id(number: int, *, origin: Cell, rows: int) -> Cell:
    """Return the cell that `grid_id` numbers so."""
    column, row = divmod(number, rows)
    return Cell(origin.ix + column, origin.iy + row)


def snap(coordinate: ArrayLike, *, resolution: float, anchor: float) -> Floats:
    """Return the nearest edge between pixels, anchor + k · resolution [m]; halfway goes east and north."""
    steps = np.floor((np.asarray(coordinate, np.float64) - anchor) / resolution + 0.5)
    return np.asarray(anchor + steps * resolution, np.float64)


def patches_around(*, lon: ArrayLike, lat: ArrayLike, recipe: Recipe, epsg: int | None = None) -> list[PatchGrid]:
    """Return for each place the patch on the pixel lattice that is centred on it to half a pixel.

    Parameters
    ----------
    lon, lat : float, one-dimensional
        Places on WGS 84 [degrees].
    recipe : Recipe
        Patch size, resolution and anchor.
    epsg : int, optional
        UTM zone of every patch; by default each place's own.

    Raises
    ------
    RecipeError
        A place lies outside the UTM zones and no zone was given, or too far from the one that was.
    """
    lons, lats = np.atleast_1d(np.asarray(lon, np.float64)), np.atleast_1d(np.asarray(lat, np.float64))
    zones = utm_epsgs(lon=lons, lat=lats) if epsg is None else np.full(lons.shape, epsg, np.int64)
    if epsg is not None and (far := is_far(lons, epsg=epsg)).any():
        place = f"lon {lons[far][0]:.6g}, lat {lats[far][0]:.6g}"
        raise RecipeError(f"{place} lies more than {FARTHEST:g}° from the central meridian of EPSG:{epsg}")
    edges: Floats = np.empty((lons.size, 2))
    half = recipe.step / 2.0
    for zone, here in _by_zone(zones):
        easting, northing = to_utm(lon=lons[here], lat=lats[here], epsg=zone)
        edges[here, 0] = snap(easting - half, resolution=recipe.resolution, anchor=recipe.anchor[0])
        edges[here, 1] = snap(northing + half, resolution=recipe.resolution, anchor=recipe.anchor[1])
    size, resolution = recipe.patch_size, recipe.resolution
    return [
        PatchGrid(epsg=zone, left=left, top=top, size=size, resolution=resolution)
        for zone, (left, top) in zip(zones.tolist(), edges.tolist(), strict=True)
    ]


def patch_around(*, lon: float, lat: float, recipe: Recipe, epsg: int | None = None) -> PatchGrid:
    """Return the patch around one place; see `patches_around`."""
    return patches_around(lon=lon, lat=lat, recipe=recipe, epsg=epsg)[0]


def _by_zone(epsgs: ArrayLike) -> Iterator[tuple[int, Integers]]:
    codes = np.asarray(epsgs, np.int64)
    for epsg in np.unique(codes).tolist():
        yield epsg, np.flatnonzero(codes == epsg)


def centres(grids: Sequence[PatchGrid]) -> list[LonLat]:
    """Return the place at the middle of each patch."""
    lon, lat = np.empty(len(grids)), np.empty(len(grids))
    bounds = np.array([grid.bounds for grid in grids], np.float64).reshape(-1, 4)
    for epsg, here in _by_zone([grid.epsg for grid in grids]):
        left, bottom, right, top = bounds[here].T
        easting, northing = (left + right) / 2.0, (bottom + top) / 2.0
        lon[here], lat[here] = to_lonlat(easting=easting, northing=northing, epsg=epsg)
    return [LonLat(*place) for place in zip(lon.tolist(), lat.tolist(), strict=True)]


def centre(grid: PatchGrid) -> LonLat:
    """Return the place at the middle of a patch."""
    return centres([grid])[0]


def _unit_ring() -> Floats:
    along = np.arange(_SEGMENTS) / _SEGMENTS
    zeros, ones = np.zeros(_SEGMENTS), np.ones(_SEGMENTS)
    x = np.concatenate([along, ones, 1.0 - along, zeros, [0.0]])
    y = np.concatenate([zeros, along, ones, 1.0 - along, [0.0]])
    return np.stack([x, y], axis=-1)


def footprints(grids: Sequence[PatchGrid]) -> Geometries:
    """Return the outline of each patch in lon/lat on WGS 84 [-180 to 180], eight segments to an edge.

    Polygons, and MultiPolygons cut at the antimeridian where a patch straddles it.
    """
    outlines = np.empty(len(grids), np.object_)
    bounds = np.array([grid.bounds for grid in grids], np.float64).reshape(-1, 4)
    for epsg, here in _by_zone([grid.epsg for grid in grids]):
        low, high = bounds[here, None, :2], bounds[here, None, 2:]
        ring = low + _unit_ring() * (high - low)
        lon, lat = to_lonlat(easting=ring[..., 0], northing=ring[..., 1], epsg=epsg)
        lon = lon - 360.0 * np.round((lon - lon[:, :1]) / 360.0)
        outlines[here] = shapely.polygons(np.stack([lon, lat], axis=-1))
    return cut_at_antimeridian(outlines)


def footprint(grid: PatchGrid) -> BaseGeometry:
    """Return the outline of one patch; see `footprints`."""
    outline: BaseGeometry = footprints([grid])[0]
    return outline


def cut_at_antimeridian(geometries: Geometries) -> Geometries:
    """Return polygons whose longitudes run past ±180 (by less than a turn) cut there and laid within it."""
    bounds = shapely.bounds(geometries)
    cut = geometries.copy()
    for index in np.flatnonzero((bounds[:, 0] < -180.0) | (bounds[:, 2] > 180.0)):
        cut[index] = _cut(geometries[index])
    return cut


def _cut(geometry: BaseGeometry) -> BaseGeometry:
    pieces: list[Polygon] = []
    for turn in (-360.0, 0.0, 360.0):
        inside = shapely.intersection(shapely.make_valid(translate(geometry, xoff=turn)), _WORLD)
        pieces.extend(part for part in shapely.get_parts(inside) if isinstance(part, Polygon) and part.area)
    return pieces[0] if len(pieces) == 1 else MultiPolygon(pieces)


def project_all(geometries: Geometries, epsg: int) -> Geometries:
    """Project lon/lat geometries to metres of a UTM zone, vertex by vertex.

    Any spelling of longitude will do, so nothing tears at the antimeridian; MultiPolygons cut there are joined again.
    """

    def forward(xy: Floats) -> Floats:
        return np.stack(to_utm(lon=xy[:, 0], lat=xy[:, 1], epsg=epsg), axis=-1)

    projected: Geometries = shapely.transform(geometries, forward)
    bounds = shapely.bounds(geometries)
    is_multi = shapely.get_type_id(geometries) == shapely.GeometryType.MULTIPOLYGON
    for index in np.flatnonzero(is_multi & (bounds[:, 0] <= -180.0) & (bounds[:, 2] >= 180.0)):
        projected[index] = shapely.union_all(shapely.get_parts(projected[index]), grid_size=_SEAM)
    return projected


def project(geometry: BaseGeometry, epsg: int) -> BaseGeometry:
    """Project one lon/lat geometry to metres of a UTM zone; see `project_all`."""
    projected: BaseGeometry = project_all(np.array([geometry], np.object_), epsg)[0]
    return projected
