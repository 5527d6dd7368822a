"""Landslides: elongated polygons that run downslope on steep, green ground inside the whole lattice cells."""

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon

from pipeline.archive.area import CANVAS, PIXEL, iter_whole_cells, one_polygon
from pipeline.archive.noise import Field, smooth, stream
from pipeline.archive.terrain import Terrain
from pipeline.errors import PipelineError

SLIDES = 12
_CROSSING = 4
"""How many of them must lie across the edge of a cell."""
_CELLS = (8, 11)
"""Fewest and most annotated cells."""
_SMALLEST_PART = 1500.0
"""A slide that reaches into a cell covers at least so much of it [m2], or it would leave no whole pixel there."""
_APART = 60.0
"""Clear ground between two slides [m]."""
_CANDIDATES = 6000
_STRIDE = 10.0


def make_slides(seed: int, terrain: Terrain, suited: Field) -> list[Polygon]:
    """Lay out the slides of `seed`.

    Parameters
    ----------
    seed : int
        Seed of the archive.
    terrain : Terrain
        The ground.
    suited : float32 (row, column) at 10 m
        Where slides may start, above 0.5: green ground below the snow [1].

    Returns
    -------
    list of shapely.Polygon
        Twelve polygons in metres of the zone, 80 to 600 m long, in 8 to 11 of the whole lattice cells.
    """
    generator = stream(seed, "slides")
    cells = [cell.outline for cell in iter_whole_cells()]
    chosen: list[Polygon] = []
    annotated: set[int] = set()
    for polygon in _candidates(generator, terrain, suited):
        parts = _cells_reached(polygon, cells)
        if not _fits(polygon, parts, chosen, annotated):
            continue
        chosen.append(polygon)
        annotated |= parts
        if len(chosen) == SLIDES:
            return chosen
    raise PipelineError(f"archive: seed {seed} gave {len(chosen)} landslides of {SLIDES}; take another seed")


def _fits(polygon: Polygon, parts: set[int], chosen: list[Polygon], annotated: set[int]) -> bool:
    if not parts or any(polygon.distance(other) < _APART for other in chosen):
        return False
    if len(chosen) < _CROSSING and len(parts) < 2:
        return False
    missing = _CELLS[0] - len(annotated)
    if missing >= SLIDES - len(chosen) and parts <= annotated:
        return False
    return len(annotated | parts) <= _CELLS[1]


def _cells_reached(polygon: Polygon, cells: list[Polygon]) -> set[int]:
    """Return the cells that `polygon` reaches into; none if it leaves them or only brushes one."""
    areas = {number: polygon.intersection(cell).area for number, cell in enumerate(cells)}
    reached = {number: area for number, area in areas.items() if area > 0}
    if sum(reached.values()) < polygon.area - 1.0 or min(reached.values(), default=0.0) < _SMALLEST_PART:
        return set()
    return set(reached)


def _candidates(generator: np.random.Generator, terrain: Terrain, suited: Field) -> Iterator[Polygon]:
    fall = np.stack([smooth(terrain.eastward, 2.5), smooth(terrain.northward, 2.5)])
    steep = np.degrees(np.arctan(np.hypot(*fall)))
    starts = np.argwhere((steep > 22) & (steep < 42) & (suited > 0.5))
    for row, column in generator.permutation(starts)[:_CANDIDATES]:
        length = float(np.exp(generator.uniform(np.log(90), np.log(470))))
        start = (
            CANVAS.left + (column + generator.random()) * PIXEL,
            CANVAS.top - (row + generator.random()) * PIXEL,
        )
        path = _downhill(start, length, fall)
        if len(path) * _STRIDE > max(80.0, 0.75 * length):
            yield _outline(path, generator)


def _downhill(start: tuple[float, float], length: float, fall: Field) -> NDArray[np.float64]:
    point, path = np.array(start), [np.array(start)]
    rows, columns = fall.shape[1:]
    while len(path) * _STRIDE < length:
        row, column = int((CANVAS.top - point[1]) / PIXEL), int((point[0] - CANVAS.left) / PIXEL)
        if not (0 <= row < rows and 0 <= column < columns):
            break
        rise = fall[:, row, column].astype(np.float64)
        steepness = float(np.hypot(*rise))
        if steepness < 0.2:
            break
        point = point - rise / steepness * _STRIDE
        path.append(point)
    return np.array(path)


def _outline(path: NDArray[np.float64], generator: np.random.Generator) -> Polygon:
    """Widen the path: a rounded head, a narrower track and a lobe where it comes to rest."""
    along = np.linspace(0, 1, len(path))
    body = generator.uniform(0.07, 0.12) * len(path) * _STRIDE + 10
    profile = 0.85 + 0.22 * np.cos(2 * np.pi * (along - generator.uniform(0.0, 0.15)))
    wobble = 1 + 0.12 * generator.standard_normal(len(path))
    radii = np.clip(body * profile * wobble, 11, 55)
    discs = shapely.buffer(shapely.points(path), radii, quad_segs=6)
    hulls = shapely.convex_hull(shapely.union(discs[:-1], discs[1:]))
    return one_polygon(shapely.union_all(hulls).simplify(2.0))
