"""A Landsat-like collection of the embedded archive's own ground: 30 m, on a grid half a pixel off the lattice."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

COLLECTION = "landsat-c2-l2"
PIXEL = 30.0
BANDS = {"SR_B4": "B04", "SR_B5": "B08"}
CLOUD_BIT, SHADOW_BIT = 3, 4
_CLASSES = {CLOUD_BIT: (8, 9, 10), SHADOW_BIT: (3,)}
_ROWS = {"33SVC": "189033", "33SWC": "189034"}


def write_landsat(folder: Path, archive: Path, *, every: int = 2) -> Path:
    """Write a catalogue that holds the collections of `archive` and a Landsat pass a day after some of its images.

    Each tile of Sentinel-2 becomes one frame of the pass; frames overlap as the tiles do.
    """
    items = sorted(archive.parent.glob("sentinel-2-l2a/*/*.json"))
    days = sorted({_stated(path)["datetime"][:10] for path in items})[::every]
    frames = [path for path in items if _stated(path)["datetime"][:10] in days]
    root = folder / COLLECTION
    links = [{"rel": "item", "href": f"./{_write_frame(root, path)}"} for path in frames]
    collection = {"type": "Collection", "id": COLLECTION, "stac_version": "1.0.0", "extent": {}, "links": links}
    (root / "collection.json").write_text(json.dumps(collection))
    there = [archive.parent / name / "collection.json" for name in ("sentinel-2-l2a", "sentinel-1-rtc")]
    children = [{"rel": "child", "href": str(path)} for path in (*there, root / "collection.json")]
    catalog = folder / "catalog.json"
    catalog.write_text(json.dumps({"type": "Catalog", "id": "site", "stac_version": "1.0.0", "links": children}))
    return catalog


def _stated(path: Path) -> dict[str, Any]:
    stated: dict[str, Any] = json.loads(path.read_text())["properties"]
    return stated


def _write_frame(root: Path, item_path: Path) -> str:
    item = json.loads(item_path.read_text())
    stated = item["properties"]
    passed = datetime.fromisoformat(stated["datetime"]) + timedelta(days=1)
    name = f"LC08_{_ROWS[stated['s2:mgrs_tile']]}_{passed:%Y%m%d}"
    folder = root / name
    folder.mkdir(parents=True)
    shift = 1000 if stated["s2:processing_baseline"] >= "04.00" else 0
    for band, source in BANDS.items():
        numbers, transform = _coarse(item_path.parent / f"{source}.tif")
        reflectance = (numbers.astype(np.float64) - shift) / 10_000
        digital = np.clip(np.rint((reflectance + 0.2) / 0.0000275), 1, 65_535)
        _write(folder / f"{band}.TIF", np.where(numbers == 0, 0, digital).astype(np.uint16), transform)
    classes, transform = _coarse(item_path.parent / "SCL.tif")
    quality = np.where(classes == 0, 1, 64).astype(np.uint16)
    for bit, hidden in _CLASSES.items():
        quality |= np.where(np.isin(classes, hidden), 1 << bit, 0).astype(np.uint16)
    _write(folder / "QA_PIXEL.TIF", quality, transform)
    names = [*BANDS, "QA_PIXEL"]
    document = {
        **{key: item[key] for key in ("type", "stac_version", "geometry", "bbox")},
        "id": name,
        "collection": COLLECTION,
        "properties": {
            "datetime": f"{passed:%Y-%m-%dT09:35:00Z}", "platform": "landsat-8", "proj:epsg": 32633,
            "eo:cloud_cover": stated["eo:cloud_cover"],
        },
        "links": [],
        "assets": {band: {"href": f"./{band}.TIF", "type": "image/tiff", "roles": ["data"]} for band in names},
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(document))
    return f"{name}/{name}.json"


def _coarse(path: Path) -> tuple[NDArray[Any], Affine]:
    """What lies at the centres of 30 m pixels whose corners are at odd multiples of 15 m."""
    with rasterio.open(path) as dataset:
        values, bounds, inverse = dataset.read(1), dataset.bounds, ~dataset.transform
    left = np.ceil((bounds.left - 15) / PIXEL) * PIXEL + 15
    top = np.floor((bounds.top - 15) / PIXEL) * PIXEL + 15
    width, height = int((bounds.right - left) // PIXEL), int((top - bounds.bottom) // PIXEL)
    transform = Affine(PIXEL, 0, left, 0, -PIXEL, top)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = inverse @ (transform @ (columns, rows))
    return values[np.floor(y).astype(int), np.floor(x).astype(int)], transform


def _write(path: Path, values: NDArray[Any], transform: Affine) -> None:
    profile = {
        "driver": "GTiff", "dtype": values.dtype, "count": 1, "crs": "EPSG:32633", "transform": transform,
        "height": values.shape[0], "width": values.shape[1], "tiled": True, "blockxsize": 256, "blockysize": 256,
        "compress": "deflate", "nodata": 0 if path.stem != "QA_PIXEL" else None,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values, 1)
