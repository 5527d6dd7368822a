"""Permits that the workers of a Dask cluster share, such as requests in flight at a provider."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from distributed import Client, Semaphore, Worker, WorkerPlugin


@dataclass(frozen=True, slots=True)
class ClusterPermits:
    """Permits that the scheduler counts."""

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


def share_permits(client: Client, name: str, count: int) -> ClusterPermits:
    """Return `count` permits that all workers of the cluster share under `name`, also those that come later."""
    client.register_plugin(_KnowWorker())
    workers = max(1, len(client.nthreads()))
    address = str(getattr(client.scheduler, "address", ""))
    return ClusterPermits(f"{name}-{count}", count, workers, address)


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
