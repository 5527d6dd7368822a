"""Slope of the ground from a grid of heights."""

import numpy as np
from numpy.typing import NDArray


def horn_slope(heights: NDArray[np.floating], resolution: float) -> NDArray[np.float64]:
    """Return the slope of every pixel that has eight neighbours.

    Weighted differences over 3 × 3 pixels: Horn (1981), Hill shading and the reflectance map, Proceedings of the
    IEEE 69(1), 14-47; GDAL's and ArcGIS' slope is the same.

    Parameters
    ----------
    heights : floating (y, x)
        Heights [m], at least 3 × 3; NaN is no data.
    resolution : float
        Pixel size [m].

    Returns
    -------
    float64 (y - 2, x - 2)
        Angle to the horizontal [degrees, 0 to 90]; NaN where a height that it rests on is NaN.
    """
    z = np.asarray(heights, np.float64)
    east = z[:-2, 2:] + 2.0 * z[1:-1, 2:] + z[2:, 2:]
    west = z[:-2, :-2] + 2.0 * z[1:-1, :-2] + z[2:, :-2]
    south = z[2:, :-2] + 2.0 * z[2:, 1:-1] + z[2:, 2:]
    north = z[:-2, :-2] + 2.0 * z[:-2, 1:-1] + z[:-2, 2:]
    slope: NDArray[np.float64] = np.degrees(np.arctan(np.hypot(east - west, south - north) / (8.0 * resolution)))
    return slope
