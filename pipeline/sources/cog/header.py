"""What a tiled GeoTIFF says of itself: where its tiles lie in the file, how they are packed, where its pixels lie."""

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.sources.window import MOST_BANDS, SMALLEST_PIXEL

DEFLATE = (8, 32946)
ZSTD = 50000
PLAIN = 1
COMPRESSIONS = (PLAIN, *DEFLATE, ZSTD)
"""TIFF 6.0 section 'Compression', Adobe's deflate, and GDAL's code for Zstandard."""

PREDICTORS = (1, 2, 3)
"""None, horizontal differences of integers, and those of floating point (Adobe Photoshop TIFF Technical Note 3)."""

LARGEST_TILE = 64 << 20
"""Bytes of a tile, unpacked; a larger one is left to GDAL, which refuses the largest."""
_PACKED_MORE = 64 << 10
"""Bytes that a tile may be longer packed than twice its size: codecs hardly add anything."""

DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32")


_NUMBER_TAGS = (256, 257, 258, 259, 262, 266, 277, 284, 317, 322, 323, 324, 325, 339)
"""Sizes, sample format, compression, predictor and index of tiles (TIFF 6.0, section 8 and 'Tiled Images')."""
_INDEX_TAGS = (324, 325)
_PLACE_TAGS = (33550, 33922)
"""Size of pixels, and a point whose place is known (OGC 19-008r4, section 7.3)."""
_UNSIGNED = (3, 4, 16)
"""SHORT, LONG, and LONG8 of BigTIFF."""
_DOUBLE, _ASCII = 12, 2
_KEY_VALUES = {34736: _DOUBLE, 34737: _ASCII}
"""Types of the tags that keys point into (OGC 19-008r4, section 7.1)."""
_METRE = 9001


class UnknownFileError(Exception):
    """The file is made in a way that the fast reader leaves to GDAL; the text says which."""


class RefusedFileError(SourceError):
    """No reader is given this file: GDAL would return what happens to be in memory, or take all of it."""


class ShortHeaderError(Exception):
    """The header reaches beyond the bytes that were given."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TiledImage:
    """The first image of a tiled GeoTIFF with one band per pixel."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    dtype: np.dtype[Any]
    """As in the file, byte order included."""
    compression: int
    predictor: int
    nodata: float | None
    epsg: int
    left: float
    """Easting of the left edge [m]."""
    top: float
    """Northing of the upper edge [m]."""
    pixel_width: float
    pixel_height: float
    """Size of a pixel [m], positive."""
    offsets: NDArray[np.int64]
    """First byte of each tile, row by row."""
    counts: NDArray[np.int64]
    """Bytes of each tile; 0 for one that the file leaves out."""

    @property
    def across(self) -> int:
        """Number of tiles in a row of tiles."""
        return -(-self.width // self.tile_width)

    @property
    def native(self) -> np.dtype[Any]:
        """The dtype in this machine's byte order."""
        return self.dtype.newbyteorder("=")


class _Head(io.BytesIO):
    """The first bytes of a file, which never pretend that the file ends there."""

    def read(self, size: int | None = -1) -> bytes:
        wanted = -1 if size is None else size
        data = super().read(wanted)
        if wanted < 0 or len(data) < wanted:
            raise ShortHeaderError
        return data


def parse_header(head: bytes, *, whole: bool) -> TiledImage:
    """Read the header of a TIFF from its first bytes.

    Parameters
    ----------
    head : bytes
        The file from its beginning.
    whole : bool
        True when `head` is the whole file.

    Raises
    ------
    ShortHeaderError
        The header goes on behind `head`.
    RefusedFileError
        Its index of tiles does not fit its size, or it has more bands than any image.
    UnknownFileError
        It is no tiled TIFF of one band in a projected EPSG zone, or is packed in a way that is not known here.
    """
    stream = io.BytesIO(head) if whole else _Head(head)
    try:
        with tifffile.TiffFile(stream) as file:
            return _image(file)
    except (ShortHeaderError, UnknownFileError, RefusedFileError):
        raise
    except Exception as err:
        # A damaged header fails in the parser in many ways; GDAL is the judge of such files.
        raise UnknownFileError(f"header: {type(err).__name__}") from err


def _image(file: tifffile.TiffFile) -> TiledImage:
    page = file.pages[0]
    if not isinstance(page, tifffile.TiffPage):
        raise UnknownFileError("no page")
    if page.samplesperpixel > MOST_BANDS:
        raise RefusedFileError(f"it has {page.samplesperpixel} bands")
    _require_every_tag(file, page)
    _require_plain_tags(page)
    _require_index(page)
    _require_known(page)
    left, top, pixel_width, pixel_height = _placement(page)
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    if (offsets < 0).any() or (counts < 0).any():
        raise UnknownFileError("tile index")
    tile = page.tilewidth * page.tilelength * np.dtype(str(page.dtype)).itemsize
    if tile > LARGEST_TILE or counts.max() > 2 * tile + _PACKED_MORE:
        raise UnknownFileError("tile size")
    if int(page.compression) == PLAIN and not np.isin(counts, (0, tile)).all():
        # GDAL takes such counts for wrong, and the tiles for as long as their pixels are.
        raise UnknownFileError("tile size")
    return TiledImage(
        width=page.imagewidth,
        height=page.imagelength,
        tile_width=page.tilewidth,
        tile_height=page.tilelength,
        dtype=np.dtype(str(page.dtype)).newbyteorder(file.byteorder),
        compression=int(page.compression),
        predictor=int(page.predictor),
        nodata=_nodata(page),
        epsg=_epsg(page),
        left=left,
        top=top,
        pixel_width=pixel_width,
        pixel_height=pixel_height,
        offsets=offsets,
        counts=counts,
    )


def _require_every_tag(file: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Leave to GDAL a directory of which the parser dropped a damaged tag: it would take the tag's default."""
    handle = file.filehandle
    handle.seek(page.offset)
    written = handle.read(8 if file.is_bigtiff else 2)
    codes = [tag.code for tag in page.tags]
    if len(codes) != int.from_bytes(written, "little" if file.byteorder == "<" else "big") or codes != sorted(codes):
        raise UnknownFileError("damaged tag")


def _require_plain_tags(page: tifffile.TiffPage) -> None:
    """Leave to GDAL what it might read otherwise: tags of a strange type or count, and a damaged key directory."""
    for code in _NUMBER_TAGS:
        tag = page.tags.get(code)
        is_plain = tag is None or (int(tag.dtype) in _UNSIGNED and (code in _INDEX_TAGS or tag.count == 1))
        if not is_plain:
            raise UnknownFileError(f"tag {code}")
    for code in _PLACE_TAGS:
        tag = page.tags.get(code)
        if tag is not None and int(tag.dtype) != _DOUBLE:
            raise UnknownFileError(f"tag {code}")
    _require_plain_keys(page)


def _require_plain_keys(page: tifffile.TiffPage) -> None:
    """Leave to GDAL a damaged key directory: it may not take it for a map projection."""
    keys = page.tags.get(34735)
    if keys is None or int(keys.dtype) != 3 or keys.count < 4:
        raise UnknownFileError("no EPSG zone")
    version, revision, _, count = keys.value[:4]
    if (version, revision) != (1, 1) or keys.count != 4 + 4 * count:
        raise UnknownFileError("key directory")
    for place, size, start in zip(keys.value[5::4], keys.value[6::4], keys.value[7::4], strict=True):
        held = page.tags.get(place)
        is_inside = size == 1 if place == 0 else held is not None and start + size <= held.count
        if not is_inside:
            raise UnknownFileError("key directory")
    for code, kind in _KEY_VALUES.items():
        held = page.tags.get(code)
        if held is not None and (int(held.dtype) != kind or (kind == _ASCII and not _is_whole_text(held))):
            raise UnknownFileError("key directory")


def _is_whole_text(tag: tifffile.TiffTag) -> bool:
    """Tell whether a text ends where its tag says."""
    text = str(tag.value)
    return "\x00" not in text and len(text) == tag.count - 1


def _require_index(page: tifffile.TiffPage) -> None:
    """Refuse a file of one band whose index has more or fewer tiles than its size, whatever its codec."""
    if not page.is_tiled or page.samplesperpixel != 1 or page.imagedepth != 1:
        return
    tiles = -(-page.imagewidth // page.tilewidth) * -(-page.imagelength // page.tilelength)
    if not len(page.dataoffsets) == len(page.databytecounts) == tiles:
        raise RefusedFileError(f"its index has {len(page.dataoffsets)} tiles, its size {tiles}")


def _require_known(page: tifffile.TiffPage) -> None:
    checks = {
        "not tiled": page.is_tiled,
        "several bands": page.samplesperpixel == 1 and page.imagedepth == 1,
        f"compression {int(page.compression)}": int(page.compression) in COMPRESSIONS,
        f"predictor {int(page.predictor)}": int(page.predictor) in PREDICTORS,
        f"dtype {page.dtype}": str(page.dtype) in DTYPES,
        "bits per sample": page.dtype is not None and page.bitspersample == page.dtype.itemsize * 8,
        "bit order": page.fillorder == 1,
        "planes": page.tags.valueof("PlanarConfiguration", 1) in (1, 2),
        "predictor of another dtype": page.dtype is not None
        and (int(page.predictor) == 1 or (int(page.predictor) == 3) == (page.dtype.kind == "f")),
        # GDAL looks at a predictor only where a codec knows of one.
        "predictor of plain pixels": int(page.compression) != PLAIN or int(page.predictor) == 1,
        "photometric": int(page.photometric) == 1,
    }
    for problem, is_met in checks.items():
        if not is_met:
            raise UnknownFileError(problem)


def _placement(page: tifffile.TiffPage) -> tuple[float, float, float, float]:
    scale, tie = page.tags.valueof("ModelPixelScaleTag"), page.tags.valueof("ModelTiepointTag")
    is_plain = scale is not None and tie is not None and len(scale) == 3 and len(tie) == 6 and not any(tie[:2])
    if not is_plain or "ModelTransformationTag" in page.tags:
        raise UnknownFileError("placement")
    if not (min(scale[:2]) >= SMALLEST_PIXEL and all(map(math.isfinite, (*scale[:2], *tie[3:5])))):
        raise UnknownFileError("placement")
    return float(tie[3]), float(tie[4]), float(scale[0]), float(scale[1])


def _epsg(page: tifffile.TiffPage) -> int:
    keys = page.geotiff_tags or {}
    epsg = int(keys.get("ProjectedCSTypeGeoKey", 0))
    if int(keys.get("GTModelTypeGeoKey", 0)) != 1 or not 1024 <= epsg < 32767:
        raise UnknownFileError("no EPSG zone")
    if int(keys.get("ProjLinearUnitsGeoKey", _METRE)) != _METRE:
        raise UnknownFileError("unit")
    if int(keys.get("GTRasterTypeGeoKey", 1)) != 1:
        raise UnknownFileError("pixels are points")
    return epsg


def _nodata(page: tifffile.TiffPage) -> float | None:
    text = page.tags.valueof("GDAL_NODATA")
    if text is None:
        return None
    try:
        return float(str(text).strip("\x00 "))
    except ValueError as err:
        raise UnknownFileError("no-data value") from err
