"""Measuring readers in turns, each time in a fresh process, so that none finds what another or itself has left."""

import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning

from benchmarks.reading.readers import READERS, Work
from benchmarks.reading.scenes import Collection

LIMIT_SECONDS = 600
"""For one measurement."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison: how many places are read, from where, and by whom."""

    name: str
    collection: Collection
    theirs: str
    places: int
    first_byte: int | None = None
    """Milliseconds until an answer begins; None for files on disk."""
    theirs_places: int | None = None
    """Places that the other reader reads of these, where each costs it the same; all by default."""
    rounds: int = 5


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one reader needed for each place."""

    wall: float
    """Seconds."""
    processor: float
    """Seconds."""
    requests: float
    megabytes: float
    digest: int


class Server:
    """The range server, in a process of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def counts(self, first_byte: int) -> dict[str, int]:
        """Return what was asked since the last call, and let answers begin after so many milliseconds."""
        with urllib.request.urlopen(f"{self.url}/~?{first_byte}", timeout=10) as answer:  # noqa: S310
            return json.load(answer)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve `folder` from a process of its own."""
    with tempfile.TemporaryDirectory() as home:
        port_file = Path(home) / "port"
        command = [sys.executable, "-m", "benchmarks.reading.server", str(folder), str(port_file)]
        process = subprocess.Popen(command)  # noqa: S603
        try:
            deadline = time.monotonic() + 30
            while not port_file.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the range server did not start")
                time.sleep(0.05)
            yield Server(f"http://127.0.0.1:{port_file.read_text()}")
        finally:
            process.terminate()
            process.wait(10)


def measure_rounds(case: Case, server: Server, rounds: int, size: int) -> Iterator[tuple[Cost, Cost]]:
    """Yield for each round what we and the others needed; the order alternates, the places are new in each round."""
    remote = case.first_byte is not None
    for number in range(rounds):
        grids = case.collection.windows(case.places, size, seed=number)
        work = Work(collection=case.collection, root=server.url if remote else str(case.collection.folder), grids=grids)
        less = replace(work, grids=grids[: case.theirs_places])
        jobs = {"ours": work, case.theirs: less}
        order = list(jobs) if number % 2 else list(jobs)[::-1]
        cost = {name: measure(name, jobs[name], server, case.first_byte or 0) for name in order}
        if number == 0:
            _require_equal(case, work, less, cost, server)
        yield cost["ours"], cost[case.theirs]


def _require_equal(case: Case, work: Work, less: Work, cost: dict[str, Cost], server: Server) -> None:
    expected = cost["ours"].digest if less == work else measure("ours", less, server, case.first_byte or 0).digest
    if cost[case.theirs].digest != expected:
        raise RuntimeError(f"{case.name}: the readers disagree about the pixels")


def measure(reader: str, work: Work, server: Server, first_byte: int) -> Cost:
    """Run one reader in a fresh process that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.reading.readers"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(reader, work, sender))
    server.counts(first_byte)
    process.start()
    sender.close()
    try:
        if not receiver.poll(LIMIT_SECONDS):
            raise TimeoutError(f"{reader} took longer than {LIMIT_SECONDS} s")
        wall, processor, digest = receiver.recv()
        process.join(30)
    finally:
        process.kill()
        process.join()
    counts, places = server.counts(0), len(work.grids)
    return Cost(
        wall=wall / places,
        processor=processor / places,
        requests=counts["requests"] / places,
        megabytes=counts["bytes"] / places / 1e6,
        digest=digest,
    )


def _run(reader: str, work: Work, sender: Connection) -> None:
    read = READERS[reader]
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    # One place from disk first: drivers are registered and kernels compiled once in a process's life.
    read(replace(work, root=str(work.collection.folder), grids=work.grids[:1]))
    used, begun = _processor_seconds(), time.perf_counter()
    digest = read(work)
    sender.send((time.perf_counter() - begun, _processor_seconds() - used, digest))
    sender.close()
    os._exit(0)


def _processor_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def spread(ratios: list[float]) -> tuple[float, float, float]:
    """Return the median, the lowest and the highest."""
    return statistics.median(ratios), min(ratios), max(ratios)
