"""The scenes of a static STAC catalogue as Earth Engine would hold them."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from .algorithms import Catalogue
from .objects import Band, Image, raster_band

OFFSET = 1000


def catalogue_of(root: Path) -> Catalogue:
    """Read every item below the folder of `root`; a collection that is not there is empty."""
    found: Catalogue = {}
    for path in sorted(root.parent.rglob("*.json")):
        item = json.loads(path.read_text())
        if item.get("collection") not in _IMAGES:
            continue
        for collection, image in _IMAGES[item["collection"]](item, path.parent):
            found.setdefault(collection, []).append(image)
    return found


def _optical(item: dict[str, Any], folder: Path) -> list[tuple[str, Image]]:
    stated = item["properties"]
    datatake, sensed = stated["s2:datatake_id"].split("_")[1], stated["s2:datastrip_id"].split("_S")[1][:15]
    tile = stated.get("s2:mgrs_tile") or stated["grid:code"].removeprefix("MGRS-")
    index = f"{datatake}_{sensed}_T{tile}"
    offset = OFFSET if stated["s2:processing_baseline"] >= "04.00" else 0
    files = {key.upper(): folder / asset["href"].partition("?")[0] for key, asset in item["assets"].items()}
    bands = {_optical_name(key): _numbers(path, offset, key) for key, path in files.items()}
    collection = f"COPERNICUS/{'S2_SR' if 'SCL' in bands else 'S2'}_HARMONIZED"
    properties = {
        "DATATAKE_IDENTIFIER": stated["s2:datatake_id"],
        "MGRS_TILE": tile,
        "PROCESSING_BASELINE": stated["s2:processing_baseline"],
        "SPACECRAFT_NAME": stated["platform"],
        "SENSING_ORBIT_NUMBER": stated.get("sat:relative_orbit"),
        "SENSING_ORBIT_DIRECTION": stated.get("sat:orbit_state", "").upper(),
        "CLOUDY_PIXEL_PERCENTAGE": stated.get("eo:cloud_cover"),
        "GENERATION_TIME": _millis(stated.get("s2:generation_time") or stated["datetime"]),
        "system:time_start": _millis(stated["datetime"]),
    }
    scenes = [(collection, _image(collection, index, bands, item, properties))]
    if "SCL" in bands:
        score = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
        scenes.append((score, _image(score, index, {"cs_cdf": _clear_score(folder / "SCL.tif")}, item, properties)))
    return scenes


def _optical_name(key: str) -> str:
    return f"B{int(key[1:])}" if key[1:].isdigit() else key


def _numbers(path: Path, offset: int, key: str) -> Band:
    if key == "SCL" or not offset:
        return raster_band(path, nodata=0)
    return raster_band(
        path, nodata=0, change=lambda values: np.maximum(values.astype(np.int32) - offset, 0).astype(np.uint16)
    )


def _clear_score(path: Path) -> Band:
    def clearness(classes: Any) -> Any:
        return np.where(np.isin(classes, [3, 8, 9, 10]), np.float32(0.1), np.float32(0.9))

    return raster_band(path, nodata=0, change=clearness)


def _radar(item: dict[str, Any], folder: Path) -> list[tuple[str, Image]]:
    stated, assets = item["properties"], item["assets"]
    files = {name.upper(): folder / asset["href"] for name, asset in assets.items()}
    index = assets["vv"]["href"].split("/")[1]
    properties = {
        "orbitProperties_pass": stated["sat:orbit_state"].upper(),
        "relativeOrbitNumber_start": stated["sat:relative_orbit"],
        "platform_number": stated["platform"][-1],
        "instrumentMode": stated["sar:instrument_mode"],
        "transmitterReceiverPolarisation": stated["sar:polarizations"],
        "system:time_start": _millis(stated["start_datetime"]),
    }
    power = {name: raster_band(path, nodata=-32768.0) for name, path in files.items()}
    decibel = {name: raster_band(path, nodata=-32768.0, change=in_decibel) for name, path in files.items()}
    return [
        (f"COPERNICUS/{name}", _image(f"COPERNICUS/{name}", index, bands, item, properties))
        for name, bands in {"S1_GRD": decibel, "S1_GRD_FLOAT": power}.items()
    ]


def in_decibel(power: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return 10 * np.log10(power.astype(np.float64))


def _elevation(item: dict[str, Any], folder: Path) -> list[tuple[str, Image]]:
    name = "COPERNICUS/DEM/GLO30"
    bands = {"DEM": raster_band(folder / item["assets"]["data"]["href"], nodata=None)}
    return [(name, _image(name, item["id"], bands, item, {"system:time_start": _millis("2010-12-01T00:00:00Z")}))]


def _landsat(item: dict[str, Any], folder: Path) -> list[tuple[str, Image]]:
    name = "LANDSAT/LC08/C02/T1_L2"
    bands = {key: raster_band(folder / asset["href"], nodata=0) for key, asset in item["assets"].items()}
    stated = {
        "system:time_start": _millis(item["properties"]["datetime"]),
        "CLOUD_COVER": item["properties"]["eo:cloud_cover"],
    }
    return [(name, _image(name, item["id"], bands, item, stated))]


_IMAGES = {
    "sentinel-2-l2a": _optical, "sentinel-2-l1c": _optical, "sentinel-1-rtc": _radar, "cop-dem-glo-30": _elevation,
    "landsat-c2-l2": _landsat,
}  # fmt: skip


def _image(collection: str, index: str, bands: Any, item: dict[str, Any], properties: dict[str, Any]) -> Image:
    outline = shapely.geometry.shape(item["geometry"])
    return Image(bands, {**properties, "system:index": index}, outline, f"{collection}/{index}")


def _millis(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
