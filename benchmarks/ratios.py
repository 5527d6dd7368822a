"""Ratios of two ways to do the same, measured in turns, so that a machine that slows down slows both."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

Call = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One figure: the median over rounds, with the lowest and the highest."""

    name: str
    ratio: float
    low: float
    high: float
    unit: str
    conditions: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The time of `theirs` over that of `ours`: above 1 we are faster."""

    name: str
    theirs: Call
    ours: Call
    conditions: str
    unit: str = "wall, theirs / ours"
    clock: Callable[[], float] = time.perf_counter
    """`time.thread_time` for what runs on one thread: on a busy machine the fairer figure."""
    repeats: int = 1
    """Calls that are timed together, where one is too short."""


def measure(pairs: Sequence[Pair], rounds: int) -> list[Row]:
    """Time every pair once in each round, the other way round in every second one."""
    for pair in pairs:
        pair.theirs(), pair.ours()
    ratios: dict[str, list[float]] = {pair.name: [] for pair in pairs}
    for number in range(rounds):
        for pair in pairs:
            calls = [("theirs", pair.theirs), ("ours", pair.ours)][:: -1 if number % 2 else 1]
            taken = {name: seconds(call, pair.clock, pair.repeats) for name, call in calls}
            ratios[pair.name].append(taken["theirs"] / taken["ours"])
    return [row_of(pair.name, ratios[pair.name], pair.unit, pair.conditions) for pair in pairs]


def row_of(name: str, ratios: Sequence[float], unit: str, conditions: str) -> Row:
    """Return the median and the spread of one figure."""
    low, middle, high = (round(value, 3) for value in (min(ratios), statistics.median(ratios), max(ratios)))
    return Row(name, middle, low, high, unit, conditions)


def seconds(call: Call, clock: Callable[[], float] = time.perf_counter, repeats: int = 1) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return clock() - start


def parse(description: str) -> argparse.Namespace:
    """Return what every benchmark of this folder is told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a few rounds on little data: does it run at all?")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    return parser.parse_args()


def show(rows: Iterable[Row], file: Path | None) -> None:
    """Print a table, and write the rows as JSON."""
    held = list(rows)
    width = max(len(row.name) for row in held)
    print(f"{'':{width}}  ratio     low    high  unit, conditions")
    for row in held:
        print(
            f"{row.name:{width}} {row.ratio:6.2f}  {row.low:6.2f}  {row.high:6.2f}  {row.unit}, {row.conditions}",
            flush=True,
        )
    if file is not None:
        file.write_text(json.dumps([asdict(row) for row in held], indent=1) + "\n", encoding="utf-8")
