"""Bytes of files, by range: local ones by position, remote ones over one pool of connections per process."""

import os
import re
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Protocol
from urllib.request import getproxies

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources.access import Signer, compared, note_failure, permits_of, public, renew
from pipeline.sources.checking import WRONG_BYTES, Compared
from pipeline.sources.connections import CONNECTIONS, Answer, Connections, Patience
from pipeline.sources.governor import AGAIN, REFUSED, AgainError, Governor, pause_of
from pipeline.sources.reaching import InsideError, checked, follow, inside_error, may_reach_inside

IN_FLIGHT = 16 << 20
"""Bytes that one reader has asked for and not yet used."""

SILENT_SECONDS = 30.0
"""Longest wait for the next byte."""
LONGEST_SECONDS = 60.0
"""Longest time that one answer may take: a server that trickles is asked again."""

_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class NoRangesError(Exception):
    """The server sends whole files only."""


class Bytes(Protocol):
    """A file that can be read by ranges."""

    ahead: int
    """How much may be asked for before it is used [bytes]."""

    def read(self, first: int, count: int) -> "Future[bytes]":
        """Start reading `count` bytes from byte `first`; fewer come back only where the file ends."""

    def close(self) -> None:
        """Let go of it."""


class LocalBytes:
    """A file on disk."""

    ahead = 0

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY)

    def read(self, first: int, count: int) -> "Future[bytes]":
        """Read at once: a disk needs no help from threads."""
        done: Future[bytes] = Future()
        try:
            done.set_result(os.pread(self._file, count, first))
        except OSError as err:
            done.set_exception(err)
        return done

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class RemoteBytes:
    """A file behind HTTP; where the server tells versions apart, every range comes from the same one.

    Each request is signed when it is sent; one that is refused is signed anew and sent once more. Where the source
    vouches for the file, all of it is compared first, and every range with what was compared.
    """

    ahead = IN_FLIGHT

    def __init__(self, source: Signer, href: str, options: Mapping[str, Any], version: str = "") -> None:
        """Take the file that `source` knows as `href`, under GDAL's options for retries and time limits.

        `version` is the one to read, as the server names it; by default that of the first answer.
        """
        self._source, self._href, self.name = source, href, public(href)
        self._governor = Governor(
            permits=permits_of(source),
            attempts=1 + int(options["GDAL_HTTP_MAX_RETRY"]),
            first_wait=float(options["GDAL_HTTP_RETRY_DELAY"]),
            note=self._note,
        )
        self._patience = Patience(float(options["GDAL_HTTP_CONNECTTIMEOUT"]), SILENT_SECONDS, LONGEST_SECONDS)
        self._version = version
        self._size: int | None = None
        self._lock = threading.Lock()

    def read(self, first: int, count: int) -> "Future[bytes]":
        """Ask for the range from a thread of the pool."""
        return _threads().submit(self.fetch, first, count)

    def fetch(self, first: int, count: int) -> bytes:
        """Read in this thread; as `read`.

        Raises
        ------
        TransientSourceError
            The server is unreachable, throttles, refuses the signature, or changed the file; or it broke off in every
            attempt.
        SourceError
            The file is gone, or is not the one that its checksum describes.
        NoRangesError
            The server sends whole files only.
        """
        known = compared(self._source, self._href, self._whole)
        request = partial(self._once, first, count) if known is None else partial(self._same, known, first, count)
        return self._governor.send(request, f"{self.name} could not be read now")

    def close(self) -> None:
        """Do nothing: connections belong to the pool."""

    @property
    def version(self) -> str:
        """The version that is read: a strong entity tag, or nothing where the server gives none."""
        return self._version

    @property
    def size(self) -> int:
        """Length of the file [bytes]; 0 before the first read."""
        return self._size or 0

    def _whole(self, first: int, count: int) -> bytes:
        """Read a piece of the whole file, which nothing vouches for yet."""
        if self._size and first >= self._size:
            return b""
        return self._governor.send(partial(self._once, first, count), f"{self.name} could not be read now")

    def _same(self, known: Compared, first: int, count: int) -> bytes:
        start, stop = known.around(first, count)
        data = self._once(start, stop - start) if start < stop else b""
        if len(data) != stop - start or not known.holds(start, data):
            raise AgainError(WRONG_BYTES)
        return data[first - start : first - start + count]

    def _once(self, first: int, count: int) -> bytes:
        url = self._source.sign(self._href)
        status, headers, body = self._get(url, first, count)
        if status in REFUSED and renew(self._source, self._href, url):
            self._note(f"HTTP {status}")
            status, headers, body = self._get(self._source.sign(self._href), first, count)
        if status == HTTPStatus.OK:
            raise NoRangesError
        extent = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and extent and extent[3].isdigit():
            self._keep_version(headers, int(extent[3]))
            return b""
        if status != HTTPStatus.PARTIAL_CONTENT:
            raise self._refusal(status, headers)
        self._keep_version(headers, int(extent[3]) if extent and extent[3].isdigit() else None)
        if not _is_whole(body, first, count, extent):
            raise AgainError("an answer was cut short")
        return body

    def _get(self, url: str, first: int, count: int) -> Answer:
        headers = {"Range": f"bytes={first}-{first + count - 1}", "Accept-Encoding": "identity"}
        if self._version:
            headers["If-Match"] = self._version
        connections = _connections(may_reach_inside(self._source))

        def ask(at: str) -> tuple[int, Answer]:
            answer = connections.get_part(at, headers, count, self._patience)
            return answer.status, answer

        try:
            return follow(ask, self._href, url, self._source)[2]
        except InsideError as err:
            raise inside_error(self._href, err) from None

    def _refusal(self, status: int, headers: Mapping[str, str]) -> Exception:
        if status in _GONE:
            self._note(f"HTTP {status}")
            return SourceError(f"{self.name} cannot be read: HTTP response code: {status}")
        if status == HTTPStatus.PRECONDITION_FAILED:
            return self._replaced()
        problem = f"HTTP response code: {status}"
        if status in AGAIN:
            return AgainError(problem, pause=pause_of(status, headers.get("Retry-After")))
        # A signature that is refused although it is new may be right a moment later: clocks differ.
        if status in REFUSED:
            return AgainError(problem)
        self._note(problem)
        return self._trouble(problem)

    def _keep_version(self, headers: Mapping[str, str], size: int | None) -> None:
        # A weak tag, W/"…", cannot stand in If-Match (RFC 9110, section 13.1.1).
        tag = headers.get("ETag", "")
        version = tag if tag.startswith('"') else ""
        with self._lock:
            if (self._version and version and version != self._version) or (size and self._size and size != self._size):
                raise self._replaced()
            self._version, self._size = self._version or version, self._size or size

    def _replaced(self) -> TransientSourceError:
        self._note("a file was replaced while it was read")
        return self._trouble("it was replaced while it was read")

    def _note(self, problem: str) -> None:
        note_failure(self._source, problem)

    def _trouble(self, problem: str) -> TransientSourceError:
        return TransientSourceError(f"{self.name} could not be read now: {problem}")


def _is_whole(body: bytes, first: int, count: int, extent: "re.Match[str] | None") -> bool:
    """Tell whether an answer is what was asked for, whatever length it stated."""
    if extent is None or extent[1] is None:
        return len(body) <= count
    expected = count if not extent[3].isdigit() else min(count, int(extent[3]) - first)
    return int(extent[1]) == first and len(body) == expected


def remote_bytes(
    source: Signer, href: str, options: Mapping[str, Any], known: Collection[str], *, version: str = ""
) -> RemoteBytes | None:
    """Return `href` to be read by range, or None where only GDAL can: elsewhere than HTTP, or by way of a proxy.

    `version` is the one to read, where it is known.
    Options that are not among the `known` ones ask for GDAL, too: only it knows what they mean, a login for example.
    """
    is_plain = all(key in known or key.startswith("AWS_") for key in options)
    is_remote = source.sign(href).startswith(("http://", "https://"))
    return RemoteBytes(source, href, options, version) if is_remote and is_plain and _is_direct() else None


@cache
def _is_direct() -> bool:
    """Tell whether servers are reached without a proxy."""
    return not {"http", "https", "all"} & set(getproxies())


@cache
def _connections(inside: bool) -> Connections:  # noqa: FBT001
    """Return those of this process; where they may not lead inside a private network, each is looked at."""
    return Connections(accept=None if inside else checked)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=CONNECTIONS, thread_name_prefix="ranges")
