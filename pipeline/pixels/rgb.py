"""Pictures from reflectance: one linear stretch for an image's three bands, its parameters kept."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PixelError

LOW_SHARE, HIGH_SHARE = 0.02, 0.98
"""Quantiles that become 0 and 255."""
LOW_CAP, HIGH_FLOOR = 1000.0, 2000.0
"""Bounds of the two, in reflectance times 10,000: hazy images are not lifted, dark ones not blown up."""


class Stretch(NamedTuple):
    """The numbers that become 0 and 255, in reflectance times 10,000."""

    low: float
    high: float


def stretch_of(values: NDArray[np.int16], valid: NDArray[np.bool_]) -> Stretch:
    """Return the stretch of one image: its 2 % and 98 % quantiles over all bands, bounded.

    The rule is ours, after what is known of SSL4EO-S12 v1.1's pictures (quantiles of 2 and 98 %, an upper end of at
    least 2000); it does not give their bytes.

    Parameters
    ----------
    values : int16 (band, y, x)
        Reflectance times 10,000, without offset.
    valid : bool (y, x)
        Pixels to judge by; without any, the stretch is 0 to 2000.
    """
    if values.ndim != 3 or valid.shape != values.shape[1:]:
        raise PixelError(f"values must be (band, y, x) and valid (y, x), got {values.shape} and {valid.shape}")
    if not valid.any():
        return Stretch(0.0, HIGH_FLOOR)
    low, high = np.quantile(values[:, valid], (LOW_SHARE, HIGH_SHARE))
    return Stretch(float(min(max(low, 0.0), LOW_CAP)), float(max(high, HIGH_FLOOR)))


def to_rgb(values: NDArray[np.int16], stretch: Stretch) -> NDArray[np.uint8]:
    """Return `values` stretched to 1-255 and rounded; 0 is left for no data.

    Parameters
    ----------
    values : int16 (band, y, x)
        Reflectance times 10,000, without offset.
    """
    scaled = (values.astype(np.float32) - stretch.low) * (255.0 / (stretch.high - stretch.low))
    return np.asarray(np.clip(np.rint(scaled), 1.0, 255.0), np.uint8)
