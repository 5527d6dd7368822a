"""Runners: a function over items, in threads of this process or on the workers of a Dask cluster."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from distributed import Client, KilledWorker
from distributed.client import Future as DaskFuture
from distributed.comm.core import CommClosedError

from pipeline.cluster.packing import call_packed, pack, pack_function, unpack
from pipeline.cluster.permits import share_permits
from pipeline.errors import PipelineError
from pipeline.sources.permits import Limit, LimitedSource, Permits, ProcessPermits

Item = TypeVar("Item")
Result = TypeVar("Result")
AnySource = TypeVar("AnySource")

Progress = Callable[[int, int], None]
"""Called with how many units of a stage are done, and how many there are."""
Lost = Callable[[Item, str], Result]
"""Makes the result of an item that killed every worker it was given to, from the item and one line that says so."""

BATCH_ITEMS = 8
"""Items that travel together at most."""
BATCH_SECONDS = 2.0
"""How long they may take together, by what items took so far."""
POLL_SECONDS = 2.0
"""How often the cluster is looked at while nothing comes back."""
WORKERLESS_SECONDS = 120.0
"""How long a cluster may be without any worker before its work is given up."""


class Runner(Protocol):
    """Runs a function over items and yields results as they come, in any order."""

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        threads: int,
        lost: Lost[Item, Result] | None = None,
    ) -> Iterator[Result]:
        """Yield `function(item)` for every item.

        Parameters
        ----------
        function, items
            What to do, and on what. On a cluster, both travel: the function lies in an installed module.
        threads
            How many run at once in this process; a cluster has threads of its own.
        lost
            What to yield for an item whose workers died one after the other; None raises PipelineError instead.

        Raises
        ------
        PipelineError
            The scheduler, or every worker, is lost.
        """

    def permits(self, limit: Limit) -> Permits:
        """Return permits of `limit` that every worker of this runner shares."""


def limited(source: AnySource, runner: Runner) -> AnySource:
    """Return `source` with its limits shared by all workers of `runner`."""
    if not isinstance(source, LimitedSource) or source.limit is None:
        return source
    shared: AnySource = source.with_permits(runner.permits(source.limit))
    return shared


@dataclass(frozen=True, slots=True)
class LocalRunner:
    """Runs in threads of this process."""

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        threads: int,
        lost: Lost[Item, Result] | None = None,  # noqa: ARG002
    ) -> Iterator[Result]:
        """See `Runner.run`; at most two items a thread are in flight."""
        # Whoever logs from a thread (a Prefect run, say) is known by the context that the thread carries.
        queue, context = iter(items), copy_context()
        with ThreadPoolExecutor(max_workers=threads) as pool:

            def submit(count: int) -> set[Future[Result]]:
                return {pool.submit(context.copy().run, function, item) for item in islice(queue, count)}

            pending = submit(2 * threads)
            try:
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    pending |= submit(len(done))
                    for future in done:
                        yield future.result()
            finally:
                for future in pending:
                    future.cancel()

    def permits(self, limit: Limit) -> Permits:
        """See `Runner.permits`."""
        return ProcessPermits(limit)


@dataclass(frozen=True, slots=True)
class DaskRunner:
    """Runs on the workers of a Dask cluster."""

    client: Client

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        threads: int,  # noqa: ARG002
        lost: Lost[Item, Result] | None = None,
    ) -> Iterator[Result]:
        """See `Runner.run`; two batches a worker thread are in flight, also when workers come and go.

        A batch is one item, and of short ones as many as take some seconds. Those of a batch that killed its workers
        are tried alone: only one that kills alone is given up.
        """
        flight = _Flight(self.client, pack_function(function), items)
        flight.submit()
        try:
            while flight.batches:
                future = flight.next()
                batch = flight.batches.pop(future)
                results = self._results(future, batch, flight, lost)
                flight.submit()
                yield from results
        finally:
            flight.cancel()

    def permits(self, limit: Limit) -> Permits:
        """See `Runner.permits`."""
        return share_permits(self.client, limit)

    def _results(
        self, future: DaskFuture[Any], batch: Sequence[Item], flight: "_Flight", lost: Lost[Item, Result] | None
    ) -> list[Result]:
        try:
            seconds, results = unpack(future.result())
        except KilledWorker as err:
            if len(batch) > 1:
                flight.alone.extend(batch)
                return []
            problem = (
                f"{err.allowed_failures + 1} workers died one after the other while they ran it, most likely for want "
                "of memory: give workers more memory, or lower samples_per_shard"
            )
            if lost is None:
                raise PipelineError(problem) from err
            return [lost(batch[0], problem)]
        except (CancelledError, CommClosedError) as err:
            raise _lost_scheduler(self.client) from err
        flight.tell(len(batch), seconds)
        found: list[Result] = results
        return found


class _Flight:
    """What a run has on the cluster at a moment."""

    def __init__(self, client: Client, function: bytes, items: Iterable[Any]) -> None:
        self.client = client
        self.batches: dict[DaskFuture[Any], Sequence[Any]] = {}
        self.alone: deque[Any] = deque()
        """Items that go next, each in a batch of its own."""
        self._function, self._queue = function, iter(items)
        self._count, self._seconds = 0, 0.0
        self._done: SimpleQueue[DaskFuture[Any]] = SimpleQueue()
        self._slots = 0
        self._counted = self._seen_worker = time.monotonic() - POLL_SECONDS

    def submit(self) -> None:
        """Send as many batches as the workers' threads can take now."""
        for _ in range(2 * self._count_slots() - len(self.batches)):
            batch = [self.alone.popleft()] if self.alone else list(islice(self._queue, self._size()))
            if not batch:
                return
            future = self.client.submit(call_packed, self._function, pack(batch), pure=False)
            self.batches[future] = batch
            future.add_done_callback(self._done.put)

    def tell(self, count: int, seconds: float) -> None:
        """Say what a batch took."""
        self._count += count
        self._seconds += seconds

    def _size(self) -> int:
        return max(1, min(BATCH_ITEMS, int(BATCH_SECONDS * self._count / max(self._seconds, 1e-6))))

    def next(self) -> DaskFuture[Any]:
        """Return a future that is done; raises PipelineError when scheduler or workers are lost."""
        while True:
            try:
                return self._done.get(timeout=POLL_SECONDS)
            except Empty:
                self._count_slots()
                if time.monotonic() - self._seen_worker > WORKERLESS_SECONDS:
                    raise PipelineError(
                        f"the Dask cluster at {_address(self.client)} has had no worker for "
                        f"{WORKERLESS_SECONDS:.0f} s; what is built is kept: start workers, and the same command with "
                        "--resume goes on"
                    ) from None

    def cancel(self) -> None:
        """Drop what is still in flight."""
        if self.batches and self.client.status == "running":
            self.client.cancel(list(self.batches))

    def _count_slots(self) -> int:
        now = time.monotonic()
        if now - self._counted >= POLL_SECONDS:
            try:
                slots = sum(self.client.nthreads().values())
            except (OSError, AttributeError, RuntimeError) as err:
                raise _lost_scheduler(self.client) from err
            self._counted = now
            self._seen_worker = now if slots else self._seen_worker
            self._slots = max(1, slots)
        return self._slots


def _address(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler else "its address"


def _lost_scheduler(client: Client) -> PipelineError:
    return PipelineError(
        f"the Dask scheduler at {_address(client)} is lost; what is built is kept: start it again, "
        "and the same command with --resume goes on"
    )
