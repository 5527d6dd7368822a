"""Worker processes on this machine."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import LocalCluster
from distributed.system import MEMORY_LIMIT

from pipeline.cluster.needs import check_threads


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
