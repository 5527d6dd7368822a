"""An archive on disk: written beside its place, moved there when it is complete, used again while it fits."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from pipeline.archive.area import CANVAS, EPSG, TILES
from pipeline.archive.items import Item, optical_item, radar_item, radar_product
from pipeline.archive.optical import Image, numbers, rasters_of
from pipeline.archive.passes import Level, RadarPass
from pipeline.archive.radar import NODATA, POLARIZATIONS, backscatter, frame_pixels, iter_frames
from pipeline.archive.surface import World
from pipeline.errors import RecipeError

Job = Callable[[], list[Item]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What tells a complete archive from other files, and from an archive of other content."""

    file: str
    """Name of the file that is written last."""
    version: int
    """Raised whenever the same seed gives other files."""
    seed: int

    def write(self, folder: Path) -> None:
        """Mark `folder` as complete."""
        write_json(folder / self.file, self._content)

    def is_on(self, folder: Path) -> bool:
        """Tell whether `folder` already holds this archive."""
        path = folder / self.file
        return path.is_file() and path.read_text() == _encoded(self._content)

    @property
    def _content(self) -> dict[str, int]:
        return {"version": self.version, "seed": self.seed}


def write_once(folder: Path, stamp: Stamp, fill: Callable[[Path], None]) -> None:
    """Let `fill` write the archive into an empty folder, and put that in place; nothing happens if it is there.

    Raises
    ------
    RecipeError
        `folder` holds something that is not an archive of this kind.
    """
    if stamp.is_on(folder):
        return
    if folder.exists() and not (folder / stamp.file).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(f"{folder}: expected an archive or an empty place, found other files")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        made = Path(scratch) / "new"
        fill(made)
        _put_in_place(made, folder, stamp)


def _put_in_place(made: Path, folder: Path, stamp: Stamp) -> None:
    if stamp.is_on(folder):
        return
    if folder.exists():
        folder.rename(made.with_name("old"))
    try:
        made.rename(folder)
    except OSError:
        if not stamp.is_on(folder):
            raise


def run_jobs(jobs: Sequence[Job]) -> list[Item]:
    """Run `jobs` two at a time and return their items in the order of the jobs."""
    with ThreadPoolExecutor(2) as pool:
        return [item for group in pool.map(lambda job: job(), jobs) for item in group]


def write_optical(
    folder: Path, image: Image, level: Level, *, tiles: Iterable[str] = tuple(TILES), bits: int | None = None
) -> list[Item]:
    """Cut one level of `image` into `tiles`, and write each with its item; `bits` as in `numbers`."""
    bands = numbers(image, level, bits=bits)
    items = []
    for tile in tiles:
        window = TILES[tile]
        item = optical_item(image.taken, tile, image.classes[window.within(CANVAS, 20)], level)
        for name, size in rasters_of(level).items():
            path = item_folder(folder, item) / f"{name}.tif"
            pixels, effort = bands[name][window.within(CANVAS, size)], 6 if bits is None else 1
            write_cog(path, pixels, window.transform(size), nodata=0, effort=effort)
        items.append(item)
    return write_items(folder, items)


def write_radar(folder: Path, world: World, taken: RadarPass, *, bits: int = 10) -> list[Item]:
    """Write the frames of one pass with their items; `bits` as in `backscatter`."""
    power = backscatter(world, taken, bits=bits)
    items = []
    for frame in iter_frames(taken):
        item = radar_item(taken, frame)
        measured = item_folder(folder, item) / radar_product(taken, frame) / "measurement"
        for name in POLARIZATIONS:
            pixels = frame_pixels(power[name], frame)
            write_cog(measured / f"iw-{name}.rtc.tiff", pixels, frame.window.transform(10), nodata=NODATA)
        items.append(item)
    return write_items(folder, items)


def item_folder(folder: Path, item: Item) -> Path:
    """Return where the files of `item` lie."""
    return folder / str(item["collection"]) / str(item["id"])


def write_items(folder: Path, items: list[Item]) -> list[Item]:
    """Write the documents of `items`, and return them."""
    for item in items:
        write_json(item_folder(folder, item) / f"{item['id']}.json", item)
    return items


def write_cog(
    path: Path, pixels: NDArray[Any], transform: Affine, *, nodata: float | None, epsg: int = EPSG, effort: int = 1
) -> None:
    """Write one band as a cloud-optimised GeoTIFF, in blocks of 256; `effort` is the level of deflate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="COG", width=pixels.shape[1], height=pixels.shape[0], count=1, dtype=pixels.dtype,
        crs=f"EPSG:{epsg}", transform=transform, nodata=nodata, compress="deflate", level=effort,
        predictor=3 if pixels.dtype.kind == "f" else 2, blocksize=256, overviews="none",
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
    write_json(folder / name / "collection.json", collection)


def write_catalog(
    folder: Path, *, name: str, description: str, collections: Mapping[str, str], items: Sequence[Item]
) -> None:
    """Write the root of the catalogue and its collections; `collections` has their descriptions."""
    for collection, text in collections.items():
        members = [item for item in items if item["collection"] == collection]
        _write_collection(folder, collection, text, members)
    children = [
        {"rel": "child", "href": f"./{collection}/collection.json", "type": "application/json"}
        for collection in collections
    ]
    catalog = {
        "type": "Catalog",
        "id": name,
        "stac_version": "1.0.0",
        "description": description,
        "links": [{"rel": "root", "href": "./catalog.json", "type": "application/json"}, *children],
    }
    write_json(folder / "catalog.json", catalog)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a document, always in the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_encoded(content))


def _encoded(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"
