"""STAC items as Planetary Computer writes them, with references relative to the item."""

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
from pipeline.archive.optical import BANDS, SWATH_TILT
from pipeline.archive.passes import OpticalPass, RadarPass, sun
from pipeline.archive.radar import LOOKS, NODATA, POLARIZATIONS, Frame

Item = dict[str, Any]
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_SCHEMAS = "https://stac-extensions.github.io"
_EXTENSIONS_OF = {
    "sentinel-2-l2a": ("eo/v1.0.0", "sat/v1.0.0", "projection/v1.1.0"),
    "sentinel-1-rtc": ("sar/v1.0.0", "sat/v1.0.0", "projection/v1.1.0", "raster/v1.1.0"),
    "cop-dem-glo-30": ("projection/v1.1.0",),
}
_COMMON_NAMES = {
    "B01": ("coastal", 0.443), "B02": ("blue", 0.49), "B03": ("green", 0.56), "B04": ("red", 0.665),
    "B05": ("rededge", 0.704), "B06": ("rededge", 0.74), "B07": ("rededge", 0.783), "B08": ("nir", 0.842),
    "B8A": ("rededge", 0.865), "B09": ("nir09", 0.945), "B11": ("swir16", 1.61), "B12": ("swir22", 2.19),
}  # fmt: skip
_TILE_DELAY = {"33SVC": 2.614, "33SWC": 0.0}
"""How much later each tile is sensed [s]."""
_CLASSES = {
    2: "dark_features", 3: "cloud_shadow", 4: "vegetation", 5: "not_vegetated", 6: "water", 7: "unclassified",
    8: "medium_proba_clouds", 9: "high_proba_clouds", 10: "thin_cirrus", 11: "snow_ice",
}  # fmt: skip


def optical_item(taken: OpticalPass, tile: str, classes: NDArray[np.uint8]) -> Item:
    """Describe one Sentinel-2 tile; `classes` is its scene classification, uint8 (row, column)."""
    made = taken.start + timedelta(seconds=7000 + taken.absolute_orbit * 37 % 3600)
    unit, start, baseline = f"S2{taken.unit}", _compact(taken.start), taken.baseline
    orbit = f"R{taken.relative_orbit:03d}"
    sensed = taken.sensed + timedelta(seconds=_TILE_DELAY[tile])
    short = f"N{baseline.replace('.', '')}"
    azimuth, elevation = sun(sensed)
    granule = f"{unit}_OPER_MSI_L2A_TL_2APS_{_compact(made)}_A{taken.absolute_orbit:06d}_T{tile}_N{baseline}"
    strip = f"{unit}_OPER_MSI_L2A_DS_2APS_{_compact(made)}_S{_compact(taken.sensed)}_N{baseline}"
    properties = {
        "datetime": _iso(sensed),
        "platform": f"Sentinel-2{taken.unit}",
        "constellation": "Sentinel 2",
        "instruments": ["msi"],
        "proj:epsg": EPSG,
        "sat:orbit_state": "descending",
        "sat:relative_orbit": taken.relative_orbit,
        "s2:mgrs_tile": tile,
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": baseline,
        "s2:product_uri": f"{unit}_MSIL2A_{start}_{short}_{orbit}_T{tile}_{_compact(made)}.SAFE",
        "s2:datatake_id": f"G{unit}_{start}_{taken.absolute_orbit:06d}_N{baseline}",
        "s2:datatake_type": "INS-NOBS",
        "s2:granule_id": granule,
        "s2:datastrip_id": strip,
        "s2:generation_time": _iso(made),
        "s2:mean_solar_azimuth": round(azimuth, 6),
        "s2:mean_solar_zenith": round(90 - elevation, 6),
        **_class_shares(classes),
    }
    return _item(
        name=f"{unit}_MSIL2A_{start}_{orbit}_T{tile}_{_compact(made)}",
        collection="sentinel-2-l2a",
        outline=to_lonlat(_seen_outline(taken, tile)),
        properties=properties,
        assets=_optical_assets(tile),
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


def _class_shares(classes: NDArray[np.uint8]) -> dict[str, float]:
    counts = np.bincount(classes.ravel(), minlength=12)
    valid = max(int(counts[1:].sum()), 1)
    percent = {number: round(100 * int(counts[number]) / valid, 6) for number in _CLASSES}
    return {
        "eo:cloud_cover": round(percent[8] + percent[9] + percent[10], 6),
        "s2:nodata_pixel_percentage": round(100 * int(counts[0]) / classes.size, 6),
        **{f"s2:{name}_percentage": percent[number] for number, name in _CLASSES.items()},
    }


def _optical_assets(tile: str) -> dict[str, Any]:
    window = TILES[tile]
    assets = {}
    for name, size in [*((band.name, band.resolution) for band in BANDS), ("SCL", 20)]:
        asset = _asset(f"./{name}.tif", window.shape(size), window.transform(size)) | {"gsd": size}
        if name in _COMMON_NAMES:
            common, wavelength = _COMMON_NAMES[name]
            asset["eo:bands"] = [{"name": name, "common_name": common, "center_wavelength": wavelength}]
        assets[name] = asset
    return assets


def radar_product(taken: RadarPass, frame: Frame) -> str:
    """Return the 67 characters of the product that a frame was made from."""
    take = 337_165 + round((taken.absolute_orbit - 43_082) * 8.4767)
    name = f"S1A_IW_GRDH_1SDV_{_compact(frame.start)}_{_compact(frame.end)}_{taken.absolute_orbit:06d}_{take:06X}"
    return f"{name}_{zlib.crc32(name.encode()) & 0xFFFF:04X}"


def radar_item(taken: RadarPass, frame: Frame) -> Item:
    """Describe one frame of Sentinel-1."""
    product = radar_product(taken, frame)
    shape, grid = frame.window.shape(10), frame.window.transform(10)
    properties = {
        "datetime": _iso(frame.start + (frame.end - frame.start) / 2),
        "start_datetime": _iso(frame.start),
        "end_datetime": _iso(frame.end),
        "platform": "SENTINEL-1A",
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
