"""Bytes of files, by range: local ones by position, remote ones over one pool of connections per process."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Protocol

import urllib3
from urllib3.util import Retry, Timeout

from pipeline.errors import SourceError, TransientSourceError

CONNECTIONS = 32
"""Requests of one process at the same time."""

_RETRIES = Retry(
    total=5, backoff_factor=0.5, backoff_jitter=0.5, status_forcelist=(408, 429, 500, 502, 503, 504),
    allowed_methods=("GET",), respect_retry_after_header=True, raise_on_status=False,
)  # fmt: skip
_TIMEOUT = Timeout(connect=20, read=60)
_GONE = (404, 410)


class Bytes(Protocol):
    """A file that can be read by ranges."""

    def read(self, first: int, count: int) -> "Future[bytes]":
        """Start reading `count` bytes from byte `first`; fewer come back only where the file ends."""

    def close(self) -> None:
        """Let go of it."""


class LocalBytes:
    """A file on disk."""

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
    """A file behind HTTP; every range must come from the same version of it."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name, self._version = url, name, ""

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
            response = _connections().request("GET", self._url, headers=headers)
        except urllib3.exceptions.HTTPError as err:
            kind = type(err.__cause__ or err).__name__
            raise TransientSourceError(f"{self._name} could not be read now: {kind}") from None
        if response.status == 206:
            etag = response.headers.get("ETag", "")
            if not self._version and etag.startswith('"'):
                self._version = etag
            return response.data
        if response.status == 200 and first == 0:
            return response.data[:count]
        raise self._refusal(response.status)

    def _refusal(self, status: int) -> SourceError:
        if status in _GONE:
            return SourceError(f"{self._name} cannot be read: HTTP response code: {status}")
        if status == 412:
            return TransientSourceError(f"{self._name} could not be read now: it was replaced while it was read")
        return TransientSourceError(f"{self._name} could not be read now: HTTP response code: {status}")


@cache
def _connections() -> urllib3.PoolManager:
    return urllib3.PoolManager(num_pools=16, maxsize=CONNECTIONS, block=True, retries=_RETRIES, timeout=_TIMEOUT)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=CONNECTIONS, thread_name_prefix="ranges")
