"""Which asset holds which band, where it lies, and what it says of its own numbers."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from pystac.utils import make_absolute_href

from pipeline.errors import SourceError
from pipeline.records import MODALITIES, Band, OwnModality, Product
from pipeline.sources.checking import parse_multihash
from pipeline.sources.links import require_asset
from pipeline.sources.stac_item import StacItem

_ELEMENT84_KEYS = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B10": "cirrus", "B11": "swir16",
    "B12": "swir22",
    "SCL": "scl",
}  # fmt: skip
"""Asset keys of Earth Search v1: both its Sentinel-2 collections, and whoever follows stactools."""

_DEM_KEYS = ("data", "dem", "elevation")
_RASTER_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2")
_RASTER_SUFFIXES = (".tif", ".tiff", ".jp2")
_PICTURE_ROLES = {"thumbnail", "overview"}
_SIGNATURE_KEYS = {"sig", "signature", "token", "x-amz-signature"}
_SCALE = 1e-4
"""Reflectance per digital number of Sentinel-2 Level-2A (1 / BOA_QUANTIFICATION_VALUE)."""


def bands_of_product(product: Product) -> tuple[Band, ...]:
    """Return every band that some modality cuts from `product`."""
    bands = {band.name: band for m in MODALITIES.values() if m.product == product for band in m.bands}
    return tuple(bands.values())


def sentinel2_keys(item: StacItem, product: Product) -> dict[str, str]:
    """Return the asset key of each Sentinel-2 band of `product` that the item has.

    Tried in this order: the band's name (`B04`); the name with its native resolution (`B04_10m`); Element 84's name
    (`red`); an asset of that one band, by `bands` or `eo:bands`, finest first; Element 84's JPEG 2000 (`red-jp2`).
    """
    rasters = _rasters(item)
    found = {band.name: _sentinel2_key(band, rasters) for band in bands_of_product(product)}
    return {name: key for name, key in found.items() if key}


def sentinel1_keys(item: StacItem) -> dict[str, str]:
    """Return the asset key of each polarisation that the item has; keys are compared in lower case."""
    lower = {key.lower(): key for key in _rasters(item)}
    return {name: lower[name] for name in (b.name for b in bands_of_product("S1")) if name in lower}


def dem_keys(item: StacItem) -> dict[str, str]:
    """Return the asset key of the elevation: `data`, `dem` or `elevation`, else the only raster."""
    rasters = _rasters(item)
    lower = {key.lower(): key for key in rasters}
    key = next((lower[name] for name in _DEM_KEYS if name in lower), None)
    if key is None and len(rasters) == 1:
        key = next(iter(rasters))
    return {"DEM": key} if key else {}


def own_keys(item: StacItem, own: OwnModality) -> dict[str, str]:
    """Return the asset key of each band of a recipe's own modality: the band's name, else an asset of that one band."""
    rasters = _rasters(item)
    holders = {
        name: key for key, asset in rasters.items() for name in _band_names(asset) if len(_band_names(asset)) == 1
    }
    found = {band: band if band in rasters else holders.get(band) for band in own.read_bands}
    return {band: key for band, key in found.items() if key}


def asset_href(item: StacItem, key: str) -> str:
    """Return where an asset lies: an absolute local path or a URL (`s3://` kept), never signed.

    Raises
    ------
    SourceError
        The href is relative and the item's own place is unknown, or it lies where the item may not refer to.
    """
    href = str(item.assets[key]["href"])
    try:
        if not item.location and not (urlsplit(href).scheme or href.startswith("/")):
            raise SourceError(f"{item.label}: asset {key} has the relative href {href}")
        absolute = make_absolute_href(href, item.location or None)
    except ValueError as err:
        raise SourceError(f"{item.label}: asset {key} has no usable href") from err
    return require_asset(_unsigned(require_asset(absolute, item.location)), item.location)


def stated_checksum(item: StacItem, key: str) -> str:
    """Return the multihash of an asset's whole file, hexadecimal; empty where none is stated that could be compared."""
    checksum = str(item.assets[key].get("file:checksum") or "")
    return checksum.lower() if parse_multihash(checksum) else ""


def stated_offset(item: StacItem, key: str) -> int | None:
    """Return the digital numbers to add that an asset states by offset and scale, or None when it states neither.

    Raises
    ------
    SourceError
        The two do not describe reflectance in steps of 0.0001.
    """
    offset, scale = (_raster_value(item.assets[key], name) for name in ("offset", "scale"))
    if offset is None or (offset == 0 and scale == 1):
        # Scale 1 and offset 0 are what GDAL reports of a file that says nothing.
        return None
    if offset == 0 and scale is None:
        return 0
    if scale is None or abs(scale - _SCALE) > _SCALE * 1e-6:
        raise SourceError(f"{item.label}: asset {key} has offset {offset} and scale {scale}, not scale 0.0001")
    return round(offset / scale)


def _sentinel2_key(band: Band, rasters: Mapping[str, Mapping[str, Any]]) -> str | None:
    common = _ELEMENT84_KEYS[band.name]
    for key in (band.name, f"{band.name}_{band.resolution}m", common):
        if key in rasters:
            return key
    named = [
        (float(asset.get("gsd") or "inf"), key)
        for key, asset in rasters.items()
        if _band_names(asset) == [band.name] and not key.endswith("-jp2")
    ]
    if named:
        return min(named)[1]
    return f"{common}-jp2" if f"{common}-jp2" in rasters else None


def _rasters(item: StacItem) -> dict[str, Mapping[str, Any]]:
    return {key: asset for key, asset in item.assets.items() if _is_raster(asset)}


def _is_raster(asset: Mapping[str, Any]) -> bool:
    roles = set(asset.get("roles") or ())
    if roles & _PICTURE_ROLES and "data" not in roles:
        return False
    media_type = str(asset.get("type") or "").lower()
    path = urlsplit(str(asset["href"])).path.lower()
    return media_type.startswith(_RASTER_TYPES) or path.endswith(_RASTER_SUFFIXES)


def _band_names(asset: Mapping[str, Any]) -> list[Any]:
    return [band.get("name") for band in asset.get("bands") or asset.get("eo:bands") or ()]


def _raster_value(asset: Mapping[str, Any], name: str) -> float | None:
    """Return `offset` or `scale` as raster extension 1 or 2 states it: of the first band, else of the asset."""
    for holder, key in (
        (next(iter(asset.get("raster:bands") or ()), {}), name),
        (next(iter(asset.get("bands") or ()), {}), f"raster:{name}"),
        (asset, f"raster:{name}"),
    ):
        value = holder.get(key)
        if isinstance(value, int | float):
            return float(value)
    return None


def _unsigned(href: str) -> str:
    parts = urlsplit(href)
    if parts.scheme == "file":
        return unquote(parts.path)
    if _SIGNATURE_KEYS.isdisjoint(key.lower() for key in parse_qs(parts.query, keep_blank_values=True)):
        return href
    return urlunsplit(parts._replace(query=""))
