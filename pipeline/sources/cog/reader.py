"""The fast reader: only the tiles that a window needs, all of them asked for at once, unpacked no farther than needed.

What it does not know (another projection, a warp, strips, other codecs) it leaves to the reference reader on GDAL.
Both give the same bits.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError, TransientSourceError
from pipeline.records import AssetRef, PatchGrid, Resampling
from pipeline.sources.cog.header import ShortHeaderError, TiledImage, UnknownFileError, parse_header
from pipeline.sources.cog.ranges import Bytes, LocalBytes, NoRangesError, RemoteBytes, is_direct
from pipeline.sources.cog.tiles import DamagedTileError, Tile, TileCache, copy_tile
from pipeline.sources.cog.windows import TileWindow, window_of
from pipeline.sources.window import (
    GDAL_OPTIONS,
    RasterReader,
    Signer,
    Wanted,
    empty_patch,
    public,
    require_window,
    without_nodata,
)

logger = logging.getLogger(__name__)

_HEAD = 32 << 10
"""Bytes of a file that are read first: a Sentinel-2 band of 484 tiles has its index within."""

_LONGEST_HEAD = 8 << 20

_GAP = 32 << 10
"""Tiles closer than this in the file come in one request [bytes]."""

Asked = list[tuple[list[int], "Future[bytes]"]]
"""Runs of tiles, and the bytes from the first to the last of each."""


@dataclass(slots=True)
class _Raster:
    """One file: its bytes, and its header or why that is of no use here."""

    file: Bytes | None
    image: TiledImage | None = None
    problem: str = ""

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


@dataclass(frozen=True, slots=True)
class _Job:
    """One window of one file, with the tiles that are on their way."""

    href: str
    image: TiledImage
    window: TileWindow
    asked: Asked


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

    def read(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[Any]:
        """Read the first band of `href` on `grid`; what comes back and what is raised is as `RasterReader.read`."""
        return self.read_bands([Wanted(href, resampling)], grid)[0]

    def read_bands(self, wanted: Sequence[Wanted], grid: PatchGrid) -> list[NDArray[Any]]:
        """Read several files on one grid, asking for the tiles of all of them at once."""
        rasters = self._opened([one.href for one in wanted])
        jobs = {one: self._job(one, rasters[one.href], grid) for one in dict.fromkeys(wanted)}
        read = {one: self._finish(one, job, grid) for one, job in jobs.items()}
        self.tiles.trim()
        return [read[one] for one in wanted]

    def read_measured(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[np.float32]:
        """Read a physical quantity; as `RasterReader.read_measured`."""
        image = self._opened([href])[href].image
        if image is not None and image.dtype.kind == "f":
            return np.asarray(self.read(href, grid, resampling=resampling), np.float32)
        self.left_to_reference["integers of a physical quantity"] += 1
        return self.reference.read_measured(href, grid, resampling=resampling)

    def read_measured_bands(self, wanted: Sequence[Wanted], grid: PatchGrid) -> list[NDArray[np.float32]]:
        """Read several bands of a physical quantity."""
        return [self.read_measured(one.href, grid, resampling=one.resampling) for one in wanted]

    def joined(self, assets: Sequence[AssetRef]) -> list[AssetRef]:
        """Return `assets`: a file is opened only where those before it have no data."""
        return list(assets)

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

    def _opened(self, hrefs: Sequence[str]) -> dict[str, _Raster]:
        wanted = list(dict.fromkeys(hrefs))
        options = {**GDAL_OPTIONS, **self.source.gdal_env()}
        files = {href: _bytes_of(self.source.sign(href), href, options) for href in wanted if href not in self._open}
        heads = {href: file.read(0, _HEAD) for href, file in files.items() if file is not None}
        for href, file in files.items():
            self._open[href] = (
                _Raster(None, problem="kind of reference") if file is None else _raster(file, heads[href])
            )
        for href in wanted:
            self._open.move_to_end(href)
        rasters = {href: self._open[href] for href in wanted}
        while len(self._open) > max(self.capacity, len(wanted)):
            evicted, raster = self._open.popitem(last=False)
            raster.close()
            self.tiles.drop(evicted)
        return rasters

    def _job(self, wanted: Wanted, raster: _Raster, grid: PatchGrid) -> _Job | None:
        image, file = raster.image, raster.file
        if image is None or file is None:
            self.left_to_reference[raster.problem] += 1
            return None
        window = window_of(image, grid, wanted.resampling)
        if window is None:
            self.left_to_reference["warp"] += 1
            return None
        missing = [n for n in window.tiles(image) if image.counts[n] and self.tiles.get((wanted.href, n)) is None]
        asked: Asked = []
        for run in _runs(missing, image):
            first, last = int(image.offsets[run[0]]), int(image.offsets[run[-1]] + image.counts[run[-1]])
            asked.append((run, file.read(first, last - first)))
        return _Job(wanted.href, image, window, asked)

    def _finish(self, wanted: Wanted, job: _Job | None, grid: PatchGrid) -> NDArray[Any]:
        if job is not None:
            try:
                self._keep(job)
                patch = self._assemble(job, grid)
            except SourceError:
                self._forget(wanted.href)
                raise
            except (DamagedTileError, NoRangesError, OSError) as err:
                # The reference says what is wrong, or reads it after all.
                self._forget(wanted.href)
                self.left_to_reference[type(err).__name__] += 1
            else:
                self.windows += 1
                return patch
        return self.reference.read(wanted.href, grid, resampling=wanted.resampling)

    def _keep(self, job: _Job) -> None:
        image = job.image
        for run, future in job.asked:
            data, first = future.result(), int(image.offsets[run[0]])
            for number in run:
                start = int(image.offsets[number]) - first
                packed = data[start : start + int(image.counts[number])]
                if len(packed) < image.counts[number]:
                    raise DamagedTileError("the file ends within a tile")
                self.tiles.put((job.href, number), Tile(packed, image))

    def _assemble(self, job: _Job, grid: PatchGrid) -> NDArray[Any]:
        image, window = job.image, job.window
        out = empty_patch(image.native, (grid.size, grid.size))
        if window.is_empty:
            return out
        require_window(*window.shape)
        block = np.empty(window.shape, image.native)
        for number in window.tiles(image):
            rows, columns, target = window.part(number, image, block)
            tile = self.tiles.get((job.href, number))
            if tile is not None:
                copy_tile(tile, rows=rows, columns=columns, target=target)
            elif image.counts[number]:
                raise DamagedTileError("a tile is not at hand")
            else:
                # A tile that the file leaves out holds no data, or zeros where the file names no such value.
                target[...] = 0 if image.nodata is None else np.array(image.nodata).astype(image.native)
        window.spread(without_nodata(block, image.nodata), out)
        return out

    def _forget(self, href: str) -> None:
        self.tiles.drop(href)
        raster = self._open.pop(href, None)
        if raster is not None:
            raster.close()


def _bytes_of(signed: str, href: str, options: Mapping[str, Any]) -> Bytes | None:
    if signed.startswith(("http://", "https://")):
        # Only GDAL knows what else an option means, a header or a login for example.
        is_plain = all(key in GDAL_OPTIONS or key.startswith("AWS_") for key in options)
        return RemoteBytes(signed, public(href), options) if is_plain and is_direct() else None
    if "://" in signed or signed.startswith("/vsi") or not Path(signed).is_file():
        return None
    try:
        return LocalBytes(signed)
    except OSError:
        return None


def _raster(file: Bytes, head: "Future[bytes]") -> _Raster:
    size = _HEAD
    try:
        data = head.result()
        known = _parsed(data, len(data) < size)
        while known is None and size < _LONGEST_HEAD:
            size *= 4
            data = file.read(0, size).result()
            known = _parsed(data, len(data) < size)
    except TransientSourceError:
        file.close()
        raise
    except (UnknownFileError, NoRangesError, OSError, SourceError) as err:
        return _Raster(file, problem=str(err) or type(err).__name__)
    return _Raster(file, image=known, problem="" if known else "long header")


@lru_cache(maxsize=4096)
def _parsed(head: bytes, whole: bool) -> TiledImage | None:  # noqa: FBT001
    """Return the header; None where it goes on behind `head`."""
    try:
        return parse_header(head, whole=whole)
    except ShortHeaderError:
        return None


def _runs(numbers: Sequence[int], image: TiledImage) -> list[list[int]]:
    """Group tiles that lie next to each other in the file."""
    runs: list[list[int]] = []
    for number in sorted(numbers, key=lambda number: int(image.offsets[number])):
        end = int(image.offsets[runs[-1][-1]] + image.counts[runs[-1][-1]]) if runs else 0
        if runs and 0 <= int(image.offsets[number]) - end <= _GAP:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs
