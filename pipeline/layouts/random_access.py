"""Single patches of a shard file, for training: one read at a known place in the file, one chunk to unpack.

Neither xarray nor zarr takes part in it. A reader may be shared by threads, and goes to other processes as its path.
"""

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numcodecs import blosc, get_codec
from numpy.typing import NDArray

from pipeline.errors import LayoutError
from pipeline.layouts.blosc_parts import unpack_part

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, length of the name, length of the extra field; APPNOTE.TXT 6.3.10, section 4.3.7."""
_SIGNATURE = b"PK\x03\x04"
_BLOSC_HEADER = struct.Struct("<4xI")
"""Unpacked size [bytes], after version, version of the format, flags and size of an item."""
_FAULTS = (zipfile.BadZipFile, OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, struct.error)


class _Entry(NamedTuple):
    """Where one chunk lies in the file."""

    first: int
    """First byte of its local header."""
    head: int
    """Length of the local header, name and extra field, as the zip's index has them [bytes]."""
    size: int
    """Packed size [bytes]."""
    crc: int


@dataclass(frozen=True, slots=True)
class _Array:
    """What Zarr says of one array."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    compressor: Any
    separator: str

    def chunk_of(self, at: tuple[int, int]) -> tuple[str, tuple[int, int]]:
        """Return the name of the chunk that holds a frame, and the frame's place in it."""
        index = [at[0] // self.chunks[0], at[1] // self.chunks[1], *(0 for _ in self.shape[2:])]
        return self.separator.join(map(str, index)), (at[0] % self.chunks[0], at[1] % self.chunks[1])


class ShardReader:
    """A `.zarr.zip` shard of the SSL4EO-S12 v1.1 layout, ours or a published one, read patch by patch.

    >>> with open_patches("my_region/all/S2L2A/landslides_all_000001.zarr.zip") as shard:
    ...     image = shard.read("my-region_1254_15936", 3)   # int16 (band, y, x)
    """

    def __init__(self, path: str | Path) -> None:
        """Read the file's index.

        Raises
        ------
        LayoutError
            The file does not exist, is not a whole zip, or holds no `bands` of that layout.
        """
        self.path = Path(path)
        # The training loader's own processes are what runs in parallel; Blosc's threads do not outlive a fork.
        blosc.use_threads = False
        try:
            self._file = os.open(self.path, os.O_RDONLY)
        except OSError as err:
            raise LayoutError(f"{path} cannot be opened: {err.strerror}") from err
        try:
            with zipfile.ZipFile(self.path) as archive:
                self._entries, documents = _index_of(archive)
                self._arrays = {name: _array_of(document) for name, document in documents.items()}
                self._require_bands()
                names = {name: self._whole(name) for name in ("band", "sample")}
        except LayoutError:
            self.close()
            raise
        except _FAULTS as err:
            self.close()
            raise LayoutError(f"{path} is not a whole .zarr.zip: {' '.join(str(err).split())}") from err
        except BaseException:
            self.close()
            raise
        self.bands: tuple[str, ...] = tuple(names["band"].tolist())
        """Names of the bands, in the order that they are stored in."""
        self.samples: tuple[str, ...] = tuple(names["sample"].tolist())
        """Ids of the samples, in their order in the file."""

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; closing twice does no harm."""
        file, self._file = getattr(self, "_file", -1), -1
        if file >= 0:
            os.close(file)

    @property
    def timesteps(self) -> int:
        """Length of the series."""
        return self._arrays["bands"].shape[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns of a patch."""
        bands, height, width = self._arrays["bands"].shape[2:]
        return bands, height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of a patch."""
        return self._arrays["bands"].dtype

    @property
    def has_cloud_mask(self) -> bool:
        """True for Sentinel-2 modalities."""
        return "cloud_mask" in self._arrays

    def read(self, sample: int | str, timestep: int) -> NDArray[Any]:
        """Return one sample at one time.

        Parameters
        ----------
        sample : int or str
            Index in the file, or id.
        timestep : int
            From 0.

        Returns
        -------
        (band, y, x) in the modality's dtype, no data as the modality marks it; the caller's own array.

        Raises
        ------
        IndexError, KeyError
            There is no such timestep or index; no such id.
        LayoutError
            The file is damaged here.
        """
        return self._read("bands", sample, timestep)

    def read_cloud_mask(self, sample: int | str, timestep: int) -> NDArray[np.uint8]:
        """Return the cloud mask of one sample at one time, uint8 (y, x); as `read`.

        Raises
        ------
        LayoutError
            The modality has none.
        """
        if not self.has_cloud_mask:
            raise LayoutError(f"{self.path} has no cloud_mask")
        return self._read("cloud_mask", sample, timestep)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.samples)}

    def _require_bands(self) -> None:
        for name, dims in (("bands", 5), ("cloud_mask", 4)):
            array = self._arrays.get(name)
            if array is None and name == "bands":
                raise KeyError("it holds no array called bands")
            if array is not None and (len(array.shape) != dims or array.chunks[2:] != array.shape[2:]):
                raise ValueError(f"{name} is chunked along other axes than samples and times")

    def _read(self, name: str, sample: int | str, timestep: int) -> NDArray[Any]:
        index = self._positions[sample] if isinstance(sample, str) else sample
        array = self._arrays[name]
        for position, size, what in ((index, array.shape[0], "sample"), (timestep, array.shape[1], "timestep")):
            if not 0 <= position < size:
                raise IndexError(f"{self.path} has no {what} {position}: there are {size}")
        key, (row, step) = array.chunk_of((index, timestep))
        out = np.empty(array.shape[2:], array.dtype)
        try:
            if prod(array.chunks[:2]) == 1:
                _unpack(self._packed(f"{name}/{key}"), array, out)
            else:
                self._unpack_part(f"{name}/{key}", array, row * array.chunks[1] + step, out)
        except LayoutError:
            raise
        except (RuntimeError, ValueError, TypeError, struct.error) as err:
            raise LayoutError(f"{self.path}: chunk {name}/{key} is damaged: {err}") from err
        return out

    def _packed(self, name: str) -> memoryview:
        entry = self._entry(name)
        data = os.pread(self._file, entry.head + entry.size, entry.first)
        head = self._head_size(name, data)
        packed = memoryview(data)[head : head + entry.size]
        if len(packed) < entry.size:
            packed = memoryview(os.pread(self._file, entry.size, entry.first + head))
        if len(packed) < entry.size or zlib.crc32(packed) != entry.crc:
            raise LayoutError(f"{self.path}: chunk {name} is damaged: its bytes are not those of the zip's index")
        return packed

    def _unpack_part(self, name: str, array: _Array, number: int, out: NDArray[Any]) -> None:
        """Unpack one frame of a chunk that holds several: of Blosc's, just the blocks that it lies in.

        The zip's checksum is of the whole chunk, and goes unchecked then.
        """
        if getattr(array.compressor, "codec_id", "") != "blosc":
            chunk = np.empty(array.chunks, array.dtype)
            _unpack(self._packed(name), array, chunk)
            out[...] = chunk.reshape(-1, *out.shape)[number]
            return
        entry = self._entry(name)
        start = entry.first + self._head_size(name, os.pread(self._file, _LOCAL_HEADER.size, entry.first))

        def read(first: int, count: int) -> bytes:
            return os.pread(self._file, min(count, entry.size - first), start + first) if first < entry.size else b""

        part = unpack_part(read, number * out.nbytes, out.nbytes)
        out.reshape(-1).view(np.uint8)[...] = part

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise LayoutError(f"{self.path} lacks chunk {name}")
        return self._entries[name]

    def _head_size(self, name: str, data: bytes) -> int:
        """Return the length of an entry's local header; its extra field need not be that of the index."""
        if len(data) < _LOCAL_HEADER.size or not data.startswith(_SIGNATURE):
            raise LayoutError(f"{self.path}: chunk {name} is damaged: it is not where the zip's index has it")
        _, name_size, extra_size = _LOCAL_HEADER.unpack_from(data)
        return int(_LOCAL_HEADER.size + name_size + extra_size)

    def _whole(self, name: str) -> NDArray[Any]:
        """Return a small array."""
        array = self._arrays[name]
        out = np.empty(array.shape, array.dtype)
        for index in product(*(range(-(-size // step)) for size, step in zip(array.shape, array.chunks, strict=True))):
            block = np.empty(array.chunks, array.dtype)
            packed = self._packed(f"{name}/{array.separator.join(map(str, index))}")
            _unpack(packed, array, block)
            place = tuple(slice(i * step, (i + 1) * step) for i, step in zip(index, array.chunks, strict=True))
            part = out[place]
            part[...] = block[tuple(map(slice, part.shape))]
        return out


def open_patches(path: str | Path) -> ShardReader:
    """Open a `.zarr.zip` shard to read single patches of it; errors are as `ShardReader` has them."""
    return ShardReader(path)


def _index_of(archive: zipfile.ZipFile) -> tuple[dict[str, _Entry], dict[str, Mapping[str, Any]]]:
    entries: dict[str, _Entry] = {}
    documents: dict[str, Mapping[str, Any]] = {}
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"its entry {info.filename} is compressed")
        name = info.filename
        if name.endswith("/.zarray"):
            documents[name.removesuffix("/.zarray")] = json.loads(archive.read(info))
        elif not name.rsplit("/")[-1].startswith("."):
            head = _LOCAL_HEADER.size + len(name.encode()) + len(info.extra)
            entries[name] = _Entry(info.header_offset, head, info.file_size, info.CRC)
    return entries, documents


def _array_of(document: Mapping[str, Any]) -> _Array:
    if document["zarr_format"] != 2 or document["order"] != "C" or document["filters"]:
        raise ValueError("it is made in a way that only zarr reads: use open_shard")
    compressor = document["compressor"]
    return _Array(
        shape=tuple(map(int, document["shape"])),
        chunks=tuple(map(int, document["chunks"])),
        dtype=np.dtype(document["dtype"]),
        compressor=None if compressor is None else get_codec(dict(compressor)),
        separator=str(document.get("dimension_separator", ".")),
    )


def _unpack(packed: memoryview, array: _Array, out: NDArray[Any]) -> None:
    if array.compressor is None:
        out.reshape(-1).view(np.uint8)[...] = np.frombuffer(packed, np.uint8)
        return
    if getattr(array.compressor, "codec_id", "") == "blosc":
        (size,) = _BLOSC_HEADER.unpack_from(packed)
        if size != out.nbytes:
            raise ValueError(f"it unpacks to {size} bytes, not {out.nbytes}")
    array.compressor.decode(packed, out=out)
