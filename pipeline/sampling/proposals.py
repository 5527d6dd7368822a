"""Single draws of places, each a function of the seed, the sample and the attempt alone: near cities, and anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Protocol, Self

import numpy as np
import shapely
from pyproj import Geod, Transformer

from pipeline.grid import Floats, Geometries, Integers, wrap_longitude
from pipeline.sampling.cities import Cities
from pipeline.sampling.philox import random_words, unit_interval

DECIMALS = 7
"""Digits that drawn degrees are rounded to before anything is decided (1.1 cm), so that every file says all of them."""

NOWHERE = -1
"""City of a place that was not drawn near one."""

_ELLIPSOID = Geod(ellps="WGS84")
_BEND = 0.25
"""Degrees that edges of regions are cut to: straight ones in lon/lat bend in the equal-area projection."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Draws:
    """Places that were drawn, whether kept or not."""

    index: Integers
    """Number of the sample."""
    attempt: Integers
    """Number of its draw, from 1."""
    lon: Floats
    """Longitude [degrees, -180 to below 180]."""
    lat: Floats
    """Latitude [degrees]."""
    city: Integers
    """Row of the city list, or `NOWHERE`."""

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: Integers) -> Self:
        """Return the draws of these rows."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the draws of several, in order."""
        columns = (field.name for field in fields(cls))
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns})


class Sampler(Protocol):
    """What draws places."""

    def draw(self, *, index: Integers, attempt: Integers) -> Draws:
        """Return a place for each pair of sample and attempt."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CitySampler:
    """One city of a sample's region, each as likely, and a place around it: normal in metres on the ground."""

    seed: int
    cities: Cities
    std: float
    """Standard deviation eastwards and northwards [m]."""
    members: Sequence[Integers]
    """Rows of the cities of each region."""
    region: Integers
    """Region of each sample."""

    def draw(self, *, index: Integers, attempt: Integers) -> Draws:
        """Return a place for each pair of sample and attempt."""
        which, reach, turn, _ = unit_interval(random_words(self.seed, index=index, attempt=attempt))
        city = self._cities(self.region[index], which)
        # Box and Muller (1958): a normal pair is a Rayleigh distance in a uniform direction.
        distance = self.std * np.sqrt(-2.0 * np.log1p(-reach))
        start_lon, start_lat = self.cities.lon[city], self.cities.lat[city]
        lon, lat, _ = _ELLIPSOID.fwd(start_lon, start_lat, 360.0 * turn, distance)
        return _draws(index=index, attempt=attempt, lon=lon, lat=lat, city=city)

    def _cities(self, region: Integers, which: Floats) -> Integers:
        counts = np.array([len(rows) for rows in self.members], np.int64)
        first = np.cumsum(counts) - counts
        within = np.minimum((which * counts[region]).astype(np.int64), counts[region] - 1)
        rows: Integers = np.concatenate(self.members)[first[region] + within]
        return rows


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GlobeSampler:
    """Anywhere on the ellipsoid, each square metre as likely; in a sample's region where it has one."""

    seed: int
    triangles: Sequence[Floats]
    """Triangles that fill each region, in metres of the equal-area projection. float64 (n, 3, 2) each."""
    region: Integers
    """Region of each sample."""

    def draw(self, *, index: Integers, attempt: Integers) -> Draws:
        """Return a place for each pair of sample and attempt."""
        which, across, up, _ = unit_interval(random_words(self.seed, index=index, attempt=attempt))
        xy = np.empty((len(index), 2))
        region = self.region[index]
        for number in np.unique(region).tolist():
            here = region == number
            xy[here] = _in_triangles(self.triangles[number], which[here], across[here], up[here])
        lon, lat = _equal_area().transform(xy[:, 0], xy[:, 1], direction="INVERSE")
        return _draws(index=index, attempt=attempt, lon=lon, lat=lat, city=np.full(len(index), NOWHERE))


def _draws(*, index: Integers, attempt: Integers, lon: Floats, lat: Floats, city: Integers) -> Draws:
    return Draws(
        index=index,
        attempt=attempt,
        lon=wrap_longitude(np.round(wrap_longitude(lon), DECIMALS)),
        lat=np.asarray(np.round(lat, DECIMALS), np.float64),
        city=city,
    )


@cache
def _equal_area() -> Transformer:
    # WGS 84 / NSIDC EASE-Grid 2.0 Global: cylindrical, equal-area on the ellipsoid.
    return Transformer.from_crs("EPSG:4326", "EPSG:6933", always_xy=True)


def _in_triangles(triangles: Floats, which: Floats, across: Floats, up: Floats) -> Floats:
    ends = np.cumsum(_areas(triangles))
    chosen = triangles[np.minimum(np.searchsorted(ends, which * ends[-1], side="right"), len(triangles) - 1)]
    folded = across + up > 1.0
    across, up = np.where(folded, 1.0 - across, across), np.where(folded, 1.0 - up, up)
    first, second, third = chosen[:, 0], chosen[:, 1], chosen[:, 2]
    places: Floats = first + across[:, None] * (second - first) + up[:, None] * (third - first)
    return places


def _areas(triangles: Floats) -> Floats:
    one, other = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    areas: Floats = np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2.0
    return areas


def triangles_of(outlines: Geometries) -> list[Floats]:
    """Return the triangles that fill each lon/lat outline (cut at the antimeridian); see `GlobeSampler`."""

    def forward(xy: Floats) -> Floats:
        return np.stack(_equal_area().transform(xy[:, 0], xy[:, 1]), axis=-1)

    flat = shapely.make_valid(shapely.transform(shapely.segmentize(outlines, _BEND), forward))
    filled = shapely.constrained_delaunay_triangles(flat)
    return [shapely.get_coordinates(shapely.get_parts(region)).reshape(-1, 4, 2)[:, :3] for region in filled]


def areas_of(triangles: Sequence[Floats]) -> Floats:
    """Return the area [m²] of each region."""
    return np.array([_areas(region).sum() for region in triangles])
