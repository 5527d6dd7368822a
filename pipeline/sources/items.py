"""STAC item in, scene out: what providers call the same thing by different names is settled here and in `assets`."""

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import pystac
import shapely

from pipeline.errors import SourceError
from pipeline.records import OwnModality, Product, Scene
from pipeline.sources import product_ids
from pipeline.sources.assets import (
    asset_href,
    dem_keys,
    own_keys,
    sentinel1_keys,
    sentinel2_keys,
    stated_checksum,
    stated_offset,
)
from pipeline.sources.footprints import item_outline
from pipeline.sources.stac_item import StacItem, parse_item
from pipeline.sources.transport import public_text

logger = logging.getLogger(__name__)

_MISSHAPEN = (
    AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError, pystac.STACError,
)  # fmt: skip
"""What reading JSON of another shape than expected ends in."""

_OFFSET_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_BASELINE = re.compile(r"^(\d{1,2})\.(\d{2})$")
_OFFSET_SINCE = (4, 0)
"""Processing baseline from which Level-2A digital numbers carry +1000 (S2 MPC, baseline 04.00, 25 January 2022)."""
_OFFSET = -1000
_GEOGRAPHIC = 4326


def scene_from_item(
    item: Mapping[str, Any] | pystac.Item, product: Product, *, own: OwnModality | None = None, location: str = ""
) -> Scene:
    """Translate a STAC item.

    Parameters
    ----------
    item
        Parsed JSON or a pystac item, STAC 1.0-beta to 1.1.
    product
        What the item is to be read as.
    own
        What `product` is where a recipe describes it.
    location
        Path or URL that the item was read from; its own `self` link when empty.

    Raises
    ------
    SourceError
        The item cannot be used: not geocoded, no band, no time, no area, or nothing that settles the offset.
    ValueError
        `product` does not come from a catalogue.
    """
    if own is None and product not in _READERS:
        raise ValueError(f"{product} is not in any catalogue")
    try:
        parsed = parse_item(item, location)
        scene = _READERS[product](parsed) if own is None else _own_scene(parsed, product, own)
        _require_storable(scene)
    except SourceError:
        raise
    except _MISSHAPEN as err:
        # An item may hold anything anywhere; what a usable one holds where is said by the readers.
        name = location or (item.get("id") if isinstance(item, Mapping) else item.id) or "an item"
        problem = public_text(f"{type(err).__name__}: {err}")
        raise SourceError(f"{public_text(name)} is not as STAC describes items: {problem}") from err
    return scene


def _require_storable(scene: Scene) -> None:
    """Raise ValueError where a value fits no table."""
    texts = (scene.id, scene.collection, scene.acquisition, scene.file_id, scene.platform, *scene.hrefs.values())
    for text in texts:
        text.encode()
    if any(abs(number) >= 2**31 for number in (scene.epsg or 0, scene.relative_orbit or 0)):
        raise ValueError(f"epsg {scene.epsg} or orbit {scene.relative_orbit} is no such number")


def scenes_from_items(
    items: Iterable[tuple[Mapping[str, Any], str]], product: Product, own: OwnModality | None = None
) -> list[Scene]:
    """Translate (item, location) pairs; an item that cannot be used is left out with a warning that says why.

    Raises
    ------
    SourceError
        None of the items can be used; says why the first one cannot.
    """
    scenes: list[Scene] = []
    refused: list[SourceError] = []
    for item, location in items:
        try:
            scenes.append(scene_from_item(item, product, own=own, location=location))
        except SourceError as err:
            refused.append(err)
    if refused and not scenes:
        raise refused[0]
    if refused:
        logger.warning("%d of %d items left out, first: %s", len(refused), len(refused) + len(scenes), refused[0])
    return scenes


def _level2a(item: StacItem) -> Scene:
    if "1C" in item.text("s2:product_type", "product:type"):
        raise SourceError(f"{item.label} is Level-1C, not surface reflectance (Level-2A)")
    return _sentinel2(item, "S2L2A")


def _level1c(item: StacItem) -> Scene:
    if "2A" in item.text("s2:product_type", "product:type"):
        raise SourceError(f"{item.label} is Level-2A, not top-of-atmosphere reflectance (Level-1C)")
    return _sentinel2(item, "S2L1C")


def _sentinel2(item: StacItem, product: Product) -> Scene:
    keys = sentinel2_keys(item, product)
    if not keys:
        raise SourceError(f"{item.label}: no Sentinel-2 band among its assets {', '.join(item.assets)}")
    named = _sentinel2_product(item)
    unit, datatake = _datatake(item, named)
    tile = _tile(item)
    hrefs = _hrefs(item, keys)
    baseline = _baseline(item, named)
    offset, rule = _offset(item, keys, baseline)
    acquired = datatake or _acquired(item)
    platform = _platform(item) or (f"sentinel-2{unit.lower()}" if unit else "sentinel-2")
    start = product_ids.format_stamp(acquired)
    cloud = item.value("eo:cloud_cover")
    sensing = product_ids.datastrip_sensing(
        item.text("s2:datastrip_id", "eopf:datastrip_id"), item.id, next(iter(hrefs.values()))
    )
    return Scene(
        id=item.id,
        product=product,
        collection=item.collection,
        acquired=acquired,
        footprint=_footprint(item),
        acquisition=f"S2_{unit}_{start}" if datatake else f"{platform}_{start}",
        file_id=f"{start}_{sensing}_{tile}" if datatake and sensing and tile else item.id,
        hrefs=hrefs,
        checksums=_checksums(item, keys),
        epsg=_epsg(item, keys),
        tile=tile,
        platform=platform,
        orbit_state=_orbit_state(item),
        relative_orbit=_relative_orbit(item, named),
        baseline=baseline,
        offset=offset,
        offset_rule=rule,
        cloud_cover=None if cloud is None or not math.isfinite(float(cloud)) else float(cloud),
        extras={"generated": _generated(item, named)},
    )


def _sentinel1(item: StacItem) -> Scene:
    keys = sentinel1_keys(item)
    epsg = _epsg(item, keys)
    if _is_grd(item) and epsg in (None, _GEOGRAPHIC):
        raise SourceError(
            f"{item.label}: ungeocoded GRD (ground control points only) cannot be put on a grid; use a "
            "terrain-corrected product, e.g. --source planetary-computer with collections.S1=sentinel-1-rtc"
        )
    hrefs = _hrefs(item, keys)
    return Scene(
        id=item.id,
        product="S1",
        collection=item.collection,
        acquired=_acquired(item),
        footprint=_footprint(item),
        acquisition=_sentinel1_pass(item),
        file_id=_sentinel1_id(item, hrefs),
        hrefs=hrefs,
        checksums=_checksums(item, keys),
        epsg=epsg,
        platform=_platform(item) or "sentinel-1",
        orbit_state=_orbit_state(item),
        relative_orbit=_relative_orbit(item, None),
    )


def _dem(item: StacItem) -> Scene:
    keys = dem_keys(item)
    if not keys:
        raise SourceError(f"{item.label}: no elevation among its assets {', '.join(item.assets)}")
    return Scene(
        id=item.id,
        product="DEM",
        collection=item.collection,
        acquired=_acquired(item),
        footprint=_footprint(item),
        acquisition=item.collection,
        file_id=item.id,
        hrefs=_hrefs(item, keys),
        checksums=_checksums(item, keys),
        epsg=_epsg(item, keys),
        platform=_platform(item),
    )


def _own_scene(item: StacItem, product: Product, own: OwnModality) -> Scene:
    keys = own_keys(item, own)
    if not keys:
        raise SourceError(
            f"{item.label}: none of {', '.join(own.read_bands)} among its assets {', '.join(item.assets)}"
        )
    acquired = _acquired(item)
    cloud = item.value(own.cloud_property) if own.cloud_property else None
    return Scene(
        id=item.id,
        product=product,
        collection=item.collection,
        acquired=acquired,
        footprint=_footprint(item),
        acquisition=own.acquisition(acquired),
        file_id=item.id,
        hrefs=_hrefs(item, keys),
        checksums=_checksums(item, keys),
        epsg=_epsg(item, keys),
        platform=_platform(item),
        cloud_cover=None if cloud is None else float(cloud),
    )


_READERS: dict[Product, Callable[[StacItem], Scene]] = {
    "S2L2A": _level2a,
    "S2L1C": _level1c,
    "S1": _sentinel1,
    "DEM": _dem,
}


def _acquired(item: StacItem) -> datetime:
    time = item.time("start_datetime", "datetime")
    if time is None:
        raise SourceError(f"{item.label}: neither datetime nor start_datetime is stated")
    return time


def _footprint(item: StacItem) -> bytes:
    try:
        return bytes(shapely.to_wkb(item_outline(item.geometry, item.bbox), byte_order=1))
    except (ValueError, shapely.errors.ShapelyError) as err:
        raise SourceError(f"{item.label}: no usable footprint: {err}") from err


def _hrefs(item: StacItem, keys: Mapping[str, str]) -> dict[str, str]:
    return {band: asset_href(item, key) for band, key in keys.items()}


def _checksums(item: StacItem, keys: Mapping[str, str]) -> dict[str, str]:
    stated = {band: stated_checksum(item, key) for band, key in keys.items()}
    return {band: checksum for band, checksum in stated.items() if checksum}


def _epsg(item: StacItem, keys: Mapping[str, str]) -> int | None:
    for holder in (item.properties, *(item.assets[key] for key in keys.values())):
        code = str(holder.get("proj:epsg") or holder.get("proj:code") or "").upper().removeprefix("EPSG:")
        if code.isdigit():
            return int(code)
    return None


def _platform(item: StacItem) -> str:
    return item.text("platform").lower().replace(" ", "-")


def _orbit_state(item: StacItem) -> str:
    state = item.text("sat:orbit_state").lower()
    return state if state in ("ascending", "descending") else "unknown"


def _relative_orbit(item: StacItem, named: product_ids.Sentinel2Product | None) -> int | None:
    stated = item.value("sat:relative_orbit")
    if stated is not None:
        return int(stated)
    return named.relative_orbit if named else None


def _sentinel2_product(item: StacItem) -> product_ids.Sentinel2Product | None:
    stated = (item.text(name) for name in ("s2:product_uri", "sentinel:product_id", "s2:product_id"))
    parsed = (product_ids.parse_sentinel2_product(name) for name in (*stated, item.id))
    return next((product for product in parsed if product), None)


def _datatake(item: StacItem, named: product_ids.Sentinel2Product | None) -> tuple[str, datetime | None]:
    stated = product_ids.parse_datatake(item.text("s2:datatake_id", "eopf:datatake_id"))
    if stated:
        return stated
    return (named.unit, named.datatake) if named else ("", None)


def _tile(item: StacItem) -> str:
    mgrs, sentinel = (
        "".join(item.text(f"{prefix}:{part}") for part in ("utm_zone", "latitude_band", "grid_square"))
        for prefix in ("mgrs", "sentinel")
    )
    product = item.text("s2:product_uri", "sentinel:product_id", "s2:product_id")
    names = (item.text("s2:mgrs_tile"), item.text("grid:code"), mgrs, sentinel, product, item.id)
    return next((tile for tile in map(product_ids.find_tile, names) if tile), "")


def _baseline(item: StacItem, named: product_ids.Sentinel2Product | None) -> str:
    stated = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
    for match in (_BASELINE.match(item.text(name)) for name in stated):
        if match:
            return f"{int(match[1]):02d}.{match[2]}"
    return named.baseline if named else ""


def _generated(item: StacItem, named: product_ids.Sentinel2Product | None) -> str:
    time = item.time("s2:generation_time", "processing:datetime")
    if time:
        return product_ids.format_stamp(time)
    return named.generated if named else ""


def _offset(item: StacItem, keys: Mapping[str, str], baseline: str) -> tuple[int, str]:
    """Return the digital numbers to add and the statement that decided; see `Scene.offset`."""
    if any(item.properties.get(name) is True for name in _OFFSET_APPLIED):
        return 0, "boa_offset_applied"
    stated = {band: stated_offset(item, key) for band, key in keys.items() if band != "SCL"}
    offsets = sorted({offset for offset in stated.values() if offset is not None})
    if len(offsets) > 1:
        raise SourceError(f"{item.label}: its bands state different offsets, {offsets[0]} and {offsets[-1]}")
    if offsets:
        return offsets[0], "raster_offset"
    if baseline:
        is_shifted = tuple(map(int, baseline.split("."))) >= _OFFSET_SINCE
        return _OFFSET if is_shifted else 0, "processing_baseline"
    raise SourceError(f"{item.label} states neither an offset nor a processing baseline")


def _is_grd(item: StacItem) -> bool:
    # Catalogues of detected products state EPSG:4326, the CRS of their control points, or nothing at all.
    stated = item.text("sar:product_type", "product:type", "s1:product_type")
    return "GRD" in (stated or item.id).upper()


def _sentinel1_id(item: StacItem, hrefs: Mapping[str, str]) -> str:
    found = [product_ids.find_sentinel1_id(text) for text in (item.text("s1:product_identifier"), *hrefs.values())]
    complete = [name for name in found if len(name) == product_ids.SENTINEL1_ID_LENGTH]
    return (complete or [product_ids.find_sentinel1_id(item.id) or item.id])[0]


def _sentinel1_pass(item: StacItem) -> str:
    parsed = product_ids.parse_sentinel1_orbit(item.id)
    platform = re.search(r"1([a-d])$", _platform(item))
    stated = item.value("sat:absolute_orbit")
    if platform and stated is not None:
        unit, orbit = platform[1].upper(), int(stated)
    elif parsed:
        unit, orbit = parsed
    else:
        return item.id
    return f"S1_{unit}_{orbit:06d}_{_orbit_state(item)}"
