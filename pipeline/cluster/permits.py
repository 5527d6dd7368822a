"""Permits that the workers of a Dask cluster share, such as requests in flight at a provider.

The scheduler divides each limit among the worker processes that ask (`pipeline.sources.shares`); a worker tells it
twice a second what it has in flight and wants, and keeps to the share it is given. So a request costs no message, a
worker that dies frees its share, and a provider's wish for a pause reaches everybody within half a second.
"""

import logging
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from distributed import Client, Scheduler, SchedulerPlugin, Worker, WorkerPlugin
from distributed.utils import sync

from pipeline.sources.permits import Gate, Limit
from pipeline.sources.shares import Report, Share, Shares

logger = logging.getLogger(__name__)

RENEW_SECONDS = 0.5
SHORT_SECONDS = 0.1
"""How soon a worker asks again that has no permit at all, or more in flight than its share."""
IDLE_SECONDS = 5.0
"""A worker that asked nothing for so long gives its share back."""
LOST_SECONDS = 60.0
"""After so long without an answer of the scheduler nobody waits for permits any more."""
_ANSWER_SECONDS = 30.0
_NOTHING = Share(0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ClusterPermits:
    """Permits that the scheduler divides."""

    limit: Limit
    processes: int
    """How many workers share them."""
    address: str
    """The scheduler's."""

    def hold(self) -> AbstractContextManager[None]:
        """See `Permits.hold`; for any thread of a worker."""
        return _shared_gate(self.limit, self.address).hold()

    def pause(self, seconds: float) -> None:
        """See `Permits.pause`; reaches the other workers when they next renew their shares."""
        _shared_gate(self.limit, self.address).pause(seconds)


def share_permits(client: Client, limit: Limit) -> ClusterPermits:
    """Return permits of `limit` that all workers of the cluster share, also those that come later."""
    client.register_plugin(_DividePermits())
    client.register_plugin(_KnowWorker())
    workers = max(1, len(client.nthreads()))
    return ClusterPermits(limit, workers, str(getattr(client.scheduler, "address", "")))


class _DividePermits(SchedulerPlugin):
    """Keeps the shares of every limit, on the scheduler."""

    name = "sen12-divide-permits"
    idempotent = True

    def __init__(self) -> None:
        self._shares: dict[str, Shares] = {}

    async def start(self, scheduler: Scheduler) -> None:
        scheduler.handlers["sen12_renew_permits"] = self.renew

    def renew(self, *, limit: dict[str, Any], member: str, report: list[int] | None, pause: float) -> list[float]:
        now = time.monotonic()
        shares = self._shares.setdefault(limit["name"], Shares(limit["at_once"], limit["per_second"]))
        if pause:
            shares.pause(pause, now)
        if report is None:
            shares.leave(member)
            return list(_NOTHING)
        return list(shares.renew(member, Report(*report), now))

    def remove_worker(self, scheduler: Scheduler, worker: str, **kwargs: Any) -> None:  # noqa: ARG002
        for shares in self._shares.values():
            shares.leave(worker)


_workers: list[Worker] = []


class _KnowWorker(WorkerPlugin):
    """Lets every thread of a worker find the scheduler: Dask itself tells only the thread that runs the task."""

    name = "sen12-permits"

    def setup(self, worker: Worker) -> None:
        _workers[:] = [worker]


class _SharedGate(Gate):
    """A gate whose share the scheduler sets, renewed by a thread while there is anything to ask."""

    def __init__(self, limit: Limit, worker: Worker) -> None:
        super().__init__(_NOTHING)
        self._limit, self._worker = limit, worker
        self._asked_pause = 0.0
        self._asked = self._answered = 0.0
        self._urgent = threading.Event()
        self._starting = threading.Lock()
        self._is_renewing = False

    def hold(self) -> AbstractContextManager[None]:
        with self._starting:
            self._asked = time.monotonic()
            if not self._is_renewing:
                self._is_renewing, self._answered = True, self._asked
                self.open()
                threading.Thread(target=self._renew_while_busy, name="sen12-permits", daemon=True).start()
        return super().hold()

    def pause(self, seconds: float) -> None:
        super().pause(seconds)
        self._asked_pause = max(self._asked_pause, seconds)
        self._urgent.set()

    def _renew_while_busy(self) -> None:
        while self._is_renewing:
            self._renew(Report(self.in_use, self.at_once, self.take_peak()))
            is_moving = self.in_use > self.at_once or (self.waiting and not self.at_once)
            self._urgent.wait(SHORT_SECONDS if is_moving else RENEW_SECONDS)
            self._urgent.clear()
            # Whoever comes meanwhile waits for the lock, and starts another thread.
            with self._starting:
                self._stop_if_idle()

    def _stop_if_idle(self) -> None:
        now = time.monotonic()
        if self.in_use + self.waiting:
            self._asked = now
        if now - self._answered > LOST_SECONDS:
            self._is_renewing = False
            self.close(f"{self._limit.name}: nobody answers who shares its permits among workers")
        elif now - self._asked > IDLE_SECONDS:
            self._is_renewing = False
            self.allow(_NOTHING)
            self._renew(None)

    def _renew(self, report: Report | None) -> None:
        """Tell the scheduler what is in use, or that nothing more will be, and go by its answer."""
        pause, self._asked_pause = self._asked_pause, 0.0
        limit = {"name": self._limit.name, "at_once": self._limit.at_once, "per_second": self._limit.per_second}
        try:
            share = sync(
                self._worker.loop,
                self._worker.scheduler.sen12_renew_permits,
                limit=limit,
                member=self._worker.address,
                report=report and list(report),
                pause=pause,
                callback_timeout=_ANSWER_SECONDS,
            )
        except (OSError, TimeoutError, RuntimeError, UnboundLocalError) as err:  # The last: the loop ended meanwhile.
            logger.debug("%s: permits could not be renewed: %s", self._limit.name, err)
            return
        self._answered = time.monotonic()
        if report is not None:
            self.allow(Share(int(share[0]), *share[1:]))


@lru_cache(maxsize=64)
def _shared_gate(limit: Limit, address: str) -> _SharedGate:  # noqa: ARG001
    (worker,) = _workers
    return _SharedGate(limit, worker)
