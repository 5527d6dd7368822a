"""A Dask scheduler and workers, each a process of its own, on the loopback interface."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

READY_SECONDS = 60.0
DASK = str(Path(sys.executable).with_name("dask"))
HERE = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")


@dataclass
class DaskProcesses:
    """Addresses and processes; a test may kill any of them."""

    folder: Path
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def add_worker(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder), *arguments)
        name = f"worker-{len(self.workers)}"
        command = (DASK, "worker", self.address, *HERE, *options)
        self.workers.append(self._stack.enter_context(running(self.folder / name, command, environment or {})))


@contextmanager
def dask_processes(folder: Path, workers: int) -> Iterator[DaskProcesses]:
    file = folder / "scheduler.json"
    made = DaskProcesses(folder=folder)
    with made._stack:
        command = (DASK, "scheduler", *HERE, "--port", "0", "--scheduler-file", str(file))
        made.scheduler = made._stack.enter_context(running(folder / "scheduler", command, {}))
        end = time.monotonic() + READY_SECONDS
        while not (file.is_file() and file.read_text().rstrip().endswith("}")):
            assert time.monotonic() < end, (folder / "scheduler.log").read_text()
            time.sleep(0.05)
        made.address = json.loads(file.read_text())["address"]
        for _ in range(workers):
            made.add_worker()
        yield made


@contextmanager
def running(name: Path, command: tuple[str, ...], more: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with name.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **more}, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
