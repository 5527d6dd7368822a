"""Planning from 1,000 to 250,000 places, time and memory: `python benchmarks/scale.py [--counts 1000 10000]`.

Places are drawn near cities by `sen12 sample`'s own method; scenes are those of `benchmarks/constellation.py`; the
recipe is `ssl4eo-s12`. Each count runs in a process of its own: search (the provider answers from memory), survey (the
provider scores), plan (decide and write), and reading the plan back file by file as a build does. Memory is the
process's peak so far, that of its worker processes beside it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
from constellation import Constellation

from pipeline import stages
from pipeline.cli import main as sen12
from pipeline.cluster import ClusterSetting, open_runner
from pipeline.folder import Request
from pipeline.recipes import load_recipe
from pipeline.search import find

COUNTS = (1_000, 10_000, 50_000, 250_000)


def draw(count: int, places: Path) -> None:
    sen12(["sample", "ssl4eo-s12", "--count", str(count), "--out", str(places)])


def used() -> tuple[float, float]:
    """Return processor seconds of this process and its ended children, and its own peak memory [GB]."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return seconds, max(own.ru_maxrss, children.ru_maxrss) / 2**20


@contextmanager
def stage(name: str, figures: dict[str, dict[str, float]]) -> Iterator[None]:
    wall, (cpu, _) = time.perf_counter(), used()
    yield
    now, peak = used()
    figures[name] = {"wall": time.perf_counter() - wall, "cpu": now - cpu, "peak_gb": peak}
    print(f"  {name:8} wall {figures[name]['wall']:8.1f} s  cpu {now - cpu:8.1f} s  peak {peak:6.2f} GB", flush=True)


def run(places: Path, out: Path, workers: int) -> dict[str, dict[str, float]]:
    """Plan once and return what each stage took."""
    figures: dict[str, dict[str, float]] = {}
    request = Request(recipe=load_recipe("ssl4eo-s12", []), places=str(places), source="constellation", out=out)
    source = Constellation()
    with stage("search", figures):
        found = find(request, source)
    print(f"  {len(found.samples)} places, {len(found.scenes)} scenes, {source.counts} answered", flush=True)
    with stage("survey", figures), open_runner(ClusterSetting()) as runner:
        found, scores = stages.survey(found, request.recipe, source, runner, lambda *_: None)
    print(f"  {len(scores)} scores", flush=True)
    with stage("plan", figures), open_runner(ClusterSetting(workers=workers)) as runner:
        stages.make_plan(request, found, scores, runner)
    del found, scores
    size = {file.name: round(file.stat().st_size / 1e6, 1) for file in sorted(out.glob("*.parquet"))}
    print(f"  MB: {size}", flush=True)
    with stage("read", figures):
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
