"""Polygons with the undisturbed ground around them, on a 10 m grid of their own.

The ring is that of Sen12Landslides: what lies within 300 m of the polygon and not within 50 m of any polygon.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from pipeline.dating.series import Undatable
from pipeline.grid import Geometries, Integers, is_far, project_all, utm_epsgs
from pipeline.records import PatchGrid

RING = 300.0
"""Distance from the polygon that the ring reaches to [m]."""
APART = 50.0
"""Least distance of the ring to any polygon [m]."""
TOLERANCE = 1.0
"""How far simplified outlines may move [m]."""
PIXEL = 10.0
"""Pixel size [m]; edges lie on its multiples, as those of Sentinel-2 do."""
LARGEST = 2048
"""Most pixels along a side, about 20 km; bounds the memory that a polygon takes."""

RING_VALUE, POLYGON_VALUE = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One polygon to be dated."""

    row: int
    """Its row in the inventory."""
    id: str
    grid: PatchGrid
    """Square of 10 m pixels around the ring."""
    packed: bytes
    """What `zones` returns, compressed."""

    @property
    def zones(self) -> NDArray[np.uint8]:
        """What each pixel belongs to, uint8 (y, x): 2 polygon, 1 ring, 0 neither."""
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.grid.size, self.grid.size)


def draw_zones(polygon: BaseGeometry, ring: BaseGeometry, grid: PatchGrid) -> NDArray[np.uint8]:
    """Return what each pixel belongs to, uint8 (y, x): 2 polygon, 1 ring, 0 neither.

    A pixel belongs to the shape that holds its centre. A polygon that holds no centre has every pixel that it touches,
    so it has at least one.

    Parameters
    ----------
    polygon, ring : shapely geometries
        In metres of the grid's zone.
    grid : PatchGrid
        Holds both.
    """
    transform = grid.geobox.affine
    shapes = [(ring, RING_VALUE), (polygon, POLYGON_VALUE)]
    zones = np.zeros((grid.size, grid.size), np.uint8)
    rasterize([(shape, value) for shape, value in shapes if not shape.is_empty], out=zones, transform=transform)
    if not (zones == POLYGON_VALUE).any():
        rasterize([(polygon, POLYGON_VALUE)], out=zones, transform=transform, all_touched=True)
    return zones


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grounds:
    """All usable polygons of an inventory, from which targets are made as they are needed."""

    ids: tuple[str, ...]
    polygons: Geometries
    """Lon/lat; only those of `usable` are looked at."""
    usable: Integers
    """Rows whose geometry can be used."""

    def iter_targets(self, rows: Integers) -> Iterator[Target | tuple[int, str]]:
        """Yield a target for each of `rows`, zone by zone, or its row and why there is none."""
        points = shapely.get_coordinates(shapely.point_on_surface(self.polygons[rows]))
        zones = utm_epsgs(lon=points[:, 0], lat=points[:, 1])
        for epsg in np.unique(zones).tolist():
            yield from self._targets_in(epsg, rows[zones == epsg])

    def _targets_in(self, epsg: int, rows: Integers) -> Iterator[Target | tuple[int, str]]:
        own = project_all(self.polygons[rows], epsg)
        kept_clear = shapely.buffer(self._around(rows, epsg), APART)
        tree = STRtree(kept_clear)
        for row, exact in zip(rows.tolist(), own, strict=True):
            polygon = shapely.simplify(exact, TOLERANCE)
            reach = shapely.simplify(shapely.buffer(polygon, RING), TOLERANCE)
            ring = shapely.difference(reach, shapely.union_all(kept_clear[tree.query(reach)]))
            grid = _grid_around(reach, epsg)
            if grid.size > LARGEST:
                yield row, str(Undatable.TOO_LARGE)
                continue
            zones = draw_zones(polygon, ring, grid)
            if not (zones == RING_VALUE).any():
                yield row, str(Undatable.NO_UNDISTURBED_GROUND)
                continue
            yield Target(row=row, id=self.ids[row], grid=grid, packed=zlib.compress(zones.tobytes()))

    def _around(self, rows: Integers, epsg: int) -> Geometries:
        """Return the polygons of `rows` and all that may lie near one of them, in metres of the zone."""
        bounds = shapely.bounds(self.polygons[self.usable])
        west, south, east, north = shapely.bounds(self.polygons[rows]).T
        # Twice the ring, in degrees of latitude: a polygon farther north or south keeps no ground of the ring clear.
        margin = 2.0 * RING / 110_000.0
        near = (bounds[:, 3] >= south.min() - margin) & (bounds[:, 1] <= north.max() + margin)
        wide = margin / np.cos(np.radians(min(89.0, float(np.abs([south, north]).max()))))
        if east.max() - west.min() + 2.0 * wide < 180.0 and west.min() - wide >= -180.0 and east.max() + wide <= 180.0:
            near &= (bounds[:, 2] >= west.min() - wide) & (bounds[:, 0] <= east.max() + wide)
        near &= ~is_far(bounds[:, 0], epsg=epsg)
        return project_all(self.polygons[self.usable[near]], epsg)


def _grid_around(shape: BaseGeometry, epsg: int) -> PatchGrid:
    west, south, east, north = shapely.bounds(shape).tolist()
    left, top = np.floor(west / PIXEL) * PIXEL, np.ceil(north / PIXEL) * PIXEL
    size = int(np.ceil(max(east - left, top - south) / PIXEL))
    return PatchGrid(epsg=epsg, left=float(left), top=float(top), size=size, resolution=PIXEL)
