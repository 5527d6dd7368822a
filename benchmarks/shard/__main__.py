"""A whole file, from its plan to the zip, against the sum of what cannot be left out: `python -m benchmarks.shard`.

Left out cannot be: unpacking each tile that the file needs once, down to the last row needed, and packing its chunks.
Both are measured alone, on as many threads as there are cores, in turns with the whole. The scenes are those of
`./run bench` and lie in the same place; `--quick` makes small ones.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numcodecs import blosc

from benchmarks.ratios import Call, Row, row_of, seconds
from benchmarks.reading.rounds import Server, serving
from benchmarks.reading.scenes import Collection
from benchmarks.shard.parts import CORES, chunks_of, needed_tiles, pack_all, unpack_all
from benchmarks.shard.works import Files, Work, modalities_of
from pipeline.assemble import BuildOptions, build_shard
from pipeline.sources.cog.kept import KEPT

PARTS = ("shard", "unpack", "pack")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file, and how far its scenes are away."""

    work: Work
    first_byte: int | None = None
    """Milliseconds until an answer begins; None for files on disk."""

    @property
    def name(self) -> str:
        where = "disk" if self.first_byte is None else f"HTTP {self.first_byte} ms"
        return f"{self.work.modality}, {where}, {self.work.scenes.tile} px"


@dataclass(frozen=True, kw_only=True)
class Times:
    """What one case took: seconds by (round, whole or part, wall or processor)."""

    case: Case
    seconds: np.ndarray
    megabytes: float
    """Of the file."""

    def row(self, clock: int, unit: str) -> Row:
        times, work = self.seconds[:, :, clock], self.case.work
        medians = ", ".join(f"{part} {value:.2f}" for part, value in zip(PARTS, np.median(times, axis=0), strict=True))
        return row_of(
            f"{self.case.name}: {unit}", (times[:, 0] / times[:, 1:].sum(axis=1)).tolist(), "shard / (unpack + pack)",
            f"{work.patches} patches × {work.timesteps} dates × {work.patch} px of scenes of {work.scenes.side}², "
            f"{self.megabytes:.0f} MB; {medians} s; {len(times)} rounds, {CORES} cores, load {os.getloadavg()[0]:.1f}",
        )  # fmt: skip


def cases(folder: Path, *, quick: bool) -> list[Case]:
    """Return Sentinel-2 near and far, and every modality of the landslide recipe."""
    side, tile, dates, patches, patch = (1200, 256, 2, 4, 128) if quick else (10980, 512, 4, 64, 264)
    scenes = Collection(folder=folder, side=side, tile=tile, dates=dates)
    work = Work(scenes=scenes, modality="S2L2A", patches=patches, patch=patch)
    larger = replace(work, scenes=replace(scenes, tile=2 * tile))
    modalities = [*modalities_of("landslides"), "S1GRD"]
    return [
        Case(work=larger),
        *(Case(work=replace(work, modality=name)) for name in modalities),
        *(Case(work=one, first_byte=time) for one in (work, larger) for time in (20, 50)),
    ]


def measured(case: Case, server: Server, rounds: int) -> Times:
    """Build the file and do its parts, in turns; the patches lie elsewhere in each round."""
    folder, found = case.work.scenes.folder, []
    with tempfile.TemporaryDirectory(prefix="sen12-shard-") as home:
        out = Path(home)
        root = str(folder) if case.first_byte is None else server.url
        server.counts(case.first_byte or 0)
        path = _build(case, root, out, 0)
        for number in range(rounds):
            shutil.rmtree(out / "all")
            whole = both(lambda number=number: _build(case, root, out, number))
            tiles, chunks = needed_tiles(case.work.shard(str(folder), number)), chunks_of(path)
            found.append((whole, both(lambda tiles=tiles: unpack_all(tiles)), both(lambda held=chunks: pack_all(held))))
        megabytes = path.stat().st_size / 1e6
    return Times(case=case, seconds=np.array(found), megabytes=megabytes)


def _build(case: Case, root: str, out: Path, seed: int) -> Path:
    KEPT.clear()
    shard = case.work.shard(root, seed)
    report = build_shard(shard, case.work.recipe, BuildOptions(root=out, source=Files()))
    if report.state != "done" or any(patch.state != "written" for patch in report.patches):
        raise RuntimeError(f"{case.name}: not every patch was written: {report.error}")
    return out / shard.path


def both(call: Call) -> tuple[float, float]:
    """Return seconds by the wall clock and of all cores."""
    used = time.process_time()
    wall = seconds(call)
    return wall, time.process_time() - used


def rows_of(taken: Sequence[Times]) -> Iterator[Row]:
    """Return the figures of each case, and of the recipe's modalities together where all were measured."""
    for times in taken:
        yield times.row(0, "wall")
        yield times.row(1, "processor")


def together(taken: Sequence[Times]) -> Iterator[Row]:
    """Return the figures of a file of every modality of the recipe, as one."""
    names = modalities_of("landslides")
    near = {times.case.work.modality: times for times in taken if times.case.first_byte is None}
    if not set(names) <= set(near):
        return
    total = sum(near[name].seconds for name in names)
    for clock, unit in enumerate(("wall", "processor")):
        times = total[:, :, clock]
        mean, *parts = np.median(times, axis=0) / len(names)
        said = f"of a file {mean:.2f} s, its parts {sum(parts):.2f} s; {', '.join(names)}; {CORES} cores"
        ratios = times[:, 0] / times[:, 1:].sum(axis=1)
        yield row_of(f"mean of {len(names)} modalities: {unit}", ratios.tolist(), "shard / (unpack + pack)", said)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shard", description=__doc__.split("\n", 1)[0])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sen12-pipeline" / "benchmark"
    parser.add_argument("--quick", action="store_true", help="small files, two rounds: shows that it runs")
    parser.add_argument("--rounds", type=int, help="rounds of each file (3)")
    parser.add_argument("--only", default="", help="measure only where the name contains this")
    parser.add_argument("--make", action="store_true", help="make the scenes, and measure nothing")
    parser.add_argument("--folder", type=Path, default=cache, help=f"where the scenes are kept ({cache})")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    chosen = [case for case in cases(folder, quick=arguments.quick) if arguments.only in case.name]
    for case in chosen:
        case.work.make()
    if arguments.make:
        return
    # So that the parts are packed as the file is.
    blosc.use_threads = False
    taken = []
    with serving(folder) as server:
        for case in chosen:
            taken.append(measured(case, server, arguments.rounds or (2 if arguments.quick else 3)))
            for row in rows_of(taken[-1:]):
                print_row(row)
    totals = list(together(taken))
    for row in totals:
        print_row(row)
    if arguments.json:
        rows = [*rows_of(taken), *totals]
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def print_row(row: Row) -> None:
    print(f"{row.name:<38} {row.ratio:>6.2f}   {row.low:>6.2f} – {row.high:<6.2f}   {row.conditions}", flush=True)


if __name__ == "__main__":
    main()
