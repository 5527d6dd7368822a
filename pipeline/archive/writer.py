"""The landslide archive: two months around an event, two tiles of surface reflectance, radar and elevation."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import shapely
from shapely import Polygon

from pipeline.archive.area import to_lonlat
from pipeline.archive.dem import iter_elevation_tiles
from pipeline.archive.disk import (
    Stamp,
    item_folder,
    run_jobs,
    write_catalog,
    write_cog,
    write_items,
    write_json,
    write_once,
    write_optical,
    write_radar,
)
from pipeline.archive.items import Item, elevation_item
from pipeline.archive.optical import image
from pipeline.archive.passes import EVENT_DATE, OPTICAL, RADAR, OpticalPass
from pipeline.archive.surface import World, build_world
from pipeline.archive.vegetation import spectra_of_winter

VERSION = 1
"""Raised whenever the same seed gives other files."""
_STAMP = "archive.json"
_COLLECTIONS = {
    "sentinel-2-l2a": "Simulated Sentinel-2 Level-2A: twelve bands and the scene classification",
    "sentinel-1-rtc": "Simulated Sentinel-1 gamma nought after radiometric terrain correction, linear power",
    "cop-dem-glo-30": "Simulated elevation on the grid of Copernicus DEM GLO-30",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Where a written archive is, and when its slides came down."""

    catalog: Path
    """`catalog.json`, the root of a static STAC catalogue."""
    inventory: Path
    """GeoJSON of the slides: columns `id` and `event_date`, polygons in EPSG:4326."""
    event_date: date


def write_archive(folder: Path, *, seed: int = 7) -> Archive:
    """Write a static STAC catalogue of simulated scenes and the slides to be found in them.

    Twelve Sentinel-2 datatakes of two tiles, twelve Sentinel-1 passes of two frames and two elevation tiles, as
    COGs. The same seed gives the same bytes. A folder that already holds this archive is left as it is.

    Parameters
    ----------
    folder : Path
        Where the archive shall be; made together with its parents.
    seed : int
        Seed of every random draw.

    Returns
    -------
    Archive
        Paths of the catalogue and the inventory.

    Raises
    ------
    RecipeError
        `folder` holds something that is not an archive.
    """
    write_once(folder, Stamp(file=_STAMP, version=VERSION, seed=seed), lambda made: _fill(made, seed))
    return Archive(catalog=folder / "catalog.json", inventory=folder / "inventory.geojson", event_date=EVENT_DATE)


def _fill(folder: Path, seed: int) -> None:
    world = build_world(seed)
    world.ground, world.drift  # noqa: B018
    items = run_jobs(
        [
            *(partial(_write_optical, folder, world, taken) for taken in OPTICAL),
            *(partial(write_radar, folder, world, taken) for taken in RADAR),
            partial(_write_elevation, folder, world),
        ]
    )
    write_catalog(
        folder,
        name="sen12-archive",
        description="Simulated scenes of tiles 33SVC and 33SWC around a landslide event; no real measurements",
        collections=_COLLECTIONS,
        items=items,
    )
    _write_inventory(folder / "inventory.geojson", world.slides)
    Stamp(file=_STAMP, version=VERSION, seed=seed).write(folder)


def _write_optical(folder: Path, world: World, taken: OpticalPass) -> list[Item]:
    return write_optical(folder, image(world, taken, spectra_of_winter(taken)), "2A")


def _write_elevation(folder: Path, world: World) -> list[Item]:
    items = []
    for tile in iter_elevation_tiles(world.terrain.elevation):
        item = elevation_item(tile)
        path = item_folder(folder, item) / "data.tif"
        write_cog(path, tile.elevation, tile.transform, nodata=None, epsg=4326)
        items.append(item)
    return write_items(folder, items)


def _write_inventory(path: Path, slides: Iterable[Polygon]) -> None:
    features = [
        {
            "type": "Feature",
            "properties": {"id": f"slide-{number:02d}", "event_date": EVENT_DATE.isoformat()},
            "geometry": shapely.geometry.mapping(to_lonlat(polygon)),
        }
        for number, polygon in enumerate(slides, 1)
    ]
    write_json(path, {"type": "FeatureCollection", "features": features})
