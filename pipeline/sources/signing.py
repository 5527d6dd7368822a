"""Making a reference openable: Planetary Computer hands out short-lived tokens for its storage accounts."""

import threading
from urllib.parse import urlsplit

import planetary_computer
import requests
from planetary_computer.sas import get_token
from planetary_computer.utils import parse_blob_url

from pipeline.errors import SourceError, TransientSourceError

_BLOB_HOST = ".blob.core.windows.net"
_PUBLIC_HOST = "ai4edatasetspublicassets.blob.core.windows.net"
_RETRIES = 4
_one_at_a_time = threading.Lock()


def keep_href(href: str) -> str:
    """Return `href` as it is: its provider needs no signature."""
    return href


def sign_planetary_computer(href: str) -> str:
    """Return `href` with a token for its container; tokens are kept per process until they run out.

    Raises
    ------
    TransientSourceError
        The token service is unreachable, throttles or fails.
    SourceError
        It refuses the container.
    """
    parts = urlsplit(href)
    host = parts.hostname or ""
    if not host.endswith(_BLOB_HOST) or host == _PUBLIC_HOST:
        return href
    account, container = parse_blob_url(parts)
    try:
        # Without the lock every thread of a worker asks for the same token at once.
        with _one_at_a_time:
            get_token(account, container, retry_total=_RETRIES)
        return str(planetary_computer.sign(href))
    except requests.RequestException as err:
        status = err.response.status_code if err.response is not None else None
        problem = f"no token for {account}/{container}: {f'HTTP {status}' if status else 'no answer'}"
        if status is not None and status < 500 and status != 429:
            raise SourceError(problem) from err
        raise TransientSourceError(problem) from err
