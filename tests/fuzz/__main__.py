"""`python -m fuzz N`: N mutated inputs; the last line counts them by outcome."""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from fuzz.child import Task, prepare, work
from fuzz.outcomes import WEIGHTS, Ended

SECONDS = 60.0
"""How long one input may take, while the machine is busy with others."""
READY_SECONDS = 180.0
PROCESSES = multiprocessing.get_context("forkserver")


@dataclass
class Run:
    """All inputs of a run, and what became of them."""

    root: Path
    seed: int
    target: str
    numbers: list[int]
    outcomes: Counter[str] = field(default_factory=Counter)
    by_target: dict[str, Counter[str]] = field(default_factory=dict)
    seconds: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    largest: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> int | None:
        with self._lock:
            return self.numbers.pop(0) if self.numbers else None

    def note(self, number: int, ended: Ended) -> None:
        with self._lock:
            self.outcomes[ended.outcome] += 1
            self.by_target.setdefault(ended.target, Counter())[ended.outcome] += 1
            self.seconds[ended.target] += ended.seconds  # type: ignore[assignment]
            self.largest = max(self.largest, ended.resident)
            if not ended.is_good:
                self.bad.append(f"BAD {number} {ended.target} {ended.outcome}: {ended.detail}")
                print(f"{self.bad[-1][:200]} … {self.bad[-1][-1200:]}", flush=True)

    def work(self, slot: int) -> None:
        """Feed one process after the other until there is nothing left."""
        number = self.take()
        while number is not None:
            sandbox = self.root / f"child-{slot}-{number}"
            sandbox.mkdir()
            ours, theirs = PROCESSES.Pipe()
            task = Task(self.root / "site", sandbox, self.seed, self.target)
            child = PROCESSES.Process(target=work, args=(theirs, task))
            child.start()
            theirs.close()
            number = self._feed(child, ours, number)
            if not any(sandbox.iterdir()):
                sandbox.rmdir()

    def _feed(self, child: BaseProcess, answers: Connection, number: int | None) -> int | None:
        """Let `child` work until it fails or nothing is left; returns the number that the next one begins with."""
        limit = READY_SECONDS
        while number is not None:
            is_there = False
            try:
                answers.send(number)
                is_there = answers.poll(limit)
                ended = answers.recv() if is_there else None
            except (EOFError, ConnectionError):
                is_there, ended = True, None
            if ended is None:
                child.kill() if not is_there else None
                child.join(30)
                detail = f"process ended with {child.exitcode}"
                self.note(number, Ended("?", "crashed" if is_there else "hung", detail))
                return self.take()
            self.note(number, ended)
            limit, number = SECONDS, self.take()
        answers.send(None)
        child.join(30)
        child.kill()
        return None


def main() -> int:
    options = _parser().parse_args()
    root, started = Path(tempfile.mkdtemp(prefix="sen12-fuzz-")), time.monotonic()
    PROCESSES.set_forkserver_preload(["fuzz.targets"])
    site = PROCESSES.Process(target=prepare, args=(root / "site",))
    site.start()
    site.join()
    if site.exitcode:
        print(f"what is mutated could not be made: {(root / 'site.log').read_text()}")
        return 1
    numbers = [options.only] if options.only is not None else list(range(options.inputs))
    run = Run(root, options.seed, options.target, numbers)
    workers = [threading.Thread(target=run.work, args=(slot,)) for slot in range(min(options.jobs, len(numbers)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return _report(run, time.monotonic() - started)


def _report(run: Run, seconds: float) -> int:
    for target, outcomes in sorted(run.by_target.items()):
        print(f"  {target:10} {outcomes.total():6} in {run.seconds[target]:6.1f} s of a processor: {_counts(outcomes)}")
    if run.bad:
        print(f"kept for a look: {run.root}")
    else:
        shutil.rmtree(run.root)
    most = f"at most {run.largest >> 20} MB a process"
    print(f"{run.outcomes.total()} inputs in {seconds:.0f} s, {most}: {_counts(run.outcomes)}")
    return 1 if run.bad else 0


def _counts(outcomes: "Counter[str]") -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run fuzz", description=__doc__)
    parser.add_argument("inputs", type=int, help="how many inputs to try")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations [0]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes [all processors]")
    parser.add_argument("--target", choices=WEIGHTS, default="", help="mutate nothing but these")
    parser.add_argument("--only", type=int, help="try this one input again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
