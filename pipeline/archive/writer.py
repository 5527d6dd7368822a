"""The archive on disk: written beside its place, moved there when it is complete, used again while it fits."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely import Polygon

from pipeline.archive.area import CANVAS, EPSG, TILES, to_lonlat
from pipeline.archive.dem import iter_elevation_tiles
from pipeline.archive.items import Item, elevation_item, optical_item, radar_item, radar_product
from pipeline.archive.optical import BANDS, image
from pipeline.archive.passes import EVENT_DATE, OPTICAL, RADAR, OpticalPass, RadarPass
from pipeline.archive.radar import NODATA, POLARIZATIONS, backscatter, frame_pixels, iter_frames
from pipeline.archive.surface import World, build_world
from pipeline.errors import RecipeError

VERSION = 1
"""Raised whenever the same seed gives other files."""
_STAMP = "archive.json"
_DESCRIPTIONS = {
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
    if not _is_written(folder, seed):
        _refuse_foreign(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            made = Path(scratch) / "new"
            _fill(made, seed)
            _put_in_place(made, folder, seed)
    return Archive(catalog=folder / "catalog.json", inventory=folder / "inventory.geojson", event_date=EVENT_DATE)


def _is_written(folder: Path, seed: int) -> bool:
    stamp = folder / _STAMP
    return stamp.is_file() and stamp.read_text() == _encoded({"version": VERSION, "seed": seed})


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not (folder / _STAMP).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(f"{folder}: expected an archive or an empty place, found other files")


def _put_in_place(made: Path, folder: Path, seed: int) -> None:
    if _is_written(folder, seed):
        return
    if folder.exists():
        folder.rename(made.with_name("old"))
    try:
        made.rename(folder)
    except OSError:
        if not _is_written(folder, seed):
            raise


def _fill(folder: Path, seed: int) -> None:
    world = build_world(seed)
    world.ground, world.drift  # noqa: B018
    jobs: list[tuple[Callable[..., list[Item]], Any]] = [
        *((_write_optical, taken) for taken in OPTICAL),
        *((_write_radar, taken) for taken in RADAR),
        (_write_elevation, None),
    ]
    with ThreadPoolExecutor(2) as pool:
        written = pool.map(lambda job: job[0](folder, world, job[1]), jobs)
        items = [item for group in written for item in group]
    for name, description in _DESCRIPTIONS.items():
        _write_collection(folder, name, description, [item for item in items if item["collection"] == name])
    _write_catalog(folder)
    _write_inventory(folder / "inventory.geojson", world.slides)
    _write_json(folder / _STAMP, {"version": VERSION, "seed": seed})


def _write_optical(folder: Path, world: World, taken: OpticalPass) -> list[Item]:
    bands = image(world, taken)
    sizes = {band.name: band.resolution for band in BANDS} | {"SCL": 20}
    items = []
    for tile, window in TILES.items():
        cut = {name: bands[name][window.within(CANVAS, size)] for name, size in sizes.items()}
        item = optical_item(taken, tile, cut["SCL"].astype(np.uint8))
        for name, pixels in cut.items():
            path = _item_folder(folder, item) / f"{name}.tif"
            _write_cog(path, pixels, window.transform(sizes[name]), nodata=0)
        items.append(item)
    return _write_items(folder, items)


def _write_radar(folder: Path, world: World, taken: RadarPass) -> list[Item]:
    power = backscatter(world, taken)
    items = []
    for frame in iter_frames(taken):
        item = radar_item(taken, frame)
        measured = _item_folder(folder, item) / radar_product(taken, frame) / "measurement"
        for name in POLARIZATIONS:
            pixels = frame_pixels(power[name], frame)
            _write_cog(measured / f"iw-{name}.rtc.tiff", pixels, frame.window.transform(10), nodata=NODATA)
        items.append(item)
    return _write_items(folder, items)


def _write_elevation(folder: Path, world: World, _taken: None) -> list[Item]:
    items = []
    for tile in iter_elevation_tiles(world.terrain.elevation):
        item = elevation_item(tile)
        path = _item_folder(folder, item) / "data.tif"
        _write_cog(path, tile.elevation, tile.transform, nodata=None, epsg=4326)
        items.append(item)
    return _write_items(folder, items)


def _item_folder(folder: Path, item: Item) -> Path:
    return folder / str(item["collection"]) / str(item["id"])


def _write_items(folder: Path, items: list[Item]) -> list[Item]:
    for item in items:
        _write_json(_item_folder(folder, item) / f"{item['id']}.json", item)
    return items


def _write_cog(path: Path, pixels: NDArray[Any], transform: Affine, *, nodata: float | None, epsg: int = EPSG) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    is_real = pixels.dtype.kind == "f"
    with rasterio.open(
        path, "w", driver="COG", width=pixels.shape[1], height=pixels.shape[0], count=1, dtype=pixels.dtype,
        crs=f"EPSG:{epsg}", transform=transform, nodata=nodata, compress="deflate", level=1 if is_real else 6,
        predictor=3 if is_real else 2, blocksize=256, overviews="none",
    ) as file:  # fmt: skip
        file.write(pixels, 1)


def _write_collection(folder: Path, name: str, description: str, items: list[Item]) -> None:
    boxes = np.array([item["bbox"] for item in items])
    days = sorted(str(item["properties"]["datetime"]) for item in items)
    box = [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
    hrefs = sorted(f"./{item['id']}/{item['id']}.json" for item in items)
    collection = {
        "type": "Collection",
        "id": name,
        "stac_version": "1.0.0",
        "description": description,
        "keywords": ["simulated"],
        "license": "Apache-2.0",
        "extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [[days[0], days[-1]]]}},
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
            *({"rel": "item", "href": href, "type": "application/geo+json"} for href in hrefs),
        ],
    }
    _write_json(folder / name / "collection.json", collection)


def _write_catalog(folder: Path) -> None:
    children = [
        {"rel": "child", "href": f"./{name}/collection.json", "type": "application/json"} for name in _DESCRIPTIONS
    ]
    catalog = {
        "type": "Catalog",
        "id": "sen12-archive",
        "stac_version": "1.0.0",
        "description": "Simulated scenes of tiles 33SVC and 33SWC around a landslide event; no real measurements",
        "links": [{"rel": "root", "href": "./catalog.json", "type": "application/json"}, *children],
    }
    _write_json(folder / "catalog.json", catalog)


def _write_inventory(path: Path, slides: Iterable[Polygon]) -> None:
    features = [
        {
            "type": "Feature",
            "properties": {"id": f"slide-{number:02d}", "event_date": EVENT_DATE.isoformat()},
            "geometry": shapely.geometry.mapping(to_lonlat(polygon)),
        }
        for number, polygon in enumerate(slides, 1)
    ]
    _write_json(path, {"type": "FeatureCollection", "features": features})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_encoded(content))


def _encoded(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"
