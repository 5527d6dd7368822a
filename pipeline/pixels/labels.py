"""Polygons burned into a patch, as Sen12Landslides publishes its masks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from pipeline.records import PatchGrid


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
    drawn = [polygon for polygon in polygons if not polygon.is_empty]
    mask = np.zeros((grid.size, grid.size), np.uint8)
    if drawn:
        rasterize(drawn, out=mask, transform=grid.geobox.affine, all_touched=True, default_value=1)
    return mask
