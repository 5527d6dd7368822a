"""Zip files whose entries are stored as they are: the same content always gives the same bytes.

The format is PKWARE's APPNOTE 6.3, sections 4.3 and 4.4, as Python's zipfile writes it. That module reads every byte
anew for the file's checksum, and goes back in the file after each entry, so that nothing can follow behind; here the
file is hashed while it is written, in one pass.
"""

import hashlib
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from isal import isal_zlib

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every zip entry: the earliest that the format knows."""

_DATE = 1 << 5 | 1
"""That day as the format has it: month and day, years counted from 1980."""
_UNIX = 3
_MODE = 0o644 << 16
_ZIP64_VERSION = 45
_NO_NUMBER = 0xFFFFFFFF
"""Says that a number stands in the ZIP64 fields."""

_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")


def write_zip(target: Path | BinaryIO, entries: Mapping[str, bytes]) -> str:
    """Write `entries`, stored, in the order of their names and without a time of day.

    Parameters
    ----------
    target : Path or binary file
        An open file is written from where it stands, which has to be its beginning.
    entries
        Content by name.

    Returns
    -------
    SHA-256 (hexadecimal) of what was written.
    """
    parts = list(_parts(entries))
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
        digest = pool.submit(_sha256, parts)
        if isinstance(target, Path):
            with target.open("wb") as raw:
                raw.writelines(parts)
        else:
            target.writelines(parts)
        return digest.result()


def _sha256(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _parts(entries: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield the bytes of the file in their order."""
    offset, central = 0, []
    for name in sorted(entries):
        data = entries[name]
        info = _info(name, data)
        # A margin as zipfile leaves it, although nothing that is stored grows.
        header = info.FileHeader(zip64=info.file_size * 1.05 > zipfile.ZIP64_LIMIT)
        central.append(_central(info, offset))
        offset += len(header) + len(data)
        yield header
        yield data
    directory = b"".join(central)
    yield directory
    yield _end(len(central), len(directory), offset)


def _info(name: str, data: bytes) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, ZIP_EPOCH)
    info.external_attr, info.create_system = _MODE, _UNIX
    info.file_size = info.compress_size = len(data)
    info.CRC = isal_zlib.crc32(data)
    return info


def _central(info: zipfile.ZipInfo, offset: int) -> bytes:
    """Return the entry of the central directory."""
    name, flags = _encoded(info.filename)
    large: list[int] = []
    size = info.file_size
    if size > zipfile.ZIP64_LIMIT:
        large += [size, size]
        size = _NO_NUMBER
    if offset > zipfile.ZIP64_LIMIT:
        large.append(offset)
        offset = _NO_NUMBER
    extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    version = max(info.extract_version, _ZIP64_VERSION if large else 0)
    return (
        _CENTRAL.pack(
            b"PK\1\2", version, _UNIX, version, 0, flags, zipfile.ZIP_STORED, 0, _DATE, info.CRC, size, size,
            len(name), len(extra), 0, 0, 0, _MODE, offset,
        )
        + name
        + extra
    )  # fmt: skip


def _encoded(name: str) -> tuple[bytes, int]:
    """Return a name as it is stored, and the flag that says whether that is UTF-8."""
    return (name.encode("ascii"), 0) if name.isascii() else (name.encode(), 0x800)


def _end(count: int, size: int, offset: int) -> bytes:
    """Return what closes the file: where its directory lies."""
    large = b""
    if count > zipfile.ZIP_FILECOUNT_LIMIT or max(size, offset) > zipfile.ZIP64_LIMIT:
        large = _END64.pack(b"PK\6\6", 44, _ZIP64_VERSION, _ZIP64_VERSION, 0, 0, count, count, size, offset)
        large += _LOCATOR64.pack(b"PK\6\7", 0, offset + size, 1)
        count, size, offset = min(count, 0xFFFF), min(size, _NO_NUMBER), min(offset, _NO_NUMBER)
    return large + _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)
