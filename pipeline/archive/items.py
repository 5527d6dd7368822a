"""STAC items as Planetary Computer writes them, with references relative to the item.

It has no Level-1C, whose items are named as ESA names the product.
"""

import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely import Polygon

from pipeline.archive.area import EPSG, SCENE, TILES, one_polygon, to_lonlat
from pipeline.archive.dem import ElevationTile
from pipeline.archive.optical import SWATH_TILT, rasters_of
from pipeline.archive.passes import Level, OpticalPass, RadarPass, sun
from pipeline.archive.radar import LOOKS, NODATA, POLARIZATIONS, Frame

Item = dict[str, Any]
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_SCHEMAS = "https://stac-extensions.github.io"
_EXTENSIONS_OF = {
    "sentinel-2-l1c": ("eo/v1.0.0", "sat/v1.0.0", "projection/v1.1.0"),
    "sentinel-2-l2a": ("eo/v1.0.0", "sat/v1.0.0", "projection/v1.1.0"),
    "sentinel-1-rtc": ("sar/v1.0.0", "sat/v1.0.0", "projection/v1.1.0", "raster/v1.1.0"),
    "cop-dem-glo-30": ("projection/v1.1.0",),
}
_COMMON_NAMES = {
    "B01": ("coastal", 0.443), "B02": ("blue", 0.49), "B03": ("green", 0.56), "B04": ("red", 0.665),
    "B05": ("rededge", 0.704), "B06": ("rededge", 0.74), "B07": ("rededge", 0.783), "B08": ("nir", 0.842),
    "B8A": ("rededge", 0.865), "B09": ("nir09", 0.945), "B10": ("cirrus", 1.374), "B11": ("swir16", 1.61),
    "B12": ("swir22", 2.19),
}  # fmt: skip
_TILE_DELAY = {"33SVC": 2.614, "33SWC": 0.0}
"""How much later each tile is sensed [s]."""
_PROCESSING: Mapping[Level, tuple[int, int, str]] = {"1C": (4800, 1800, "VGS4"), "2A": (7000, 3600, "2APS")}
"""How soon after the datatake a product may be made, over how long that varies [s], and where it is made."""
_CLASSES = {
    2: "dark_features", 3: "cloud_shadow", 4: "vegetation", 5: "not_vegetated", 6: "water", 7: "unclassified",
    8: "medium_proba_clouds", 9: "high_proba_clouds", 10: "thin_cirrus", 11: "snow_ice",
}  # fmt: skip
_TAKES = {"A": (43_082, 337_165, 8.4767), "B": (30_148, 235_923, 8.4767)}
"""An orbit of each unit, the number of its datatake, and how many datatakes an orbit has."""


def optical_item(taken: OpticalPass, tile: str, classes: NDArray[np.uint8], level: Level = "2A") -> Item:
    """Describe one Sentinel-2 tile; `classes` is its scene classification, uint8 (row, column)."""
    unit, start, baseline = f"S2{taken.unit}", _compact(taken.start), taken.baseline(level)
    earliest, spread, centre = _PROCESSING[level]
    made = taken.start + timedelta(seconds=earliest + taken.absolute_orbit * 37 % spread)
    orbit, short = f"R{taken.relative_orbit:03d}", f"N{baseline.replace('.', '')}"
    sensed = taken.sensed + timedelta(seconds=_TILE_DELAY[tile])
    azimuth, elevation = sun(sensed)
    product = f"{unit}_MSIL{level}_{start}_{short}_{orbit}_T{tile}_{_compact(made)}"
    made_by = f"{unit}_OPER_MSI_L{level}"
    properties = {
        "datetime": _iso(sensed),
        "platform": f"Sentinel-2{taken.unit}",
        "constellation": "Sentinel 2",
        "instruments": ["msi"],
        "proj:epsg": EPSG,
        "sat:orbit_state": "descending",
        "sat:relative_orbit": taken.relative_orbit,
        "s2:mgrs_tile": tile,
        "s2:product_type": f"S2MSI{level}",
        "s2:processing_baseline": baseline,
        "s2:product_uri": f"{product}.SAFE",
        "s2:datatake_id": f"G{unit}_{start}_{taken.absolute_orbit:06d}_N{baseline}",
        "s2:datatake_type": "INS-NOBS",
        "s2:granule_id": f"{made_by}_TL_{centre}_{_compact(made)}_A{taken.absolute_orbit:06d}_T{tile}_N{baseline}",
        "s2:datastrip_id": f"{made_by}_DS_{centre}_{_compact(made)}_S{_compact(taken.sensed)}_N{baseline}",
        "s2:generation_time": _iso(made),
        "s2:mean_solar_azimuth": round(azimuth, 6),
        "s2:mean_solar_zenith": round(90 - elevation, 6),
        **_class_shares(classes, level),
    }
    return _item(
        name=product if level == "1C" else product.replace(f"_{short}", ""),
        collection=f"sentinel-2-l{level.lower()}",
        outline=to_lonlat(_seen_outline(taken, tile)),
        properties=properties,
        assets=_optical_assets(tile, level),
    )


def _seen_outline(taken: OpticalPass, tile: str) -> Polygon:
    outline = TILES[tile].outline
    if taken.swath_edge is None:
        return outline
    edge = taken.swath_edge + 60
    lean = SWATH_TILT * SCENE.height
    _, bottom, right, top = SCENE.bounds
    swath = Polygon([(edge + lean / 2, top), (right, top), (right, bottom), (edge - lean / 2, bottom)])
    return one_polygon(outline & swath)


def _class_shares(classes: NDArray[np.uint8], level: Level) -> dict[str, float]:
    counts = np.bincount(classes.ravel(), minlength=12)
    valid = max(int(counts[1:].sum()), 1)
    percent = {number: round(100 * int(counts[number]) / valid, 6) for number in _CLASSES}
    shares = {
        "eo:cloud_cover": round(percent[8] + percent[9] + percent[10], 6),
        "s2:nodata_pixel_percentage": round(100 * int(counts[0]) / classes.size, 6),
    }
    if level == "2A":
        shares |= {f"s2:{name}_percentage": percent[number] for number, name in _CLASSES.items()}
    return shares


def _optical_assets(tile: str, level: Level) -> dict[str, Any]:
    window = TILES[tile]
    assets = {}
    for name, size in rasters_of(level).items():
        asset = _asset(f"./{name}.tif", window.shape(size), window.transform(size)) | {"gsd": size}
        if name in _COMMON_NAMES:
            common, wavelength = _COMMON_NAMES[name]
            asset["eo:bands"] = [{"name": name, "common_name": common, "center_wavelength": wavelength}]
        assets[name] = asset
    return assets


def radar_product(taken: RadarPass, frame: Frame) -> str:
    """Return the 67 characters of the product that a frame was made from."""
    orbit, known, per_orbit = _TAKES[taken.unit]
    take = known + round((taken.absolute_orbit - orbit) * per_orbit)
    stamps = f"{_compact(frame.start)}_{_compact(frame.end)}"
    name = f"S1{taken.unit}_IW_GRDH_1SDV_{stamps}_{taken.absolute_orbit:06d}_{take:06X}"
    return f"{name}_{zlib.crc32(name.encode()) & 0xFFFF:04X}"


def radar_item(taken: RadarPass, frame: Frame) -> Item:
    """Describe one frame of Sentinel-1."""
    product = radar_product(taken, frame)
    shape, grid = frame.window.shape(10), frame.window.transform(10)
    properties = {
        "datetime": _iso(frame.start + (frame.end - frame.start) / 2),
        "start_datetime": _iso(frame.start),
        "end_datetime": _iso(frame.end),
        "platform": f"SENTINEL-1{taken.unit}",
        "constellation": "Sentinel-1",
        "proj:epsg": EPSG,
        "proj:shape": list(shape),
        "proj:transform": list(grid)[:6],
        "sat:orbit_state": taken.orbit_state,
        "sat:relative_orbit": taken.relative_orbit,
        "sat:absolute_orbit": taken.absolute_orbit,
        "sar:product_type": "GRD",
        "sar:instrument_mode": "IW",
        "sar:polarizations": [name.upper() for name in POLARIZATIONS],
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:observation_direction": "right",
        "sar:looks_equivalent_number": LOOKS,
        "s1:datatake_id": str(int(product.split("_")[7], 16)),
    }
    assets = {}
    for name in POLARIZATIONS:
        band = {"nodata": int(NODATA), "data_type": "float32", "spatial_resolution": 10.0}
        href = f"./{product}/measurement/iw-{name}.rtc.tiff"
        assets[name] = _asset(href, shape, grid) | {"title": name.upper(), "raster:bands": [band]}
    return _item(
        name=f"{product[:62]}_rtc",
        collection="sentinel-1-rtc",
        outline=to_lonlat(frame.outline),
        properties=properties,
        assets=assets,
    )


def elevation_item(tile: ElevationTile) -> Item:
    """Describe one tile of the elevation model."""
    rows, columns = tile.elevation.shape
    return _item(
        name=tile.id,
        collection="cop-dem-glo-30",
        outline=tile.outline,
        properties={
            "datetime": "2021-04-22T00:00:00Z",
            "platform": "TanDEM-X",
            "gsd": 30,
            "proj:epsg": 4326,
            "proj:shape": [rows, columns],
            "proj:transform": list(tile.transform)[:6],
        },
        assets={"data": _asset("./data.tif", (rows, columns), tile.transform)},
    )


def _item(
    *,
    name: str,
    collection: str,
    outline: Polygon,
    properties: Mapping[str, Any],
    assets: Mapping[str, Any],
) -> Item:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [f"{_SCHEMAS}/{extension}/schema.json" for extension in _EXTENSIONS_OF[collection]],
        "id": name,
        "collection": collection,
        "bbox": list(outline.bounds),
        "geometry": shapely.geometry.mapping(outline),
        "properties": dict(properties),
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
        "assets": dict(assets),
    }


def _asset(href: str, shape: tuple[int, int], grid: Affine) -> dict[str, Any]:
    return {
        "href": href,
        "type": _COG,
        "roles": ["data"],
        "proj:shape": list(shape),
        "proj:transform": list(grid)[:6],
    }


def _compact(when: datetime) -> str:
    return when.strftime("%Y%m%dT%H%M%S")


def _iso(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
