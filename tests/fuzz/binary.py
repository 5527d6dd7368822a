"""Mutations that know how a TIFF, a zip and a table are made."""

import io
import json
import pickle
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fuzz.plain import POISON, mutate_bytes, mutate_json

NUMBERS = (0, 1, 2, 3, 7, 16, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
CODES = (1, 2, 5, 7, 8, 32773, 32946, 34712, 34887, 34925, 50000, 50001, 50002)
"""Compressions that TIFF readers know."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}


def mutate_tiff(data: bytes, chance: random.Random) -> bytes:
    """Change tags, their types, counts and values, and the index of tiles of a classic little-endian TIFF."""
    if chance.random() < 0.25:
        return mutate_bytes(data, chance)
    held = bytearray(data)
    start = struct.unpack_from("<I", held, 4)[0]
    count = struct.unpack_from("<H", held, start)[0]
    for _ in range(chance.choice((1, 1, 2, 3))):
        _change_tag(held, start + 2 + 12 * chance.randrange(count), chance)
    if chance.random() < 0.05:
        struct.pack_into("<I", held, start + 2 + 12 * count, start)
    return bytes(held)


def _change_tag(held: bytearray, at: int, chance: random.Random) -> None:
    tag, kind, count, value = struct.unpack_from("<HHII", held, at)
    number = chance.choice((*NUMBERS, len(held), len(held) - 1, chance.randrange(2**32), value ^ 1, value + 1))
    size = _SIZES.get(kind, 1)
    change = chance.randrange(8)
    if change == 0:
        struct.pack_into("<H", held, at, chance.choice((0, 254, 256, 257, 322, 324, 325, 33550, 34735, 42113, 65535)))
    elif change == 1:
        struct.pack_into("<H", held, at + 2, chance.randrange(19))
    elif change == 2:
        struct.pack_into("<I", held, at + 4, number % 2**32)
    elif tag == 259:
        struct.pack_into("<H", held, at + 8, chance.choice(CODES))
    elif count * size > 4 and value + count * size <= len(held) and change < 7:
        place = value + size * chance.randrange(count)
        if kind == 12:
            number = chance.choice((0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf"), 5.0, 9.999999))
            struct.pack_into("<d", held, place, number)
        else:
            held[place : place + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
    else:
        struct.pack_into("<I", held, at + 8, number % 2**32)


class Canary:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@cache
def bomb() -> bytes:
    """64 MB of zeros, deflated."""
    return zlib.compress(bytes(64 << 20), 9)


def mutate_zip(data: bytes, chance: random.Random, *, canary: Path) -> bytes:
    """Change the container, an entry's name or form, a description or a chunk of a shard."""
    if chance.random() < 0.3:
        return mutate_bytes(data, chance)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [[info.filename, archive.read(info), zipfile.ZIP_STORED, 0o644 << 16] for info in archive.infolist()]
    for _ in range(chance.choice((1, 1, 2))):
        _change_entry(entries, chance, canary)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive, warnings.catch_warnings(action="ignore"):
        for name, value, method, attributes in entries:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = method, attributes
            archive.writestr(info, value)
    return target.getvalue()


def _change_entry(entries: list[list[Any]], chance: random.Random, canary: Path) -> None:  # noqa: C901
    entry = chance.choice(entries)
    described = [one for one in entries if one[0].endswith((".zarray", ".zattrs", ".zmetadata", ".zgroup"))]
    kind = chance.randrange(12)
    if kind == 0:
        entries.remove(entry)
    elif kind == 1:
        entries.append(list(entry))
    elif kind == 2:
        entry[0] = chance.choice(("../../../evil", "/tmp/evil", "bands/../../x", "a\\b", "é" * 300, "", entry[0] + "/"))  # noqa: S108
    elif kind == 3:
        entry[1], entry[3] = b"/etc/passwd", 0o120777 << 16
    elif kind == 4:
        entry[1], entry[2] = zlib.decompress(bomb()), zipfile.ZIP_DEFLATED
    elif kind == 5:
        entry[1] = mutate_bytes(entry[1], chance)
    elif kind == 6 and len(entry[1]) > 16:
        size = chance.choice((2**31 - 1, 2**32 - 1, 0, 16, 1 << 20))
        entry[1] = entry[1][:4] + size.to_bytes(4, "little") + entry[1][8:]
    elif kind == 7:
        _run_code(entries, chance, canary)
    elif kind == 8:
        entries.append(["zarr.json", b'{"zarr_format": 3, "node_type": "group"}', 0, 0])
    elif described:
        entry = chance.choice(described)
        document = _document(entry)
        entry[1] = entry[1] if document is None else mutate_json(document, chance)


def _document(entry: Sequence[Any]) -> Any:
    """Return what an entry says; None where an earlier change left no JSON."""
    try:
        return json.loads(entry[1])
    except (ValueError, RecursionError):
        return None


def _run_code(entries: list[list[Any]], chance: random.Random, canary: Path) -> None:
    """Make one array say that its chunks are pickled objects."""
    held = {entry[0]: entry for entry in entries}
    array = chance.choice([name.rpartition("/")[0] for name in held if name.endswith("/.zarray")] or [""])
    if f"{array}/.zarray" not in held:
        return
    described = _document(held[f"{array}/.zarray"])
    if not isinstance(described, dict):
        return
    pickled = {"id": "pickle", "protocol": 5}
    described |= chance.choice(
        ({"compressor": pickled}, {"filters": [pickled], "compressor": None, "dtype": "|O"}, {"filters": [pickled]})
    )
    held[f"{array}/.zarray"][1] = json.dumps(described).encode()
    consolidated = _document(held[".zmetadata"]) if ".zmetadata" in held else None
    if isinstance(consolidated, dict) and isinstance(consolidated.get("metadata"), dict):
        consolidated["metadata"][f"{array}/.zarray"] = described
        held[".zmetadata"][1] = json.dumps(consolidated).encode()
    for name, entry in held.items():
        if name.startswith(f"{array}/") and not name.rpartition("/")[2].startswith("."):
            entry[1] = pickle.dumps(Canary(canary))


TYPES = (pa.string(), pa.int64(), pa.int8(), pa.float32(), pa.binary(), pa.bool_(), pa.null(), pa.date32())


def mutate_parquet(data: bytes, chance: random.Random) -> bytes:
    """Change bytes, columns, their types, or rows of a table."""
    if chance.random() < 0.4:
        return mutate_bytes(data, chance)
    table = pq.read_table(io.BytesIO(data))
    for _ in range(chance.choice((1, 1, 2))):
        table = _change_table(table, chance)
    target = io.BytesIO()
    pq.write_table(table, target)
    return target.getvalue()


def _change_table(table: pa.Table, chance: random.Random) -> pa.Table:  # noqa: PLR0911
    if not table.num_columns:
        return table
    at = chance.randrange(table.num_columns)
    name, column = table.column_names[at], table.column(at)
    kind = chance.randrange(7)
    if kind == 0:
        return table.drop_columns([name])
    if kind == 1:
        other = chance.choice(("x", "", name.upper()))
        return table.rename_columns([other if one == name else one for one in table.column_names])
    if kind == 2:
        return table.slice(0, chance.choice((0, 1, max(0, table.num_rows - 1))))
    if kind == 3:
        order = [chance.randrange(table.num_rows) for _ in range(table.num_rows)]
        return table.take(pa.array(order, pa.int64()))
    if kind == 4:
        try:
            return table.set_column(at, name, column.cast(chance.choice(TYPES)))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return table.set_column(at, name, pa.nulls(table.num_rows))
    return table.set_column(at, name, _poisoned(column, chance))


def _poisoned(column: pa.ChunkedArray, chance: random.Random) -> pa.Array:
    values = column.to_pylist()
    if values:
        texts = ("../../evil", "/tmp/evil", "", ".", "a/b", "x" * 1000)  # noqa: S108
        values[chance.randrange(len(values))] = chance.choice((*texts, *POISON, values[0]))
    try:
        return pa.array(values, column.type)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return pa.nulls(len(values), column.type)
