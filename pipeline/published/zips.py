"""The container of one chunk file: whole, entries once and stored, every chunk there; and plain writing of zips."""

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from pipeline.errors import LayoutError
from pipeline.layouts.containers import require_expansion

FAULTS_OF_ZIP = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError)
"""What `zipfile` raises on files that are torn, or no zip."""

_ARRAY = ".zarray"
_METADATA = frozenset({_ARRAY, ".zattrs", ".zgroup"})
_CONSOLIDATED = ".zmetadata"


def zip_problems(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield what is wrong with the container: one line, and whether it forbids to read the arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            require_expansion(path, entries)
            names = {entry.filename for entry in entries}
            if ".zgroup" not in names:
                yield "holds no Zarr v2 group at its top (.zgroup)", True
                return
            stale = _stale(archive, names)
            arrays = {name[: -len(_ARRAY) - 1]: _described(archive, name) for name in names if name.endswith(_ARRAY)}
            dims = {array: _dims(archive, array, names) for array in arrays}
    except FAULTS_OF_ZIP as err:
        yield f"is not a whole zip: {err}", True
        return
    except LayoutError as err:
        yield str(err).removeprefix(f"{path} "), True
        return
    yield from _entry_problems(entries)
    if _CONSOLIDATED not in names:
        yield "has no consolidated metadata (.zmetadata)", False
    if stale:
        yield f"has consolidated metadata that differs from {len(stale)} entries (first: {min(stale)})", True
    yield from _size_problems(arrays, dims)
    yield from _absent(arrays, names)


def _described(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    try:
        described = _parsed(archive, name)
        shape, chunks = described["shape"], described["chunks"]
        if len(shape) == len(chunks) and all(isinstance(size, int) and size >= 0 for size in (*shape, *chunks)):
            return dict(described)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise LayoutError(f"entry {name} describes no array")


def _stale(archive: zipfile.ZipFile, names: set[str]) -> set[str]:
    """Return the metadata entries that .zmetadata, which readers go by, lacks, adds or holds otherwise."""
    if _CONSOLIDATED not in names:
        return set()
    try:
        held = dict(_parsed(archive, _CONSOLIDATED)["metadata"])
        own = {name: _parsed(archive, name) for name in names if name.rsplit("/")[-1] in _METADATA}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {_CONSOLIDATED}
    return {name for name in {*held, *own} if held.get(name) != own.get(name)}


def _parsed(archive: zipfile.ZipFile, name: str) -> Any:
    # NaN as text, so that it equals itself.
    return json.loads(archive.read(name), parse_constant=str)


def _dims(archive: zipfile.ZipFile, array: str, names: set[str]) -> list[str]:
    name = f"{array}/.zattrs"
    try:
        dims = _parsed(archive, name)["_ARRAY_DIMENSIONS"] if name in names else []
    except (ValueError, KeyError, TypeError, RecursionError):
        dims = []
    return [str(dim) for dim in dims] if isinstance(dims, list) else []


def _size_problems(
    arrays: Mapping[str, Mapping[str, Any]], dims: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, bool]]:
    first: dict[str, tuple[int, str]] = {}
    for array in sorted(arrays):
        shape = arrays[array]["shape"]
        if len(dims[array]) != len(shape):
            yield f"{array} has {len(shape)} dims, but names {len(dims[array])} (_ARRAY_DIMENSIONS)", True
            continue
        for dim, size in zip(dims[array], shape, strict=True):
            there, other = first.setdefault(dim, (size, array))
            if size != there:
                yield f"{dim} has size {size} in {array}, but {there} in {other}", True


def _entry_problems(entries: list[zipfile.ZipInfo]) -> Iterator[tuple[str, bool]]:
    twice = [name for name, count in Counter(entry.filename for entry in entries).items() if count > 1]
    if twice:
        yield f"holds {len(twice)} entries twice (first: {min(twice)})", False
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        yield f"has {len(packed)} compressed zip entries (first: {min(packed)}); the layout stores them", False


def _absent(arrays: Mapping[str, Mapping[str, Any]], names: set[str]) -> Iterator[tuple[str, bool]]:
    absent = [key for array in sorted(arrays) for key in _chunk_keys(array, arrays[array]) if key not in names]
    if absent:
        # Zarr 2 reads such a chunk as whatever was in memory where the fill value is null.
        yield f"lacks {len(absent)} chunks (first: {absent[0]}): readers make up their values", True


def _chunk_keys(array: str, described: Mapping[str, Any]) -> Iterator[str]:
    if not prod(described["shape"]):
        return
    counts = [-(-size // max(step, 1)) for size, step in zip(described["shape"], described["chunks"], strict=True)]
    separator = described.get("dimension_separator", ".")
    for index in product(*map(range, counts)):
        yield f"{array}/{separator.join(map(str, index)) or '0'}"
