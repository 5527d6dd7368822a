"""What expressions are made of: images that know their values on any grid, features, collections."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from pipeline.records import PatchGrid
from pipeline.sources.window import read_patch

Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values, and where they are not masked."""


@dataclass(frozen=True)
class Grid:
    """Pixels of a request."""

    crs: str
    transform: Affine
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        return (self.height, self.width)

    def centres(self, crs: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        columns, rows = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        x, y = self.transform @ (columns, rows)
        return (x, y) if crs == self.crs else transformer(self.crs, crs).transform(x, y)


@dataclass(frozen=True)
class Band:
    """Something that has pixels on every grid."""

    pixels: Callable[[Grid], Pixels]
    resampled: Callable[[str], "Band"] | None = None
    """The same read with another resampling; None for what is computed, which resampling does not change."""


@dataclass(frozen=True)
class Image:
    bands: Mapping[str, Band]
    properties: Mapping[str, Any] = field(default_factory=dict)
    geometry: shapely.Geometry | None = None
    id: str = ""

    def having(self, **changes: Any) -> "Image":
        return replace(self, **changes)


@dataclass(frozen=True)
class Feature:
    geometry: shapely.Geometry | None
    properties: Mapping[str, Any]

    def having(self, **changes: Any) -> "Feature":
        return replace(self, **changes)


@dataclass(frozen=True)
class Collection:
    items: tuple[Any, ...]


def raster_band(
    path: Path, *, change: Callable[[NDArray[Any]], NDArray[Any]] | None = None, nodata: float | None, mode: str = ""
) -> Band:
    """A band in a file: the pixel that a centre lies in, or as GDAL resamples; `nodata` is masked.

    `change` is done to what was read, as Earth Engine holds other numbers than the file.
    """

    def pixels(grid: Grid) -> Pixels:
        values, inside = _warped(path, grid, mode) if mode else _nearest(path, grid)
        valid = inside if nodata is None else inside & (values != nodata)
        return (change(values) if change else values), valid

    return Band(pixels, lambda other: raster_band(path, change=change, nodata=nodata, mode=other))


def _nearest(path: Path, grid: Grid) -> Pixels:
    values, crs, transform = load(path)
    column, row = ~transform @ grid.centres(crs)
    # A centre on a border belongs to the pixel right of it or below, whatever the rounding.
    i, j = (np.floor(np.asarray(at) + 1e-6).astype(int) for at in (row, column))
    inside = (i >= 0) & (j >= 0) & (i < values.shape[0]) & (j < values.shape[1])
    out = np.zeros(grid.shape, values.dtype)
    out[inside] = values[i[inside], j[inside]]
    return out, inside


def _warped(path: Path, grid: Grid, mode: str) -> Pixels:
    patch = PatchGrid(
        epsg=int(grid.crs.removeprefix("EPSG:")),
        left=grid.transform.c,
        top=grid.transform.f,
        size=grid.width,
        resolution=grid.transform.a,
    )
    with rasterio.open(path) as dataset:
        values = read_patch(dataset, patch, resampling={"bilinear": "bilinear", "bicubic": "cubic"}[mode])  # type: ignore[arg-type]
    inside = np.isfinite(values)
    return np.where(inside, values, 0), inside


@lru_cache(maxsize=512)
def load(path: Path) -> tuple[NDArray[Any], str, Affine]:
    with rasterio.open(path) as dataset:
        return dataset.read(1), f"EPSG:{dataset.crs.to_epsg()}", dataset.transform


@lru_cache(maxsize=32)
def transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def project(geometry: shapely.Geometry, source: str, target: str) -> shapely.Geometry:
    if source == target:
        return geometry
    return shapely.transform(geometry, transformer(source, target).transform, interleaved=False)
