"""A part of what Blosc packed: only the blocks that it lies in are read and unpacked.

A Blosc 1 buffer is a header, the place of each block, and the blocks, which do not depend on one another (c-blosc,
README_CHUNK_FORMAT.rst). A header for some of them and these blocks make a buffer of its own.
"""

import struct
from collections.abc import Callable

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

Read = Callable[[int, int], bytes]
"""First byte and count in, bytes out; fewer where the buffer ends."""

_HEADER = struct.Struct("<BBBBIII")
"""Version, version of the codec's format, flags, item size; bytes unpacked, of a block, and packed."""
_IS_COPIED = 0x02
"""Flag of a buffer that could not be packed: header and bytes as they are."""


def unpack_part(read: Read, first: int, count: int) -> NDArray[np.uint8]:
    """Return `count` bytes from byte `first` of what a Blosc buffer holds.

    Parameters
    ----------
    read : callable
        Reads the packed buffer.

    Raises
    ------
    ValueError, RuntimeError
        The buffer is damaged, or does not hold these bytes.
    """
    head = read(0, _HEADER.size)
    if len(head) < _HEADER.size:
        raise ValueError("its header is cut short")
    *kind, flags, item, size, block, packed = _HEADER.unpack(head)
    if first < 0 or count < 1 or first + count > size or not block:
        raise ValueError(f"it holds {size} bytes, not {first + count}")
    if flags & _IS_COPIED:
        return _whole(np.frombuffer(read(_HEADER.size + first, count), np.uint8), count)
    blocks, start, stop = -(-size // block), first // block, -(-(first + count) // block)
    # A last block that is shorter is packed in another way, which Blosc tells by what stands before it.
    start = min(start, max(blocks - 2, 0))
    places = np.frombuffer(read(_HEADER.size, 4 * blocks), "<u4").astype(np.int64)
    if places.size < blocks:
        raise ValueError("its index is cut short")
    parts = _blocks(read, places, start, stop, packed)
    offsets = _HEADER.size + 4 * len(parts) + np.cumsum([0, *map(len, parts[:-1])])
    held = min(stop * block, size) - start * block
    body = offsets.astype("<u4").tobytes() + b"".join(parts)
    small = _HEADER.pack(*kind, flags, item, held, block, _HEADER.size + len(body)) + body
    out = np.empty(held, np.uint8)
    blosc.decompress(small, out)
    return _whole(out[first - start * block :][:count], count)


def _blocks(read: Read, places: NDArray[np.int64], start: int, stop: int, packed: int) -> list[bytes]:
    """Return the packed blocks; threads may have stored them in another order than theirs."""
    ordered = np.append(np.sort(places), packed)
    wanted = places[start:stop]
    ends = ordered[np.searchsorted(ordered, wanted, side="right").clip(max=ordered.size - 1)]
    low, high = int(wanted.min()), int(ends.max())
    if (wanted < _HEADER.size).any() or (ends <= wanted).any() or high > packed:
        raise ValueError("its index is damaged")
    if high - low <= 2 * int((ends - wanted).sum()):
        data = read(low, high - low)
        return [data[place - low : end - low] for place, end in zip(wanted.tolist(), ends.tolist(), strict=True)]
    return [read(place, end - place) for place, end in zip(wanted.tolist(), ends.tolist(), strict=True)]


def _whole(values: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    if values.size != count:
        raise ValueError("it is cut short")
    return values
