"""Leave to have a request in flight: the limit that every thread, and every worker process, shares."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable


class Permits(Protocol):
    """A bounded number of permits; small enough to be sent to workers, wherever they are."""

    @property
    def processes(self) -> int:
        """Return how many processes share them."""

    def hold(self) -> AbstractContextManager[None]:
        """Wait for a permit, and give it back on leaving."""


@dataclass(frozen=True, slots=True)
class ProcessPermits:
    """Permits of one process: equal names share them."""

    name: str
    count: int

    @property
    def processes(self) -> int:
        """Return 1."""
        return 1

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Wait for a permit, and give it back on leaving."""
        with _semaphore(self.name, self.count):
            yield


@runtime_checkable
class LimitedSource(Protocol):
    """A source that may only be asked so much at once."""

    @property
    def name(self) -> str:
        """Name of the limit."""

    @property
    def most_at_once(self) -> int:
        """How many requests may be in flight, over all workers."""

    def with_permits(self, permits: Permits) -> Any:
        """Return the source with permits that are shared by more than this process."""


@lru_cache(maxsize=64)
def _semaphore(name: str, count: int) -> threading.BoundedSemaphore:  # noqa: ARG001
    return threading.BoundedSemaphore(count)
