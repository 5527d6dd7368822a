"""Relief: a valley with tributaries, worn into noise by the stream-power law, and the river that drains it.

The erosion is the detachment-limited law dz/dt = -K A^0.5 S (Whipple and Tucker, 1999) on a coarse grid.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely import Polygon

from pipeline.archive.area import CANVAS, PIXEL
from pipeline.archive.noise import Field, fractal, ramp, refine, smooth, stream

_COARSE = 60
_STEPS = 30
_WEAR = 0.05
_UPLIFT = 9.0
_CREEP = 0.05
_SPRING, _PERENNIAL = 350, 2000
"""Cells that must drain through a place for a stream bed, and for water in it."""
_NEIGHBOURS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]
_Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """The shape of the ground on the canvas, float32 (row, column) at 10 m."""

    elevation: Field
    """[m]"""
    eastward: Field
    """Rise towards the east [1]."""
    northward: Field
    """Rise towards the north [1]."""
    water: Field
    """Share of the pixel under water [1]."""
    gravel: Field
    """Share of the pixel that is river bed [1]."""

    @property
    def slope(self) -> Field:
        """Steepness [degrees]."""
        return np.degrees(np.arctan(np.hypot(self.eastward, self.northward)))


def build_terrain(seed: int) -> Terrain:
    """Make the relief of `seed`."""
    generator = stream(seed, "terrain")
    coarse = _eroded(_valley(generator))
    streams, beds = _river(coarse, generator)
    elevation = _detailed(coarse, generator)
    gravel = coverage(beds)
    elevation = elevation - 4 * smooth(gravel, 2.0)
    smoothed = smooth(elevation, 1.0)
    eastward: Field = np.gradient(smoothed, np.float32(PIXEL), axis=1)
    southward: Field = np.gradient(smoothed, np.float32(PIXEL), axis=0)
    return Terrain(
        elevation=elevation,
        eastward=eastward,
        northward=-southward,
        water=coverage(streams),
        gravel=gravel,
    )


def _valley(generator: np.random.Generator) -> Field:
    rows, columns = CANVAS.shape(_COARSE)
    along, across = np.linspace(0, 1, columns)[None, :], np.linspace(0, 1, rows)[:, None]
    bends = fractal(generator, (1, 2 * columns), slope=2.5, longest=80)[:, :columns]
    axis = 0.5 + 0.1 * np.sin(2 * np.pi * (1.2 * along + generator.random())) + 0.03 * bends
    flank = np.abs(across - axis) ** 0.8
    height = 260 + 900 * flank - 170 * along
    rough = 90 * fractal(generator, (rows, columns), slope=3.2, longest=70)
    return (height + rough * ramp(flank.astype(np.float32), 0.0, 0.25)).astype(np.float32)


def _eroded(height: Field) -> Field:
    for step in range(_STEPS):
        if step % 6 == 0:
            height = _filled(height)
        receiver = _receivers(height)
        levels = _levels(receiver)
        wear = _WEAR * np.sqrt(_drained(receiver, levels))
        raised = height.ravel() + _UPLIFT
        raised[_outlet(height)] -= _UPLIFT
        for level in levels[1:]:
            raised[level] = (raised[level] + wear[level] * raised[receiver[level]]) / (1 + wear[level])
        height = raised.reshape(height.shape).astype(np.float32)
        height = height + np.float32(_CREEP) * _curvature(height)
    height = _filled(height)
    low = float(height.min())
    return (210 + (height - low) * (1150 / (float(height.max()) - low))).astype(np.float32)


def _outlet(height: Field) -> int:
    columns = int(height.shape[1])
    return int(np.argmin(height[:, -1])) * columns + columns - 1


def _filled(height: Field) -> Field:
    """Raise closed depressions until every cell drains to the outlet (Planchon and Darboux, 2002)."""
    level = np.full_like(height, np.inf)
    level.flat[_outlet(height)] = height.flat[_outlet(height)]
    while True:
        lowest = np.minimum.reduce([_beside(level, *offset) for offset in _NEIGHBOURS])
        lower = np.minimum(level, np.maximum(height, lowest + np.float32(0.05)))
        if np.array_equal(lower, level):
            return level
        level = lower


def _beside(height: Field, row: int, column: int) -> Field:
    rows, columns = height.shape
    padded = np.pad(height, 1, constant_values=np.inf)
    return padded[1 + row : 1 + row + rows, 1 + column : 1 + column + columns]


def _curvature(height: Field) -> Field:
    padded = np.pad(height, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return around - 4 * height


def _receivers(height: Field) -> _Index:
    steepest = np.zeros_like(height)
    own = np.arange(height.size).reshape(height.shape)
    receiver = own.copy()
    for row, column in _NEIGHBOURS:
        fall = (height - _beside(height, row, column)) / np.float32(np.hypot(row, column))
        better = fall > steepest
        steepest = np.where(better, fall, steepest)
        receiver = np.where(better, own + row * height.shape[1] + column, receiver)
    return receiver.ravel()


def _levels(receiver: _Index) -> list[_Index]:
    """Group cells by their number of steps to where their water ends, nearest first."""
    steps = (receiver != np.arange(receiver.size)).astype(np.intp)
    ahead = receiver
    while steps[ahead].any():
        steps, ahead = steps + steps[ahead], ahead[ahead]
    order = np.argsort(steps, kind="stable")
    return np.split(order, np.cumsum(np.bincount(steps))[:-1])


def _drained(receiver: _Index, levels: list[_Index]) -> NDArray[np.float64]:
    """Count the cells whose water runs through each cell."""
    total = np.ones(receiver.size)
    for level in reversed(levels[1:]):
        np.add.at(total, receiver[level], total[level])
    return total


def _detailed(coarse: Field, generator: np.random.Generator) -> Field:
    elevation = smooth(refine(coarse, _COARSE // PIXEL), 3.0)
    spurs = fractal(generator, elevation.shape, slope=3.4, longest=40)
    steep = np.hypot(*np.gradient(elevation, np.float32(PIXEL)))
    return (elevation + 9 * spurs * ramp(steep, 0.05, 0.6)).astype(np.float32)


def _river(coarse: Field, generator: np.random.Generator) -> tuple[list[Polygon], list[Polygon]]:
    receiver = _receivers(coarse)
    drained = _drained(receiver, _levels(receiver))
    points = _stream_points(receiver, drained, generator)
    water, bed = [], []
    for cell in np.flatnonzero((drained > _SPRING) & (receiver != np.arange(receiver.size))):
        reach = shapely.LineString([points[cell], points[receiver[cell]]])
        bed.append(reach.buffer(2.0 + 0.24 * (drained[cell] - _SPRING) ** 0.5))
        if drained[cell] > _PERENNIAL:
            water.append(reach.buffer(2.0 + 0.11 * (drained[cell] - _PERENNIAL) ** 0.5))
    return water, bed


def _stream_points(
    receiver: _Index, drained: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    eastings, northings = CANVAS.centres(_COARSE)
    grid = np.broadcast_arrays(eastings, northings)
    points = np.stack([axis.ravel() for axis in grid], axis=1)
    points = points + generator.uniform(-22, 22, points.shape)
    donor = np.arange(receiver.size)
    order = np.argsort(drained, kind="stable")
    donor[receiver[order]] = order
    for _ in range(4):
        points = 0.5 * points + 0.25 * points[receiver] + 0.25 * points[donor]
    return points


def coverage(polygons: list[Polygon], oversampling: int = 4) -> Field:
    """Return the share of every canvas pixel that `polygons` cover, float32 (row, column) at 10 m [1]."""
    rows, columns = CANVAS.shape(PIXEL)
    if not polygons:
        return np.zeros((rows, columns), np.float32)
    fine = rasterize(
        polygons,
        out_shape=(rows * oversampling, columns * oversampling),
        transform=CANVAS.transform(PIXEL / oversampling),
        dtype="uint8",
    )
    blocks = fine.reshape(rows, oversampling, columns, oversampling)
    share: Field = blocks.mean(axis=(1, 3), dtype=np.float32)
    return share
