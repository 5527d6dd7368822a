"""Our reader against the alternatives, as ratios within interleaved rounds: `./run bench reading`.

Above 1 we are faster, or need fewer requests. The files are generated at the first run (1.7 GB; small with --quick) and
kept in --folder. Processor time is that of the reading process; the server that stands for a distant store has its own.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.ratios import Row
from benchmarks.reading.rounds import Case, Cost, measure_rounds, serving, spread
from benchmarks.reading.scenes import BANDS, Collection

ODC, ONE = "odc.stac.load, lazy", "one patch and band at a time"
SHARED, FILES = "shared rasterio handles", "rasterio, file by file"


MEASURES: dict[str, Callable[[Cost], float]] = {
    "wall": lambda cost: cost.wall,
    "processor": lambda cost: cost.processor,
    "requests": lambda cost: cost.requests,
    "MB": lambda cost: cost.megabytes,
}


def cases(folder: Path) -> list[Case]:
    """Return all comparisons, on scenes of the size of Sentinel-2's; those without a goal in fewer rounds."""
    found = []
    for tile in (512, 1024):
        scenes = Collection(folder=folder, side=10980, tile=tile, dates=4)
        remote = partial(Case, name=f"HTTP 50 ms, {tile}", collection=scenes, first_byte=50)
        found += [
            Case(name=f"disk, {tile}", collection=scenes, theirs=ODC, places=8, theirs_places=4),
            remote(theirs=ODC, places=8, theirs_places=2),
            *(
                remote(name=f"HTTP {ms} ms, {tile}", first_byte=ms, theirs=ODC, places=8, theirs_places=2, rounds=3)
                for ms in (20, 100)
            ),
            remote(theirs=ONE, places=16),
            remote(theirs=SHARED, places=64),
        ]
        if tile == 512:
            found.append(remote(theirs=FILES, places=64, rounds=2))
    return found


def quick_cases(folder: Path) -> list[Case]:
    """Return one of each kind, on scenes small enough for a glance."""
    scenes = Collection(folder=folder, side=1200, tile=256, dates=2)
    return [
        Case(name="disk, 256", collection=scenes, theirs=ODC, places=2),
        Case(name="HTTP 20 ms, 256", collection=scenes, theirs=ONE, places=8, first_byte=20),
        Case(name="HTTP 20 ms, 256", collection=scenes, theirs=SHARED, places=8, first_byte=20),
    ]


def compare(chosen: list[Case], folder: Path, *, rounds: int | None, size: int) -> Iterator[Row]:
    """Measure the cases one after another."""
    for scenes in dict.fromkeys(case.collection for case in chosen):
        scenes.make()
    with serving(folder) as server:
        for case in chosen:
            costs = list(measure_rounds(case, server, rounds or case.rounds, size))
            yield from rows_of(case, costs, size)


def rows_of(case: Case, costs: list[tuple[Cost, Cost]], size: int) -> Iterator[Row]:
    """Return the figures of one case."""
    scenes, remote = case.collection, case.first_byte is not None
    where = f"HTTP, first byte {case.first_byte} ms, 80 MB/s a connection" if remote else "disk"
    shared = f"{case.places} places share {scenes.dates} scenes of {scenes.side}², tiles {scenes.tile}²"
    for measure in MEASURES if remote else ("wall", "processor"):
        of = MEASURES[measure]
        ours, theirs = (spread([of(pair[at]) for pair in costs])[0] for at in (0, 1))
        median, low, high = spread([of(theirs) / of(ours) for ours, theirs in costs])
        unit = "s" if measure in ("wall", "processor") else measure
        yield Row(
            f"{case.name} px: {case.theirs}: {measure}", round(median, 2), round(low, 2), round(high, 2),
            "theirs / ours",
            f"{where}; {shared}, packed {scenes.packing_ratio():.2f}; {len(BANDS)} bands × {scenes.dates} dates × "
            f"{size} px; for each place ours {ours:.3g} {unit}, theirs {theirs:.3g} {unit}; {len(costs)} rounds, "
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        )  # fmt: skip


def print_row(row: Row) -> None:
    print(f"{row.name:<62} {row.ratio:>6.2f}   {row.low:>6.2f} – {row.high:<6.2f}   {row.conditions}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run bench reading", description=__doc__.split("\n", 1)[0])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sen12-pipeline" / "benchmark"
    parser.add_argument("--quick", action="store_true", help="small files, two rounds: shows that it runs")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison (5; 2 or 3 of those without a goal)")
    parser.add_argument("--only", default="", help="compare only where the name contains this")
    parser.add_argument("--folder", type=Path, default=cache, help=f"where the files are kept ({cache})")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    # As after Ctrl-C, so that the server goes, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = arguments.folder.resolve()
    chosen = (quick_cases if arguments.quick else cases)(folder)
    chosen = [case for case in chosen if arguments.only in f"{case.name} px: {case.theirs}"]
    if not chosen:
        sys.exit(f"run bench: no comparison's name contains {arguments.only!r}")
    rounds = arguments.rounds or (2 if arguments.quick else None)
    rows = []
    for row in compare(chosen, folder, rounds=rounds, size=96 if arguments.quick else 264):
        print_row(row)
        rows.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
