"""Small gaps: pixels without data take the value of the nearest valid pixel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from pipeline.errors import PixelError


def fill_nearest(values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
    """Return a copy of `values` whose invalid pixels hold the value of the nearest valid one (Euclidean).

    Parameters
    ----------
    values : any dtype, (y, x)
    valid : bool (y, x)
        At least one pixel must be valid.
    """
    if values.shape != valid.shape or values.ndim != 2:
        raise PixelError(f"values and valid must be (y, x) of one shape, got {values.shape} and {valid.shape}")
    if not valid.any():
        raise PixelError("no pixel is valid: there is nothing to fill from")
    if valid.all():
        return values.copy()
    rows, columns = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    filled: NDArray[Any] = values[rows, columns]
    return filled
