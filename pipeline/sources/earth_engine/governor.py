"""Every request goes through here: so many at once, so many a second, repeated with back-off, stopped in time."""

import logging
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import ee
import requests
from google.auth import exceptions as auth_errors

from pipeline.errors import AllowanceError, PipelineError, RecipeError, SourceError, TransientSourceError
from pipeline.sources.earth_engine import usage
from pipeline.sources.earth_engine.session import Session
from pipeline.sources.permits import Permits
from pipeline.sources.transport import public_text

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CONCURRENT_VARIABLE = "EE_MAX_REQUESTS"
MOST_CONCURRENT = 40
"""Earth Engine's quota of requests in flight, for each project and endpoint."""

THROTTLED_PAUSE_SECONDS = 0.25
"""Pause of all workers when the project throttles; a longer one would idle more than it helps."""
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 32.0
_FAILURES = (
    ee.EEException, ConnectionError, TimeoutError, requests.RequestException, auth_errors.GoogleAuthError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be asked of a project at once; Earth Engine allows `MOST_CONCURRENT` and 100 a second."""

    concurrent: int = 32
    """Requests in flight, over all workers."""
    per_second: float = 80.0
    """Requests started a second, over all workers."""
    attempts: int = 8
    """How often one request is sent before its stage gives up."""

    @classmethod
    def from_environment(cls) -> "Limits":
        """Return the limits, with EE_MAX_REQUESTS in flight where it is set.

        Raises
        ------
        RecipeError
            EE_MAX_REQUESTS is not a number from 1 to 40.
        """
        text = os.environ.get(CONCURRENT_VARIABLE, "").strip()
        if not text:
            return cls()
        if not text.isdigit() or not 1 <= int(text) <= MOST_CONCURRENT:
            raise RecipeError(f"{CONCURRENT_VARIABLE}={text}: give a number from 1 to {MOST_CONCURRENT}")
        return cls(concurrent=int(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Governor:
    """Sends requests within the limits; holds settings only, so that it can be sent to workers."""

    session: Session
    limits: Limits
    permits: Permits

    def send(self, request: Callable[[], Answer], *, tag: str, subject: str) -> Answer:
        """Send `request`, again while that can help.

        Parameters
        ----------
        request
            One call of the client.
        tag
            Stage that the request is counted for.
        subject
            What is asked for, for error messages.

        Raises
        ------
        AllowanceError
            The project's compute allowance is used up.
        TransientSourceError
            Earth Engine could not be reached, or throttled, in every attempt.
        RecipeError
            It does not accept the credentials.
        SourceError
            It refuses the request.
        """
        self.session.connect()
        for attempt in range(self.limits.attempts):
            if attempt:
                # Full jitter: clients that were turned away together must not come back together.
                time.sleep(random.uniform(0.0, _longest_wait(attempt)))  # noqa: S311
            if usage.is_used_up():
                raise _used_up("Earth Engine has restricted the project")
            try:
                return self._send_once(request, tag)
            except _FAILURES as err:
                if usage.fault_of(err) != "transient":
                    # Causes are cut off: a printed traceback would show the request with its headers.
                    raise _final_error(err, subject) from None
                problem = _problem(err)
                usage.count(tag, failures=1)
                logger.debug("%s: attempt %d failed: %s", subject, attempt + 1, problem)
                if usage.status_of(err) == 429:
                    self.permits.pause(THROTTLED_PAUSE_SECONDS)
        raise TransientSourceError(f"{subject}: {problem}; given up after {self.limits.attempts} attempts")

    def _send_once(self, request: Callable[[], Answer], tag: str) -> Answer:
        with self.permits.hold():
            usage.count(tag, requests=1)
            return request()


def _longest_wait(attempt: int) -> float:
    return float(min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1)))


def _problem(err: Exception) -> str:
    status = usage.status_of(err)
    return f"HTTP {status}: {public_text(err)}" if status else f"no answer: {public_text(err)}"


def _final_error(err: Exception, subject: str) -> PipelineError:
    if usage.fault_of(err) == "allowance":
        usage.note_used_up()
        return _used_up(public_text(err))
    if isinstance(err, auth_errors.GoogleAuthError) or usage.status_of(err) in (401, 403):
        return RecipeError(f"Earth Engine refuses access: {public_text(err)}")
    return SourceError(f"{subject}: {public_text(err)}")


def _used_up(reason: str) -> AllowanceError:
    return AllowanceError(
        f"the Earth Engine compute allowance is used up ({reason}); what is done is kept: "
        "the same command with --resume goes on when there is allowance again"
    )
