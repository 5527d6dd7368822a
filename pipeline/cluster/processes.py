"""Worker processes on this machine."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import LocalCluster
from distributed.system import MEMORY_LIMIT

from pipeline.cluster.needs import check_threads


def check_memory(needs: int) -> None:
    """Refuse to build in this process what its memory, as cgroup and limits have it, does not hold.

    Raises
    ------
    RecipeError
        It is less than `needs` [bytes] and what a process takes before.
    """
    check_threads(needs, memory=MEMORY_LIMIT, threads=1)


@contextmanager
def start_processes(workers: int, *, needs: int = 0) -> Iterator[str]:
    """Yield the address of a scheduler on the loopback interface with `workers` processes of one thread each.

    Raises
    ------
    RecipeError
        The machine's memory, divided by the workers, is less than `needs` [bytes].
    """
    memory = MEMORY_LIMIT // workers
    check_threads(needs, memory=memory, threads=1)
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=memory,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR,
    ) as cluster:
        yield cluster.scheduler_address
