"""Processes that work: one makes what is mutated; the others take numbers of inputs and answer each.

They are forked from a server that has imported everything once.
"""

import faulthandler
import gc
import logging
import os
import random
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from fuzz.outcomes import Ended

HEADROOM = 6 << 30
"""Address space that inputs may take beyond what the process has when it is ready [bytes]."""
LEAK = 700 << 20
"""Memory that may stay taken after an input, beyond what the first ones left [bytes]."""
INPUT_FILES = frozenset(
    ("stac", "band.tif", "dataset", "recipe.yaml", "shard.zarr.zip", "published", "hill.geojson", "points.csv")
)
"""What a target may leave in the folder of its own input."""


@dataclass(frozen=True)
class Task:
    """What a process works on."""

    site: Path
    sandbox: Path
    """Folder of its own; what is printed goes to a file beside it."""
    seed: int
    target: str
    """The only one to try; empty for all."""


def prepare(root: Path) -> None:
    """Write what is mutated."""
    from fuzz.site import make_site  # noqa: PLC0415

    _quieten(root.with_suffix(".log"))
    make_site(root)


def work(numbers: Connection, task: Task) -> None:
    """Take one number after the other until there are no more."""
    from fuzz.site import Site  # noqa: PLC0415

    _quieten(task.sandbox.with_suffix(".log"))
    taken = _pages("size") + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (taken, taken))
    # What was imported stays; without it a collection after each input takes no time.
    gc.collect()
    gc.freeze()
    site, first = Site(task.site), 0
    while (number := numbers.recv()) is not None:
        ended = _tried(site, task, number)
        first = first or ended.resident
        if ended.is_good and ended.resident > first + LEAK:
            ended = ended._replace(
                outcome="leak", detail=f"{ended.resident >> 20} MB, {first >> 20} MB after the first"
            )
        case = task.sandbox / "case"
        if ended.is_good:
            shutil.rmtree(case)
        else:
            case.rename(task.sandbox / f"case-{number}")
        numbers.send(ended)


def _quieten(log: Path) -> None:
    faulthandler.enable()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _tried(site: object, task: Task, number: int) -> Ended:
    from fuzz.targets import run_case  # noqa: PLC0415

    case = task.sandbox / "case"
    for folder in (case / "input", case / "tmp"):
        folder.mkdir(parents=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(case / "tmp")
    os.chdir(case / "tmp")
    began = time.process_time()
    try:
        ended = run_case(site, case / "input", random.Random(f"{task.seed}:{number}"), task.target)  # type: ignore[arg-type]  # noqa: S311
    except BaseException:  # noqa: BLE001
        ended = Ended(task.target or "?", "traceback", traceback.format_exc())
    os.chdir(task.sandbox)
    left = _left_behind(task.sandbox)
    if left and ended.is_good:
        ended = ended._replace(outcome="left a file", detail=left)
    gc.collect()
    return ended._replace(seconds=time.process_time() - began, resident=_pages("resident"))


def _left_behind(sandbox: Path) -> str:
    """Name what lies outside of an input's own files."""
    strangers = [file.name for file in sandbox.iterdir() if file.name != "case" and not file.name.startswith("case-")]
    case = sandbox / "case"
    strangers += [file.name for file in case.iterdir() if file.name not in ("input", "tmp")]
    strangers += [str(file.relative_to(case)) for file in (case / "tmp").iterdir()]
    strangers += [file.name for file in (case / "input").iterdir() if file.name not in INPUT_FILES]
    strangers += [str(file) for file in (case / "input").rglob("*") if "evil" in file.name or file.suffix == ".tmp"]
    return ", ".join(strangers)


def _pages(kind: str) -> int:
    size, resident = Path("/proc/self/statm").read_text().split()[:2]
    return int(size if kind == "size" else resident) * resource.getpagesize()
