"""Which patches overlap on the ground: within a UTM zone, across zones, at the antimeridian, at high latitude."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod

from pipeline.grid import Floats, Geometries, Integers, centres, to_lonlat, to_utm
from pipeline.records import PatchGrid

TOUCH = 1e-3
"""Area [m²] that two squares of different zones must share to overlap: rounding in projections stays far below."""

_SHRINK = 0.9996
"""Least scale of UTM (on the central meridian): a metre of the zone is at most 1 / 0.9996 metres on the ground."""

_SOUTHERN = 10_000_000.0
"""False northing of the southern half of a zone [m]."""

_SEGMENTS = 8
"""Segments along each edge of a square that is drawn in another zone: bends stay below a tenth of a millimetre."""

_ELLIPSOID = Geod(ellps="WGS84")
_LEAST_CELL = 10.0
_BITS = 21
_ORIGIN = 1 << (_BITS - 1)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Squares:
    """The ground that patches cover."""

    zone: Integers
    """UTM zone, 1 to 60."""
    left: Floats
    """Easting of the left edge [m]."""
    bottom: Floats
    """Northing of the lower edge [m], below zero south of the equator."""
    side: Floats
    """Length of the edges [m]."""
    centre: Floats
    """Middle of the square, geocentric on WGS 84 [m]. float64 (n, 3)."""

    def __len__(self) -> int:
        return len(self.zone)

    def take(self, index: Integers) -> "Squares":
        """Return the squares of these indices."""
        return Squares(
            zone=self.zone[index],
            left=self.left[index],
            bottom=self.bottom[index],
            side=self.side[index],
            centre=self.centre[index],
        )


def reach_of(side: float) -> float:
    """Return the largest distance [m] between the middles of two squares of at most this side [m] that overlap."""
    return side * math.sqrt(2.0) / _SHRINK * 1.001


def squares_of(grids: Sequence[PatchGrid], *, gap: float = 0.0) -> Squares:
    """Return the squares of patches, each widened by half of `gap` [m] on every side."""
    places = np.array(centres(grids), np.float64).reshape(-1, 2)
    epsg = np.array([grid.epsg for grid in grids], np.int64)
    bounds = np.array([grid.bounds for grid in grids], np.float64).reshape(-1, 4)
    return Squares(
        zone=epsg % 100,
        left=bounds[:, 0] - gap / 2.0,
        bottom=bounds[:, 1] - gap / 2.0 - np.where(epsg // 100 == 327, _SOUTHERN, 0.0),
        side=bounds[:, 2] - bounds[:, 0] + gap,
        centre=_geocentric(lon=places[:, 0], lat=places[:, 1]),
    )


def _geocentric(*, lon: Floats, lat: Floats) -> Floats:
    east, north = np.radians(lon), np.radians(lat)
    normal = _ELLIPSOID.a / np.sqrt(1.0 - _ELLIPSOID.es * np.sin(north) ** 2)
    aside = normal * np.cos(north)
    return np.stack(
        [aside * np.cos(east), aside * np.sin(east), normal * (1.0 - _ELLIPSOID.es) * np.sin(north)], axis=1
    )


def joined(parts: Sequence[Squares]) -> Squares:
    """Return all squares of several, in order."""
    return Squares(
        zone=np.concatenate([part.zone for part in parts]),
        left=np.concatenate([part.left for part in parts]),
        bottom=np.concatenate([part.bottom for part in parts]),
        side=np.concatenate([part.side for part in parts]),
        centre=np.concatenate([part.centre for part in parts]),
    )


class SquareIndex:
    """Squares, sorted so that those near others are found quickly: by cubes of geocentric space.

    Straight lines through space know no zones, poles or antimeridian, and are never longer than those on the ground.
    """

    def __init__(self, squares: Squares, *, reach: float) -> None:
        self._squares = squares
        self.reach = reach
        self._cell = max(reach, _LEAST_CELL)
        keys = self._keys(squares.centre)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def _keys(self, centre: Floats) -> Integers:
        cube = np.floor(centre / self._cell).astype(np.int64) + _ORIGIN
        keys: Integers = (cube[:, 0] << 2 * _BITS) | (cube[:, 1] << _BITS) | cube[:, 2]
        return keys

    def overlaps(self, squares: Squares) -> tuple[Integers, Integers]:
        """Return the pairs of a given and an indexed square that share ground: indices of both.

        Sorted by the given square, then by the indexed one. Squares that only touch share none.
        """
        given, indexed = self._near(squares)
        meets = _overlap(squares.take(given), self._squares.take(indexed))
        given, indexed = given[meets], indexed[meets]
        order = np.lexsort((indexed, given))
        return given[order], indexed[order]

    def _near(self, squares: Squares) -> tuple[Integers, Integers]:
        keys = self._keys(squares.centre)
        pairs = [self._in_column(keys, across, along) for across in (-1, 0, 1) for along in (-1, 0, 1)]
        given, indexed = (np.concatenate(side) for side in zip(*pairs, strict=True))
        offsets = squares.centre[given] - self._squares.centre[indexed]
        is_near = (offsets**2).sum(axis=1) <= self.reach**2
        return given[is_near], indexed[is_near]

    def _in_column(self, keys: Integers, across: int, along: int) -> tuple[Integers, Integers]:
        middle = keys + (across << 2 * _BITS) + (along << _BITS)
        first = np.searchsorted(self._sorted, middle - 1, side="left")
        count = np.searchsorted(self._sorted, middle + 1, side="right") - first
        given = np.repeat(np.arange(len(keys)), count)
        within = np.arange(given.size) - np.repeat(np.cumsum(count) - count, count)
        return given, self._order[np.repeat(first, count) + within]


def _overlap(ones: Squares, others: Squares) -> NDArray[np.bool_]:
    """Tell which squares share ground with the other of their pair."""
    meets = np.ones(len(ones), np.bool_)
    for one, other in ((ones.left, others.left), (ones.bottom, others.bottom)):
        meets &= (one + ones.side > other) & (other + others.side > one)
    across = np.flatnonzero(ones.zone != others.zone)
    meets[across] = _overlap_across(ones.take(across), others.take(across))
    return meets


def _overlap_across(ones: Squares, others: Squares) -> NDArray[np.bool_]:
    """Tell which squares share ground with the other of their pair, of another zone; compared in the lower zone."""
    meets = np.zeros(len(ones), np.bool_)
    for low, high in np.unique(np.sort(np.stack([ones.zone, others.zone]), axis=0), axis=1).T.tolist():
        for hosts, guests in ((ones, others), (others, ones)):
            here = np.flatnonzero((hosts.zone == low) & (guests.zone == high))
            seen = _in_zone(guests.take(here), low, own=high)
            meets[here] = shapely.area(shapely.intersection(_outlines(hosts.take(here)), seen)) > TOUCH
    return meets


def _outlines(squares: Squares) -> Geometries:
    right, top = squares.left + squares.side, squares.bottom + squares.side
    outlines: Geometries = shapely.box(squares.left, squares.bottom, right, top)
    return outlines


def _in_zone(squares: Squares, zone: int, *, own: int) -> Geometries:
    """Return the outlines of squares of zone `own` in metres of another zone."""

    def across(xy: Floats) -> Floats:
        lon, lat = to_lonlat(easting=xy[:, 0], northing=xy[:, 1], epsg=32600 + own)
        return np.stack(to_utm(lon=lon, lat=lat, epsg=32600 + zone), axis=-1)

    outlines: Geometries = shapely.transform(shapely.segmentize(_outlines(squares), squares.side / _SEGMENTS), across)
    return outlines
