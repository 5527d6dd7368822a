"""`python -m fuzz N`: N mutated inputs; the last line counts them by outcome."""

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.site import make_site
from fuzz.targets import CORRECT, REFUSED, TARGETS

SECONDS = 60.0
"""How long one input may take, while the machine is busy with others."""
READY_SECONDS = 180.0


@dataclass
class Run:
    """All inputs of a run, and what became of them."""

    root: Path
    seed: int
    target: str
    numbers: list[int]
    outcomes: Counter[str] = field(default_factory=Counter)
    by_target: Counter[tuple[str, str]] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    largest: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> int | None:
        with self._lock:
            return self.numbers.pop(0) if self.numbers else None

    def note(self, number: int, target: str, outcome: str, detail: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            self.by_target[target, outcome] += 1
            if outcome not in (REFUSED, CORRECT):
                self.bad.append(f"BAD {number} {target} {outcome}: {detail}")
                print(self.bad[-1][-1500:], flush=True)

    def work(self, slot: int) -> None:
        """Feed one process after the other until there is nothing left."""
        number = self.take()
        while number is not None:
            sandbox = self.root / f"child-{slot}-{number}"
            sandbox.mkdir()
            with (self.root / f"child-{slot}-{number}.log").open("wb") as log:
                more = (str(self.root / "site"), str(sandbox), str(self.seed), self.target)
                command = (sys.executable, "-m", "fuzz.child", *more)
                child = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )  # fmt: skip
                number = self._feed(child, number)
            if not any(sandbox.iterdir()):
                sandbox.rmdir()

    def _feed(self, child: "subprocess.Popen[bytes]", number: int | None) -> int | None:
        assert child.stdin is not None
        assert child.stdout is not None
        limit = READY_SECONDS
        try:
            while number is not None:
                child.stdin.write(f"{number}\n".encode())
                child.stdin.flush()
                is_there, _, _ = select.select([child.stdout], [], [], limit)
                line = child.stdout.readline() if is_there else b""
                if not line:
                    child.kill() if not is_there else None
                    code = child.wait(30)
                    self.note(number, "?", "crashed" if is_there else "hung", f"process ended with {code}")
                    return self.take()
                target, outcome, detail, resident = json.loads(line)
                self.largest = max(self.largest, resident)
                self.note(number, target, outcome, detail)
                limit, number = SECONDS, self.take()
        finally:
            child.stdin.close()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
        return None


def main() -> int:
    options = _parser().parse_args()
    root, started = Path(tempfile.mkdtemp(prefix="sen12-fuzz-")), time.monotonic()
    numbers = [options.only] if options.only is not None else list(range(options.inputs))
    run = Run(root, options.seed, options.target, numbers)
    make_site(root / "site")
    workers = [threading.Thread(target=run.work, args=(slot,)) for slot in range(min(options.jobs, len(numbers)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for (target, outcome), count in sorted(run.by_target.items()):
        print(f"  {target:10} {outcome:12} {count}")
    if run.bad:
        print(f"kept for a look: {root}")
    else:
        shutil.rmtree(root)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(run.outcomes.items()))
    seconds = time.monotonic() - started
    print(f"{run.outcomes.total()} inputs in {seconds:.0f} s, at most {run.largest >> 20} MB a process: {counts}")
    return 1 if run.bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run fuzz", description=__doc__)
    parser.add_argument("inputs", type=int, help="how many inputs to try")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations [0]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes [all processors]")
    names = [target.__name__ for target in TARGETS]
    parser.add_argument("--target", choices=names, default="", help="mutate nothing but these")
    parser.add_argument("--only", type=int, help="try this one input again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
