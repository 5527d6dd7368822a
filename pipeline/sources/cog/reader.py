"""The fast reader: only the tiles that a window needs, all of them asked for at once, unpacked no farther than needed.

What it does not know (another projection, a warp, strips, other codecs) it leaves to the reference reader on GDAL.
Both give the same bits.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError, TransientSourceError
from pipeline.records import PatchGrid, Resampling
from pipeline.sources.cog.header import ShortHeaderError, TiledImage, UnknownFileError, parse_header
from pipeline.sources.cog.ranges import Bytes, LocalBytes, RemoteBytes
from pipeline.sources.cog.tiles import DamagedTileError, Tile, TileCache, copy_tile
from pipeline.sources.window import (
    Placement,
    RasterReader,
    Signer,
    empty_patch,
    is_on_grid,
    pixel_indices,
    pixel_positions,
    public,
    without_nodata,
)

logger = logging.getLogger(__name__)

_HEAD = 32 << 10
"""Bytes of a file that are read first; a Sentinel-2 band of 484 tiles has its index within."""

_LONGEST_HEAD = 8 << 20

_GAP = 32 << 10
"""Tiles closer than this in the file come in one request [bytes]."""


class _Window(NamedTuple):
    """Rows and columns of an image that a patch takes its pixels from, and where they go."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    inside_rows: NDArray[np.int64]
    inside_columns: NDArray[np.int64]


@dataclass(slots=True)
class _Raster:
    """One file: its bytes, and its header or why the header is not used."""

    file: Bytes
    image: TiledImage | None = None
    problem: str = ""


@dataclass(slots=True)
class CogReader:
    """Reads windows of tiled GeoTIFFs; used by one thread at a time."""

    source: Signer
    fallback: RasterReader
    capacity: int = 64
    """Files kept open."""
    tiles: TileCache = field(default_factory=TileCache)
    left_to_gdal: "Counter[str]" = field(default_factory=Counter)
    """Windows that the reference reader read, by reason."""
    windows: int = 0
    """Windows that were read here."""
    _open: "OrderedDict[str, _Raster]" = field(default_factory=OrderedDict)

    def read(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[Any]:
        """Read the first band of `href` on `grid`; what comes back and what is raised is as `RasterReader.read`."""
        return self.read_bands([href], grid, resampling=resampling)[0]

    def read_bands(self, hrefs: Sequence[str], grid: PatchGrid, *, resampling: Resampling) -> list[NDArray[Any]]:
        """Read several files on one grid, asking for all their tiles at once."""
        self._open_all(hrefs)
        windows = {href: self._window(href, grid, resampling) for href in hrefs}
        waiting = {href: self._ask(href, window) for href, window in windows.items() if window is not None}
        read = {href: self._finish(href, windows[href], waiting.get(href), grid, resampling) for href in windows}
        self.tiles.trim()
        return [read[href] for href in hrefs]

    def read_measured(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[np.float32]:
        """Read a physical quantity; as `RasterReader.read_measured`."""
        self._open_all([href])
        image = self._open[href].image
        if image is None or image.dtype.kind != "f":
            return self.fallback.read_measured(href, grid, resampling=resampling)
        return np.asarray(self.read(href, grid, resampling=resampling), np.float32)

    def close(self) -> None:
        """Close every file, and say what was left to GDAL."""
        while self._open:
            self._open.popitem()[1].file.close()
        for reason, count in sorted(self.left_to_gdal.items()):
            logger.debug("%d windows left to GDAL: %s", count, reason)

    def _open_all(self, hrefs: Sequence[str]) -> None:
        missing = [href for href in dict.fromkeys(hrefs) if href not in self._open]
        files = {href: _bytes_of(self.source.sign(href), href) for href in missing}
        heads = {href: file.read(0, _HEAD) for href, file in files.items() if file is not None}
        for href in missing:
            file = files[href]
            raster = _Raster(_Nothing(), problem="kind of reference") if file is None else _Raster(file)
            if file is not None:
                _describe(raster, href, heads[href])
            self._open[href] = raster
        for href in hrefs:
            self._open.move_to_end(href)
        while len(self._open) > max(self.capacity, len(hrefs)):
            self._open.popitem(last=False)[1].file.close()

    def _window(self, href: str, grid: PatchGrid, resampling: Resampling) -> _Window | None:
        image, problem = self._open[href].image, self._open[href].problem
        if image is not None and image.epsg != grid.epsg:
            image, problem = None, "another zone"
        if image is None:
            self.left_to_gdal[problem] += 1
            return None
        placement = Placement(
            left=image.left, top=image.top, pixel_width=image.pixel_width, pixel_height=-image.pixel_height
        )
        columns, rows = pixel_positions(placement, grid)
        if resampling != "nearest" and not (is_on_grid(columns) and is_on_grid(rows)):
            self.left_to_gdal["off the grid"] += 1
            return None
        return _inside(pixel_indices(rows), pixel_indices(columns), image)

    def _ask(self, href: str, window: _Window) -> "list[tuple[list[int], Future[bytes]]]":
        """Start fetching the tiles of `window` that are not at hand, neighbours in the file together."""
        raster = self._open[href]
        image = raster.image
        assert image is not None
        missing = [number for number in _tiles_of(window, image) if self.tiles.get((href, number)) is None]
        missing = [number for number in missing if image.counts[number]]
        asked = []
        for run in _runs(missing, image):
            first = int(image.offsets[run[0]])
            last = int(image.offsets[run[-1]] + image.counts[run[-1]])
            asked.append((run, raster.file.read(first, last - first)))
        return asked

    def _finish(
        self,
        href: str,
        window: _Window | None,
        asked: "list[tuple[list[int], Future[bytes]]] | None",
        grid: PatchGrid,
        resampling: Resampling,
    ) -> NDArray[Any]:
        if window is not None and asked is not None:
            try:
                self._keep(href, asked)
                patch = self._assemble(href, window, grid)
            except TransientSourceError:
                self._forget(href)
                raise
            except (DamagedTileError, OSError, SourceError) as err:
                # GDAL says what is wrong, or reads it after all.
                self._forget(href)
                self.left_to_gdal[f"failed: {type(err).__name__}"] += 1
            else:
                self.windows += 1
                return patch
        return self.fallback.read(href, grid, resampling=resampling)

    def _keep(self, href: str, asked: "list[tuple[list[int], Future[bytes]]]") -> None:
        image = self._open[href].image
        assert image is not None
        for run, future in asked:
            data = future.result()
            first = int(image.offsets[run[0]])
            for number in run:
                start = int(image.offsets[number]) - first
                packed = data[start : start + int(image.counts[number])]
                if len(packed) < image.counts[number]:
                    raise DamagedTileError("file ends within a tile")
                self.tiles.put((href, number), Tile(packed, image))

    def _assemble(self, href: str, window: _Window, grid: PatchGrid) -> NDArray[Any]:
        image = self._open[href].image
        assert image is not None
        out = empty_patch(image.native, (grid.size, grid.size))
        if not window.rows.size or not window.columns.size:
            return out
        top, left = int(window.rows[0]), int(window.columns[0])
        block = np.empty((int(window.rows[-1]) - top + 1, int(window.columns[-1]) - left + 1), image.native)
        for number in _tiles_of(window, image):
            self._place(href, number, block, (top, left))
        block = without_nodata(block, image.nodata)
        if block.shape == out.shape and window.rows.size == grid.size == window.columns.size:
            return block
        out[np.ix_(window.inside_rows, window.inside_columns)] = block[np.ix_(window.rows - top, window.columns - left)]
        return out

    def _place(self, href: str, number: int, block: NDArray[Any], corner: tuple[int, int]) -> None:
        image = self._open[href].image
        assert image is not None
        tile_top = number // image.across * image.tile_height
        tile_left = number % image.across * image.tile_width
        rows = _overlap(tile_top, image.tile_height, corner[0], block.shape[0])
        columns = _overlap(tile_left, image.tile_width, corner[1], block.shape[1])
        target = block[
            tile_top + rows[0] - corner[0] : tile_top + rows[1] - corner[0],
            tile_left + columns[0] - corner[1] : tile_left + columns[1] - corner[1],
        ]
        tile = self.tiles.get((href, number))
        if tile is None:
            target[...] = 0 if image.nodata is None else np.array(image.nodata).astype(image.native)
        else:
            copy_tile(tile, rows=rows, columns=columns, target=target)

    def _forget(self, href: str) -> None:
        raster = self._open.pop(href, None)
        if raster is not None:
            raster.file.close()


class _Nothing:
    """Stands where there is no file to read from."""

    def read(self, first: int, count: int) -> "Future[bytes]":
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""


def _bytes_of(signed: str, href: str) -> Bytes | None:
    if signed.startswith(("http://", "https://")):
        return RemoteBytes(signed, public(href))
    if "://" in signed or signed.startswith("/vsi"):
        return None
    try:
        return LocalBytes(signed) if Path(signed).is_file() else None
    except OSError:
        return None


def _describe(raster: _Raster, href: str, head: "Future[bytes]") -> None:
    try:
        data, size = head.result(), _HEAD
        while True:
            known = _parsed(href, data, len(data) < size)
            if not isinstance(known, int):
                break
            size = known
            if size > _LONGEST_HEAD:
                raise UnknownFileError("long header")
            data = raster.file.read(0, size).result()
        raster.image = known
    except UnknownFileError as err:
        raster.problem = str(err)
    except TransientSourceError:
        raise
    except (OSError, SourceError) as err:
        raster.problem = f"failed: {type(err).__name__}"


@lru_cache(maxsize=4096)
def _parsed(href: str, head: bytes, whole: bool) -> TiledImage | int:  # noqa: ARG001, FBT001
    """Return the header, or how many bytes to try with next."""
    try:
        return parse_header(head, whole=whole)
    except ShortHeaderError:
        return 4 * len(head)


def _inside(rows: NDArray[np.int64], columns: NDArray[np.int64], image: TiledImage) -> _Window:
    inside_rows = np.flatnonzero((rows >= 0) & (rows < image.height))
    inside_columns = np.flatnonzero((columns >= 0) & (columns < image.width))
    return _Window(rows[inside_rows], columns[inside_columns], inside_rows, inside_columns)


def _tiles_of(window: _Window, image: TiledImage) -> list[int]:
    if not window.rows.size or not window.columns.size:
        return []
    down = range(int(window.rows[0]) // image.tile_height, int(window.rows[-1]) // image.tile_height + 1)
    along = range(int(window.columns[0]) // image.tile_width, int(window.columns[-1]) // image.tile_width + 1)
    return [row * image.across + column for row in down for column in along]


def _runs(numbers: Sequence[int], image: TiledImage) -> list[list[int]]:
    """Group tiles that lie next to each other in the file."""
    runs: list[list[int]] = []
    for number in sorted(numbers, key=lambda number: int(image.offsets[number])):
        if runs:
            end = int(image.offsets[runs[-1][-1]] + image.counts[runs[-1][-1]])
            if 0 <= int(image.offsets[number]) - end <= _GAP:
                runs[-1].append(number)
                continue
        runs.append([number])
    return runs


def _overlap(start: int, size: int, first: int, count: int) -> tuple[int, int]:
    """Return which part of a tile, from its own beginning, a block takes along one axis."""
    return max(first - start, 0), min(first + count - start, size)
