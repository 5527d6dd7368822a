"""Assets compared whole with the checksums that their items state, and whatever is read later with what was compared.

An asset is read whole once in each process of a run. The digests of its blocks are kept, so that a range which comes
later and was damaged on its way is noticed, and asked for again.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources.access import public

ReadRange = Callable[[int, int], bytes]
"""Returns so many bytes from a position on; fewer only where the file ends."""

WRONG_BYTES = "other bytes than the checksum's"

_ALGORITHMS = {"1220": ("sha256", 64), "1340": ("sha512", 128), "1114": ("sha1", 40), "d50110": ("md5", 32)}
"""Code and length of a multihash, hexadecimal, to the digest's name and its hexadecimal digits."""
_BLOCK = 128 << 10
_PIECE = 32 * _BLOCK
"""Bytes of one request while an asset is read whole."""
_TAG = 8
"""Bytes of a block's digest: what they find is damage, not malice."""
_READS = 4
"""How often an asset is read whole before it is left for another attempt."""
_KEPT = 8192
"""Assets that a process remembers: a Sentinel-2 band of 10 m takes some 16 kB."""


class Multihash(NamedTuple):
    """A checksum as the STAC file extension states it."""

    algorithm: str
    digest: str
    """Hexadecimal, lower case."""


def parse_multihash(text: str) -> Multihash | None:
    """Return what a `file:checksum` says; None where it is none, or of a kind that is not known here."""
    lower = text.lower()
    for prefix, (algorithm, digits) in _ALGORITHMS.items():
        digest = lower.removeprefix(prefix)
        if lower.startswith(prefix) and len(digest) == digits and not set(digest) - set("0123456789abcdef"):
            return Multihash(algorithm, digest)
    return None


@dataclass(frozen=True, slots=True)
class Compared:
    """An asset whose bytes were those of its checksum."""

    size: int
    """[bytes]"""
    tags: bytes
    """Digests of its blocks, one behind the other."""

    def around(self, first: int, count: int) -> tuple[int, int]:
        """Return first and last byte + 1 of the whole blocks that hold a range; both equal behind the end."""
        start = min(first // _BLOCK * _BLOCK, self.size)
        return start, max(start, min(-(-(first + count) // _BLOCK) * _BLOCK, self.size))

    def holds(self, start: int, data: bytes) -> bool:
        """Tell whether `data` is what whole blocks from byte `start` on held when the asset was compared."""
        first = start // _BLOCK * _TAG
        tags = _tags(data)
        return tags == self.tags[first : first + len(tags)]


@dataclass(frozen=True, slots=True)
class Checks:
    """What assets must hold, in one run."""

    run: str
    """Equal names share what was compared in this process."""
    checksums: Mapping[str, str]
    """Multihash of each asset that states one, by its unsigned reference."""

    def compared(self, href: str, read: ReadRange, note: Callable[[str], None]) -> Compared | None:
        """Return what is known of `href` after `read` was asked for all of it, once in this run; None without checksum.

        Parameters
        ----------
        href, read
            The asset, and what reads it; called only where this run has not compared it yet.
        note
            Called with what is wrong each time that other bytes came.

        Raises
        ------
        SourceError
            The same wrong bytes came twice: they are what lies there.
        TransientSourceError
            Other bytes came every time; or as `read`.
        """
        expected = parse_multihash(self.checksums.get(href, ""))
        if expected is None:
            return None
        entry = _assets_of(self.run).entry((href, *expected))
        # Whoever needs the asset, too, waits instead of reading it again.
        with entry.lock:
            if entry.found is None:
                entry.found = _compare(public(href), expected, read, note)
            if isinstance(entry.found, str):
                raise SourceError(entry.found)
            return entry.found


def compare_local(path: str, compare: Callable[[ReadRange], object]) -> None:
    """Have `compare` read the file at `path`, if there is one; raises SourceError where the disk fails."""
    if not Path(path).is_file():
        return
    try:
        with Path(path).open("rb") as file:

            def read(first: int, count: int) -> bytes:
                file.seek(first)
                return file.read(count)

            compare(read)
    except OSError as err:
        raise SourceError(f"{path} cannot be read: {err.strerror or err}") from err


def _compare(name: str, expected: Multihash, read: ReadRange, note: Callable[[str], None]) -> Compared | str:
    """Return the asset, or the line that says that it is another one than its item describes."""
    wrong: set[str] = set()
    for _ in range(_READS):
        digest, asset = _digested(expected.algorithm, read)
        if digest == expected.digest:
            return asset
        note(WRONG_BYTES)
        if digest in wrong:
            return (
                f"{name} cannot be read: its {asset.size} bytes have {expected.algorithm} {digest[:16]}…, and its item "
                f"states {expected.digest[:16]}…"
            )
        wrong.add(digest)
    raise TransientSourceError(f"{name} could not be read now: {_READS} times other bytes came, never the checksum's")


def _digested(algorithm: str, read: ReadRange) -> tuple[str, Compared]:
    whole = hashlib.new(algorithm, usedforsecurity=False)
    size, tags = 0, []
    while data := read(size, _PIECE):
        whole.update(data)
        tags.append(_tags(data))
        size += len(data)
        if len(data) < _PIECE:
            break
    return whole.hexdigest(), Compared(size, b"".join(tags))


def _tags(data: bytes) -> bytes:
    view = memoryview(data)
    parts = (view[at : at + _BLOCK] for at in range(0, len(data), _BLOCK))
    return b"".join(hashlib.blake2b(part, digest_size=_TAG).digest() for part in parts)


@dataclass(slots=True)
class _Entry:
    lock: Lock = field(default_factory=Lock)
    found: Compared | str | None = None


@dataclass(slots=True)
class _Assets:
    """What one run compared in this process, the latest assets only; for any number of threads."""

    _entries: "OrderedDict[tuple[str, ...], _Entry]" = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def entry(self, key: tuple[str, ...]) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > _KEPT:
                self._entries.popitem(last=False)
            return entry


@lru_cache(maxsize=2)
def _assets_of(run: str) -> _Assets:  # noqa: ARG001
    return _Assets()
