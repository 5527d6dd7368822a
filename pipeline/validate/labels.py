"""Checks on stored labels: they are a function of a sample's events and of the moment of an image."""

from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.patches import draw_labels, states_at
from pipeline.pixels.labels import SLIVER
from pipeline.records import ShardSample

CLASSES = {"MASK": (0, 1), "MASK_SERIES": (0, 1, 255)}

TOLERANCE = 1e-6
"""Shares of pixels [1] may differ by this much between versions of the geometry library."""


def label_fault(name: str, values: NDArray[Any], sample: ShardSample, acquired: datetime) -> str:
    """Return what is wrong with the label modality `name`, (1, y, x), of one sample; empty where nothing is."""
    strange = _strange_value(name, values)
    if strange is not None:
        expected = " and ".join(map(str, CLASSES[name])) if name in CLASSES else "shares from 0 to 1"
        return f"mask holds {strange:g}, expected {expected}"
    if name == "MASK_FRACTION":
        untouched = _drawn("MASK", sample, ()) == 0
        if np.any(values[untouched] > SLIVER):
            return "mask has a share of a pixel that no polygon touches"
    wanted = _drawn(name, sample, states_at(sample, acquired) if name == "MASK_SERIES" else ())
    different = np.count_nonzero(np.abs(values - wanted.astype(np.float64)) > TOLERANCE)
    if different and not values.any():
        return "mask is empty, its events say otherwise"
    return f"mask differs from what its events give in {different} pixels" if different else ""


def _strange_value(name: str, values: NDArray[Any]) -> float | None:
    known = np.isin(values, CLASSES[name]) if name in CLASSES else (values >= 0.0) & (values <= 1.0)
    return None if known.all() else float(values[~known][0])


@lru_cache(maxsize=8)
def _drawn(name: str, sample: ShardSample, states: tuple[int, ...]) -> NDArray[Any]:
    return draw_labels(name, sample, states)
