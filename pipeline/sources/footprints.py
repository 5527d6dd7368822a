"""Outlines in lon/lat: valid, two-dimensional, and cut at the antimeridian as RFC 7946, section 3.1.9, asks for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box, shape
from shapely.geometry.base import BaseGeometry

LARGEST_DEGREE = 1080.0
"""Of a coordinate: longitudes may go on beyond the antimeridian, three times around."""


def item_outline(geometry: Mapping[str, Any] | None, bbox: Sequence[float] | None) -> BaseGeometry:
    """Return the area that a STAC item states, from its geometry or else its bounding box.

    Parameters
    ----------
    geometry
        GeoJSON geometry in lon/lat; a ring that spans more than 180 degrees is taken to cross the antimeridian.
    bbox
        West, south, east, north [degrees], or six numbers with heights; west > east crosses the antimeridian.

    Raises
    ------
    ValueError
        Neither encloses an area.
    """
    if geometry:
        return normalised(shape(dict(geometry)))
    if not bbox:
        raise ValueError("neither geometry nor bbox is given")
    west, south, east, north = (bbox[0], bbox[1], *bbox[len(bbox) // 2 :][:2])
    return normalised(box(west, south, east + 360.0 if east < west else east, north))


def normalised(geometry: BaseGeometry) -> BaseGeometry:
    """Return the area of `geometry` as a valid Polygon or MultiPolygon within -180 to 180 degrees.

    Raises
    ------
    ValueError
        `geometry` encloses no area, or its coordinates are no degrees.
    """
    # Whoever cuts an outline looks at every turn that it reaches.
    if not (np.abs(shapely.get_coordinates(geometry)) <= LARGEST_DEGREE).all():
        raise ValueError("the outline has coordinates that are no degrees")
    polygons = [_unwrapped(polygon) for polygon in _polygons(shapely.force_2d(geometry))]
    valid = [p if p.is_valid else shapely.make_valid(p, method="structure", keep_collapsed=False) for p in polygons]
    return _area(shapely.unary_union([cut_at_antimeridian(polygon) for polygon in valid]))


def cut_at_antimeridian(geometry: BaseGeometry) -> BaseGeometry:
    """Return `geometry` with what lies beyond -180 or 180 degrees moved to the other side of the map."""
    if geometry.is_empty:
        return geometry
    west, _, east, _ = geometry.bounds
    if west >= -180.0 and east <= 180.0:
        return geometry
    turns = range(math.floor((west + 180.0) / 360.0), math.ceil((east - 180.0) / 360.0) + 1)
    parts = [
        translate(geometry.intersection(box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0)), -360.0 * turn)
        for turn in turns
    ]
    return _area(shapely.unary_union(parts))


def _unwrapped(polygon: Polygon) -> Polygon:
    # Holes of a ring that wraps are left out: an outline that is a little too large only costs a look.
    ring = np.asarray(polygon.exterior.coords)
    if not ring.size or np.ptp(ring[:, 0]) <= 180.0:
        return polygon
    unwrapped = Polygon(_unwrapped_ring(ring))
    # A box around the whole world collapses to a line: it did not wrap.
    return unwrapped if unwrapped.area > 0.0 else polygon


def _unwrapped_ring(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    longitudes = np.unwrap(ring[:, 0], period=360.0)
    points = np.column_stack((longitudes, ring[:, 1]))
    if abs(longitudes[-1] - longitudes[0]) < 180.0:
        return points
    # The ring goes once around: it encloses the pole of its hemisphere.
    pole = math.copysign(90.0, float(ring[:, 1].mean()))
    return np.vstack((points, [(longitudes[-1], pole), (longitudes[0], pole)]))


def _area(geometry: BaseGeometry) -> BaseGeometry:
    polygons = [polygon for polygon in _polygons(geometry) if polygon.area > 0.0]
    if not polygons:
        raise ValueError("the outline encloses no area")
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)


def _polygons(geometry: BaseGeometry) -> list[Polygon]:
    if isinstance(geometry, Polygon):
        return [geometry]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in _polygons(part)]
