"""The sky of one acquisition: clouds, cirrus and the shadows they cast away from the sun."""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.archive.area import CANVAS, PIXEL
from pipeline.archive.noise import Field, coarsen, fractal, ramp, smooth, stream
from pipeline.archive.passes import OpticalPass, sun


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """What lies between sensor and ground, float32 (row, column) each, 0 to 1."""

    cloud: Field
    """Opacity of cloud."""
    glow: Field
    """Brightness of the cloud's top: reflectance in the visible."""
    cirrus: Field
    """Opacity of thin cirrus."""
    shadow: Field
    """Share of the sun's beam that a cloud takes."""

    def at(self, resolution: int) -> "Sky":
        """Return the same sky in pixels of `resolution` [m]."""
        factor = resolution // PIXEL
        return Sky(
            cloud=coarsen(self.cloud, factor),
            glow=coarsen(self.glow, factor),
            cirrus=coarsen(self.cirrus, factor),
            shadow=coarsen(self.shadow, factor),
        )


def make_sky(seed: int, taken: OpticalPass) -> Sky:
    """Draw the sky of one datatake over the canvas, at 10 m."""
    generator = stream(seed, f"sky {taken.start.isoformat()}")
    shape = CANVAS.shape(PIXEL)
    cloud = glow = shadow = cirrus = np.zeros(shape, np.float32)
    if taken.cloud:
        height = generator.uniform(450, 800)
        puffs = fractal(generator, shape, slope=3.5, longest=generator.uniform(140, 380))
        edge = float(np.quantile(puffs, 1 - taken.cloud))
        cloud = ramp(puffs, edge - 0.25, edge + 0.4)
        glow = _glow(puffs - np.float32(edge), generator, taken)
        shadow = _cast(ramp(puffs, edge - 0.05, edge + 0.15), height, taken)
    if taken.cirrus:
        veil = fractal(generator, shape, slope=3.6, longest=500)
        edge = float(np.quantile(veil, 1 - taken.cirrus))
        cirrus = np.float32(0.3) * ramp(veil, edge - 0.1, edge + 0.9)
    return Sky(cloud=cloud, glow=glow, cirrus=cirrus, shadow=shadow)


def _glow(depth: Field, generator: np.random.Generator, taken: OpticalPass) -> Field:
    azimuth = math.radians(sun(taken.sensed)[0])
    down, right = np.gradient(smooth(depth, 2.0))
    away = down * np.float32(math.cos(azimuth)) - right * np.float32(math.sin(azimuth))
    billows = fractal(generator, depth.shape, slope=2.4, longest=30)
    bright = 0.5 + 0.2 * ramp(depth, -0.1, 1.2) + 0.025 * billows + 1.6 * away
    return np.clip(bright, 0.3, 1.05).astype(np.float32)


def _cast(cloud: Field, height: float, taken: OpticalPass) -> Field:
    azimuth, elevation = sun(taken.sensed)
    reach = height / math.tan(math.radians(elevation)) / PIXEL
    rows = round(reach * math.cos(math.radians(azimuth)))
    columns = round(-reach * math.sin(math.radians(azimuth)))
    return smooth(np.roll(cloud, (rows, columns), (0, 1)), 1.5)
