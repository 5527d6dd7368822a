"""Land cover and what it reflects: seven covers, fresh scars and snow, mixed pixel by pixel.

Spectra are typical surface reflectances of Sentinel-2's bands over a Mediterranean winter landscape.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon

from pipeline.archive.area import CANVAS, PIXEL
from pipeline.archive.noise import Field, coarsen, fractal, ramp, smooth, stream
from pipeline.archive.slides import make_slides
from pipeline.archive.terrain import Terrain, build_terrain, coverage

COVERS = ("forest", "meadow", "scrub", "field", "rock", "gravel", "water")
SPECTRA = {
    "forest": (0.018, 0.022, 0.038, 0.025, 0.062, 0.165, 0.205, 0.220, 0.238, 0.240, 0.108, 0.050),
    "meadow": (0.032, 0.038, 0.072, 0.048, 0.112, 0.265, 0.320, 0.345, 0.360, 0.355, 0.205, 0.108),
    "scrub": (0.034, 0.042, 0.065, 0.062, 0.102, 0.170, 0.198, 0.215, 0.235, 0.240, 0.205, 0.125),
    "field": (0.050, 0.060, 0.090, 0.092, 0.132, 0.195, 0.222, 0.240, 0.255, 0.260, 0.245, 0.165),
    "rock": (0.105, 0.125, 0.155, 0.175, 0.190, 0.200, 0.208, 0.218, 0.225, 0.230, 0.270, 0.230),
    "gravel": (0.115, 0.135, 0.160, 0.178, 0.190, 0.198, 0.204, 0.212, 0.218, 0.222, 0.250, 0.225),
    "water": (0.050, 0.058, 0.070, 0.052, 0.040, 0.026, 0.024, 0.020, 0.017, 0.014, 0.007, 0.005),
    "scar": (0.075, 0.090, 0.125, 0.168, 0.195, 0.212, 0.226, 0.240, 0.255, 0.260, 0.330, 0.285),
    "snow": (0.860, 0.880, 0.885, 0.870, 0.850, 0.830, 0.810, 0.800, 0.780, 0.700, 0.100, 0.080),
}
"""Surface reflectance [1] of each cover in the order of the bands of S2L2A: B01 to B8A, B09, B11, B12."""
_RELIEF = {"forest": 0.16, "meadow": 0.07, "scrub": 0.16, "field": 0.08, "rock": 0.16, "gravel": 0.08, "water": 0.04}
"""How much each cover varies in brightness, standard deviation [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The lasting surface at one pixel size."""

    cover: NDArray[np.float32]
    """Share of each of `COVERS` times its brightness, float32 (cover, row, column) [1]."""
    scar: Field
    """Share of the pixel inside a slide [1]."""
    scar_brightness: Field
    """[1]"""


@dataclass(frozen=True)
class World:
    """Everything that stays: relief, cover and slides of one seed."""

    seed: int
    terrain: Terrain
    cover: NDArray[np.float32]
    """Share of each of `COVERS`, float32 (cover, row, column) at 10 m [1]."""
    slides: list[Polygon]
    """Metres of the zone."""

    @cached_property
    def scar(self) -> Field:
        """Share of each 10 m pixel inside a slide [1]."""
        return coverage(self.slides)

    @cached_property
    def drift(self) -> Field:
        """Where snow gathers rather than melts, standard normal."""
        return fractal(stream(self.seed, "drift"), self.scar.shape, slope=2.2, longest=60)

    @cached_property
    def ground(self) -> dict[int, Ground]:
        """The lasting surface by pixel size [m]."""
        generator = stream(self.seed, "brightness")
        shape = self.scar.shape
        broad = fractal(generator, shape, slope=2.4, longest=60)
        fine = fractal(generator, shape, slope=1.0, longest=6)
        mottled = 0.6 * broad + 0.8 * fine
        varied = [1 + _RELIEF[name] * mottled for name in COVERS]
        cover = self.cover * np.clip(varied, 0.4, 2.0).astype(np.float32)
        cover[COVERS.index("field")] *= _parcels(generator)
        bright = np.clip(1 + 0.09 * mottled, 0.6, 1.5).astype(np.float32)
        return {
            size: Ground(
                cover=coarsen(cover, size // PIXEL),
                scar=coarsen(self.scar, size // PIXEL),
                scar_brightness=coarsen(bright, size // PIXEL),
            )
            for size in (10, 20, 60)
        }


def build_world(seed: int) -> World:
    """Make the ground of `seed`: relief first, then cover, then the slides that suit both."""
    terrain = build_terrain(seed)
    cover = _cover(seed, terrain)
    green = cover[COVERS.index("forest")] + cover[COVERS.index("meadow")]
    lit = smooth(terrain.northward, 2.5) > -0.3
    suited = smooth(green, 2.0) * (terrain.elevation < 880) * lit
    return World(seed=seed, terrain=terrain, cover=cover, slides=make_slides(seed, terrain, suited))


def _cover(seed: int, terrain: Terrain) -> NDArray[np.float32]:
    generator = stream(seed, "cover")
    shape = terrain.elevation.shape
    patches = [fractal(generator, shape, slope=2.6, longest=90) for _ in range(5)]
    slope = terrain.slope
    shaded = smooth(terrain.northward, 2.0)
    height = smooth(terrain.elevation, 2.0)
    affinity = {
        "forest": 0.55 + 0.9 * patches[0] - 1.2 * shaded + 0.6 * ramp(height, 450, 800) - 0.8 * ramp(height, 950, 1200),
        "meadow": 0.55 + 0.9 * patches[1] - slope / 32 + 0.9 * ramp(height, 750, 1050),
        "scrub": -0.15 + 0.9 * patches[2] + 1.1 * shaded,
        "field": 1.9 + 0.7 * patches[3] - slope / 10 - 1.6 * ramp(height, 420, 760),
        "rock": -2.6 + 0.7 * patches[4] + 3.0 * ramp(slope, 34, 50) + 0.8 * ramp(height, 900, 1300),
    }
    weight = np.exp(4.0 * np.stack(list(affinity.values())))
    dry = weight / weight.sum(axis=0)
    islands = fractal(generator, shape, slope=1.8, longest=14)
    wet, bed = terrain.water, np.maximum(terrain.gravel - terrain.water, 0) * ramp(islands, -1.6, 0.2)
    return np.concatenate([dry * (1 - wet - bed), [bed, wet]]).astype(np.float32)


def _parcels(generator: np.random.Generator, spacing: int = 11) -> Field:
    """Draw the brightness of fields: the cells of a jittered grid, one tone each."""
    rows, columns = CANVAS.shape(PIXEL)
    grid = (rows // spacing + 3, columns // spacing + 3)
    jitter = generator.uniform(0.1, 0.9, (2, *grid))
    tone = generator.uniform(0.65, 1.35, grid).astype(np.float32)
    row, column = np.arange(rows)[:, None], np.arange(columns)[None, :]
    nearest = np.full((rows, columns), np.inf)
    field = np.ones((rows, columns), np.float32)
    for down in (0, 1, 2):
        for right in (0, 1, 2):
            i, j = row // spacing + down, column // spacing + right
            apart = np.hypot(
                row - (i - 1 + jitter[0, i, j]) * spacing, 0.6 * (column - (j - 1 + jitter[1, i, j]) * spacing)
            )
            closer = apart < nearest
            nearest = np.where(closer, apart, nearest)
            field = np.where(closer, tone[i, j], field)
    return field
