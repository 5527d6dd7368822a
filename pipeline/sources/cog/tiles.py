"""Unpacking tiles no farther than they are needed: the inflate stops at the last row, the predictor at the last column.

A tile that is asked for again goes on inflating where it stopped. The Adler-32 at the end of a stream that is not read
to its end goes unchecked; GDAL does not check it either.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from isal import igzip_lib, isal_zlib
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.cog.header import DEFLATE, ZSTD, TiledImage

_DAMAGED: Any = igzip_lib.IsalError
"""Its stub calls it an instance."""


_ZSTD = pa.Codec("zstd")

_SLACK = 4 << 10
"""What may be in a packed tile before its first row ends [bytes]."""


class DamagedTileError(Exception):
    """A tile does not hold what the header says."""


@dataclass(slots=True)
class Tile:
    """As much of a tile as has come and was unpacked so far."""

    image: TiledImage
    fed: int = 0
    """Packed bytes that have come."""
    _inflater: Any = None
    _rest: bytes | memoryview = b""
    _rows: bytes | bytearray = b""

    @property
    def size(self) -> int:
        """Memory that it takes [bytes]."""
        return len(self._rest) + len(self._rows)

    def feed(self, packed: bytes | memoryview) -> None:
        """Take the packed bytes that follow those that came before."""
        self.fed += len(packed)
        self._rest = b"".join((self._rest, packed)) if self._rest else packed

    def has_rows(self, stop: int) -> bool:
        """Unpack the first `stop` rows, and tell whether they are in what has come.

        Raises
        ------
        DamagedTileError
            It is no stream of its kind.
        """
        wanted = self._bytes(stop)
        if self.image.compression in DEFLATE:
            self._inflate(wanted)
        elif self._rest:
            self._rows, self._rest = self._whole(), b""
        return len(self._rows) >= wanted

    def rows(self, stop: int) -> memoryview:
        """Return the first `stop` rows of the tile, unpacked, as bytes.

        Raises
        ------
        DamagedTileError
            The tile is shorter, or is no stream of its kind.
        """
        wanted = self._bytes(stop)
        if not self.has_rows(stop):
            raise DamagedTileError(f"{len(self._rows)} bytes of {wanted}")
        return memoryview(self._rows)[:wanted]

    def _bytes(self, rows: int) -> int:
        return rows * self.image.tile_width * self.image.dtype.itemsize

    def _whole(self) -> bytes:
        if self.image.compression != ZSTD:
            return bytes(self._rest)
        whole = self._bytes(self.image.tile_height)
        try:
            # Into a bound of our own: what the stream says of its size, if anything, may be wrong.
            return bytes(_ZSTD.decompress(bytes(self._rest), decompressed_size=whole, asbytes=True))
        except (OSError, ValueError) as err:
            raise DamagedTileError(str(err)) from err

    def _inflate(self, wanted: int) -> None:
        if self._inflater is None:
            self._inflater = isal_zlib.decompressobj()
        # With nothing left to take in, the inflater may still have rows to give.
        while len(self._rows) < wanted and not self._inflater.eof:
            try:
                part = self._inflater.decompress(self._rest, wanted - len(self._rows))
            except _DAMAGED as err:
                raise DamagedTileError(str(err)) from err
            self._rest = self._inflater.unconsumed_tail
            self._rows = b"".join((self._rows, part)) if self._rows else part
            if not part and not self._rest:
                break


def packed_bytes(image: TiledImage, number: int, rows: int) -> int:
    """Estimate how many bytes of a packed tile hold its first `rows` rows; all of them where one cannot stop early."""
    count = int(image.counts[number])
    if image.compression not in DEFLATE:
        return count
    return min(count, count * rows // image.tile_height + count // 16 + _SLACK)


@dataclass(slots=True)
class TileCache:
    """The tiles that were used last, up to a bound in memory; used by one thread at a time."""

    capacity: int = 64 << 20
    """Bytes."""
    _tiles: "OrderedDict[tuple[str, int], Tile]" = field(default_factory=OrderedDict)

    def get(self, key: tuple[str, int]) -> Tile | None:
        """Return the tile that was put under (reference, number), if it is still there."""
        tile = self._tiles.get(key)
        if tile is not None:
            self._tiles.move_to_end(key)
        return tile

    def put(self, key: tuple[str, int], tile: Tile) -> None:
        """Keep a tile."""
        self._tiles[key] = tile

    def drop(self, href: str) -> None:
        """Forget the tiles of one file: when it is opened again it may be another version."""
        for key in [key for key in self._tiles if key[0] == href]:
            del self._tiles[key]

    def trim(self) -> None:
        """Forget the tiles that were not used for longest until the rest fits."""
        held = sum(tile.size for tile in self._tiles.values())
        while held > self.capacity and self._tiles:
            held -= self._tiles.popitem(last=False)[1].size


def copy_tile(tile: Tile, *, rows: tuple[int, int], columns: tuple[int, int], target: NDArray[Any]) -> None:
    """Unpack rows and columns [first, stop) of `tile` into `target` of the same shape, in native byte order."""
    image = tile.image
    first, stop = rows
    raw = tile.rows(stop)
    if image.predictor == 3:
        _undo_float(np.frombuffer(raw, np.uint8).reshape(stop, -1)[first:], columns[0], target.view(np.uint32))
        return
    values = np.frombuffer(raw, image.dtype).reshape(stop, image.tile_width)[first:]
    if not image.dtype.isnative:
        values = values.astype(image.native)
    if image.predictor == 2:
        unsigned = np.dtype(f"u{image.dtype.itemsize}")
        _undo_difference(values.view(unsigned), columns[0], target.view(unsigned))
    else:
        target[...] = values[:, columns[0] : columns[1]]


@njit(nogil=True, cache=True)
def _undo_difference(differences: NDArray[Any], first: int, target: NDArray[Any]) -> None:
    """Add up differences along rows; columns before `first` are only added. Storing wraps as the dtype does."""
    rows, columns = target.shape
    for row in range(rows):
        total = np.uint64(0)
        for column in range(first):
            total += np.uint64(differences[row, column])
        for column in range(columns):
            total += np.uint64(differences[row, first + column])
            target[row, column] = total


@njit(nogil=True, cache=True)
def _undo_float(differences: NDArray[np.uint8], first: int, target: NDArray[np.uint32]) -> None:
    """Undo the floating-point predictor: bytes are differences along the row, most significant ones of all first."""
    rows, columns = target.shape
    width = differences.shape[1] // 4
    for row in range(rows):
        total = np.uint8(0)
        for plane in range(4):
            start = plane * width
            for at in range(start, start + first):
                total = np.uint8(total + differences[row, at])
            for column in range(columns):
                total = np.uint8(total + differences[row, start + first + column])
                # What was in `target` before is shifted out.
                target[row, column] = np.uint32(np.uint32(target[row, column] << np.uint32(8)) | np.uint32(total))
            for at in range(start + first + columns, start + width):
                total = np.uint8(total + differences[row, at])
