"""The parts that can be killed: a scheduler, workers and a driver, each a process group of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from support.dask_processes import DASK, HERE
from support.processes import free_port

from crash.journal import JOURNAL

MARK = "SEN12_CRASH_MARK"
"""Environment variable by which every process of a run is found again, whoever its parent is by then."""
PATIENCE = 120.0
"""How long a process may take to start, or to notice what it lost [s]."""
POLL = 0.01


class CrashError(Exception):
    """What a run must never show; the text says what."""


def wait_until(is_met: Callable[[], bool], problem: str) -> None:
    end = time.monotonic() + PATIENCE
    while not is_met():
        if time.monotonic() > end:
            raise CrashError(problem)
        time.sleep(POLL)


@dataclass
class Part:
    """A process group, and where it writes."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL to the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


@dataclass
class Cluster:
    """A scheduler at a fixed address and its workers."""

    folder: Path
    workers: int
    scheduler: Part | None = None
    crew: list[Part] = field(default_factory=list)
    _started: int = 0

    def __post_init__(self) -> None:
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.journal = self.folder / "journal.txt"
        self.journal.touch()

    def start(self, name: str, command: Sequence[str]) -> Part:
        """Start any process of the run as the leader of a group."""
        self._started += 1
        out, err = (self.folder / f"{self._started:03d}-{name}.{stream}" for stream in ("out", "err"))
        environment = {
            **os.environ,
            MARK: str(self.folder),
            JOURNAL: str(self.journal),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONUNBUFFERED": "1",
            # Nobody tidies up after a killed scheduler.
            "DASK_TEMPORARY_DIRECTORY": str(self.folder / "scratch"),
        }
        with out.open("wb") as printed, err.open("wb") as complained:
            process = subprocess.Popen(
                command, stdout=printed, stderr=complained, env=environment, cwd=self.folder, start_new_session=True
            )
        return Part(process, out, err)

    def mend(self) -> None:
        """Start whatever is not running, and return when the scheduler listens."""
        if self.scheduler is None or not self.scheduler.is_running():
            self.scheduler = self.start("scheduler", (DASK, "scheduler", *HERE, "--port", str(self.port)))
        self.crew = [worker for worker in self.crew if worker.is_running()]
        while len(self.crew) < self.workers:
            options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder / "scratch"))
            command = (DASK, "worker", self.address, *HERE, *options, "--preload", "crash.journal")
            self.crew.append(self.start("worker", command))
        wait_until(self._is_listening, f"the scheduler did not start: {self.scheduler.err}")

    def lose_scheduler(self) -> None:
        """Kill the scheduler; its workers must end by themselves, while one that never met it waits for the next."""
        assert self.scheduler is not None
        self.scheduler.kill()
        wait_until(
            lambda: not any(worker.is_running() and "Registered to" in worker.err.read_text() for worker in self.crew),
            "a worker outlived its scheduler: an orphan",
        )

    def stop(self) -> None:
        """Kill everything that is left."""
        for part in (*self.crew, *([self.scheduler] if self.scheduler else [])):
            part.kill()

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def marked_processes(folder: Path) -> list[psutil.Process]:
    """Every process that a run in `folder` started, directly or not."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found
