"""Making a reference openable: Planetary Computer hands out short-lived tokens for its storage accounts."""

import json
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, urlsplit

import requests
from planetary_computer.settings import Settings

from pipeline.errors import SourceError
from pipeline.sources.governor import AGAIN, AgainError, Governor, pause_of
from pipeline.sources.permits import Limit, ProcessPermits

_BLOB_HOST = ".blob.core.windows.net"
_PUBLIC_HOST = "ai4edatasetspublicassets.blob.core.windows.net"
_TIMEOUT_SECONDS = 30.0
_FIRST_WAIT_SECONDS = 0.5
_ATTEMPTS = 6
_EARLY_SECONDS = 60.0
"""A token is renewed so long before it runs out, or after two thirds of its life where that is later."""
_YOUNG = 0.1
"""A token that has lived less than this share of its life is not why a server refuses it."""
_PERMITS = ProcessPermits(Limit(name="tokens", at_once=4, per_second=20.0))


class Signature(Protocol):
    """How a provider's references are signed; settings only, so that it can be sent to workers."""

    def sign(self, href: str) -> str:
        """Return `href` ready to be opened now."""

    def renew(self, href: str, refused: str) -> bool:
        """Forget the signature of `refused`, which a server did not take; False where there is no other."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A provider whose files need no signature."""

    def sign(self, href: str) -> str:
        """Return `href` as it is."""
        return href

    def renew(self, href: str, refused: str) -> bool:  # noqa: ARG002
        """Return False."""
        return False


@dataclass(frozen=True, slots=True)
class TokenSignature:
    """A provider whose service gives a token for each account and container; kept per process until they run out."""

    service: str = ""
    """URL before account and container; empty takes Planetary Computer's, or what PC_SDK_SAS_URL says."""
    hosts: str = _BLOB_HOST
    """How the host names end whose files need a token."""

    def sign(self, href: str) -> str:
        """Return `href` with a token for its container.

        Raises
        ------
        TransientSourceError
            The token service is unreachable, throttles or fails.
        SourceError
            It refuses the container.
        """
        url = self._token_url(href)
        if not url:
            return href
        # Without the lock every thread of a worker asks for the same token at once.
        with _one_at_a_time:
            token = _tokens.get(url)
            if token is None or time.time() >= token.renewal:
                token = _tokens[url] = _fetch(url)
        return f"{href}?{token.text}"

    def renew(self, href: str, refused: str) -> bool:
        """Forget the token in `refused`, unless there is a newer one already, or it is too young to be the reason."""
        url = self._token_url(href)
        with _one_at_a_time:
            token = _tokens.get(url)
            if token is not None and refused.endswith(token.text):
                if time.time() < token.youth:
                    return False
                del _tokens[url]
        return bool(url)

    def _token_url(self, href: str) -> str:
        parts = urlsplit(href)
        host = parts.hostname or ""
        if not host.endswith(self.hosts) or host == _PUBLIC_HOST or parts.query:
            return ""
        return f"{self.service or Settings.get().sas_url}/{_container(parts)}"


def _container(parts: SplitResult) -> str:
    return f"{(parts.hostname or '').partition('.')[0]}/{parts.path.lstrip('/').partition('/')[0]}"


class _Token(NamedTuple):
    text: str
    youth: float
    """Until when it is young, as `time.time` [s]."""
    renewal: float
    """From when on it is renewed, as `time.time` [s]."""


_tokens: dict[str, _Token] = {}
_one_at_a_time = threading.Lock()


def forget_tokens() -> None:
    """Forget every token of this process."""
    with _one_at_a_time:
        _tokens.clear()


def _fetch(url: str) -> _Token:
    subject = "/".join(url.rsplit("/", 2)[1:])
    governor = Governor(permits=_PERMITS, attempts=_ATTEMPTS, first_wait=_FIRST_WAIT_SECONDS)
    return governor.send(partial(_ask, url, subject), f"no token for {subject}")


def _ask(url: str, subject: str) -> _Token:
    key = Settings.get().subscription_key
    started = time.time()
    try:
        response = requests.get(
            url,
            headers={"Ocp-Apim-Subscription-Key": key} if key else None,
            timeout=_TIMEOUT_SECONDS,
            # The key is for this host.
            allow_redirects=False,
        )
        status = response.status_code
        if status in AGAIN:
            raise AgainError(f"HTTP {status}", pause=pause_of(status, response.headers.get("Retry-After")))
        if status != HTTPStatus.OK:
            raise SourceError(f"no token for {subject}: HTTP {status}")
        answer = json.loads(response.content)
        end = datetime.fromisoformat(answer["msft:expiry"]).timestamp()
        life = max(0.0, end - started)
        return _Token(str(answer["token"]), started + _YOUNG * life, end - min(_EARLY_SECONDS, life / 3))
    except requests.RequestException:
        # Cut off: the error holds the request, headers and all.
        raise AgainError("no answer") from None
    except (ValueError, KeyError, TypeError):
        raise AgainError("an answer that is no token") from None
