"""Where requests for files end up: redirects are followed, and addresses reached, only as `links` allows.

A name may lead into a private network although nothing in it says so, and a server may redirect there. What a public
catalogue names is therefore looked at where it counts: at the address that a connection was made to.
"""

import logging
import socket
from collections.abc import Callable, Mapping
from functools import cache, lru_cache, partial
from typing import Any, Protocol, TypeVar
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources.access import Signer, catalogue_of, public
from pipeline.sources.links import host_of, is_inside, is_web, require_asset

MOST_REDIRECTS = 5
TIMEOUT_SECONDS = 30.0
"""Longest wait for a connection or for the next byte."""
_CONNECTIONS = 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class InsideError(HTTPError):
    """A public catalogue's file lies at an address inside a private network."""


def checked(connected: socket.socket) -> socket.socket:
    """Return a connection to a public address; any other is closed, with InsideError."""
    address = str(connected.getpeername()[0])
    if is_inside(address):
        connected.close()
        raise InsideError(address)
    return connected


class _PublicHTTPConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return checked(super()._new_conn())


class _PublicHTTPSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return checked(super()._new_conn())


class _PublicHTTPPool(HTTPConnectionPool):
    ConnectionCls = _PublicHTTPConnection


class _PublicHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPSConnection


def make_public(pools: PoolManager) -> None:
    """Let new connections of `pools` reach public addresses only; InsideError for others."""
    pools.pool_classes_by_scheme = {"http": _PublicHTTPPool, "https": _PublicHTTPSPool}


class _PublicAdapter(HTTPAdapter):
    """Reaches public addresses only; a proxy has to see to it itself."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See `HTTPAdapter`."""
        super().init_poolmanager(*args, **options)
        make_public(self.poolmanager)


def may_reach_inside(source: Signer) -> bool:
    """Tell whether files of `source` may lie inside a private network: where its catalogue does, or lies on disk."""
    return _lies_inside(catalogue_of(source))


@lru_cache(maxsize=64)
def _lies_inside(catalogue: str) -> bool:
    if not is_web(catalogue):
        return True
    try:
        found = socket.getaddrinfo(host_of(catalogue), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return is_inside(host_of(catalogue))
    return any(is_inside(str(address[0])) for *_, address in found)


class _QueryFilter(logging.Filter):
    """Takes signatures out of what libraries log: they name signed URLs."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = public(record.getMessage()), ()
        return True


_QUERY_FILTER = _QueryFilter()
_LOGGERS = (
    "pystac_client.stac_api_io", "rasterio._base", "rasterio._env", "rasterio._err", "urllib3.connectionpool",
    "urllib3.poolmanager", "urllib3.util.retry",
)  # fmt: skip


def hide_queries() -> None:
    """Keep the queries of URLs out of what this process logs of requests."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_QUERY_FILTER)


class Answer(Protocol):
    """What both HTTP libraries have of an answer."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers, whatever their case."""

    def close(self) -> None:
        """Let go of the connection."""


AnyAnswer = TypeVar("AnyAnswer", bound=Answer)


def follow(
    ask: Callable[[str], tuple[int, AnyAnswer]], href: str, signed: str, source: Signer
) -> tuple[str, int, AnyAnswer]:
    """Ask for `signed`, and for what it redirects to; return the last URL, status and answer.

    What signing added to `href` is not sent to another host, even where a server hands it on.

    Raises
    ------
    TransientSourceError
        A redirect leads where the catalogue may name no file, or in a circle: who redirects today may not tomorrow.
    """
    asked, secret = signed, signed.removeprefix(href).lstrip("?&") if signed.startswith(href) else ""
    for _ in range(MOST_REDIRECTS + 1):
        status, answer = ask(asked)
        location = answer.headers.get("Location", "") if status in _REDIRECTS else ""
        if not location:
            return asked, status, answer
        answer.close()
        try:
            target = _redirected(asked, location, catalogue_of(source))
            is_elsewhere = host_of(target) != host_of(asked)
        except (SourceError, ValueError) as err:
            raise _misled(href, str(err)) from None
        asked = target.replace(secret, "").rstrip("?&") if secret and is_elsewhere else target
    raise TransientSourceError(f"{public(href)} could not be read now: more than {MOST_REDIRECTS} redirects")


def _misled(href: str, problem: str) -> TransientSourceError:
    return TransientSourceError(f"{public(href)} could not be read now: a redirect: {public(problem)}")


def _redirected(asked: str, location: str, catalogue: str) -> str:
    target = urljoin(asked, location)
    if not is_web(target):
        raise SourceError(f"{public(asked)} leads to {public(target)[:200]}: not followed")
    return require_asset(target, catalogue)


def open_session(source: Signer) -> requests.Session:
    """Return this process's session for small questions about files of `source`, by a proxy where there is one."""
    return _session(may_reach_inside(source))


@cache
def _session(inside: bool) -> requests.Session:  # noqa: FBT001
    hide_queries()
    session = requests.Session()
    adapter = (HTTPAdapter if inside else _PublicAdapter)(pool_maxsize=_CONNECTIONS)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    # Content-Length is that of the file only where nothing is compressed on the way.
    session.headers["Accept-Encoding"] = "identity"
    return session


def follow_session(
    send: Callable[..., requests.Response], href: str, signed: str, source: Signer
) -> tuple[str, int, Mapping[str, str]]:
    """Ask as `follow` does, with a session's method; returns the last URL, its status and headers."""

    def ask(at: str) -> tuple[int, requests.Response]:
        try:
            answer = send(at, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        except requests.RequestException:
            raise
        except ValueError as err:
            # A redirect's address is parsed although it is not followed.
            raise _misled(href, str(err)) from None
        return answer.status_code, answer

    last, status, answer = follow(ask, href, signed, source)
    answer.close()
    return last, status, answer.headers


def settled(href: str, signed: str, source: Signer) -> str:
    """Return where `signed`, which is `href`, leads to in the end, for a reader that follows any redirect by itself.

    A server that does not answer is left to that reader.

    Raises
    ------
    TransientSourceError
        It leads where the catalogue may name no file.
    """
    if not is_web(signed):
        return signed
    ask = partial(open_session(source).get, stream=True, headers={"Range": "bytes=0-0"})
    try:
        return follow_session(ask, href, signed, source)[0]
    except InsideError as err:
        raise inside_error(href, err) from None
    except requests.RequestException:
        return signed


def inside_error(url: str, err: HTTPError) -> TransientSourceError:
    """Return the package's error for a public catalogue's file that lies at an address inside a private network."""
    return TransientSourceError(
        f"{public(url)} could not be read now: it lies at {err}, inside a private network, where a public catalogue's "
        "files are not read"
    )
