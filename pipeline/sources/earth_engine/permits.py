"""Leave to have a request in flight: the limit that every thread, and every worker process, shares."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol


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


@lru_cache(maxsize=64)
def _semaphore(name: str, count: int) -> threading.BoundedSemaphore:  # noqa: ARG001
    return threading.BoundedSemaphore(count)
