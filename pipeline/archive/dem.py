"""Copernicus GLO-30 of the simulated relief: one arc-second, two tiles that meet on the meridian of 15 degrees."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform
from shapely import Polygon

from pipeline.archive.area import CANVAS, EPSG, PIXEL, to_lonlat
from pipeline.archive.noise import Field, smooth

_PER_DEGREE = 3600
_MERIDIAN = 15
_MARGIN = 300
"""How far inside the canvas the tiles end [m]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElevationTile:
    """One tile, cut to the area; pixel centres lie on whole arc-seconds, as in the product."""

    id: str
    elevation: Field
    """float32 (row, column) [m]."""
    transform: Affine
    outline: Polygon
    """Longitude and latitude."""


def iter_elevation_tiles(elevation: Field) -> Iterator[ElevationTile]:
    """Yield the western and the eastern tile of the canvas's `elevation`, float32 (row, column) at 10 m [m]."""
    ground = smooth(elevation, 1.5)
    left, bottom, right, top = to_lonlat(CANVAS.outline.buffer(-_MARGIN, join_style="mitre")).bounds
    rows = np.arange(math.floor(top * _PER_DEGREE), math.ceil(bottom * _PER_DEGREE) - 1, -1)
    seam = _MERIDIAN * _PER_DEGREE
    first, last = math.ceil(left * _PER_DEGREE), math.floor(right * _PER_DEGREE)
    for degree, columns in ((_MERIDIAN - 1, np.arange(first, seam)), (_MERIDIAN, np.arange(seam, last + 1))):
        west, north = (columns[0] - 0.5) / _PER_DEGREE, (rows[0] + 0.5) / _PER_DEGREE
        east, south = (columns[-1] + 0.5) / _PER_DEGREE, (rows[-1] - 0.5) / _PER_DEGREE
        yield ElevationTile(
            id=f"Copernicus_DSM_COG_10_N{math.floor(south):02d}_00_E{degree:03d}_00_DEM",
            elevation=_sampled(ground, columns / _PER_DEGREE, rows / _PER_DEGREE),
            transform=Affine(1 / _PER_DEGREE, 0.0, west, 0.0, -1 / _PER_DEGREE, north),
            outline=shapely.box(west, south, east, north),
        )


def _sampled(ground: Field, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Field:
    """Interpolate `ground` linearly at every crossing of `lon` and `lat`."""
    lons, lats = np.meshgrid(lon, lat)
    x, y = transform("EPSG:4326", f"EPSG:{EPSG}", lons.ravel().tolist(), lats.ravel().tolist())
    rows, columns = ground.shape
    column = np.clip((np.array(x) - CANVAS.left) / PIXEL - 0.5, 0, columns - 1.001)
    row = np.clip((CANVAS.top - np.array(y)) / PIXEL - 0.5, 0, rows - 1.001)
    i, j = row.astype(np.intp), column.astype(np.intp)
    down, right = row - i, column - j
    upper = ground[i, j] * (1 - right) + ground[i, j + 1] * right
    lower = ground[i + 1, j] * (1 - right) + ground[i + 1, j + 1] * right
    return (upper * (1 - down) + lower * down).astype(np.float32).reshape(lons.shape)
