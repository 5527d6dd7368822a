"""The fast reader: only the tiles that a window needs, all of them asked for at once, unpacked no farther than needed.

What it does not know (another projection, a warp, strips, other codecs) it leaves to the reference reader on GDAL.
Both give the same bits.
"""

import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError, TransientSourceError
from pipeline.records import AssetRef, PatchGrid, Resampling
from pipeline.sources.access import Signer, compared, is_vouched, public
from pipeline.sources.checking import compare_local
from pipeline.sources.cog.blocks import Block, fill_blocks
from pipeline.sources.cog.header import RefusedFileError, ShortHeaderError, TiledImage, UnknownFileError, parse_header
from pipeline.sources.cog.kept import KEPT, KeptHeader
from pipeline.sources.cog.tiles import DamagedTileError, TileCache
from pipeline.sources.cog.windows import window_of
from pipeline.sources.ranges import Bytes, LocalBytes, NoRangesError, RemoteBytes, remote_bytes
from pipeline.sources.window import (
    GDAL_OPTIONS,
    LARGEST_WINDOW,
    Placement,
    RasterReader,
    Wanted,
    empty_patch,
    without_nodata,
)

logger = logging.getLogger(__name__)

_HEAD = 32 << 10
"""Bytes of a file that are read first: a Sentinel-2 band of 484 tiles has its index within."""

_LONGEST_HEAD = 8 << 20

Read = tuple[Wanted, PatchGrid]
"""One file on one grid."""
Planned = Block | str | SourceError
"""A window, why the reference has to read it, or why nobody shall."""


@dataclass(slots=True)
class _Raster:
    """One file: its bytes, and its header or why that is of no use here."""

    file: Bytes | None
    image: TiledImage | None = None
    problem: str = ""
    refusal: SourceError | None = None
    """Why nobody shall read it."""

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


@dataclass(slots=True)
class CogReader:
    """Reads windows of tiled GeoTIFFs; used by one thread at a time."""

    source: Signer
    reference: RasterReader
    """Reads what is not known here."""
    capacity: int = 64
    """Files kept open."""
    tiles: TileCache = field(default_factory=TileCache)
    windows: int = 0
    """Windows that were read here."""
    left_to_reference: "Counter[str]" = field(default_factory=Counter)
    """Windows that the reference reader read, by reason."""
    _open: "OrderedDict[str, _Raster]" = field(default_factory=OrderedDict)
    _ahead: "dict[Read, Planned]" = field(default_factory=dict)
    """What was read before it is asked for."""

    def read(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[Any]:
        """Read the first band of `href` on `grid`; what comes back and what is raised is as `RasterReader.read`."""
        return self.read_bands([Wanted(href, resampling)], grid)[0]

    def read_bands(self, wanted: Sequence[Wanted], grid: PatchGrid) -> list[NDArray[Any]]:
        """Read several files on one grid, asking for the tiles of all of them at once."""
        distinct = list(dict.fromkeys(wanted))
        missing = [(one, grid) for one in distinct if (one, grid) not in self._ahead]
        blocks = self._ahead | self._read_together(missing, keep=True) if missing else self._ahead
        read = {one: self._finish(one, blocks[one, grid], grid) for one in distinct}
        return [read[one] for one in wanted]

    def read_ahead(self, reads: Iterable[tuple[Sequence[Wanted], PatchGrid]]) -> None:
        """Read together what will be asked for next: each file is opened, each tile fetched and unpacked once for all.

        It takes the memory of all these windows until the next call, or until the reader is closed.
        """
        self._ahead.clear()
        together = dict.fromkeys((one, grid) for wanted, grid in reads for one in wanted)
        try:
            self._ahead |= self._read_together(list(together), keep=False)
        except TransientSourceError:
            raise
        except SourceError as err:
            # Said again, and of the right file, when that is asked for.
            logger.debug("not read ahead: %s", err)

    def read_measured(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[np.float32]:
        """Read a physical quantity; as `RasterReader.read_measured`."""
        return self.read_measured_bands([Wanted(href, resampling)], grid)[0]

    def read_measured_bands(self, wanted: Sequence[Wanted], grid: PatchGrid) -> list[NDArray[np.float32]]:
        """Read several bands of a physical quantity."""
        rasters = self._opened([one.href for one in wanted])
        for raster in rasters.values():
            if raster.refusal is not None:
                raise raster.refusal
        floats = [one for one in wanted if (image := rasters[one.href].image) is not None and image.dtype.kind == "f"]
        read = dict(zip(floats, self.read_bands(floats, grid), strict=True))
        return [
            np.asarray(read[one], np.float32) if one in read else self._measured(one, rasters[one.href].problem, grid)
            for one in wanted
        ]

    def _measured(self, wanted: Wanted, problem: str, grid: PatchGrid) -> NDArray[np.float32]:
        self.left_to_reference[problem or "integers of a physical quantity"] += 1
        return self.reference.read_measured(wanted.href, grid, resampling=wanted.resampling)

    def joined(self, assets: Sequence[AssetRef]) -> list[AssetRef]:
        """Return `assets`: a file is opened only where those before it have no data."""
        return list(assets)

    def placement(self, href: str) -> tuple[int, Placement]:
        """Return a file's EPSG code and where its pixels lie."""
        image = self._opened([href])[href].image
        if image is None:
            return self.reference.placement(href)
        return image.epsg, Placement(image.left, image.top, image.pixel_width, -image.pixel_height)

    def is_decibel(self, href: str) -> bool:  # noqa: ARG002
        """Return False: catalogues of files have linear power."""
        return False

    def close(self) -> None:
        """Close every file, and say what was left to the reference reader."""
        while self._open:
            self._open.popitem()[1].close()
        if self.left_to_reference:
            reasons = ", ".join(f"{count} × {reason}" for reason, count in sorted(self.left_to_reference.items()))
            logger.debug("%d windows read from tiles; left to GDAL: %s", self.windows, reasons)

    def _read_together(self, reads: Sequence[Read], *, keep: bool) -> "dict[Read, Planned]":
        rasters = self._opened([wanted.href for wanted, _ in reads])
        found = {(wanted, grid): _block(wanted, rasters[wanted.href], grid) for wanted, grid in reads}
        blocks = [block for block in found.values() if isinstance(block, Block)]
        files = {block.href: file for block in blocks if (file := rasters[block.href].file) is not None}
        try:
            fill_blocks(blocks, files, self.tiles, keep=keep)
        except TransientSourceError:
            for href in files:
                self._forget(href)
            raise
        self.tiles.trim()
        return found

    def _finish(self, wanted: Wanted, block: Planned, grid: PatchGrid) -> NDArray[Any]:
        if isinstance(block, SourceError):
            self._forget(wanted.href)
            raise block
        if isinstance(block, Block):
            if block.problem is None and not block.awaited:
                self.windows += 1
                return _patch(block, grid)
            self._forget(wanted.href)
            if isinstance(block.problem, SourceError):
                raise block.problem
            # The reference says what is wrong, or reads it after all.
            block = type(block.problem or DamagedTileError()).__name__
        self.left_to_reference[block] += 1
        return self.reference.read(wanted.href, grid, resampling=wanted.resampling)

    def _opened(self, hrefs: Sequence[str]) -> dict[str, _Raster]:
        wanted = list(dict.fromkeys(hrefs))
        options = {**GDAL_OPTIONS, **self.source.gdal_env()}
        # A header that was kept may have come before anybody vouched for it.
        kept = {
            href: None if is_vouched(self.source, href) else KEPT.get(href) for href in wanted if href not in self._open
        }
        files = {href: _bytes_of(self.source, href, options, kept[href]) for href in kept}
        heads = {href: file.read(0, _HEAD) for href, file in files.items() if file is not None and kept[href] is None}
        for href, file in files.items():
            self._open[href] = _raster(href, file, kept[href], heads.get(href))
        for href in wanted:
            self._open.move_to_end(href)
        rasters = {href: self._open[href] for href in wanted}
        while len(self._open) > max(self.capacity, len(wanted)):
            evicted, raster = self._open.popitem(last=False)
            raster.close()
            self.tiles.drop(evicted)
        return rasters

    def _forget(self, href: str) -> None:
        KEPT.drop(href)
        self.tiles.drop(href)
        raster = self._open.pop(href, None)
        if raster is not None:
            raster.close()


def _block(wanted: Wanted, raster: _Raster, grid: PatchGrid) -> Planned:
    """Return the window that `grid` takes from a file, still to be filled."""
    if raster.image is None:
        return raster.refusal or raster.problem
    window = window_of(raster.image, grid, wanted.resampling)
    if window is None:
        return "warp"
    if not window.is_empty and math.prod(window.shape) > LARGEST_WINDOW:
        return "window size"
    return Block(wanted.href, raster.image, window)


def _patch(block: Block, grid: PatchGrid) -> NDArray[Any]:
    out = empty_patch(block.image.native, (grid.size, grid.size))
    if not block.window.is_empty:
        block.window.spread(without_nodata(block.values, block.image.nodata), out)
    return out


def _bytes_of(source: Signer, href: str, options: Mapping[str, Any], kept: KeptHeader | None) -> Bytes | None:
    remote = remote_bytes(source, href, options, GDAL_OPTIONS, version=kept.version if kept else "")
    if remote is not None:
        return remote
    signed = source.sign(href)
    if "://" in signed or signed.startswith("/vsi") or not Path(signed).is_file():
        return None
    try:
        if is_vouched(source, href):
            compare_local(signed, partial(compared, source, href))
        return LocalBytes(signed)
    except TransientSourceError:
        raise
    except (OSError, SourceError):
        # The reference says what is wrong.
        return None


def _raster(href: str, file: Bytes | None, kept: KeptHeader | None, head: "Future[bytes] | None") -> _Raster:
    if file is None:
        return _Raster(None, problem="kind of reference")
    if kept is not None or head is None:
        return _Raster(file, image=kept.image if kept else None)
    try:
        known = _header(file, head)
    except TransientSourceError:
        file.close()
        raise
    except RefusedFileError as err:
        return _Raster(file, refusal=SourceError(f"{public(href)} cannot be read: {err}"))
    except (UnknownFileError, NoRangesError, OSError, SourceError) as err:
        return _Raster(file, problem=str(err) or type(err).__name__)
    if known is not None and isinstance(file, RemoteBytes):
        KEPT.put(href, known, file.version)
    return _Raster(file, image=known, problem="" if known else "long header")


def _header(file: Bytes, head: "Future[bytes]") -> TiledImage | None:
    size, data = _HEAD, head.result()
    known = _parsed(data, len(data) < size)
    while known is None and size < _LONGEST_HEAD:
        size *= 4
        data = file.read(0, size).result()
        known = _parsed(data, len(data) < size)
    return known


@lru_cache(maxsize=1024)
def _parsed(head: bytes, whole: bool) -> TiledImage | None:  # noqa: FBT001
    """Return the header; None where it goes on behind `head`."""
    try:
        return parse_header(head, whole=whole)
    except ShortHeaderError:
        return None
