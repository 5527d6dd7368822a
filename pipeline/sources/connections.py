"""Connections to servers that are kept and used again, one request at a time on each.

A tile is unpacked within a millisecond, and a general client takes most of one for each request: here is only what
asking for a part of a file needs.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from threading import Lock
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from requests.structures import CaseInsensitiveDict
from urllib3.util.wait import wait_for_read

from pipeline.sources.governor import AgainError

CONNECTIONS = 64
"""Requests of one process at the same time, and connections that it keeps."""

_PORTS = {"http": 80, "https": 443}
_CHUNK = 128 << 10
_UNQUOTED = "%/:=&?~#+!$,;'@()*[]"
"""What may stand in a URL (RFC 3986, section 2), and what is quoted already."""


class Server(NamedTuple):
    """Where a connection goes."""

    scheme: str
    host: str
    port: int


class Patience(NamedTuple):
    """How long one request may take [s]."""

    connect: float
    silent: float
    """Until the next byte."""
    whole: float
    """Until the last byte: a server that trickles is asked again."""


class Answer(NamedTuple):
    """What a server sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """Empty where the answer is no part of a file."""

    def close(self) -> None:
        """Do nothing: all of it was read."""


@dataclass(slots=True)
class Connections:
    """Connections that wait for their next request; for any number of threads."""

    accept: Callable[[socket.socket], object] | None = None
    """Looks at each new connection, and raises where nothing may be asked by it."""
    _idle: list[tuple[Server, http.client.HTTPConnection]] = field(default_factory=list)
    """The one that was used last comes last."""
    _lock: Lock = field(default_factory=Lock)

    def get_part(self, url: str, headers: Mapping[str, str], most: int, patience: Patience) -> Answer:
        """Send one GET for a part of a file; of a longer body than `most` bytes, one byte more comes back.

        Raises
        ------
        AgainError
            No answer came, or not in time, or it broke off; the text is the kind of failure and never names the URL.
        Exception
            What `accept` raises.
        """
        server, target = _parted(url)
        end = time.monotonic() + patience.whole
        connection = self._take(server) or self._connect(server, patience)
        is_reusable = False
        try:
            connection.request("GET", target, headers={"User-Agent": "sen12-pipeline", **headers})
            with connection.getresponse() as response:
                # A whole file, sent because the server knows no ranges, is not waited for.
                is_part = response.status == HTTPStatus.PARTIAL_CONTENT
                body = _body(response, most + 1, end) if is_part else b""
                is_reusable = (response.length == 0 or response.isclosed()) and not response.will_close
        except TimeoutError:
            raise AgainError("ReadTimeoutError") from None
        except _TooSlowError:
            raise AgainError(f"an answer was not there after {patience.whole:.0f} s") from None
        except (OSError, http.client.HTTPException):
            raise AgainError("ProtocolError") from None
        finally:
            if is_reusable:
                self._give(server, connection)
            else:
                connection.close()
        return Answer(response.status, CaseInsensitiveDict(response.headers.items()), body)

    def _connect(self, server: Server, patience: Patience) -> http.client.HTTPConnection:
        connection = _connected(server, patience)
        if self.accept is not None:
            self.accept(connection.sock)
        return connection

    def _take(self, server: Server) -> http.client.HTTPConnection | None:
        while (connection := self._last(server)) is not None:
            # What comes unasked is the end of the connection.
            if not wait_for_read(connection.sock, timeout=0.0):
                return connection
            connection.close()
        return None

    def _last(self, server: Server) -> http.client.HTTPConnection | None:
        with self._lock:
            for at in reversed(range(len(self._idle))):
                if self._idle[at][0] == server:
                    return self._idle.pop(at)[1]
        return None

    def _give(self, server: Server, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.append((server, connection))
            surplus = self._idle.pop(0)[1] if len(self._idle) > CONNECTIONS else None
        if surplus is not None:
            surplus.close()


class _TooSlowError(Exception):
    pass


def _parted(url: str) -> tuple[Server, str]:
    """Return the server, and what it is asked for."""
    try:
        parts = urlsplit(url)
        server = Server(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])
    except (ValueError, KeyError):
        raise AgainError("LocationParseError") from None
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return server, quote(target, safe=_UNQUOTED)


def _connected(server: Server, patience: Patience) -> http.client.HTTPConnection:
    connection = (
        http.client.HTTPSConnection(server.host, server.port, timeout=patience.connect, context=_tls_context())
        if server.scheme == "https"
        else http.client.HTTPConnection(server.host, server.port, timeout=patience.connect)
    )
    try:
        connection.connect()
    except (OSError, UnicodeError) as err:
        connection.close()
        raise AgainError(_connect_problem(err)) from None
    connection.sock.settimeout(patience.silent)
    return connection


def _connect_problem(err: Exception) -> str:
    kinds: dict[type[Exception], str] = {
        ssl.SSLError: "SSLError",
        TimeoutError: "ConnectTimeoutError",
        socket.gaierror: "NameResolutionError",
        UnicodeError: "LocationParseError",
    }
    return next((name for kind, name in kinds.items() if isinstance(err, kind)), "NewConnectionError")


@cache
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _body(response: http.client.HTTPResponse, most: int, end: float) -> bytes:
    """Read the first `most` bytes of an answer, all that have come with each call."""
    if response.length is None:
        return _body_in_chunks(response, most, end)
    body, at = bytearray(min(most, response.length)), 0
    with memoryview(body) as view:
        while at < len(body):
            # The response's own method waits until all have come, however slowly.
            count = response.fp.readinto1(view[at:])
            if not count:
                raise http.client.IncompleteRead(b"", response.length - at)
            at += count
            _require_time(end)
    response.length -= at
    return bytes(body)


def _body_in_chunks(response: http.client.HTTPResponse, most: int, end: float) -> bytes:
    parts: list[bytes] = []
    rest = most
    while rest and (part := response.read1(min(rest, _CHUNK))):
        parts.append(part)
        rest -= len(part)
        _require_time(end)
    return b"".join(parts)


def _require_time(end: float) -> None:
    if time.monotonic() > end:
        raise _TooSlowError
