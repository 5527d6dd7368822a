"""What a shard may hold before anything in it is decoded: files from others are refused where they ask for too much.

A zip is never unpacked to disk, so names in it reach nothing. Codecs that could run code (numcodecs' pickle) or expand
without a bound are not among the layout's. Every size that is stated is compared with the size of the file.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ZipStore

from pipeline.errors import LayoutError

ALWAYS_FITS = 1 << 30
"""Bytes that a file may expand to whatever its own size is."""
LARGEST_EXPANSION = 1000
"""How many times its own size a file beyond that may expand to: masks of one value reach some hundred."""
_LARGEST_DOCUMENT = 16 << 20
_LARGEST_CHUNK = (1 << 31) - 1
"""Blosc's own bound [bytes]."""
_BLOSC_HEADER = 16
_MOST_DIMS = 32


class ShardStore(ZipStore):
    """A zip whose chunks are handed on only when they expand to no more than their array says."""

    def __init__(self, path: Path) -> None:
        """Open the zip at `path`; see `require_bounded` for what is raised."""
        super().__init__(path, mode="r")
        self.chunk_bytes = require_bounded(path)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return one entry, as `ZipStore.get`; ValueError when a chunk states another size than its array."""
        value = await super().get(key, prototype, byte_range)
        array = key.rpartition("/")[0]
        if value is not None and array in self.chunk_bytes and not key.rpartition("/")[2].startswith("."):
            _require_size(key, value, self.chunk_bytes[array])
        return value


def _require_size(key: str, value: Buffer, expected: int) -> None:
    head = value[:_BLOSC_HEADER].to_bytes()
    stated = int.from_bytes(head[4:8], "little")
    if len(head) < _BLOSC_HEADER or stated > expected:
        raise ValueError(f"chunk {key} states {stated} bytes, expected at most {expected}")


def require_bounded(path: Path) -> dict[str, int]:
    """Return the decoded size of a chunk of every compressed array [bytes], by the array's name.

    Raises
    ------
    LayoutError
        It is no zip, is another Zarr format, uses another codec than Blosc, or would expand beyond any use.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            require_expansion(path, infos)
            documents = dict(_documents(archive, infos, path))
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as err:
        raise LayoutError(f"{path} is not a whole .zarr.zip: {' '.join(str(err).split())}") from err
    arrays = {name: _described(path, name, document) for name, document in _arrays(documents)}
    _require_fitting(path, "arrays", sum(size for size, _, _ in arrays.values()))
    return {name: chunk for name, (_, chunk, is_packed) in arrays.items() if is_packed}


def _documents(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], path: Path) -> Iterator[tuple[str, Any]]:
    for info in infos:
        last = info.filename.rpartition("/")[2]
        if last == "zarr.json":
            raise LayoutError(f"{path} is a Zarr v3 store; the layout is Zarr v2")
        if last in {".zarray", ".zmetadata"}:
            if info.file_size > _LARGEST_DOCUMENT:
                raise LayoutError(f"{path}: {info.filename} has {info.file_size} bytes, expected a short description")
            try:
                yield info.filename, json.loads(archive.read(info))
            except (ValueError, RecursionError) as err:
                raise LayoutError(f"{path} is not a whole .zarr.zip: {info.filename} is not JSON") from err


def _arrays(documents: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every description of an array, those that readers go by last."""
    for name in sorted(documents):
        if name.endswith(".zarray"):
            yield name[: -len("/.zarray")], documents[name]
    held = documents.get(".zmetadata")
    for name, document in (held.get("metadata") or {}).items() if isinstance(held, dict) else ():
        if name.endswith(".zarray"):
            yield name[: -len("/.zarray")], document


def _described(path: Path, name: str, document: Any) -> tuple[int, int, bool]:
    """Return the size of an array and of its chunks [bytes], and whether these are compressed."""
    try:
        shape, chunks = ([int(size) for size in document[key]] for key in ("shape", "chunks"))
        dtype, codec, filters = np.dtype(str(document["dtype"])), document["compressor"], document.get("filters")
    except (TypeError, ValueError, KeyError, OverflowError) as err:
        raise LayoutError(f"{path}: {name}/.zarray describes no array") from err
    found = [one.get("id") if isinstance(one, dict) else one for one in (codec, *(filters or ())) if one is not None]
    strange = [str(one) for one in found if one != "blosc"]
    if strange or dtype.hasobject:
        raise LayoutError(f"{path}: {name} is encoded by {strange[0] if strange else 'objects'}; only Blosc is read")
    if len(shape) > _MOST_DIMS or min((*shape, *chunks), default=0) < 0:
        raise LayoutError(f"{path}: {name}/.zarray describes no array")
    size, chunk = prod(shape) * dtype.itemsize, prod(chunks) * dtype.itemsize
    if chunk > _LARGEST_CHUNK:
        raise LayoutError(f"{path}: a chunk of {name} would take {chunk} bytes")
    return size, chunk, codec is not None


def require_expansion(path: Path, entries: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse a zip whose entries, unpacked, would be far larger than itself; raises LayoutError."""
    _require_fitting(path, "entries", sum(entry.file_size for entry in entries))


def _require_fitting(path: Path, what: str, size: int) -> None:
    held = path.stat().st_size
    if size > max(ALWAYS_FITS, LARGEST_EXPANSION * held):
        raise LayoutError(f"{path} has {held} bytes, but its {what} would take {size}: refused")
