"""The course of a build: which stage it is in, when it is hit, and what must be true when it has ended."""

import hashlib
import logging
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from support.orders import Order

from crash.parts import POLL, Cluster, CrashError, Part, marked_processes, wait_until

logger = logging.getLogger("crash")

STAGES = ("start", "search", "survey", "plan", "build", "finish")
COMMAND = "import sys; from pipeline.cli import main; sys.exit(main())"
VICTIMS = ("driver", "scheduler", "worker")


@dataclass
class Build:
    """One folder, and the driver that works on it at the moment."""

    order: Order
    cluster: Cluster
    out: Path
    driver: Part | None = None

    def go_on(self) -> Part:
        """Start the command, which resumes what there is."""
        self.cluster.mend()
        arguments = self.order.arguments(self.out, "--scheduler", self.cluster.address, "--resume")
        self.driver = self.cluster.start("driver", (sys.executable, "-c", COMMAND, *arguments))
        return self.driver

    def stage(self) -> str:
        """The stage that the driver is in, by what it has printed and written."""
        assert self.driver is not None
        printed = self.driver.out.read_text(errors="replace")
        if "windows to read" in printed:
            shards = int(printed.split(" files;")[0].rsplit(" ", 1)[1])
            return "finish" if len(list((self.out / "receipts").rglob("*.json"))) >= shards else "build"
        if "plan found" in printed:
            return "start"
        if " patches, " in printed:
            return "plan" if (self.out / "provenance.json").exists() else "survey"
        return "search" if "search:" in printed else "start"

    def built(self) -> int:
        return len(list((self.out / "receipts").rglob("*.json")))

    def run_to_end(self) -> dict[str, float]:
        """Let the driver go on until it ends, and return how long each stage took [s]."""
        driver = self.driver if self.driver and self.driver.is_running() else self.go_on()
        began = {"start": time.monotonic()}

        def has_ended() -> bool:
            began.setdefault(self.stage(), time.monotonic())
            return not driver.is_running()

        wait_until(has_ended, f"the driver hangs: {driver.out}")
        if driver.process.returncode != 0:
            raise CrashError(f"a driver that nobody killed ended with {driver.process.returncode}: {_tail(driver.err)}")
        times = [*(began.get(stage) for stage in STAGES), time.monotonic()]
        for index in reversed(range(len(STAGES))):
            times[index] = times[index] or times[index + 1]
        return {stage: times[index + 1] - times[index] for index, stage in enumerate(STAGES)}  # type: ignore[operator]


@dataclass
class Tally:
    """What all rounds together came to."""

    kills: int = 0
    identical: int = 0
    redone: int = 0
    rounds: int = 0
    by_stage: Counter[str] = field(default_factory=Counter)
    by_victim: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of every file of a dataset but its receipts, which hold the seconds that the work took."""
    return {
        file.relative_to(out).as_posix(): "" if file.is_relative_to(out / "receipts") else _digest(file)
        for file in sorted(out.rglob("*"))
        if file.is_file()
    }


def _digest(file: Path) -> str:
    """Return the digest of what a file holds; of the ledger, without how building went, attempts that were killed."""
    if file.name != "ledger.parquet":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    rows = pq.read_table(file).drop_columns(["attempts", "faults", "failed_requests"]).to_pylist()
    return hashlib.sha256(repr(rows).encode()).hexdigest()


@dataclass
class Crash:
    """Rounds of kills against one order."""

    order: Order
    cluster: Cluster
    chance: random.Random
    expected: dict[str, str] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    begun: int = 0
    """Files that the undisturbed build began."""
    tally: Tally = field(default_factory=Tally)

    def undisturbed(self) -> None:
        build, begun = self._build("undisturbed"), self._begun()
        self.durations = build.run_to_end()
        self.expected = digests(build.out)
        # A file whose images prove unreadable is built twice by anybody: once more with those that stand in.
        self.begun = self._begun() - begun
        spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.durations.items())
        logger.info("undisturbed: %d files; %s", len(self.expected), spent)

    def round(self, kills: int) -> None:
        """Build once more while `kills` processes are killed, and look at what comes out."""
        self.tally.rounds += 1
        build = self._build(f"round-{self.tally.rounds}")
        begun, done = self._begun(), 0
        try:
            while done < kills and self._hit(build):
                done += 1
            build.run_to_end()
            self._check(build, self._begun() - begun, done)
            self.tally.identical += done
        except CrashError as err:
            self.tally.problems.append(f"round {self.tally.rounds}: {err}")
            if build.driver is not None:
                build.driver.kill()
        self.tally.kills += done

    def _build(self, name: str) -> Build:
        return Build(self.order, self.cluster, self.cluster.folder / name / "dataset")

    def _begun(self) -> int:
        return len(self.cluster.journal.read_text().splitlines())

    def _hit(self, build: Build) -> bool:
        """Kill one part at a random moment of a random stage; False when the build ended before."""
        driver = build.driver if build.driver and build.driver.is_running() else build.go_on()
        stages = STAGES if not (build.out / "plan.parquet").exists() else ("start", "build", "finish")
        stage, victim = self.chance.choice(stages), self.chance.choice(VICTIMS)
        delay = self.chance.uniform(0.0, self.durations[stage])
        if stage == "build":
            shards = sum(name.startswith("receipts/") for name in self.expected)
            delay *= max(0.0, 1.0 - build.built() / shards)
        wait_until(
            lambda: not driver.is_running() or STAGES.index(build.stage()) >= STAGES.index(stage),
            f"the driver never came to {stage}: {driver.out}",
        )
        end = time.monotonic() + delay
        while time.monotonic() < end and driver.is_running():
            time.sleep(POLL)
        if not driver.is_running():
            return False
        hit = build.stage()
        self._kill(victim, driver)
        self.tally.by_stage[hit] += 1
        self.tally.by_victim[victim] += 1
        logger.info("kill of %s in %s, %d files built", victim, hit, build.built())
        return True

    def _kill(self, victim: str, driver: Part) -> None:
        if victim == "driver":
            driver.kill()
        elif victim == "worker":
            self.chance.choice(self.cluster.crew).kill()
            self.cluster.mend()
        else:
            self.cluster.lose_scheduler()
            wait_until(lambda: not driver.is_running(), f"the driver hangs without its scheduler: {driver.out}")
            self._check_last_words(driver)

    def _check_last_words(self, driver: Part) -> None:
        """A driver that lost its scheduler has finished all the same, or says so in one line."""
        if driver.process.returncode == 0:
            return
        said = driver.err.read_text(errors="replace")
        lines = [line for line in said.splitlines() if line.startswith("sen12: error: ")]
        if len(lines) != 1 or "Traceback" in said or driver.process.returncode not in (1, 2):
            raise CrashError(f"after the scheduler's loss the driver ended with {_tail(driver.err)}")

    def _check(self, build: Build, begun: int, kills: int) -> None:
        held = digests(build.out)
        strangers, lacking = sorted({*held} - {*self.expected}), sorted({*self.expected} - {*held})
        if strangers or lacking:
            raise CrashError(f"stray files {strangers[:3]}, lacking {lacking[:3]}")
        differing = [name for name in held if held[name] != self.expected[name]]
        if differing:
            raise CrashError(f"{len(differing)} files differ, first {differing[0]}")
        redone = begun - self.begun
        self.tally.redone += redone
        if redone > kills * self.cluster.workers:
            raise CrashError(f"{redone} files were done again after {kills} kills: more than one a worker and kill")


def check_orphans(folder: Path) -> list[str]:
    """End what outlived a run, and say what it was."""
    found = marked_processes(folder)
    lines = [f"an orphan outlived the run: {process.pid} {' '.join(process.cmdline())}" for process in found]
    for process in found:
        process.kill()
    return lines


def _tail(path: Path) -> str:
    return " | ".join(path.read_text(errors="replace").splitlines()[-3:])
