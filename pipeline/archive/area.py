"""Where the archive lies: two neighbouring MGRS tiles, cut small, in the hills of north-eastern Sicily.

Zone 33 north; the real tiles 33SVC and 33SWC overlap between eastings 499980 and 509760, and so do the cuts. The
meridian of 15 degrees east, where two elevation tiles meet, runs through the area.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

EPSG = 32633
PIXEL = 10
"""Finest pixel size [m]."""
CELL = 1280
"""Lattice step of the landslide recipe: 128 pixels of 10 m [m]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A rectangle of the UTM zone [m]."""

    left: int
    top: int
    width: int
    height: int

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Left, bottom, right, top [m]."""
        return (self.left, self.top - self.height, self.left + self.width, self.top)

    @property
    def outline(self) -> Polygon:
        """The rectangle as a polygon [m]."""
        return shapely.box(*self.bounds)

    def shape(self, resolution: int) -> tuple[int, int]:
        """Return rows and columns at `resolution` [m]."""
        return (self.height // resolution, self.width // resolution)

    def transform(self, resolution: float) -> Affine:
        """Return the affine transform of the rectangle's grid at `resolution` [m]."""
        return Affine(resolution, 0.0, self.left, 0.0, -resolution, self.top)

    def within(self, other: "Window", resolution: int) -> tuple[slice, slice]:
        """Return the rows and columns of `other`'s grid that this rectangle takes up."""
        row, column = (other.top - self.top) // resolution, (self.left - other.left) // resolution
        rows, columns = self.shape(resolution)
        return (slice(row, row + rows), slice(column, column + columns))

    def centres(self, resolution: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return eastings (1, column) and northings (row, 1) of the pixel centres [m]."""
        rows, columns = self.shape(resolution)
        eastings = self.left + (np.arange(columns, dtype=np.float64) + 0.5) * resolution
        northings = self.top - (np.arange(rows, dtype=np.float64) + 0.5) * resolution
        return eastings[None, :], northings[:, None]


SCENE = Window(left=497_400, top=4_203_900, width=12_000, height=6_240)
"""What the two tiles cover together."""
CANVAS = Window(left=SCENE.left - 660, top=SCENE.top + 660, width=SCENE.width + 1320, height=SCENE.height + 1320)
"""What is simulated: the scene and a margin, because clouds, radar frames and elevation reach past it."""
TILES = {
    "33SVC": Window(left=497_400, top=4_203_900, width=6_240, height=6_240),
    "33SWC": Window(left=503_160, top=4_203_900, width=6_240, height=6_240),
}
"""MGRS tiles, overlapping by 480 m; edges at multiples of 60 m, as the real tiles have them."""


def iter_whole_cells() -> Iterator[Window]:
    """Yield every lattice cell that lies inside the scene, row by row from the south-west."""
    left, bottom, right, top = SCENE.bounds
    for row in range(-(-bottom // CELL), top // CELL):
        for column in range(-(-left // CELL), right // CELL):
            yield Window(left=column * CELL, top=(row + 1) * CELL, width=CELL, height=CELL)


def one_polygon(geometry: BaseGeometry) -> Polygon:
    """Return `geometry`, which must be a single polygon."""
    if not isinstance(geometry, Polygon):
        raise TypeError(f"geometry must be one polygon, got {geometry.geom_type}")
    return geometry


def to_lonlat(polygon: Polygon) -> Polygon:
    """Return `polygon` in longitude and latitude on WGS 84, to 8 decimals (about a millimetre)."""

    def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = transform(f"EPSG:{EPSG}", "EPSG:4326", points[:, 0].tolist(), points[:, 1].tolist())
        return np.column_stack([lon, lat]).round(8)

    return shapely.transform(polygon, project)
