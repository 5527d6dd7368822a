"""Planning from 1,000 to 250,000 places, time and memory: `python benchmarks/scale.py [--counts 1000 10000]`.

Places are drawn near cities by `sen12 sample`'s own method; scenes are those of `benchmarks/constellation.py`; the
recipe is `ssl4eo-s12`. Each count runs in a process of its own: search (the provider answers from memory), survey (the
provider scores), plan (decide and write), and reading the plan back file by file as a build does. Memory is the peak
of the process and its workers together; what the stand-in for the provider takes itself is told beside.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import psutil
from constellation import Constellation

from pipeline import stages
from pipeline.cli import main as sen12
from pipeline.cluster import ClusterSetting, open_runner
from pipeline.folder import Request
from pipeline.pixels.classification import ClassShares
from pipeline.recipes import load_recipe
from pipeline.records import Scene
from pipeline.search import find
from pipeline.sources.contract import Query, ScoreWindow


@dataclass(frozen=True, kw_only=True)
class Timed(Constellation):
    """The same, and the processor time that its answers take: a real provider takes it elsewhere."""

    spent: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(self.spent)

    def search(self, query: Query) -> list[Scene]:
        started = time.thread_time()
        try:
            return super().search(query)
        finally:
            self.spent.append(time.thread_time() - started)

    def class_shares(self, windows: Sequence[ScoreWindow]) -> list[ClassShares]:
        started = time.thread_time()
        try:
            return super().class_shares(windows)
        finally:
            self.spent.append(time.thread_time() - started)


COUNTS = (1_000, 10_000, 50_000, 250_000)


def draw(count: int, places: Path) -> None:
    sen12(["sample", "ssl4eo-s12", "--count", str(count), "--out", str(places)])


def used() -> float:
    """Return processor seconds of this process and its ended children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class Memory:
    """Watches what this process and all its children hold together [bytes]; shared pages are divided among them."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        this = psutil.Process()
        while not self._over.wait(1.0):
            held = 0
            for process in (this, *this.children(recursive=True)):
                with suppress(psutil.Error):
                    held += process.memory_full_info().pss
            self.peak = max(self.peak, held)


@contextmanager
def stage(name: str, figures: dict[str, dict[str, float]], source: Timed) -> Iterator[None]:
    memory, provider = Memory(), source.seconds
    wall, cpu = time.perf_counter(), used()
    yield
    memory.stop()
    spent = {"wall": time.perf_counter() - wall, "cpu": used() - cpu, "provider": source.seconds - provider}
    figures[name] = {**spent, "peak_gb": memory.peak / 1e9}
    print(
        f"  {name:8} wall {spent['wall']:8.1f} s  cpu {spent['cpu']:8.1f} s, {spent['provider']:6.1f} s of it the "
        f"provider's own  peak {memory.peak / 1e9:6.2f} GB",
        flush=True,
    )


def run(places: Path, out: Path, workers: int) -> dict[str, dict[str, float]]:
    """Plan once and return what each stage took."""
    figures: dict[str, dict[str, float]] = {}
    request = Request(recipe=load_recipe("ssl4eo-s12", []), places=str(places), source="constellation", out=out)
    source = Timed()
    with stage("search", figures, source):
        found = find(request, source)
    print(f"  {len(found.samples)} places, {len(found.scenes)} scenes, {source.counts} answered", flush=True)
    with stage("survey", figures, source), open_runner(ClusterSetting()) as runner:
        found, scores = stages.survey(found, request.recipe, source, runner, lambda *_: None)
    print(f"  {len(scores)} scores", flush=True)
    with stage("plan", figures, source), open_runner(ClusterSetting(workers=workers)) as runner:
        stages.make_plan(request, found, scores, runner)
    del found, scores
    size = {file.name: round(file.stat().st_size / 1e6, 1) for file in sorted(out.glob("*.parquet"))}
    print(f"  MB: {size}", flush=True)
    with stage("read", figures, source):
        decided = stages.load_plan(out)
        cost = stages.cost_of(decided, request.recipe)
    print(f"  {cost}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--places", type=Path, help="places already drawn, of which the first are taken")
    parser.add_argument("--workers", type=int, default=0, help="worker processes; 0 plans in the process itself")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    if options.inside:
        figures = run(options.places, options.inside, options.workers)
        (options.inside / "figures.json").write_text(json.dumps(figures))
        return
    table: dict[int, dict[str, dict[str, float]]] = {}
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            table[count] = measured(count, Path(folder), options)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))


def measured(count: int, folder: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    places = folder / "places.parquet"
    if options.places:
        gpd.read_parquet(options.places).head(count).to_parquet(places)
    else:
        draw(count, places)
    print(f"{count} places", flush=True)
    command = [sys.executable, __file__, "--inside", str(folder / "out"), "--places", str(places)]
    subprocess.run([*command, "--workers", str(options.workers)], check=True)  # noqa: S603
    figures: dict[str, dict[str, float]] = json.loads((folder / "out" / "figures.json").read_text())
    return figures


if __name__ == "__main__":
    main()
