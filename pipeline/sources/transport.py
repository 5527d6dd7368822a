"""Fetching STAC documents from disk or HTTP, and saying what went wrong in the package's own words."""

import json
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pystac import Link
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from urllib3 import Retry

from pipeline.errors import SourceError, TransientSourceError

TIMEOUT_SECONDS = 30.0
"""Longest wait for a connection or for the next byte."""

LONGEST_DOCUMENT = 256 << 20
"""Bytes of one document on disk."""

_RETRIES = 5
_CONNECTION_RETRIES = 2
_BACKOFF_SECONDS = 0.5
_RETRIED = (429, 500, 502, 503, 504)
_QUERY = re.compile(r"\?[^\s'\")]*")
_CREDENTIALS = re.compile(r"//[^\s/@]+@")
_CAUSE = re.compile(r"\[Errno -?\d+\] [^'\")]+|too many \d+ error responses|[Rr]ead timed out|timed out")
"""What matters in the text that urllib3 gives for a request that failed after retries."""

_LONGEST_REASON = 200


def open_io() -> StacApiIO:
    """Return the reader of documents: it retries throttling and server errors, and does not wait for ever."""
    # `allowed_methods=None`: a search is a POST, which urllib3 does not retry by itself.
    retry = Retry(
        total=_RETRIES,
        connect=_CONNECTION_RETRIES,
        backoff_factor=_BACKOFF_SECONDS,
        status_forcelist=_RETRIED,
        allowed_methods=None,
    )
    return _OncePaged(max_retries=retry, timeout=TIMEOUT_SECONDS)


class _OncePaged(StacApiIO):
    """Follows each link to a next page once: a server that leads in a circle would be asked for ever."""

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
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
    """Return True for an HTTP or HTTPS address."""
    return urlsplit(href).scheme in ("http", "https")
