"""Running plain functions on this machine or on Dask, bounded in flight; the only module that imports Dask."""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol, TypeVar

from distributed import Client, LocalCluster, Semaphore, Worker, WorkerPlugin, as_completed
from distributed.comm.addressing import get_address_host_port

from pipeline.errors import PipelineError, RecipeError
from pipeline.sources.permits import Permits, ProcessPermits

Item = TypeVar("Item")
Result = TypeVar("Result")

CONNECT_SECONDS = 30
"""How long a scheduler may take to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSetting:
    """Where work runs: in this process, on worker processes of this machine, or on a running Dask scheduler."""

    workers: int = 0
    """Worker processes on this machine; 0 stays in this process."""
    address: str = ""
    """Scheduler address as tcp://host:8786; wins over `workers`."""

    @classmethod
    def parse(cls, text: str) -> "ClusterSetting":
        """Read `local` (this process), `local:4` (worker processes) or a scheduler address."""
        kind, colon, rest = text.partition(":")
        if text == "local":
            return cls()
        if kind == "local" and rest.isdigit():
            return cls(workers=int(rest))
        if colon and rest.startswith("//"):
            return cls(address=text)
        raise RecipeError(f"cluster {text!r} is not local, local:WORKERS or a scheduler address as tcp://host:8786")


class Runner(Protocol):
    """Runs a function over items and yields results as they come, in any order."""

    def run(self, function: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
        """Yield `function(item)` for every item; `threads` is how many run at once in this process."""

    def permits(self, name: str, count: int) -> Permits:
        """Return `count` permits that every worker of this runner shares under `name`."""


@contextmanager
def open_runner(setting: ClusterSetting) -> Iterator[Runner]:
    """Yield the runner for `setting` and take down on leaving what was started.

    Raises
    ------
    RecipeError
        The scheduler does not answer.
    """
    if setting.address:
        with _connect(setting.address) as client:
            yield DaskRunner(client)
    elif setting.workers:
        with (
            LocalCluster(
                n_workers=setting.workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield DaskRunner(client)
    else:
        yield LocalRunner()


@dataclass(frozen=True, slots=True)
class LocalRunner:
    """Runs in threads of this process."""

    def run(self, function: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
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

    def permits(self, name: str, count: int) -> Permits:
        """See `Runner.permits`."""
        return ProcessPermits(name, count)


@dataclass(frozen=True, slots=True)
class ClusterPermits:
    """Permits that the workers of a Dask cluster share: the scheduler counts them."""

    name: str
    count: int
    processes: int
    """How many workers share them."""
    address: str
    """The scheduler's."""

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Wait for a permit, and give it back on leaving; for any thread of a worker."""
        with _semaphore(self.name, self.count, self.address):
            yield


_workers: list[Worker] = []


class _KnowWorker(WorkerPlugin):
    """Lets every thread of a worker find the scheduler: Dask itself tells only the thread that runs the task."""

    name = "sen12-permits"

    def setup(self, worker: Worker) -> None:
        _workers[:] = [worker]


@lru_cache(maxsize=64)
def _semaphore(name: str, count: int, address: str) -> Semaphore:  # noqa: ARG001
    (worker,) = _workers
    return Semaphore(max_leases=count, name=name, scheduler_rpc=worker.scheduler, loop=worker.loop)


@dataclass(frozen=True, slots=True)
class DaskRunner:
    """Runs on the workers of a Dask cluster."""

    client: Client

    def run(self, function: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:  # noqa: ARG002
        """See `Runner.run`; at most two items a worker thread are in flight."""
        queue = iter(items)
        slots = max(1, sum(self.client.nthreads().values()))
        first = [self._submit(function, item) for item in islice(queue, 2 * slots)]
        if not first:
            return
        with self.client.as_current():
            flight = as_completed(first)
            for future in flight:
                result = future.result()
                for item in islice(queue, 1):
                    flight.add(self._submit(function, item))
                yield result

    def permits(self, name: str, count: int) -> Permits:
        """See `Runner.permits`."""
        self.client.register_plugin(_KnowWorker())
        workers = max(1, len(self.client.nthreads()))
        address = str(getattr(self.client.scheduler, "address", ""))
        return ClusterPermits(f"{name}-{count}", count, workers, address)

    def _submit(self, function: Callable[[Item], Result], item: Item) -> Any:
        return self.client.submit(function, item, pure=False)


@contextmanager
def _connect(address: str) -> Iterator[Client]:
    try:
        # A client that is given a malformed address blocks the interpreter's exit.
        get_address_host_port(address)
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as err:
        raise RecipeError(f"no Dask scheduler answers at {address}; start one with `dask scheduler`") from err
    with closing(client):
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as err:
            problem = f"the Dask scheduler at {address} has no workers; start some with `dask worker`"
            raise PipelineError(problem) from err
        yield client
