"""Fetching STAC documents from disk or HTTP, and saying what went wrong in the package's own words."""

import json
import re
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from pystac import Link
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests.adapters import HTTPAdapter

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources.governor import AGAIN, AgainError, Governor, pause_of
from pipeline.sources.links import require_document
from pipeline.sources.permits import Limit, ProcessPermits
from pipeline.sources.reaching import TIMEOUT_SECONDS, hide_queries

_ATTEMPTS = 8
_CONNECTION_ATTEMPTS = 3
"""Who cannot be reached at all is not waited for as long as who is busy."""
_CUT_ATTEMPTS = 4
LONGEST_DOCUMENT = 256 << 20
"""Bytes of one document on disk."""

_BACKOFF_SECONDS = 0.5
_PERMITS = ProcessPermits(Limit(name="documents", at_once=8, per_second=20.0))
"""Searches and catalogues are asked for by one process at a time."""
_QUERY = re.compile(r"\?[^\s'\")]*")
_REFUSED_CONNECTION = re.compile(r"\[Errno -?\d+\]")
_CREDENTIALS = re.compile(r"//[^\s/@]+@")
_CAUSE = re.compile(r"\[Errno -?\d+\] [^'\")]+|too many \d+ error responses|[Rr]ead timed out|timed out")
"""What matters in the text that urllib3 gives for a request that failed after retries."""

_LONGEST_REASON = 200


def open_io(home: str = "") -> StacApiIO:
    """Return the reader of documents: it rides out throttling, server errors and broken answers, each for so long.

    Redirects are followed to the same host only; where `home` is given, an API, so is every link.
    """
    hide_queries()
    io = _OncePaged(timeout=TIMEOUT_SECONDS, max_retries=None)
    io.home = home
    io.session = _OwnHost()
    for scheme in ("http://", "https://"):
        io.session.mount(scheme, _Governed(max_retries=0))
    return io


class _OwnHost(requests.Session):
    """Is redirected within a host only."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where an answer redirects to, if at all; raises SourceError where that is another host."""
        target = super().get_redirect_target(resp)
        if target is not None:
            require_document(urljoin(resp.url, target), resp.url)
        return target


class _Governed(HTTPAdapter):
    """Sends every request by way of the governor; searches, too, which are POSTs that change nothing."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Return the answer, whole; the last one where none was better."""
        attempt = _Attempt(partial(super().send, request, *args, **options))
        governor = Governor(permits=_PERMITS, attempts=_ATTEMPTS, first_wait=_BACKOFF_SECONDS)
        try:
            return governor.send(attempt, public_text(request.url))
        except TransientSourceError:
            return attempt.outcome()


class _Attempt:
    """One request, sent as often as the governor likes; keeps what became of it last."""

    def __init__(self, send: Callable[[], requests.Response]) -> None:
        self._send = send
        self._refused_connections = self._cut = 0
        self._answer: requests.Response | None = None
        self._error: requests.RequestException | None = None

    def __call__(self) -> requests.Response:
        self._answer = self._error = None
        try:
            self._answer = answer = self._send()
            # Whether the body came as it was sent shows when it is read.
            is_cut = _is_cut(answer.content)
        except requests.RequestException as err:
            self._answer, self._error = None, err
            self._refused_connections += isinstance(err, requests.ConnectionError)
            if self._refused_connections >= _CONNECTION_ATTEMPTS and _REFUSED_CONNECTION.search(str(err)):
                raise
            raise AgainError(type(err).__name__) from None
        if answer.status_code in AGAIN - {507}:
            raise AgainError(
                f"HTTP {answer.status_code}", pause=pause_of(answer.status_code, answer.headers.get("Retry-After"))
            )
        self._cut += is_cut
        if is_cut and self._cut < _CUT_ATTEMPTS:
            raise AgainError("an answer was cut short")
        return answer

    def outcome(self) -> requests.Response:
        """Return the last answer, or raise the last error."""
        if self._answer is not None:
            return self._answer
        raise self._error or requests.ConnectionError("no answer")


def _is_cut(body: bytes) -> bool:
    """Tell whether a body begins as a JSON object and is none."""
    if not body.lstrip().startswith(b"{"):
        return False
    try:
        json.loads(body)
    except ValueError:
        return True
    return False


class _OncePaged(StacApiIO):
    """Follows each link to a next page once: a server that leads in a circle would be asked for ever."""

    home = ""

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        if self.home:
            require_document(str(source.href if isinstance(source, Link) else source), self.home)
        if isinstance(source, Link):
            page = json.dumps(source.to_dict(transform_href=False), sort_keys=True, default=str)
            followed = self.__dict__.setdefault("_followed", set())
            if page in followed:
                raise SourceError(f"{public_text(source.href)}: the pages of the answer lead in a circle")
            followed.add(page)
        return str(super().read_text(source, *args, **kwargs))


def read_document(href: str, io: StacApiIO, *, subject: str) -> dict[str, Any]:
    """Read one JSON object from a path or URL; `subject` names it in errors.

    Raises
    ------
    TransientSourceError
        The server is unreachable or throttles.
    SourceError
        It is not there, cannot be read, or is not a JSON object.
    """
    if not is_url(href):
        _require_plain_file(href, subject)
    try:
        document = json.loads(io.read_text(href))
    except APIError as err:
        raise source_error(err, subject) from err
    except OSError as err:
        raise SourceError(f"{subject} cannot be read: {err.strerror or err}") from err
    except (ValueError, RecursionError) as err:
        raise SourceError(f"{subject} is not JSON: {public_text(err)}") from err
    if not isinstance(document, dict):
        raise SourceError(f"{subject} is not a JSON object")
    return document


def _require_plain_file(path: str, subject: str) -> None:
    """Refuse what never ends, such as a device, and what no document is as long as."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as err:
        raise SourceError(f"{subject} cannot be read: {getattr(err, 'strerror', None) or err}") from err
    if not stat.S_ISREG(status.st_mode) or status.st_size > LONGEST_DOCUMENT:
        raise SourceError(f"{subject} cannot be read: it is no file of at most {LONGEST_DOCUMENT} bytes")


def source_error(err: APIError, subject: str) -> SourceError:
    """Return the package's error for a failed request: transient for 429, 5xx and when no answer came."""
    if isinstance(err.__context__, SourceError):
        return err.__context__
    # pystac-client leaves the attribute out when there was no response.
    status: int | None = getattr(err, "status_code", None)
    if status is None:
        cause = _CAUSE.search(str(err))
        return TransientSourceError(f"{subject}: no answer: {public_text(cause[0] if cause else err)}")
    problem = f"{subject}: HTTP {status}"
    if status == 429 or status >= 500:
        return TransientSourceError(problem)
    reason = public_text(err)
    return SourceError(f"{problem}: {reason}" if reason else problem)


def missing_collection(root: str, collection: str, there: Iterable[str]) -> SourceError:
    """Return the error for a collection that a catalogue does not have, naming those that it has."""
    listed = ", ".join(sorted(there))
    return SourceError(f"collection {collection} is not in {public_text(root)}: it has {listed or 'no collection'}")


def public_text(text: object) -> str:
    """Return one short line of `text` without URL queries and credentials: that is where secrets are."""
    line = " ".join(str(text).split())
    return _CREDENTIALS.sub("//", _QUERY.sub("", line))[:_LONGEST_REASON]


def is_url(href: str) -> bool:
    """Return True for an HTTP or HTTPS address; what only begins like one is none."""
    try:
        return urlsplit(href).scheme in ("http", "https")
    except ValueError:
        return False
