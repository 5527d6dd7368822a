"""Sending one request: with a permit, in time, and again while that can help."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from pipeline.errors import TransientSourceError
from pipeline.sources.permits import Permits

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LONGEST_WAIT_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 300.0
"""A server that asks for more is asked again sooner; the attempts are counted all the same."""
THROTTLED_PAUSE_SECONDS = 1.0
"""Pause of all workers when a server throttles and does not say for how long."""
AGAIN = frozenset({408, 429, 500, 502, 503, 504, 507, 509})
"""HTTP statuses that pass."""
REFUSED = frozenset({401, 403})
"""HTTP statuses of a signature that has run out, among others."""


class AgainError(Exception):
    """An attempt failed in a way that the next one may not."""

    def __init__(self, problem: str, *, pause: float = 0.0) -> None:
        """Say what went wrong, without secrets, and for how long nobody should ask [s]."""
        super().__init__(problem)
        self.pause = pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Governor:
    """Sends requests to one provider; a permit is given back while it waits between attempts."""

    permits: Permits
    attempts: int
    """How often one request is sent before it is given up."""
    first_wait: float
    """Upper end of the first wait [s]; it doubles with each attempt."""
    note: Callable[[str], None] | None = None
    """Called with the problem of each attempt that fails."""

    def send(self, request: Callable[[], Answer], failure: str) -> Answer:
        """Call `request` until it no longer raises `AgainError`.

        Raises
        ------
        TransientSourceError
            It did so in every attempt; the message begins with `failure`.
        """
        for attempt in range(self.attempts):
            if attempt:
                # Full jitter: clients that were turned away together must not come back together.
                time.sleep(random.uniform(0.0, self._longest_wait(attempt)))  # noqa: S311
            try:
                with self.permits.hold():
                    return request()
            except AgainError as err:
                problem = str(err)
                logger.debug("%s: attempt %d: %s", failure, attempt + 1, problem)
                if self.note is not None:
                    self.note(problem)
                if err.pause:
                    self.permits.pause(err.pause)
        # Cut off from its cause: a printed traceback would show the request, signature and all.
        raise TransientSourceError(f"{failure}: {problem}") from None

    def _longest_wait(self, attempt: int) -> float:
        return float(min(LONGEST_WAIT_SECONDS, self.first_wait * 2.0 ** (attempt - 1)))


def pause_of(status: int, retry_after: str | None) -> float:
    """Return for how long a server wants nobody to ask [s]: what `Retry-After` says, else a second where it throttles.

    `Retry-After` is a number of seconds or a date (RFC 9110, section 10.2.3).
    """
    asked = _seconds(retry_after or "")
    if asked is None:
        return THROTTLED_PAUSE_SECONDS if status == 429 else 0.0
    return min(max(0.0, asked), LONGEST_PAUSE_SECONDS)


def _seconds(text: str) -> float | None:
    if text.strip().isdigit():
        return float(text)
    try:
        return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
