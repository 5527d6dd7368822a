"""What a build survives, measured: kills, faults of a server, short-lived tokens, lost images, mutated inputs, memory.

    ./run reliability [--quick] [--long] [--parts kills faults …] [--json FILE]

builds small datasets from a misbehaving loopback server in processes of their own, and compares every file with that of
an undisturbed build: 1.00 is all of them. `--quick` shows that everything runs; `--long` takes minutes a token row.
Waits between attempts are shortened to hundredths of seconds, so that requests fail as often as they can.
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from support.catalogue import optical_file, write_catalogue
from support.fault_server import QUIET, FaultServer, Script, Tokens, fault_server
from support.forked_driver import PROVIDER, start_driver
from support.orders import RECIPE, Order, place_slides, shard_digests
from support.two_slides import BEFORE, TILE, order_of
from support.vouching import vouch

from benchmarks import memory
from benchmarks.ratios import Row, show
from pipeline.status import dataset_status

TESTS = Path(__file__).resolve().parents[1] / "tests"
LONGEST = 3600.0
"""How long one part may take [s]."""
SHARE = 0.2
"""Of requests that fail."""


class UnsoundError(Exception):
    """A run ended otherwise than it must; the text says how."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    kills: int
    inputs: int
    token_life: float
    """[s]"""
    latency: float
    """Of each answer while tokens run out [s]."""
    shape: tuple[int, int, int]
    """Patches, pixels along an edge, and dates of the file whose memory is measured."""


USUAL = Plan(kills=10, inputs=500, token_life=20.0, latency=0.8, shape=(64, 264, 4))
QUICK = Plan(kills=1, inputs=20, token_life=0.3, latency=0.005, shape=(4, 64, 2))
LONG = replace(USUAL, kills=50, inputs=10_000, latency=2.0)


@dataclass(frozen=True)
class Site:
    """An order, the server of its catalogue, and what an undisturbed build gives."""

    order: Order
    folder: Path
    server: FaultServer
    expected: Mapping[str, str]

    def build(self, name: str, *more: str, command: str = "build") -> Path:
        """Build, or only plan, by way of the server in one run that must end well."""
        out, said = self.folder / name, self.folder / f"{name}.txt"
        words = self.order.arguments(out, *(["--resume"] if command == "build" else []), *more, command=command)
        words[words.index("--source") + 1] = PROVIDER
        driver = start_driver(words, self.server.base, said)
        driver.join(LONGEST)
        if driver.exitcode != 0:
            raise UnsoundError(f"{name}: exit code {driver.exitcode}: {said.read_text()[-500:]}")
        return out

    def same(self, out: Path) -> float:
        """Return the share of files that are those of the undisturbed build."""
        held = shard_digests(out)
        return sum(held.get(name) == digest for name, digest in self.expected.items()) / len(self.expected)


def kills(plan: Plan) -> Iterator[Row]:
    """Random SIGKILLs of driver, scheduler and workers."""
    *_, told, last = _run("crash", str(plan.kills), "--seed", "11")
    done, same = map(int, re.findall(r"\d+", last))
    (redone,) = re.findall(r"(\d+) files done again", told)
    yield _share("random kills: builds with the same bytes", same / done, f"{last}; {told}")
    most = 2 * done
    row = _share(
        "files done again, a kill", int(redone) / done, f"{redone} of at most {most} in {done} kills, 2 workers"
    )
    yield replace(row, unit="files / kill", low=0.0, high=float(most / done))


def faults(plan: Plan) -> Iterator[Row]:  # noqa: ARG001
    """Every fifth request fails, in every way that passes."""
    with _site() as site:
        script = Script(seed=7, share=SHARE, burst=2, trickle_seconds=0.02)
        site.server.reset(script)
        site.build("faults", command="plan")
        planning = _counted(site.server)
        site.server.reset(script)
        out = site.build("faults")
        yield _share(
            "a fifth of the requests fails: same files",
            site.same(out),
            f"{_counted(site.server)}; planning: {planning}",
        )
        met = sum(one.fault not in ("", "trickle") and one.path.endswith(".tif") for one in site.server.seen)
        named = dataset_status(out).failed_requests
        told = ", ".join(f"{count} × {problem}" for problem, count in named.items())
        row = _share(
            "failed requests for pixels that the ledger names", sum(named.values()) / met, f"{met} met; {told}"
        )
        # One failure may hide another, and a broken connection may come before any request.
        yield replace(row, low=0.9, high=1.1)


def replaced(plan: Plan) -> Iterator[Row]:  # noqa: ARG001
    """The files of a product change their version, not their pixels, half-way through a run."""
    with _site() as site:
        files = [f"/{file.relative_to(site.server.folder).as_posix()}" for file in _rasters(site.server.folder)]
        site.build("quiet")
        half = len(site.server.seen) // 2
        site.server.reset(QUIET)
        new = {path: (site.server.folder / path.lstrip("/")).read_bytes() + b"\0" for path in files}
        site.server.at_request[half] = lambda: site.server.replaced.update(new)
        out = site.build("replaced")
        refused = sum(one.status == 412 for one in site.server.seen)
        told = f"{len(files)} files at request {half}; {refused} requests met another version"
        yield _share("assets replaced half-way: same files", site.same(out), told)


def wrong_bytes(plan: Plan) -> Iterator[Row]:  # noqa: ARG001
    """Bytes that are wrong although their length is right, where items state checksums."""
    with _site(vouched=True) as site:
        script = Script(seed=2, share=SHARE, faults=("corrupt",), most=1, only=r"sentinel.*\.tif$")
        site.server.reset(script)
        out = site.build("wrong", "--verify", "full")
        yield _share("wrong bytes of the right length: same files", site.same(out), _counted(site.server))


def tokens(plan: Plan) -> Iterator[Row]:
    """Tokens that run out many times during a build."""
    with _site() as site:
        site.server.tokens, site.server.latency = Tokens(life=plan.token_life), plan.latency
        out = site.build("tokens")
        taken = site.server.seen[-1].moment - site.server.seen[0].moment
        told = f"{site.server.tokens.given} tokens of {plan.token_life:g} s in {taken:.0f} s of requests, no failure"
        yield _share("short-lived tokens: same files", site.same(out), told)


def gone(plan: Plan) -> Iterator[Row]:  # noqa: ARG001
    """One image is gone for good when its pixels are asked for, while a fifth of the requests fails."""
    with _site(order_of) as site:
        lost = optical_file(site.order.catalogue, TILE, BEFORE, "B02")
        without = site.folder / "without"
        shutil.copytree(site.order.catalogue.parent, without / "stac")
        order = replace(site.order, catalogue=without / "stac" / site.order.catalogue.name)
        optical_file(order.catalogue, TILE, BEFORE, "B02").unlink()
        with redirect_stdout(io.StringIO()):
            expected = shard_digests(order.build(without / "dataset"))
        path = f"/{lost.relative_to(site.server.folder).as_posix()}"
        site.server.reset(Script(seed=3, share=SHARE, lost=frozenset([path]), trickle_seconds=0.02))
        out = site.build("gone")
        stood_in = ", ".join(f"{one.count} × {one.modality}" for one in dataset_status(out).replaced)
        told = f"against a catalogue that never had it; stood in for: {stood_in}"
        yield _share("one image gone for good: same files", replace(site, expected=expected).same(out), told)


def inputs(plan: Plan) -> Iterator[Row]:
    """Mutated catalogues, items, rasters, tables, recipes, shards and places."""
    last = _run("fuzz", str(plan.inputs), "--seed", "1")[-1]
    ends = {outcome: int(count) for count, outcome in re.findall(r"(\d+) (correct|refused)\b", last)}
    yield _share("mutated inputs that end well", sum(ends.values()) / plan.inputs, last)


def peak(plan: Plan) -> Iterator[Row]:
    """Memory of a worker against what planning states."""
    samples, size, steps = plan.shape
    taken = memory.measured(argparse.Namespace(samples=samples, size=size, steps=steps, store="chunked"))
    ratio = taken["peak"] / taken["bound"]
    shape = " × ".join(map(str, (samples, steps, int(taken["bands"]), size, size)))
    told = f"{shape}: peak {taken['peak'] / 1e6:.0f} MB of {taken['bound'] / 1e6:.0f} MB"
    yield Row("peak of a worker over its bound", round(ratio, 3), 0.0, 1.0, "peak / stated", told)


PARTS: Mapping[str, Callable[[Plan], Iterator[Row]]] = {
    part.__name__: part for part in (kills, faults, replaced, wrong_bytes, tokens, gone, inputs, peak)
}


def _share(name: str, ratio: float, conditions: str) -> Row:
    return Row(name, round(ratio, 3), 1.0, 1.0, "share", conditions)


def _counted(server: FaultServer) -> str:
    failures = server.failures()
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(failures.items()))
    return f"{sum(failures.values())} of {len(server.seen)} requests: {kinds}"


def _rasters(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.tif") if file.name != "SCL.tif")


def _run(module: str, *arguments: str) -> list[str]:
    """Run one of the tests' programs; returns what it printed."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    ended = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=LONGEST, check=False, env=environment
    )
    lines = ended.stdout.splitlines()
    if ended.returncode not in (0, 1) or not lines:
        raise UnsoundError(f"{module}: exit code {ended.returncode}: {ended.stderr[-500:]}")
    return lines


def _small(folder: Path) -> Order:
    """Three slides on the tests' main catalogue: two tiles, two frames, gaps of every kind."""
    overrides = (*RECIPE, "series_length=3", "bands.S2L2A=[B02,B05,B09]")
    places = place_slides(folder / "hill.geojson", (0, 1, 2))
    return Order(catalogue=write_catalogue(folder / "stac"), places=places, overrides=overrides)


@contextmanager
def _site(make: Callable[[Path], Order] = _small, *, vouched: bool = False) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="sen12-reliability-") as name:
        folder = Path(name)
        order = make(folder)
        root = order.catalogue.parent
        for item in root.glob("sentinel*/**/*.json") if vouched else ():
            vouch(item)
        with redirect_stdout(io.StringIO()):
            expected = shard_digests(order.build(folder / "undisturbed"))
        with fault_server(root) as server:
            server.tokens = Tokens()
            yield Site(order, folder, server, expected)


def main() -> int:
    """Measure, print a table, and tell by the exit code whether everything is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="little of everything: does it run at all?")
    extent.add_argument("--long", action="store_true", help="50 kills, 10,000 inputs, tokens over minutes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    options = parser.parse_args()
    plan = QUICK if options.quick else LONG if options.long else USUAL
    rows: list[Row] = []
    for part in options.parts:
        began = time.monotonic()
        rows += PARTS[part](plan)
        print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    show(rows, options.json)
    return int(any(not row.low <= row.ratio <= row.high for row in rows))


if __name__ == "__main__":
    sys.exit(main())
