"""Bytes of files, by range: local ones by position, remote ones over one pool of connections per process."""

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from http import HTTPStatus
from typing import Any, Protocol
from urllib.request import getproxies

import urllib3
from urllib3.util import Retry, Timeout

from pipeline.errors import SourceError, TransientSourceError

CONNECTIONS = 32
"""Requests of one process at the same time."""

IN_FLIGHT = 16 << 20
"""Bytes that one reader has asked for and not yet used."""

_AGAIN = (408, 429, 500, 502, 503, 504)
_READ_SECONDS = 60
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


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
    """A file behind HTTP; where the server tells versions apart, every range comes from the same one."""

    ahead = IN_FLIGHT

    def __init__(self, url: str, name: str, options: Mapping[str, Any], version: str = "") -> None:
        """Take the file at `url`, called `name` in errors, under GDAL's options for retries and time limits.

        `version` is the one to read, as the server names it; by default that of the first answer.
        """
        self._url, self._name, self._version = url, name, version
        delay = float(options["GDAL_HTTP_RETRY_DELAY"])
        self._retries = Retry(
            total=int(options["GDAL_HTTP_MAX_RETRY"]), backoff_factor=delay, backoff_jitter=delay,
            status_forcelist=_AGAIN, respect_retry_after_header=True, raise_on_status=False,
        )  # fmt: skip
        self._timeout = Timeout(connect=float(options["GDAL_HTTP_CONNECTTIMEOUT"]), read=_READ_SECONDS)

    @property
    def version(self) -> str:
        """The version that is read: a strong entity tag, or nothing where the server gives none."""
        return self._version

    def read(self, first: int, count: int) -> "Future[bytes]":
        """Ask for the range from a thread of the pool."""
        return _threads().submit(self._get, first, count)

    def close(self) -> None:
        """Do nothing: connections belong to the pool."""

    def _get(self, first: int, count: int) -> bytes:
        headers = {"Range": f"bytes={first}-{first + count - 1}", "Accept-Encoding": "identity"}
        if self._version:
            headers["If-Match"] = self._version
        try:
            response = _connections().request(
                "GET", self._url, headers=headers, retries=self._retries, timeout=self._timeout
            )
        except urllib3.exceptions.HTTPError as err:
            # The error itself names the signed URL.
            problem = type(getattr(err, "reason", None) or err).__name__
            raise TransientSourceError(f"{self._name} could not be read now: {problem}") from None
        if response.status == HTTPStatus.OK:
            raise NoRangesError
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            raise self._refusal(response.status)
        etag = response.headers.get("ETag", "")
        # A weak tag, W/"…", cannot stand in If-Match (RFC 9110, section 13.1.1).
        if etag.startswith('"'):
            if self._version not in ("", etag):
                raise self._refusal(HTTPStatus.PRECONDITION_FAILED)
            self._version = etag
        return bytes(response.data)

    def _refusal(self, status: int) -> SourceError:
        if status in _GONE:
            return SourceError(f"{self._name} cannot be read: HTTP response code: {status}")
        if status == HTTPStatus.PRECONDITION_FAILED:
            return TransientSourceError(f"{self._name} could not be read now: it was replaced while it was read")
        return TransientSourceError(f"{self._name} could not be read now: HTTP response code: {status}")


@cache
def is_direct() -> bool:
    """Tell whether servers are reached without a proxy."""
    return not {"http", "https", "all"} & set(getproxies())


@cache
def _connections() -> urllib3.PoolManager:
    return urllib3.PoolManager(num_pools=16, maxsize=CONNECTIONS, block=True)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=CONNECTIONS, thread_name_prefix="ranges")
