"""`python -m crash N`: N random kills; the last line says how many of them left the same bytes."""

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from support.catalogue import write_catalogue
from support.orders import RECIPE, Order, place_slides

from crash.course import Crash, check_orphans
from crash.parts import Cluster

KILLS_A_ROUND = 5
WORKERS = 2


def main() -> int:
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    folder = Path(tempfile.mkdtemp(prefix="sen12-crash-"))
    started = time.monotonic()
    crash = Crash(_order(folder), Cluster(folder, options.workers), random.Random(options.seed))  # noqa: S311
    try:
        crash.undisturbed()
        while (left := options.kills - crash.tally.kills) > 0 and not crash.tally.problems:
            crash.round(min(KILLS_A_ROUND, left))
    finally:
        crash.cluster.stop()
        orphans = check_orphans(folder)
    return _report(crash, orphans, time.monotonic() - started)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run crash", description=__doc__)
    parser.add_argument("kills", type=int, help="how many processes to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments and victims [0]")
    parser.add_argument("--workers", type=int, default=WORKERS, help=f"worker processes [{WORKERS}]")
    return parser


def _order(folder: Path) -> Order:
    catalogue, places = write_catalogue(folder / "stac"), place_slides(folder / "valley.geojson")
    return Order(catalogue=catalogue, places=places, overrides=(*RECIPE, "samples_per_shard=2"))


def _report(crash: Crash, orphans: list[str], seconds: float) -> int:
    tally = crash.tally
    for problem in (*tally.problems, *orphans):
        print(f"PROBLEM {problem}")
    counts = (
        ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
        for found in (tally.by_victim, tally.by_stage)
    )
    print(
        f"{tally.rounds} builds in {seconds:.0f} s; killed {next(counts)}; in {next(counts)}; "
        f"{tally.redone} files done again, at most {tally.kills * crash.cluster.workers} allowed"
    )
    is_good = tally.identical == tally.kills and not orphans and not tally.problems
    if is_good:
        shutil.rmtree(crash.cluster.folder)
    else:
        print(f"kept for a look: {crash.cluster.folder}")
    print(f"{tally.kills} kills, {tally.identical} identical")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
