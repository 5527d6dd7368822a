"""What requests cost and how they end: counts by stage, the quota that answers report, and what an error means."""

import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import ee
import requests
from google.auth import exceptions as auth_errors

Fault = Literal["transient", "allowance", "refused"]

_QUOTA_HEADER = "x-earth-engine-quota-status"
_RESTRICTED = "parallelism_restricted=true"
_ALLOWANCE = re.compile(r"EECU|noncommercial|non-commercial|compute quota|monthly (?:compute )?quota", re.IGNORECASE)
"""Words of the allowance in a refusal; plain rate and concurrency limits use none of them."""
REST_SECONDS = 600.0
"""How long a process asks nothing after the allowance was used up."""
_BUSY = re.compile(r"too many|rate limit|rateLimitExceeded|userRateLimit|timed out|capacity", re.IGNORECASE)


@dataclass(slots=True)
class Tally:
    """What one stage has used in this process."""

    requests: int = 0
    """HTTP requests, those that failed included."""
    failures: int = 0
    """Requests that had to be repeated."""
    bytes: int = 0
    """Decoded size of the pixels that came [bytes]."""


_lock = threading.Lock()
_tallies: defaultdict[str, Tally] = defaultdict(Tally)
_used_up_at: list[float] = []


def count(tag: str, *, requests: int = 0, failures: int = 0, size: int = 0) -> None:
    """Add to the tally of a stage."""
    with _lock:
        tally = _tallies[tag]
        tally.requests += requests
        tally.failures += failures
        tally.bytes += size


def tallies() -> dict[str, Tally]:
    """Return a copy of the tally of every stage, by workload tag."""
    with _lock:
        return {
            tag: Tally(requests=t.requests, failures=t.failures, bytes=t.bytes) for tag, t in sorted(_tallies.items())
        }


def forget_tallies() -> None:
    """Count from zero."""
    with _lock:
        _tallies.clear()


def watch_quota(response: requests.Response, *_: Any, **__: Any) -> None:
    """Note when an answer says that the project's monthly compute allowance is used up."""
    if _RESTRICTED in response.headers.get(_QUOTA_HEADER, ""):
        note_used_up()


def note_used_up() -> None:
    """Remember that the allowance is used up, so that other threads of this process do not ask any more."""
    with _lock:
        _used_up_at[:] = [time.monotonic()]


def is_used_up() -> bool:
    """Tell whether Earth Engine has said within `REST_SECONDS` that the allowance is used up."""
    with _lock:
        return bool(_used_up_at) and time.monotonic() - _used_up_at[0] < REST_SECONDS


def forget_quota() -> None:
    """Forget what answers said of the allowance."""
    with _lock:
        _used_up_at.clear()


def status_of(err: BaseException) -> int | None:
    """Return the HTTP status behind an error of the client, which keeps it in no other place."""
    response = getattr(err.__context__, "resp", None)
    status = getattr(response, "status", None)
    return int(status) if status is not None else None


def fault_of(err: Exception) -> Fault:
    """Say what an error of the client means: send the request again, stop the stage, or pass the error on."""
    if isinstance(err, auth_errors.TransportError | TimeoutError | ConnectionError | requests.RequestException):
        return "transient"
    if not isinstance(err, ee.EEException):
        return "refused"
    status, text = status_of(err), str(err)
    if _ALLOWANCE.search(text) and status in (None, 403, 429):
        return "allowance"
    is_busy = status == 403 and _BUSY.search(text)
    is_failing = status is not None and status >= 500 and status != HTTPStatus.NOT_IMPLEMENTED
    return "transient" if status == HTTPStatus.TOO_MANY_REQUESTS or is_busy or is_failing else "refused"
