"""Many windows of many files together: each tile is fetched and unpacked once for all windows that lie in it."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources.cog.header import TiledImage
from pipeline.sources.cog.tiles import DamagedTileError, Tile, TileCache, copy_tile
from pipeline.sources.cog.windows import TileWindow
from pipeline.sources.ranges import Bytes, NoRangesError

_GAP = 32 << 10
"""Tiles closer than this in the file come in one request [bytes]."""

_LONGEST_RUN = 4 << 20
"""Bytes of one request, where a single tile is not longer."""


@dataclass(slots=True, eq=False)
class Block:
    """One window of one file: its pixels at the file's own resolution, once every tile has come."""

    href: str
    image: TiledImage
    window: TileWindow
    problem: Exception | None = None
    """Why there are no pixels."""
    values: NDArray[Any] = field(init=False)
    """(rows, columns) of the window in native byte order."""
    awaited: set[int] = field(init=False)
    """Tiles that have not come yet."""

    def __post_init__(self) -> None:
        self.values = np.empty((0, 0) if self.window.is_empty else self.window.shape, self.image.native)
        self.awaited = set(self.window.tiles(self.image))


@dataclass(slots=True, eq=False)
class _TileRead:
    """A tile and the blocks that take pixels from it."""

    href: str
    image: TiledImage
    number: int
    blocks: list[Block]

    @property
    def first(self) -> int:
        return int(self.image.offsets[self.number])

    @property
    def stop(self) -> int:
        return self.first + int(self.image.counts[self.number])

    def fail(self, problem: Exception) -> None:
        for block in self.blocks:
            block.problem = block.problem or problem

    def unpack(self, tile: Tile) -> None:
        """Copy to each block what it takes from `tile`."""
        parts = [(block, *block.window.part(self.number, self.image, block.values)) for block in self.blocks]
        try:
            # All rows at once: to go on unpacking for a few more costs more.
            tile.rows(max(rows[1] for _, rows, _, _ in parts))
            for block, rows, columns, target in parts:
                copy_tile(tile, rows=rows, columns=columns, target=target)
                block.awaited.discard(self.number)
        except DamagedTileError as err:
            self.fail(err)

    def fill(self) -> None:
        """Give each block what stands for a tile that the file leaves out: no data, or zeros where it names none."""
        nodata = self.image.nodata
        for block in self.blocks:
            target = block.window.part(self.number, self.image, block.values)[2]
            target[...] = 0 if nodata is None else np.array(nodata).astype(self.image.native)
            block.awaited.discard(self.number)


def fill_blocks(blocks: Sequence[Block], files: Mapping[str, Bytes], tiles: TileCache, *, keep: bool) -> None:
    """Read the pixels of `blocks`, those of one file after another.

    Parameters
    ----------
    blocks
        Windows; what is wrong with one is left in its `problem`.
    files
        Where the bytes of each block's file come from.
    tiles
        Looked at first.
    keep
        Put tiles there that were read, for windows that come later.

    Raises
    ------
    TransientSourceError
        A file could not be read now. What was asked for beyond it is called off.
    """
    fetched = [read for read in _tile_reads(blocks) if not _is_at_hand(read, tiles)]
    for run, future in _answers(_runs(fetched), files):
        try:
            data = future.result()
        except TransientSourceError:
            raise
        except (NoRangesError, OSError, SourceError) as err:
            for read in run:
                read.fail(err)
        else:
            for read in run:
                tile = Tile(data[read.first - run[0].first : read.stop - run[0].first], read.image)
                read.unpack(tile)
                if keep:
                    tiles.put((read.href, read.number), tile)


def _is_at_hand(read: _TileRead, tiles: TileCache) -> bool:
    """Tell whether a tile need not be fetched; then its blocks are filled."""
    if not read.image.counts[read.number]:
        read.fill()
        return True
    tile = tiles.get((read.href, read.number))
    if tile is not None:
        read.unpack(tile)
    return tile is not None


def _tile_reads(blocks: Sequence[Block]) -> list[_TileRead]:
    """Return the tiles that the blocks need, file by file, each file's in the order of its bytes."""
    reads: dict[str, dict[int, _TileRead]] = {}
    for block in blocks:
        of_file = reads.setdefault(block.href, {})
        for number in block.awaited:
            if number in of_file:
                of_file[number].blocks.append(block)
            else:
                of_file[number] = _TileRead(block.href, block.image, number, [block])
    return [read for of_file in reads.values() for read in sorted(of_file.values(), key=lambda read: read.first)]


def _runs(reads: Sequence[_TileRead]) -> list[list[_TileRead]]:
    """Group tiles that lie next to each other in a file."""
    runs: list[list[_TileRead]] = []
    for read in reads:
        if runs and _is_continued(runs[-1], read):
            runs[-1].append(read)
        else:
            runs.append([read])
    return runs


def _is_continued(run: Sequence[_TileRead], read: _TileRead) -> bool:
    gap = read.first - run[-1].stop
    return run[-1].href == read.href and 0 <= gap <= _GAP and read.stop - run[0].first <= _LONGEST_RUN


def _answers(
    runs: Sequence[list[_TileRead]], files: Mapping[str, Bytes]
) -> Iterator[tuple[list[_TileRead], "Future[bytes]"]]:
    """Yield the runs with their bytes on the way: some more than the one that is waited for, but not too many."""
    asked: deque[tuple[list[_TileRead], Future[bytes], int]] = deque()
    in_flight = 0
    try:
        for run in runs:
            count = run[-1].stop - run[0].first
            while asked and in_flight + count > files[run[0].href].ahead:
                first, future, size = asked.popleft()
                yield first, future
                in_flight -= size
            asked.append((run, files[run[0].href].read(run[0].first, count), count))
            in_flight += count
        while asked:
            yield asked.popleft()[:2]
    finally:
        for _, future, _ in asked:
            future.cancel()
