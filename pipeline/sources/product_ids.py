"""What the names of Sentinel products say.

Sentinel-2: S2 Products Specification Document (S2-PDGS-TAS-DI-PSD), product, datatake, datastrip and granule ids.
Sentinel-1: Product Specification (S1-RS-MDA-52-7441), product folder name.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_STAMP = r"\d{8}T\d{6}"
_TILE = r"\d{2}[C-HJ-NP-X][A-HJ-NP-Z]{2}"

_SENTINEL2_PRODUCT = re.compile(
    rf"S2(?P<unit>[A-D])_MSIL(?:1C|2A)_(?P<datatake>{_STAMP})(?:_N(?P<baseline>\d{{4}}))?(?:_R(?P<orbit>\d{{3}}))?"
    rf"_T(?P<tile>{_TILE})_(?P<generated>{_STAMP})"
)
_DATATAKE = re.compile(rf"^GS2(?P<unit>[A-D])_(?P<datatake>{_STAMP})_")
_DATASTRIP_SENSING = re.compile(rf"_S({_STAMP})(?:_|$)")
_GRANULE_FOLDER = re.compile(rf"/L(?:1C|2A)_T{_TILE}_A\d{{6}}_({_STAMP})/")
_EARTH_SEARCH_ITEM = re.compile(rf"^S2[A-D]_T{_TILE}_({_STAMP})_L(?:1C|2A)$")
_TILE_IN_NAME = re.compile(r"(?:^|_|-)T?(?P<zone>\d{1,2})(?P<square>[C-HJ-NP-X][A-HJ-NP-Z]{2})(?=_|$)")
_SENTINEL1_PRODUCT = re.compile(
    rf"S1(?P<unit>[A-D])_[A-Z0-9]{{2}}_[A-Z0-9_]{{4}}_\d[SA][A-Z]{{2}}_{_STAMP}_{_STAMP}"
    r"_(?P<orbit>\d{6})_[0-9A-F]{6}(?:_[0-9A-F]{4}(?![0-9A-Za-z]))?"
)
SENTINEL1_ID_LENGTH = 67
"""Characters of a complete Sentinel-1 product id, its checksum included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinel2Product:
    """The parts of a Level-2A product name that a catalogue may leave out elsewhere."""

    unit: str
    """A, B, C or D."""
    datatake: datetime
    """Start of sensing of the datatake, UTC."""
    baseline: str
    """Processing baseline as `05.09`; empty where the name leaves it out."""
    relative_orbit: int | None
    tile: str
    """MGRS tile as `T33TWM`."""
    generated: str
    """Product discriminator: when it was generated, as `20230815T155057`."""


def parse_sentinel2_product(name: str) -> Sentinel2Product | None:
    """Return what a Level-1C or Level-2A product name says, or None when `name` is none."""
    match = _SENTINEL2_PRODUCT.search(name)
    if match is None:
        return None
    baseline, orbit = match["baseline"], match["orbit"]
    return Sentinel2Product(
        unit=match["unit"],
        datatake=parse_stamp(match["datatake"]),
        baseline=f"{baseline[:2]}.{baseline[2:]}" if baseline else "",
        relative_orbit=int(orbit) if orbit else None,
        tile=f"T{match['tile']}",
        generated=match["generated"],
    )


def parse_datatake(datatake_id: str) -> tuple[str, datetime] | None:
    """Return the unit letter and the start of sensing of a datatake id like `GS2A_20230815T095031_042547_N05.09`."""
    match = _DATATAKE.search(datatake_id)
    return (match["unit"], parse_stamp(match["datatake"])) if match else None


def datastrip_sensing(datastrip_id: str, item_id: str, href: str) -> str:
    """Return the start of sensing of the datastrip as `20230815T095630`, or '' when nothing states it.

    Looked for in the datastrip id (`..._S20230815T095630_N05.09`), the item id of Earth Search's Collection 1
    (`S2A_T20HNJ_20240311T140636_L2A`) and the granule's folder (`/L2A_T33TWM_A042547_20230815T095630/`), which all
    carry this stamp.
    """
    for pattern, text in (
        (_DATASTRIP_SENSING, datastrip_id),
        (_EARTH_SEARCH_ITEM, item_id),
        (_GRANULE_FOLDER, href),
    ):
        match = pattern.search(text)
        if match:
            return match[1]
    return ""


def find_tile(name: str) -> str:
    """Return the MGRS tile in `name` as `T33TWM`, with a two-digit zone, or '' when there is none."""
    match = _TILE_IN_NAME.search(name)
    return f"T{int(match['zone']):02d}{match['square']}" if match else ""


def find_sentinel1_id(text: str) -> str:
    """Return the first Sentinel-1 product id in `text`, complete (67 characters) or without checksum, or ''."""
    match = _SENTINEL1_PRODUCT.search(text)
    return match[0] if match else ""


def parse_sentinel1_orbit(product_id: str) -> tuple[str, int] | None:
    """Return the unit letter and the absolute orbit number of a Sentinel-1 product id."""
    match = _SENTINEL1_PRODUCT.search(product_id)
    return (match["unit"], int(match["orbit"])) if match else None


def parse_stamp(stamp: str) -> datetime:
    """Return a compact time stamp like `20230815T095031` as an aware UTC time."""
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


def format_stamp(time: datetime) -> str:
    """Return `time` as a compact UTC time stamp, whole seconds."""
    return time.astimezone(UTC).strftime("%Y%m%dT%H%M%S")
