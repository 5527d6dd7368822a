"""Stored numbers to those of the release: raw as the product has them, harmonized offset-free and in decibel.

The ranges are those of the release (README of github.com/PaulH97/Sen12Landslides).
"""

import numpy as np
from numpy.typing import NDArray

DN_RANGE = (0, 10_000)
"""Sentinel-2 digital numbers [1e-4]."""
POWER_RANGE = (0.0, 1.0)
"""Sentinel-1 linear power [1]."""
DECIBEL_RANGE = (-50.0, 10.0)
"""Sentinel-1 [dB]."""
HEIGHT_RANGE = (0, 10_000)
"""Elevation [m]."""


def harmonized_reflectance(numbers: NDArray[np.int32]) -> NDArray[np.int16]:
    """Return int16 [1e-4], 0 to 10000, of offset-free digital numbers of any shape."""
    return np.clip(numbers, *DN_RANGE).astype(np.int16)


def raw_reflectance(numbers: NDArray[np.int32], offsets: NDArray[np.int32]) -> NDArray[np.int16]:
    """Return digital numbers as the product has them.

    Parameters
    ----------
    numbers : int32 (frame, band, y, x)
        Offset-free digital numbers [1e-4].
    offsets : int32 (frame)
        What had been added to each product's numbers: 0, or -1000 from processing baseline 04.00 on.

    Returns
    -------
    int16, shape of `numbers`, 0 to 10000.
    """
    digital: NDArray[np.int32] = numbers - offsets[:, np.newaxis, np.newaxis, np.newaxis]
    return np.clip(digital, *DN_RANGE).astype(np.int16)


def harmonized_backscatter(decibel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 [dB], -50 to 10; NaN stays NaN."""
    return np.clip(decibel, *DECIBEL_RANGE).astype(np.float32)


def raw_backscatter(decibel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 linear power [1], 0 to 1, of backscatter [dB]; NaN stays NaN."""
    return np.clip(10.0 ** (decibel.astype(np.float64) / 10.0), *POWER_RANGE).astype(np.float32)


def elevation(height: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return int16 [m], 0 to 10000, truncated toward zero; `height` has no gaps."""
    return np.clip(height, *HEIGHT_RANGE).astype(np.int16)
