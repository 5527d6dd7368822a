"""A second provider of what a catalogue has: the same pixels under its own conventions, and with its own gaps."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

OFFSET = 1000


def copied(catalogue: Path, folder: Path) -> Path:
    """Copy a catalogue and all its files; returns the copy's root document."""
    return shutil.copytree(catalogue.parent, folder) / catalogue.name


def change_items(catalogue: Path, change: Callable[[dict[str, Any]], None], pattern: str = "*") -> None:
    """Change every item whose id fits `pattern`, in place."""
    for path in sorted(catalogue.parent.glob(f"*/{pattern}/*.json")):
        item = json.loads(path.read_text(encoding="utf-8"))
        change(item)
        path.write_text(json.dumps(item), encoding="utf-8")


def change_pixels(path: Path, change: Callable[[NDArray[Any]], NDArray[Any]], **profile: Any) -> None:
    """Write a raster anew with other values or another place."""
    with rasterio.open(path) as raster:
        values, held = raster.read(1), raster.profile
    values = change(values)
    place = {"crs": held["crs"], "transform": held["transform"], "nodata": held["nodata"], **profile}
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="COG", count=1, dtype=values.dtype, width=width, height=height, COMPRESS="DEFLATE",
        PREDICTOR="YES", BLOCKSIZE=128, OVERVIEWS="NONE", **place,
    ) as raster:  # fmt: skip
        raster.write(values, 1)


def optical_bands(catalogue: Path, bands: tuple[str, ...], baseline: str = "04.00") -> list[Path]:
    """Files of Sentinel-2 bands that carry the offset of +1000."""
    found = []
    for path in sorted(catalogue.parent.glob("sentinel-2-l2a/*/*.json")):
        if json.loads(path.read_text(encoding="utf-8"))["properties"]["s2:processing_baseline"] >= baseline:
            found += [path.with_name(f"{band}.tif") for band in bands]
    return found


def brighten(catalogue: Path, bands: tuple[str, ...]) -> None:
    """Leave neither reflectance of 0 or less nor gaps in what carries an offset: who takes it off cannot tell them."""
    for path in optical_bands(catalogue, bands):
        change_pixels(path, lambda dn: np.where(dn <= OFFSET, dn + OFFSET + 1, dn).astype(dn.dtype))


def take_offset(catalogue: Path, bands: tuple[str, ...]) -> None:
    """Store offset-free numbers and say so, as Earth Search does."""
    for path in optical_bands(catalogue, bands):
        change_pixels(path, lambda dn: (dn - OFFSET).astype(dn.dtype))

    def say(item: dict[str, Any]) -> None:
        if item["properties"].get("s2:processing_baseline", "") >= "04.00":
            item["properties"]["earthsearch:boa_offset_applied"] = True

    change_items(catalogue, say)


def rename_scenes(catalogue: Path) -> None:
    """Give every Sentinel-2 item an id of the provider's own, as Earth Search's `S2A_33TVM_20220203_0_L2A`."""

    def rename(item: dict[str, Any]) -> None:
        if "s2:mgrs_tile" in item["properties"]:
            day = item["properties"]["datetime"][:10].replace("-", "")
            item["id"] = f"S2A_{item['properties']['s2:mgrs_tile']}_{day}_0_L2A"

    change_items(catalogue, rename)


def reprocess(catalogue: Path, baseline: str = "05.11") -> None:
    """Say that everything optical was processed anew."""

    def say(item: dict[str, Any]) -> None:
        properties = item["properties"]
        if "s2:processing_baseline" in properties:
            old = properties["s2:processing_baseline"]
            properties["s2:processing_baseline"] = baseline
            code = baseline.replace(".", "")
            properties["s2:product_uri"] = properties["s2:product_uri"].replace(f"N{old.replace('.', '')}", f"N{code}")

    change_items(catalogue, say)
