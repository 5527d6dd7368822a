"""Which scenes there are: one request a page, answered from the collection's metadata."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import ee
import shapely

from pipeline.errors import SourceError
from pipeline.records import OwnModality, Product, Scene
from pipeline.sources import product_ids
from pipeline.sources.contract import Query
from pipeline.sources.earth_engine.collections import OFFSET_FREE, BandReference, bands_of, land_cover
from pipeline.sources.earth_engine.governor import Governor
from pipeline.sources.footprints import item_outline
from pipeline.sources.stac import searchable

TAG = "sen12-search"

_PAGE = 1000
_INDEX = "scene"
_LONGEST_DATATAKE = timedelta(hours=1)
_PROPERTIES: Mapping[Product, tuple[str, ...]] = {
    "S2L2A": (
        "DATATAKE_IDENTIFIER", "MGRS_TILE", "PROCESSING_BASELINE", "SPACECRAFT_NAME", "SENSING_ORBIT_NUMBER",
        "SENSING_ORBIT_DIRECTION", "CLOUDY_PIXEL_PERCENTAGE", "GENERATION_TIME",
    ),
    "S1": (
        "orbitProperties_pass", "relativeOrbitNumber_start", "platform_number", "transmitterReceiverPolarisation",
    ),
    "DEM": (),
    "LULC": (),
}  # fmt: skip


def find_scenes(governor: Governor, collection: str, query: Query) -> list[Scene]:
    """Return the scenes that may fit the query; the caller drops those that do not.

    Raises
    ------
    TransientSourceError, AllowanceError, RecipeError
        As `Governor.send`.
    SourceError
        The collection is not there, or one of its images lacks what a scene must say.
    """
    asked, collection = collection, collection.partition("#")[0]
    subject = f"searching {collection} in earth-engine"
    rows: list[Mapping[str, Any]] = []
    token = ""
    while True:
        page = governor.send(_request(collection, query, token), tag=TAG, subject=subject)
        rows += page.get("features", [])
        token = str(page.get("nextPageToken", ""))
        if not token:
            return [_scene(row, asked, query) for row in rows]


def _request(collection: str, query: Query, token: str) -> Any:
    def ask() -> Mapping[str, Any]:
        parameters = {"expression": _rows(collection, query), "pageSize": _PAGE, "workloadTag": TAG}
        if token:
            parameters["pageToken"] = token
        answer: Mapping[str, Any] = ee.data.computeFeatures(parameters)
        return answer

    return ask


def _rows(collection: str, query: Query) -> Any:
    # Edges straight in longitude and latitude, as GeoJSON has them.
    area = ee.Geometry(shapely.geometry.mapping(searchable(query.footprint)), None, False)  # noqa: FBT003
    images = ee.ImageCollection(collection).filterBounds(area)
    if query.start is not None and query.end is not None:
        # An image's time may be the granule's, minutes after its datatake began.
        first, last = (_millis(moment) for moment in (query.start, query.end + _LONGEST_DATATAKE))
        images = images.filterDate(first, last)
    if query.product == "S1":
        images = images.filter(ee.Filter.eq("instrumentMode", "IW"))
    names = ["system:time_start", *_properties(query)]

    def row(image: Any) -> Any:
        feature = ee.Feature(ee.Image(image).geometry()).copyProperties(image, names)
        return feature.set(_INDEX, ee.Image(image).get("system:index"))

    return ee.FeatureCollection(images.map(row))


def _properties(query: Query) -> tuple[str, ...]:
    if query.own is not None:
        return (query.own.cloud_property,) if query.own.cloud_property else ()
    return _PROPERTIES["S2L2A" if query.product == "S2L1C" else query.product]


def _millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _scene(row: Mapping[str, Any], asked: str, query: Query) -> Scene:
    product = query.product
    collection, band = land_cover(asked) if product == "LULC" else (asked, "")
    stated = row.get("properties") or {}
    index = str(stated.get(_INDEX) or "")
    label = f"{collection}/{index}"
    has_time = stated.get("system:time_start") is not None or product == "DEM" or (query.own and query.own.is_undated)
    if not index or not has_time:
        raise SourceError(f"{label}: system:index or system:time_start is not stated")
    try:
        outline = shapely.to_wkb(item_outline(row.get("geometry"), None), byte_order=1)
    except (ValueError, shapely.errors.ShapelyError) as err:
        raise SourceError(f"{label}: no usable footprint: {err}") from err
    acquired = datetime.fromtimestamp(float(stated.get("system:time_start") or 0) / 1000, UTC)
    base: dict[str, Any] = {
        "id": index,
        "product": product,
        "collection": collection,
        "acquired": acquired,
        "footprint": bytes(outline),
        "file_id": index,
    }
    if query.own is not None:
        return Scene(**{**base, **_own(stated, label, acquired, query.own)})
    base["hrefs"] = {"LULC": BandReference((label,), band, "uint8").href} if band else _hrefs(stated, label, product)
    describe = {"S2L2A": _optical, "S2L1C": _optical, "S1": _radar, "DEM": _elevation, "LULC": _land_cover}[product]
    return Scene(**{**base, **describe(stated, index, collection)})


def _own(stated: Mapping[str, Any], label: str, acquired: datetime, own: OwnModality) -> dict[str, Any]:
    cloud = stated.get(own.cloud_property) if own.cloud_property else None
    return {
        "acquisition": own.acquisition(acquired),
        "hrefs": {band: BandReference((label,), band, "float32").href for band in own.read_bands},
        "cloud_cover": None if cloud is None else float(cloud),
    }


def _hrefs(stated: Mapping[str, Any], label: str, product: Product) -> dict[str, str]:
    bands = dict(bands_of(product))
    if product == "S1":
        there = {str(name).lower() for name in stated.get("transmitterReceiverPolarisation") or ()}
        bands = {name: band for name, band in bands.items() if name in there}
    return {name: BandReference((label,), band).href for name, band in bands.items()}


def _optical(stated: Mapping[str, Any], index: str, collection: str) -> dict[str, Any]:
    datatake = product_ids.parse_datatake(str(stated.get("DATATAKE_IDENTIFIER") or ""))
    if datatake is None:
        raise SourceError(f"{collection}/{index}: DATATAKE_IDENTIFIER is not stated")
    if collection not in OFFSET_FREE:
        raise SourceError(
            f"{collection} does not say which of its numbers carry an offset; use {' or '.join(OFFSET_FREE)}"
        )
    unit, start = datatake
    tile, zone = product_ids.find_tile(str(stated.get("MGRS_TILE") or index)), None
    if tile:
        zone = (32600 if tile[3] >= "N" else 32700) + int(tile[1:3])
    cloud, orbit = stated.get("CLOUDY_PIXEL_PERCENTAGE"), stated.get("SENSING_ORBIT_NUMBER")
    made = stated.get("GENERATION_TIME")
    return {
        "acquired": start,
        "acquisition": f"S2_{unit}_{product_ids.format_stamp(start)}",
        "epsg": zone,
        "tile": tile,
        "platform": str(stated.get("SPACECRAFT_NAME") or f"sentinel-2{unit}").lower(),
        "orbit_state": _orbit_state(stated.get("SENSING_ORBIT_DIRECTION")),
        "relative_orbit": None if orbit is None else int(orbit),
        "baseline": str(stated.get("PROCESSING_BASELINE") or ""),
        "offset": 0,
        "offset_rule": collection.rpartition("/")[2],
        "cloud_cover": None if cloud is None else float(cloud),
        "extras": {"generated": _stamp(made)},
    }


def _stamp(millis: Any) -> str:
    return "" if millis is None else product_ids.format_stamp(datetime.fromtimestamp(float(millis) / 1000, UTC))


def _radar(stated: Mapping[str, Any], index: str, collection: str) -> dict[str, Any]:
    parsed, state = product_ids.parse_sentinel1_orbit(index), _orbit_state(stated.get("orbitProperties_pass"))
    if parsed is None or not re.match(r"^S1[A-D]_", index):
        raise SourceError(f"{collection}/{index} is not named as a Sentinel-1 product")
    unit, absolute = parsed
    orbit = stated.get("relativeOrbitNumber_start")
    return {
        "acquisition": f"S1_{unit}_{absolute:06d}_{state}",
        "platform": f"sentinel-1{unit.lower()}",
        "orbit_state": state,
        "relative_orbit": None if orbit is None else int(orbit),
    }


def _elevation(stated: Mapping[str, Any], index: str, collection: str) -> dict[str, Any]:  # noqa: ARG001
    return {"acquisition": collection}


def _land_cover(stated: Mapping[str, Any], index: str, collection: str) -> dict[str, Any]:  # noqa: ARG001
    return {"acquisition": f"{collection}/{index}"}


def _orbit_state(stated: Any) -> str:
    state = str(stated or "").lower()
    return state if state in ("ascending", "descending") else "unknown"
