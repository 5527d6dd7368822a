"""Sentinel-2 images of the simulated ground: twelve bands of digital numbers and the scene classification."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.archive.area import CANVAS, PIXEL, SCENE
from pipeline.archive.clouds import Sky, make_sky
from pipeline.archive.noise import Field, coarsen, ramp, stream
from pipeline.archive.passes import OPTICAL, OpticalPass, sun
from pipeline.archive.surface import COVERS, SPECTRA, Ground, World
from pipeline.records import MODALITIES

BANDS = MODALITIES["S2L2A"].bands
SWATH_TILT = math.tan(math.radians(13.0))
"""Eastward lean of the swath's edge per metre northwards, in a descending pass [1]."""
_CLOUD = (1.0, 1.0, 0.98, 0.98, 0.99, 1.0, 1.0, 1.0, 1.0, 0.75, 0.72, 0.55)
_CIRRUS = (0.52, 0.50, 0.49, 0.49, 0.49, 0.49, 0.49, 0.49, 0.48, 0.30, 0.30, 0.22)
_DIFFUSE = (0.46, 0.42, 0.36, 0.32, 0.30, 0.28, 0.27, 0.26, 0.25, 0.25, 0.20, 0.18)
"""Share of the light that still arrives in a cloud's shadow, by band [1]."""
_HAZE = (0.010, 0.007, 0.004, 0.0025, 0.002, 0.0015, 0.001, 0.001, 0.001, 0.001, 0.0, 0.0)
_GREENING = {"meadow": 0.16, "field": 0.22}
"""How far new growth moves a cover's spectrum over the season of the archive [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """What one day adds to the lasting ground, at one pixel size."""

    sky: Sky
    shade: Field
    """Sunlight on the slope relative to level ground [1]."""
    snow: Field
    """Share of the pixel under snow [1]."""
    growth: float
    """0 on the first day of the archive, 1 on the last."""
    has_scars: bool


def image(world: World, taken: OpticalPass) -> dict[str, NDArray[np.uint16] | NDArray[np.uint8]]:
    """Take one image of the whole canvas.

    Parameters
    ----------
    world : World
        The lasting ground.
    taken : OpticalPass
        The datatake.

    Returns
    -------
    dict of str to array
        Each band of S2L2A, uint16 (row, column) at its own pixel size, digital numbers with 0 for no data; and
        `SCL`, uint8 at 20 m, 0 for no data.
    """
    light = _light(world, taken)
    seen = _seen(taken)
    generator = stream(world.seed, f"sensor {taken.start.isoformat()}")
    bands: dict[str, NDArray[np.uint16] | NDArray[np.uint8]] = {}
    ground_red = ground_nir = np.empty(0, np.float32)
    for number, band in enumerate(BANDS):
        size = band.resolution
        below = _surface(world.ground[size], light[size], number)
        if band.name == "B04":
            ground_red = coarsen(below, 2)
        if band.name == "B08":
            ground_nir = coarsen(below, 2)
        signal = _through(below, light[size].sky, number)
        noise = generator.standard_normal(signal.shape, np.float32) * (0.0008 + 0.004 * signal)
        numbers = np.rint((signal + noise) * 10_000) + taken.offset
        whole = np.kron(seen, np.ones((60 // size, 60 // size), bool))
        bands[band.name] = np.where(whole, np.clip(numbers, 1, 30_000), 0).astype(np.uint16)
    vegetation = (ground_nir - ground_red) / (ground_nir + ground_red)
    classes = _classes(world.ground[20], light[20], vegetation)
    bands["SCL"] = np.where(np.kron(seen, np.ones((3, 3), bool)), classes, 0).astype(np.uint8)
    return bands


def _light(world: World, taken: OpticalPass) -> dict[int, Light]:
    sky = make_sky(world.seed, taken)
    shade, snow = _shade(world, taken), _snow(world, taken)
    days = (taken.start - OPTICAL[0].start).days / (OPTICAL[-1].start - OPTICAL[0].start).days
    return {
        size: Light(
            sky=sky.at(size),
            shade=coarsen(shade, size // PIXEL),
            snow=coarsen(snow, size // PIXEL),
            growth=days,
            has_scars=taken.is_after_event,
        )
        for size in (10, 20, 60)
    }


def _shade(world: World, taken: OpticalPass) -> Field:
    """Minnaert-like shading: direct light on the slope plus a constant share of diffuse light."""
    azimuth, elevation = (math.radians(angle) for angle in sun(taken.sensed))
    east, north = world.terrain.eastward, world.terrain.northward
    upright = 1 / np.sqrt(1 + east**2 + north**2)
    towards = -east * math.sin(azimuth) * math.cos(elevation) - north * math.cos(azimuth) * math.cos(elevation)
    facing = np.maximum((towards + math.sin(elevation)) * upright, 0)
    shade: Field = ((facing + 0.28) / (math.sin(elevation) + 0.28)).astype(np.float32)
    return shade


def _snow(world: World, taken: OpticalPass) -> Field:
    terrain = world.terrain
    height = terrain.elevation + 28 * world.drift - 60 * terrain.northward
    bare = 1 - 0.55 * world.cover[COVERS.index("forest")] - 0.5 * ramp(terrain.slope, 35, 50)
    snow: Field = np.clip(ramp(height, taken.snow_line - 60, taken.snow_line + 60) * bare, 0, 1).astype(np.float32)
    return snow


def _seen(taken: OpticalPass) -> NDArray[np.bool_]:
    """Return which 60 m cells lie inside the swath."""
    eastings, northings = CANVAS.centres(60)
    if taken.swath_edge is None:
        return np.ones(CANVAS.shape(60), bool)
    middle = SCENE.top - SCENE.height / 2
    return eastings > taken.swath_edge + (northings - middle) * SWATH_TILT


def _spectrum(number: int, growth: float) -> list[float]:
    green = -1.0 if number in (1, 3, 10, 11) else (1.0 if number in (6, 7, 8, 9) else 0.0)
    return [SPECTRA[name][number] * (1 + green * growth * _GREENING.get(name, 0.0)) for name in COVERS]


def _surface(ground: Ground, light: Light, number: int) -> Field:
    """Return the reflectance of the ground under its own light, as if there were no cloud [1]."""
    signal = np.zeros_like(ground.scar)
    for cover, reflectance in zip(ground.cover, _spectrum(number, light.growth), strict=True):
        signal += np.float32(reflectance) * cover
    if light.has_scars:
        signal += ground.scar * (np.float32(SPECTRA["scar"][number]) * ground.scar_brightness - signal)
    signal += light.snow * (np.float32(SPECTRA["snow"][number]) - signal)
    return signal * light.shade


def _through(below: Field, sky: Sky, number: int) -> Field:
    """Return what the sensor measures above shadows, cirrus and clouds [1]."""
    signal = below * (1 - np.float32(1 - _DIFFUSE[number]) * sky.shadow) + np.float32(_HAZE[number])
    signal += sky.cirrus * (np.float32(_CIRRUS[number]) - signal)
    signal += sky.cloud * (np.float32(_CLOUD[number]) * sky.glow - signal)
    return signal


def _classes(ground: Ground, light: Light, vegetation: Field) -> NDArray[np.uint8]:
    """Classify as Sen2Cor names it: 2 dark, 3 shadow, 4 to 6 ground, 7 unsure, 8 to 10 cloud, 11 snow."""
    water = ground.cover[COVERS.index("water")]
    sky = light.sky
    rules = [
        (sky.cloud > 0.5, 9),
        (sky.cloud > 0.15, 8),
        (sky.cirrus > 0.05, 10),
        (sky.shadow > 0.3, 3),
        (sky.cloud > 0.06, 7),
        (light.snow > 0.45, 11),
        (water > 0.5, 6),
        (vegetation > 0.42, 4),
        (light.shade < 0.34, 2),
    ]
    return np.select([where for where, _ in rules], [number for _, number in rules], 5).astype(np.uint8)
