"""Polygons burned into a patch: as Sen12Landslides publishes its masks, as shares of area, and as states in time."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from pipeline.records import PatchGrid

ABSENT: Final = 0
"""The slide has not come down yet, or there is none."""
PRESENT: Final = 1
"""The slide has come down."""
UNCERTAIN: Final = 255
"""The inventory does not say whether the slide had come down."""

SLIVER = 0.02
"""Share of a pixel that ALL_TOUCHED may leave out: edges within 0.01 pixels of a pixel's side count as lying on it
(EPSILON_INTERSECT_FRACTION in GDAL's llrasterize.cpp)."""


def rasterize_mask(polygons: Sequence[BaseGeometry], grid: PatchGrid) -> NDArray[np.uint8]:
    """Mark every pixel that a polygon touches, however little of it.

    The rule is GDAL's ALL_TOUCHED, which Sen12Landslides uses: a polygon smaller than a pixel still leaves a mark, and
    one that ends on a pixel's edge does not reach into the next pixel.

    Parameters
    ----------
    polygons : sequence of shapely geometries
        In the CRS of `grid` [m]; empty ones, and what lies outside of the patch, leave no mark.
    grid : PatchGrid
        Where the mask lies.

    Returns
    -------
    uint8 (y, x)
        Shape (size, size): 1 where a polygon touches the pixel, 0 elsewhere. Every pixel is valid.
    """
    return rasterize_states(polygons, [PRESENT] * len(polygons), grid)


def rasterize_states(polygons: Sequence[BaseGeometry], states: Sequence[int], grid: PatchGrid) -> NDArray[np.uint8]:
    """Mark every pixel that a polygon touches with what is known of the slide at one moment.

    Where several polygons touch one pixel, `PRESENT` wins over `UNCERTAIN`, and both win over `ABSENT`.

    Parameters
    ----------
    polygons : sequence of shapely geometries
        In the CRS of `grid` [m]; empty ones, and what lies outside of the patch, leave no mark.
    states : sequence of int
        One for each polygon: `ABSENT` (0), `PRESENT` (1) or `UNCERTAIN` (255).
    grid : PatchGrid
        Where the mask lies.

    Returns
    -------
    uint8 (y, x)
        Shape (size, size): 0, 1 or 255; touched is what `rasterize_mask` touches.
    """
    mask = np.zeros((grid.size, grid.size), np.uint8)
    for state in (UNCERTAIN, PRESENT):
        drawn = [p for p, held in zip(polygons, states, strict=True) if held == state and not p.is_empty]
        if drawn:
            rasterize(drawn, out=mask, transform=grid.geobox.affine, all_touched=True, default_value=state)
    return mask


def rasterize_fraction(polygons: Sequence[BaseGeometry], grid: PatchGrid) -> NDArray[np.float32]:
    """Measure the share of each pixel's area that lies inside the union of the polygons.

    Nothing is sampled: the outline is cut into quarters, and these again, down to the pixels' edges. A polygon that
    only just passes an edge has a small share, of less than `SLIVER`, in pixels that `rasterize_mask` may leave out.

    Parameters
    ----------
    polygons : sequence of shapely geometries
        In the CRS of `grid` [m]; empty ones, and what lies outside of the patch, count nothing.
    grid : PatchGrid
        Where the pixels lie.

    Returns
    -------
    float32 (y, x)
        Shape (size, size), share of the pixel [1] from 0 to 1; 1 exactly inside. Every pixel is valid.
    """
    share = np.zeros((grid.size, grid.size), np.float32)
    side = 1 << (grid.size - 1).bit_length()
    corners = np.zeros((1, 2), np.int64)
    parts = np.array([_outline_in_pixels(polygons, grid)])
    areas = shapely.area(parts)
    while side > 1 and parts.size:
        side //= 2
        corners = (corners[:, np.newaxis] + side * _QUARTERS).reshape(-1, 2)
        parts = shapely.intersection(np.repeat(parts, 4), shapely.box(*corners.T, *(corners + side).T))
        areas = shapely.area(parts)
        for x, y in corners[areas == side * side]:
            share[y : y + side, x : x + side] = 1.0
        is_partial = (areas > 0.0) & (areas < side * side)
        corners, parts, areas = corners[is_partial], parts[is_partial], areas[is_partial]
    share[corners[:, 1], corners[:, 0]] = areas
    return share


_QUARTERS = np.array([(0, 0), (1, 0), (0, 1), (1, 1)])
"""Corners of a block's quarters, in sides of a quarter."""


def _outline_in_pixels(polygons: Sequence[BaseGeometry], grid: PatchGrid) -> BaseGeometry:
    """Return the union of the polygons inside the patch; x and y count pixels from its upper left corner, y down."""

    def to_pixels(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return (xy - [grid.left, grid.top]) * [1.0 / grid.resolution, -1.0 / grid.resolution]

    # Projecting may push a hole through the shell that it touches.
    valid = shapely.make_valid(shapely.transform(list(polygons), to_pixels))
    outline: BaseGeometry = shapely.intersection(shapely.union_all(valid), shapely.box(0, 0, grid.size, grid.size))
    return outline
