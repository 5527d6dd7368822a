"""Pixels of one shard on their way into its file: a chunk is compressed as soon as it is whole, beside the reading.

Compressing runs on a few threads of its own, and what is compressed is let go of: a shard never lies whole in memory.
Which thread compresses a chunk, and when, changes none of its bytes.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
from numcodecs import Blosc, blosc
from numpy.typing import NDArray

from pipeline.errors import LayoutError

Store = Literal["chunked", "published"]
"""One patch and time per chunk under zstd 3 bitshuffle, or as the published files: all patches of a time, lz4 5."""

CODECS: Mapping[Store, Blosc] = {
    "chunked": Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE, blocksize=0),
    "published": Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE, blocksize=0),
}

THREADS = min(4, os.cpu_count() or 1)
"""Chunks that are compressed at the same time."""

NO_DATA_CLASS = 6
"""Class of `cloud_mask` where nothing is known."""

BANDS, CLOUD_MASK = "bands", "cloud_mask"
"""Names of the arrays of pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelShape:
    """What the pixel arrays of one shard look like."""

    samples: int
    times: int
    bands: int
    height: int
    width: int
    dtype: np.dtype[Any]
    fill: float
    """What `bands` holds where no patch is put."""
    has_cloud_mask: bool
    store: Store

    @property
    def arrays(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of each array of pixels."""
        frames, image = (self.samples, self.times), (self.height, self.width)
        found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {BANDS: ((*frames, self.bands, *image), self.dtype)}
        if self.has_cloud_mask:
            found[CLOUD_MASK] = ((*frames, *image), np.dtype(np.uint8))
        return found

    @property
    def rows(self) -> int:
        """Samples in a chunk."""
        return self.samples if self.store == "published" else 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedPixels:
    """Every chunk of a shard's pixels, compressed."""

    shape: PixelShape
    chunks: Mapping[str, bytes]
    """By name inside the file."""


class PixelEncoder:
    """Takes the patches of one shard, in any order and from any thread; each place takes one patch at most."""

    def __init__(self, shape: PixelShape, pool: ThreadPoolExecutor, *, waiting: int = 2 * THREADS) -> None:
        """Compress on `pool`; with `waiting` chunks at hand already, who puts one more compresses it itself."""
        # Blosc's own threads store blocks in the order that they finish: the bytes would differ from run to run.
        blosc.use_threads = False
        self._shape, self._pool = shape, pool
        self._room = threading.BoundedSemaphore(waiting)
        self._lock = threading.Lock()
        self._taken: set[tuple[str, int, int]] = set()
        self._blocks: dict[_Key, _Block] = {}
        self._chunks: dict[str, bytes] = {}
        self._futures: list[Future[None]] = []

    def put(self, sample: int, time: int, values: NDArray[Any], cloud_mask: NDArray[np.uint8] | None = None) -> None:
        """Take the patch of one sample at one time; its arrays must not change afterwards.

        Parameters
        ----------
        values : (band, y, x)
            In the dtype of the shape.
        cloud_mask : uint8 (y, x), optional
            Where the shape has one; left out it is no data.

        Raises
        ------
        LayoutError
            A shape or dtype is another, or the place is taken.
        """
        self._put(BANDS, sample, time, values)
        if cloud_mask is not None and self._shape.has_cloud_mask:
            self._put(CLOUD_MASK, sample, time, cloud_mask)

    def finish(self) -> EncodedPixels:
        """Return every chunk, those without any patch too; raises what compressing raised."""
        for key in sorted(self._blocks):
            self._start(key, self._blocks.pop(key).values)
        for future in self._futures:
            future.result()
        for name in self._shape.arrays:
            self._fill_up(name)
        return EncodedPixels(shape=self._shape, chunks=self._chunks)

    def _put(self, name: str, sample: int, time: int, values: NDArray[Any]) -> None:
        shape, dtype = self._shape.arrays[name]
        if values.shape != shape[2:] or values.dtype != dtype:
            raise LayoutError(f"{name} takes {dtype} {shape[2:]}, got {values.dtype} {values.shape}")
        rows = self._shape.rows
        key = _Key(name, sample // rows, time)
        with self._lock:
            if (name, sample, time) in self._taken:
                raise LayoutError(f"{name} has a patch for sample {sample} at time {time} already")
            self._taken.add((name, sample, time))
            if rows == 1:
                chunk = values[np.newaxis, np.newaxis]
            else:
                if key not in self._blocks:
                    self._blocks[key] = _Block(self._blank(name), rows)
                block = self._blocks[key]
                block.values[sample % rows, 0] = values
                block.missing -= 1
                if block.missing:
                    return
                chunk = self._blocks.pop(key).values
        self._start(key, chunk)

    def _start(self, key: "_Key", chunk: NDArray[Any]) -> None:
        if not self._room.acquire(blocking=False):
            self._encode(key, chunk)
            return
        future = self._pool.submit(self._encode, key, chunk)
        future.add_done_callback(lambda _: self._room.release())
        with self._lock:
            self._futures.append(future)

    def _encode(self, key: "_Key", chunk: NDArray[Any]) -> None:
        encoded = self._encoded(chunk)
        with self._lock:
            self._chunks[key.entry(self._shape)] = encoded

    def _encoded(self, chunk: NDArray[Any]) -> bytes:
        return bytes(CODECS[self._shape.store].encode(np.ascontiguousarray(chunk)))

    def _blank(self, name: str) -> NDArray[Any]:
        shape, dtype = self._shape.arrays[name]
        fill = NO_DATA_CLASS if name == CLOUD_MASK else self._shape.fill
        return np.full((self._shape.rows, 1, *shape[2:]), fill, dtype)

    def _fill_up(self, name: str) -> None:
        """Add the chunks that no patch belongs to: they are all the same."""
        blank = b""
        for row, time in product(range(-(-self._shape.samples // self._shape.rows)), range(self._shape.times)):
            entry = _Key(name, row, time).entry(self._shape)
            if entry not in self._chunks:
                blank = blank or self._encoded(self._blank(name))
                self._chunks[entry] = blank


@dataclass(slots=True)
class _Block:
    """A chunk of several patches while they come in."""

    values: NDArray[Any]
    missing: int


class _Key(NamedTuple):
    """A chunk's place: the array, and its index along samples and times."""

    name: str
    row: int
    time: int

    def entry(self, shape: PixelShape) -> str:
        """Return its name inside the file."""
        zeros = len(shape.arrays[self.name][0]) - 2
        return f"{self.name}/{self.row}.{self.time}" + ".0" * zeros


@contextmanager
def open_encoder(shape: PixelShape) -> Iterator[PixelEncoder]:
    """Yield an encoder with threads of its own; they end with it, also when something fails."""
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="encode")
    try:
        yield PixelEncoder(shape, pool)
    finally:
        pool.shutdown(cancel_futures=True)
