"""Many windows of many files together: each tile is fetched and unpacked once for all windows that lie in it."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources.cog.header import TiledImage
from pipeline.sources.cog.tiles import DamagedTileError, Tile, TileCache, copy_tile, packed_bytes
from pipeline.sources.cog.windows import Span, TileWindow
from pipeline.sources.ranges import Bytes, NoRangesError

LARGEST_GAP = 256 << 10
"""What lies closer than this in the file comes in one request: asking costs about as much as so many bytes."""

LONGEST_RUN = 4 << 20
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


class _Share(NamedTuple):
    """What a block takes from a tile."""

    block: Block
    rows: Span
    """Of the tile, as its columns."""
    columns: Span
    target: NDArray[Any]
    """Their place in the block."""


@dataclass(slots=True, eq=False)
class _TileRead:
    """A tile and what the blocks take from it."""

    href: str
    image: TiledImage
    number: int
    tile: Tile
    shares: list[_Share] = field(default_factory=list)

    @property
    def origin(self) -> int:
        """Where the tile begins in the file."""
        return int(self.image.offsets[self.number])

    @property
    def is_sparse(self) -> bool:
        """True where the file leaves the tile out."""
        return bool(self.image.counts[self.number] == 0)

    @property
    def is_whole(self) -> bool:
        """True when there is no more of the tile to come."""
        return bool(self.tile.fed >= self.image.counts[self.number])

    @property
    def last_row(self) -> int:
        """Row of the tile before which all blocks end."""
        return max(share.rows[1] for share in self.shares)

    def serve(self, block: Block) -> None:
        """Take note that `block` needs the tile."""
        self.shares.append(_Share(block, *block.window.part(self.number, self.image, block.values)))

    def fail(self, problem: Exception) -> None:
        for share in self.shares:
            share.block.problem = share.block.problem or problem

    def unpack(self) -> bool:
        """Copy to each block what it takes from the tile; return False while more of the tile has to come."""
        try:
            # All rows at once: to go on unpacking for a few more costs more.
            if not self.tile.has_rows(self.last_row) and not self.is_whole:
                return False
            for block, rows, columns, target in self.shares:
                copy_tile(self.tile, rows=rows, columns=columns, target=target)
                block.awaited.discard(self.number)
        except DamagedTileError as err:
            self.fail(err)
        return True

    def fill(self) -> None:
        """Give each block what stands for a tile that the file leaves out: no data, or zeros where it names none."""
        nodata = self.image.nodata
        for share in self.shares:
            share.target[...] = 0 if nodata is None else np.array(nodata).astype(self.image.native)
            share.block.awaited.discard(self.number)


class _Piece(NamedTuple):
    """Bytes of a tile that are to be fetched."""

    read: _TileRead
    first: int
    """Place in the file."""
    stop: int


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
    waiting = deque(_runs(_first_pieces(blocks, tiles)))
    for run, future in _answers(waiting, files):
        try:
            data = memoryview(future.result())
        except TransientSourceError:
            raise
        except (NoRangesError, OSError, SourceError) as err:
            for piece in run:
                piece.read.fail(err)
            continue
        for piece in run:
            part = data[piece.first - run[0].first : piece.stop - run[0].first]
            if not _is_complete(piece, part):
                waiting.append([_rest_of(piece.read)])
            elif keep:
                tiles.put((piece.read.href, piece.read.number), piece.read.tile)


def _first_pieces(blocks: Sequence[Block], tiles: TileCache) -> Iterator[_Piece]:
    """Fill what can be filled at once, and yield what has to be fetched, each file's in the order of its bytes."""
    for read in _tile_reads(blocks, tiles):
        if read.is_sparse:
            read.fill()
        elif not read.tile.fed:
            yield _Piece(read, read.origin, read.origin + packed_bytes(read.image, read.number, read.last_row))
        elif not read.unpack():
            yield _rest_of(read)


def _rest_of(read: _TileRead) -> _Piece:
    return _Piece(read, read.origin + read.tile.fed, read.origin + int(read.image.counts[read.number]))


def _is_complete(piece: _Piece, part: memoryview) -> bool:
    """Take a piece of a tile; return False when it holds too little and the rest of the tile is needed."""
    if len(part) < piece.stop - piece.first:
        piece.read.fail(DamagedTileError("the file ends within a tile"))
        return True
    piece.read.tile.feed(part)
    return piece.read.unpack()


def _tile_reads(blocks: Sequence[Block], tiles: TileCache) -> Iterator[_TileRead]:
    """Yield the tiles that the blocks need, file by file, each file's in the order of its bytes."""
    reads: dict[str, dict[int, _TileRead]] = {}
    for block in blocks:
        of_file = reads.setdefault(block.href, {})
        for number in block.awaited:
            if number not in of_file:
                tile = tiles.get((block.href, number)) or Tile(block.image)
                of_file[number] = _TileRead(block.href, block.image, number, tile)
            of_file[number].serve(block)
    for of_file in reads.values():
        yield from sorted(of_file.values(), key=lambda read: read.origin)


def _runs(pieces: Iterable[_Piece]) -> list[list[_Piece]]:
    """Group pieces that lie next to each other in a file."""
    runs: list[list[_Piece]] = []
    for piece in pieces:
        if runs and _is_continued(runs[-1], piece):
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs


def _is_continued(run: Sequence[_Piece], piece: _Piece) -> bool:
    gap = piece.first - run[-1].stop
    return run[-1].read.href == piece.read.href and 0 <= gap <= LARGEST_GAP and piece.stop - run[0].first <= LONGEST_RUN


def _answers(
    waiting: deque[list[_Piece]], files: Mapping[str, Bytes]
) -> Iterator[tuple[list[_Piece], "Future[bytes]"]]:
    """Yield the runs with their bytes on the way: some more than the one that is waited for, but not too many.

    Runs may be appended to `waiting` meanwhile.
    """
    asked: deque[tuple[list[_Piece], Future[bytes]]] = deque()
    in_flight = 0
    try:
        while waiting or asked:
            while waiting and (not asked or in_flight + _length(waiting[0]) <= files[waiting[0][0].read.href].ahead):
                run = waiting.popleft()
                asked.append((run, files[run[0].read.href].read(run[0].first, _length(run))))
                in_flight += _length(run)
            run, future = asked.popleft()
            yield run, future
            in_flight -= _length(run)
    finally:
        for _, future in asked:
            future.cancel()


def _length(run: Sequence[_Piece]) -> int:
    return run[-1].stop - run[0].first
