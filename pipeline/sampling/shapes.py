"""The polygons of an inventory, row by row: brought to lon/lat, judged, cut at the antimeridian."""

from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.grid import NORTH, SOUTH, Floats, Geometries, Integers, cut_at_antimeridian
from pipeline.records import Reason
from pipeline.sampling.faults import Fault, fault
from pipeline.sampling.tables import to_lonlat_frame

_POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
_WIDEST = 0.5
"""Degrees beyond which an invalid polygon has a stray vertex: what it covers is not known."""

_MEND = "repair it, for example with shapely.make_valid or 'Fix geometries' in QGIS"


def polygons_of(table: gpd.GeoDataFrame, *, path: Any) -> tuple[Geometries, list[Fault | None]]:
    """Return each row's polygon in lon/lat, cut at the antimeridian, and what is wrong with it.

    A polygon whose rings are invalid comes back mended, beside its fault, unless it is wider than half a degree: what
    it covers is known well enough to keep off it. Rows without any usable polygon have None.

    Raises
    ------
    RecipeError
        The file does not say what CRS it has.
    """
    source: Geometries = shapely.force_2d(np.asarray(table.geometry.array, np.object_))
    lonlat = np.asarray(to_lonlat_frame(table.set_geometry(source, crs=table.crs), path=path).geometry.array, object)
    is_projected = bool(table.crs is not None and table.crs.is_projected)
    faults: list[Fault | None] = [None] * len(source)
    polygons: Geometries = np.full(len(source), None, np.object_)
    is_absent = shapely.is_missing(source) | shapely.is_empty(source)
    nothing = fault(Reason.NO_GEOMETRY, "geometry is null or empty; draw it or remove the row")
    _mark(faults, is_absent, lambda _: nothing)
    is_other = ~is_absent & ~np.isin(shapely.get_type_id(source), _POLYGONS)
    _mark(faults, is_other, lambda index: _other(source[index].geom_type))
    bounds = shapely.bounds(lonlat)
    is_off = ~is_absent & ~is_other & ~_is_on_globe(bounds)
    _mark(faults, is_off, lambda index: _off(bounds[index]))
    usable = np.flatnonzero(~is_absent & ~is_other & ~is_off)
    whole = unwrapped(lonlat[usable])
    # Reprojection may push a hole through a shell that it touched: judge a projected polygon as it was drawn.
    judged = source[usable] if is_projected else whole
    for index in np.flatnonzero(~shapely.is_valid(judged)).tolist():
        problem = shapely.is_valid_reason(judged[index])
        faults[int(usable[index])] = fault(Reason.INVALID_GEOMETRY, f"geometry is invalid: {problem}; {_MEND}")
        whole[index] = _mended(whole[index])
    has_area = ~shapely.is_missing(whole)
    polygons[usable[has_area]] = cut_at_antimeridian(whole[has_area])
    return polygons, faults


def _mark(faults: list[Fault | None], rows: NDArray[np.bool_], make: Callable[[int], Fault]) -> None:
    for index in np.flatnonzero(rows).tolist():
        faults[index] = make(index)


def _other(kind: str) -> Fault:
    return fault(Reason.INVALID_GEOMETRY, f"geometry is a {kind}; an inventory holds polygons only")


def _is_on_globe(bounds: Floats) -> NDArray[np.bool_]:
    west, south, east, north = bounds.T
    return np.asarray((west >= -180.0) & (east <= 180.0) & (south >= SOUTH) & (north <= NORTH), np.bool_)


def _off(bounds: Floats) -> Fault:
    west, south, east, north = bounds.tolist()
    if -180.0 <= west <= east <= 180.0 and -90.0 <= south <= north <= 90.0:
        place = f"polygon at {west:.6g} {south:.6g} lies outside the UTM zones (80° S to 84° N); remove the row"
        return fault(Reason.INVALID_GEOMETRY, place)
    return fault(
        Reason.INVALID_GEOMETRY,
        f"polygon leaves longitude ±180 or latitude ±90, from {west:.6g} {south:.6g}; check the CRS that the file "
        "states, and that longitude and latitude are not swapped",
    )


def _mended(polygon: shapely.Geometry) -> shapely.Geometry | None:
    """Return the areas that an invalid polygon encloses, or None when it encloses none or has a stray vertex."""
    if not np.isfinite(shapely.get_coordinates(polygon)).all():
        return None
    west, south, east, north = shapely.bounds(polygon).tolist()
    if max(east - west, north - south) > _WIDEST:
        return None
    areas = [part for part in shapely.get_parts(shapely.make_valid(polygon)) if isinstance(part, shapely.Polygon)]
    return shapely.union_all(areas) if areas else None


def unwrapped(polygons: Geometries) -> Geometries:
    """Lay parts that seem to span more than half the globe, and so cross the antimeridian, out in one piece."""
    bounds = shapely.bounds(polygons)
    whole = polygons.copy()
    wide: Integers = np.flatnonzero(bounds[:, 2] - bounds[:, 0] > 180.0)
    for index in wide.tolist():
        parts = [_turned(part) for part in shapely.get_parts(polygons[index])]
        whole[index] = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return whole


def _turned(part: shapely.Polygon) -> shapely.Polygon:
    west, _, east, _ = part.bounds
    if east - west <= 180.0:
        return part
    turned: shapely.Polygon = shapely.transform(part, lambda xy: xy + 360.0 * (xy < 0.0) * [1.0, 0.0])
    return turned
