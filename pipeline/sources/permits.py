"""Leave to ask a provider: so many requests at once, so many a second, none while it wants a pause.

Every thread, and every worker process, shares one provider's permits.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

from pipeline.errors import TransientSourceError
from pipeline.sources.shares import Share


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much a provider may be asked."""

    name: str
    """Equal names are one limit."""
    at_once: int
    """Requests in flight, over all workers."""
    per_second: float = math.inf
    """Requests started a second, over all workers."""


class Permits(Protocol):
    """Permits of one limit; small enough to be sent to workers, wherever they are."""

    @property
    def processes(self) -> int:
        """Return how many processes share them."""

    def hold(self) -> AbstractContextManager[None]:
        """Wait until a request may start; on leaving, another one may."""

    def pause(self, seconds: float) -> None:
        """Let nobody start a request for so long: the provider asked for it."""


class Gate:
    """What the threads of this process may do now."""

    def __init__(self, share: Share) -> None:
        self.in_use = 0
        self.waiting = 0
        self._peak = 0
        self._share = share
        self._next = 0.0
        self._paused_until = 0.0
        self._problem = ""
        self._turn = threading.Condition()

    def hold(self) -> AbstractContextManager[None]:
        """Wait until a request may start; on leaving, another one may."""
        return self._held()

    @contextmanager
    def _held(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            with self._turn:
                self.in_use -= 1
                self._turn.notify()

    def allow(self, share: Share) -> None:
        """Go by `share` from now on."""
        with self._turn:
            self._share = share
            self._paused_until = max(self._paused_until, time.monotonic() + share.pause)
            self._turn.notify_all()

    def pause(self, seconds: float) -> None:
        """Let no thread start a request for so long."""
        with self._turn:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def close(self, problem: str) -> None:
        """Let nobody wait any longer; raises TransientSourceError with `problem` for who does, until opened again."""
        with self._turn:
            self._problem = problem
            self._turn.notify_all()

    def open(self) -> None:
        """Let threads wait again."""
        with self._turn:
            self._problem = ""

    def take_peak(self) -> int:
        """Return the most requests that were in flight and waiting since this was last asked."""
        with self._turn:
            peak, self._peak = self._peak, self.in_use + self.waiting
            return peak

    @property
    def at_once(self) -> int:
        """How many requests may be in flight."""
        return self._share.at_once

    def _enter(self) -> None:
        with self._turn:
            self.waiting += 1
            self._peak = max(self._peak, self.in_use + self.waiting)
            try:
                while (wait := self._wait_seconds()) > 0.0:
                    self._turn.wait(None if math.isinf(wait) else wait)
            finally:
                self.waiting -= 1
            self.in_use += 1
            if not math.isinf(self._share.per_second):
                self._next = max(self._next, time.monotonic()) + 1.0 / self._share.per_second

    def _wait_seconds(self) -> float:
        if self._problem:
            raise TransientSourceError(self._problem)
        if self.in_use >= self._share.at_once:
            return math.inf
        return max(self._next, self._paused_until) - time.monotonic()


@dataclass(frozen=True, slots=True)
class ProcessPermits:
    """Permits of one process: equal limits share them."""

    limit: Limit

    @property
    def processes(self) -> int:
        """Return 1."""
        return 1

    def hold(self) -> AbstractContextManager[None]:
        """See `Permits.hold`."""
        return _gate(self.limit).hold()

    def pause(self, seconds: float) -> None:
        """See `Permits.pause`."""
        _gate(self.limit).pause(seconds)


@runtime_checkable
class LimitedSource(Protocol):
    """A source that may only be asked so much."""

    @property
    def limit(self) -> Limit | None:
        """How much, over all workers; None for files on disk."""

    @property
    def requests_per_thread(self) -> bool:
        """Tell whether a thread has one request in flight, so that only more threads can ask more."""

    def with_permits(self, permits: Permits) -> Any:
        """Return the source with permits that are shared by more than this process."""


@lru_cache(maxsize=64)
def _gate(limit: Limit) -> Gate:
    return Gate(Share(limit.at_once, limit.per_second, 0.0))
