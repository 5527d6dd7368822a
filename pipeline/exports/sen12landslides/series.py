"""A patch's frames as a file holds them: gaps filled from the nearest valid pixel, always the series' length.

A frame is used under the rule of the release (patch_module.py): at most 5 % without data, and no band that is empty
or constant. Values are never made up: too few frames, and there is no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.exports.request import Radiometry
from pipeline.exports.sen12landslides.radiometry import (
    harmonized_backscatter,
    harmonized_reflectance,
    raw_backscatter,
    raw_reflectance,
)
from pipeline.pixels.gaps import fill_nearest

MAX_MISSING = 0.05
"""Largest share of a frame's values without data."""
MIN_STD = 1e-7
"""A band of less spread is constant."""

RADIOMETRIES: tuple[Radiometry, ...] = ("raw", "harmonized")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """What the store holds of one patch and sensor, by time, without what is missing or padding."""

    values: NDArray[Any]
    """(frame, band, y, x): int32 offset-free digital numbers, or float32 decibel."""
    valid: NDArray[np.bool_]
    """Shape of `values`: True where there is data."""
    days: NDArray[np.datetime64]
    """datetime64[D] (frame)."""
    offsets: NDArray[np.int32]
    """(frame) what had been added to the product's numbers; 0 for radar."""
    classes: NDArray[np.uint8] | None = None
    """(frame, y, x) scene classification, 0 no data; Sentinel-2 only."""

    def take(self, chosen: Sequence[int] | NDArray[np.int64]) -> "Frames":
        """Return the frames of these indices."""
        return Frames(
            values=self.values[chosen],
            valid=self.valid[chosen],
            days=self.days[chosen],
            offsets=self.offsets[chosen],
            classes=None if self.classes is None else self.classes[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """What a file holds."""

    values: Mapping[Radiometry, NDArray[Any]]
    """(time, band, y, x): int16, or float32 for radar; no gaps."""
    valid: NDArray[np.bool_]
    """(time, band, y, x): False where a value was filled, and in padding."""
    days: NDArray[np.datetime64]
    """datetime64[D] (time), rising."""
    classes: NDArray[np.uint8] | None
    """(time, y, x) scene classification without gaps; Sentinel-2 only."""
    padded: tuple[int, ...]
    """Times that repeat the last image."""


def max_padding(length: int) -> int:
    """Return how often the last image may stand again: 4 times in the release's 15, and in proportion, at least 1."""
    return max(1, round(4 * length / 15))


def convert(frames: Frames, radiometry: Radiometry) -> NDArray[Any]:
    """Return the values of `frames` as int16 (Sentinel-2) or float32 (Sentinel-1); where not valid, anything."""
    if frames.classes is None:
        change = raw_backscatter if radiometry == "raw" else harmonized_backscatter
        return change(frames.values)
    if radiometry == "raw":
        return raw_reflectance(frames.values, frames.offsets)
    return harmonized_reflectance(frames.values)


def usable(frames: Frames) -> NDArray[np.bool_]:
    """Tell which frames (frame) may be in a file: in either radiometry, so that both trees hold the same files."""
    result = np.array([(~mask).mean() <= MAX_MISSING for mask in frames.valid], np.bool_)
    if frames.classes is not None:
        result &= (frames.classes != 0).any(axis=(1, 2))
    for radiometry in RADIOMETRIES:
        values = convert(frames, radiometry)
        for index in np.flatnonzero(result):
            result[index] = all(map(_varies, values[index], frames.valid[index]))
    return result


def _varies(band: NDArray[Any], valid: NDArray[np.bool_]) -> bool:
    values = band[valid]
    return bool(values.size and np.ptp(values) > 0 and values.std(dtype=np.float64) >= MIN_STD)


def make_series(frames: Frames, length: int) -> Series | None:
    """Return the series of a file of `length` times; None when too few frames are left even with padding.

    Parameters
    ----------
    frames : Frames
        Usable ones only, by time.
    length : int
        Times of a file; the last frame is repeated at the end up to `max_padding` times.
    """
    count = len(frames.days)
    if count < length - max_padding(length) or not count:
        return None
    filled = _filled(frames)
    indices = np.minimum(np.arange(length), count - 1)
    padded = tuple(range(count, length))
    valid = frames.valid[indices]
    valid[count:] = False
    return Series(
        values={radiometry: convert(filled, radiometry)[indices] for radiometry in RADIOMETRIES},
        valid=valid,
        days=frames.days[indices],
        classes=None if filled.classes is None else filled.classes[indices],
        padded=padded,
    )


def _filled(frames: Frames) -> Frames:
    values = frames.values.copy()
    for index in np.ndindex(values.shape[:2]):
        values[index] = fill_nearest(values[index], frames.valid[index])
    classes = frames.classes
    if classes is not None:
        classes = np.stack([fill_nearest(frame, frame != 0) for frame in classes])
    return Frames(
        values=values,
        valid=np.ones(values.shape, np.bool_),
        days=frames.days,
        offsets=frames.offsets,
        classes=classes,
    )
