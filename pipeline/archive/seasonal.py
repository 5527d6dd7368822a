"""The seasonal archive: a year of both levels of Sentinel-2, radar of both satellites, and places for whole patches."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import grid
from pipeline.archive import seasons
from pipeline.archive.area import EPSG, TILES
from pipeline.archive.disk import Stamp, run_jobs, write_catalog, write_once, write_optical, write_radar
from pipeline.archive.items import Item
from pipeline.archive.optical import image
from pipeline.archive.passes import OpticalPass
from pipeline.archive.surface import World, build_world
from pipeline.archive.vegetation import spectra_of_day

VERSION = 1
"""Raised whenever the same seed gives other files."""
_STAMP = "seasonal-archive.json"
_BITS = 5
"""Bits of the mantissa that every image keeps: what is cut off is about as much as the noise."""
_COLLECTIONS = {
    "sentinel-2-l1c": "Simulated Sentinel-2 Level-1C: thirteen bands of top-of-atmosphere reflectance",
    "sentinel-2-l2a": "Simulated Sentinel-2 Level-2A: twelve bands and the scene classification",
    "sentinel-1-rtc": "Simulated Sentinel-1 gamma nought after radiometric terrain correction, linear power",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonalArchive:
    """Where a written archive is."""

    catalog: Path
    """`catalog.json`, the root of a static STAC catalogue."""
    places: Path
    """CSV of the places: `id` of seven digits, `lon` and `lat` of the middle of a patch of 264 px at 10 m."""


def write_seasonal_archive(folder: Path, *, seed: int = 7) -> SeasonalArchive:
    """Write a static STAC catalogue of a year of simulated scenes, and places whose patches lie inside it.

    Fifteen Sentinel-2 datatakes of two tiles in both levels, from December 2020 to January 2022, and twenty-two
    passes of Sentinel-1A and 1B, as COGs, over the ground of `write_archive`. The same seed gives the same bytes. A
    folder that already holds this archive is left as it is.

    Parameters
    ----------
    folder : Path
        Where the archive shall be; made together with its parents.
    seed : int
        Seed of every random draw.

    Returns
    -------
    SeasonalArchive
        Paths of the catalogue and the places.

    Raises
    ------
    RecipeError
        `folder` holds something that is not a seasonal archive.
    """
    write_once(folder, Stamp(file=_STAMP, version=VERSION, seed=seed), lambda made: _fill(made, seed))
    return SeasonalArchive(catalog=folder / "catalog.json", places=folder / "places.csv")


def _fill(folder: Path, seed: int) -> None:
    world = build_world(seed)
    world.ground, world.drift  # noqa: B018
    items = run_jobs(
        [
            *(partial(_write_optical, folder, world, taken) for taken in seasons.OPTICAL),
            *(partial(write_radar, folder, world, taken, bits=_BITS) for taken in seasons.RADAR),
        ]
    )
    write_catalog(
        folder,
        name="sen12-seasonal-archive",
        description="Simulated scenes of tiles 33SVC and 33SWC in four seasons; no real measurements",
        collections=_COLLECTIONS,
        items=items,
    )
    (folder / "places.csv").write_text("\n".join(["id,lon,lat", *_place_rows(), ""]))
    Stamp(file=_STAMP, version=VERSION, seed=seed).write(folder)


def _write_optical(folder: Path, world: World, taken: OpticalPass) -> list[Item]:
    day = taken.start.date()
    seen = image(world, taken, spectra_of_day(day))
    items = []
    for level, lacking in seasons.LACKING.items():
        tiles = [tile for tile in TILES if (day, tile) != lacking]
        items += write_optical(folder, seen, level, tiles=tiles, bits=_BITS)
    return items


def _place_rows() -> Iterator[str]:
    for place in seasons.PLACES:
        left, bottom, right, top = seasons.patch_of(place).bounds
        lon, lat = grid.to_lonlat(easting=(left + right) / 2, northing=(bottom + top) / 2, epsg=EPSG)
        yield f"{place},{lon:.8f},{lat:.8f}"
