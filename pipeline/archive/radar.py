"""Sentinel-1 gamma nought of the simulated ground, after terrain correction, in the frames of each pass.

Backscatter levels are typical C-band values; speckle is gamma-distributed with the 4.4 looks that Sentinel-1 IW
GRD high-resolution products state (`sar:looks_equivalent_number`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon

from pipeline.archive.area import CANVAS, PIXEL, SCENE, Window, one_polygon
from pipeline.archive.noise import Field, rounded, smooth, stream
from pipeline.archive.passes import RadarPass
from pipeline.archive.surface import COVERS, World

NODATA = -32768.0
LOOKS = 4.4
POLARIZATIONS = ("vv", "vh")
_DECIBELS = {
    "forest": (-8.3, -13.6),
    "meadow": (-11.0, -18.0),
    "scrub": (-9.6, -15.6),
    "field": (-11.8, -19.0),
    "rock": (-9.0, -16.5),
    "gravel": (-11.5, -19.5),
    "water": (-19.0, -25.5),
    "scar": (-6.6, -18.2),
}
"""Gamma nought of each cover, vv and vh [dB]."""
_INCIDENCE = math.radians(39.0)
_FRAME_SECONDS = 25
_OVERLAP = 60
"""How far each frame reaches past the seam [m]."""
_SWATH = Window(left=497_190, top=4_204_130, width=12_430, height=6_650)
"""What the radar sees: past the scene on every side, on the 10 m grid but not on that of 60 m."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One product of a pass."""

    start: datetime
    end: datetime
    window: Window
    """Extent of its raster."""
    outline: Polygon
    """Where it has data, in metres of the zone."""
    seen: NDArray[np.bool_]
    """Where it has data, on the raster's grid."""


def iter_frames(taken: RadarPass) -> Iterator[Frame]:
    """Yield the frames of a pass, first one first: two that meet along a line across its path, or one."""
    if not taken.is_split:
        yield _whole(taken)
        return
    tilt = -math.tan(math.radians(taken.heading))
    middle_x, middle_y = SCENE.left + SCENE.width / 2, SCENE.top - SCENE.height / 2
    duration = timedelta(seconds=_FRAME_SECONDS)
    sides = ("south", "north") if taken.orbit_state == "ascending" else ("north", "south")
    for start, side in zip((taken.sensed - duration, taken.sensed), sides, strict=True):
        sign = 1 if side == "south" else -1
        left, bottom, right, top = _SWATH.bounds
        far = bottom - 10_000 if side == "south" else top + 10_000
        edge = [(x, middle_y + tilt * (x - middle_x) + sign * _OVERLAP) for x in (left, right)]
        outline = one_polygon(_SWATH.outline & Polygon([*edge, (right, far), (left, far)]))
        window = _snapped(outline)
        eastings, northings = window.centres(PIXEL)
        seam = middle_y + tilt * (eastings - middle_x) + sign * _OVERLAP
        yield Frame(
            start=start,
            end=start + duration,
            window=window,
            outline=outline.buffer(-PIXEL, join_style="mitre"),
            seen=sign * (seam - northings) > 0,
        )


def _whole(taken: RadarPass) -> Frame:
    half = timedelta(seconds=_FRAME_SECONDS / 2)
    return Frame(
        start=taken.sensed - half,
        end=taken.sensed + half,
        window=_SWATH,
        outline=_SWATH.outline.buffer(-PIXEL, join_style="mitre"),
        seen=np.ones(_SWATH.shape(PIXEL), bool),
    )


def _snapped(outline: Polygon) -> Window:
    left, bottom, right, top = outline.bounds
    low, high = math.floor(bottom / PIXEL) * PIXEL, math.ceil(top / PIXEL) * PIXEL
    return Window(left=round(left), top=high, width=round(right - left), height=high - low)


def backscatter(world: World, taken: RadarPass, *, bits: int = 10) -> dict[str, Field]:
    """Image the whole canvas in one pass.

    Parameters
    ----------
    world : World
        The lasting ground.
    taken : RadarPass
        The pass.
    bits : int
        Bits of the mantissa to keep: 10 are steps of 0.004 dB at most, 5 of 0.13 dB.

    Returns
    -------
    dict of str to float32 (row, column) at 10 m
        Gamma nought of `vv` and `vh`, linear power [1].
    """
    generator = stream(world.seed, f"speckle {taken.sensed.isoformat()}")
    facing = _facing(world, taken)
    images = {}
    for number, polarization in enumerate(POLARIZATIONS):
        mean = np.zeros_like(world.scar)
        for name, share in zip(COVERS, world.cover, strict=True):
            mean += np.float32(_power(name, number)) * share
        if taken.is_after_event:
            mean += world.scar * (np.float32(_power("scar", number)) - mean)
        speckle = generator.standard_gamma(LOOKS, mean.shape, np.float32) / np.float32(LOOKS)
        damp = np.float32(10 ** (taken.dampness / 10))
        images[polarization] = rounded(mean * facing * damp * speckle, bits)
    return images


def frame_pixels(image: Field, frame: Frame) -> Field:
    """Cut a frame out of the canvas; -32768 where it has no data."""
    return np.where(frame.seen, image[frame.window.within(CANVAS, PIXEL)], np.float32(NODATA))


def _power(name: str, number: int) -> float:
    return float(10 ** (_DECIBELS[name][number] / 10))


def _facing(world: World, taken: RadarPass) -> Field:
    """Return what terrain correction leaves behind: slopes towards the radar stay brighter [1]."""
    look = math.radians(taken.heading + 90)
    east, north = smooth(world.terrain.eastward, 1.5), smooth(world.terrain.northward, 1.5)
    upright = 1 / np.sqrt(1 + east**2 + north**2)
    climb = east * math.sin(look) + north * math.cos(look)
    local = (climb * math.sin(_INCIDENCE) + math.cos(_INCIDENCE)) * upright
    facing: Field = (np.clip(local / math.cos(_INCIDENCE), 0.2, 2.0) ** 1.5).astype(np.float32)
    return facing
