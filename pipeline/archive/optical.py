"""Sentinel-2 images of the simulated ground: digital numbers of both levels and the scene classification."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.archive.area import CANVAS, PIXEL, SCENE
from pipeline.archive.atmosphere import cirrus_band, top_of_atmosphere
from pipeline.archive.clouds import Sky, make_sky
from pipeline.archive.noise import Field, coarsen, ramp, rounded, stream
from pipeline.archive.passes import Level, OpticalPass, sun
from pipeline.archive.surface import COVERS, SPECTRA, Ground, World
from pipeline.archive.vegetation import Spectra
from pipeline.records import MODALITIES, Band

BANDS = MODALITIES["S2L2A"].bands
BANDS_OF: Mapping[Level, tuple[Band, ...]] = {"1C": MODALITIES["S2L1C"].bands, "2A": BANDS}
SWATH_TILT = math.tan(math.radians(13.0))
"""Eastward lean of the swath's edge per metre northwards, in a descending pass [1]."""
_CLOUD = (1.0, 1.0, 0.98, 0.98, 0.99, 1.0, 1.0, 1.0, 1.0, 0.75, 0.72, 0.55)
_CIRRUS = (0.52, 0.50, 0.49, 0.49, 0.49, 0.49, 0.49, 0.49, 0.48, 0.30, 0.30, 0.22)
_DIFFUSE = (0.46, 0.42, 0.36, 0.32, 0.30, 0.28, 0.27, 0.26, 0.25, 0.25, 0.20, 0.18)
"""Share of the light that still arrives in a cloud's shadow, by band [1]."""
_HAZE = (0.010, 0.007, 0.004, 0.0025, 0.002, 0.0015, 0.001, 0.001, 0.001, 0.001, 0.0, 0.0)
_PEDESTAL = 512
"""Added while digital numbers are rounded, so that the steps of dark pixels stay below the noise."""

Bands = dict[str, NDArray[np.uint16] | NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """What one day adds to the lasting ground, at one pixel size."""

    sky: Sky
    shade: Field
    """Sunlight on the slope relative to level ground [1]."""
    snow: Field
    """Share of the pixel under snow [1]."""
    spectra: Spectra
    """What each cover reflects today."""
    has_scars: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What one datatake saw of the whole canvas, before it is written as numbers."""

    seed: int
    taken: OpticalPass
    reflectance: dict[str, Field]
    """Each band of S2L2A, float32 (row, column) at its own pixel size, sensor noise included [1]."""
    classes: NDArray[np.uint8]
    """Scene classification at 20 m, 0 outside the swath."""
    sky: Sky
    """Clouds at 60 m."""
    seen: NDArray[np.bool_]
    """Which cells of 60 m lie inside the swath."""


def image(world: World, taken: OpticalPass, spectra: Spectra) -> Image:
    """Take one image of the whole canvas.

    Parameters
    ----------
    world : World
        The lasting ground.
    taken : OpticalPass
        The datatake.
    spectra : mapping of str to float64 (band,)
        What each cover reflects on that day.
    """
    light = _light(world, taken, spectra)
    generator = stream(world.seed, f"sensor {taken.start.isoformat()}")
    reflectance = {}
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
        reflectance[band.name] = signal + noise
    vegetation = (ground_nir - ground_red) / (ground_nir + ground_red)
    seen = _seen(taken)
    return Image(
        seed=world.seed,
        taken=taken,
        reflectance=reflectance,
        classes=np.where(_enlarged(seen, 20), _classes(world.ground[20], light[20], vegetation), np.uint8(0)),
        sky=light[60].sky,
        seen=seen,
    )


def numbers(image: Image, level: Level, *, bits: int | None = None) -> Bands:
    """Write one level of an image as numbers.

    Parameters
    ----------
    image : Image
        What was seen.
    level : str
        `1C`, reflectance at the top of the atmosphere, or `2A`, reflectance of the surface.
    bits : int, optional
        Bits of the mantissa to keep of a digital number plus 512; None keeps every number. B10 is always kept whole.

    Returns
    -------
    dict of str to array
        Each band of the level, uint16 (row, column) at its own pixel size, digital numbers with 0 for no data; and
        for `2A` the scene classification `SCL`, uint8 at 20 m, 0 for no data.
    """
    reflectance = image.reflectance if level == "2A" else _above(image)
    bands: Bands = {band.name: _numbers(reflectance[band.name], image, band, bits) for band in BANDS_OF[level]}
    if level == "2A":
        bands["SCL"] = image.classes
    return bands


def _above(image: Image) -> dict[str, Field]:
    elevation = sun(image.taken.sensed)[1]
    above = {name: top_of_atmosphere(below, name, elevation) for name, below in image.reflectance.items()}
    generator = stream(image.seed, f"cirrus band {image.taken.start.isoformat()}")
    return above | {"B10": cirrus_band(image.sky, generator)}


def rasters_of(level: Level) -> dict[str, int]:
    """Return the pixel size [m] of each raster of a product, by name."""
    classification = {"SCL": 20} if level == "2A" else {}
    return {band.name: band.resolution for band in BANDS_OF[level]} | classification


def _numbers(reflectance: Field, image: Image, band: Band, bits: int | None) -> NDArray[np.uint16]:
    numbers: Field = np.rint(reflectance * 10_000)
    if bits is not None and band.name != "B10":
        numbers = rounded(numbers + _PEDESTAL, bits) - _PEDESTAL
    numbers = np.clip(numbers + image.taken.offset, 1, 30_000)
    return np.where(_enlarged(image.seen, band.resolution), numbers, 0).astype(np.uint16)


def _enlarged(seen: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Return cells of 60 m in pixels of `size` [m]."""
    return np.kron(seen, np.ones((60 // size, 60 // size), bool))


def _light(world: World, taken: OpticalPass, spectra: Spectra) -> dict[int, Light]:
    sky = make_sky(world.seed, taken)
    shade, snow = _shade(world, taken), _snow(world, taken)
    return {
        size: Light(
            sky=sky.at(size),
            shade=coarsen(shade, size // PIXEL),
            snow=coarsen(snow, size // PIXEL),
            spectra=spectra,
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


def _surface(ground: Ground, light: Light, number: int) -> Field:
    """Return the reflectance of the ground under its own light, as if there were no cloud [1]."""
    signal = np.zeros_like(ground.scar)
    for name, cover in zip(COVERS, ground.cover, strict=True):
        signal += np.float32(light.spectra[name][number]) * cover
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
