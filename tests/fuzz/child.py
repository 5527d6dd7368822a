"""A process that works on inputs one by one: numbers come in, a line of JSON goes out for each."""

import faulthandler
import gc
import json
import logging
import os
import random
import resource
import shutil
import sys
import traceback
import warnings
from pathlib import Path

HEADROOM = 6 << 30
"""Address space that inputs may take beyond what the process has when it is ready [bytes]."""
LEAK = 700 << 20
"""Memory that may stay taken after an input, beyond what the first ones left [bytes]."""


def main() -> None:
    root, sandbox, seed, only = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    faulthandler.enable()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from fuzz.site import Site  # noqa: PLC0415
    from fuzz.targets import run_case  # noqa: PLC0415

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    site, first = Site(root), 0
    taken = _pages("size") + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (taken, taken))
    for line in sys.stdin:
        number = int(line)
        case = sandbox / "case"
        for folder in (case / "input", case / "tmp"):
            folder.mkdir(parents=True)
        os.environ["TMPDIR"] = str(case / "tmp")
        os.chdir(case / "tmp")
        try:
            target, outcome, detail = run_case(site, case / "input", random.Random(f"{seed}:{number}"), only)  # noqa: S311
        except BaseException:  # noqa: BLE001
            target, outcome, detail = only or "?", "traceback", traceback.format_exc()
        os.chdir(sandbox)
        left = _left_behind(sandbox)
        if left and outcome in ("refused", "correct"):
            outcome, detail = "left a file", left
        gc.collect()
        now = _pages("resident")
        first = first or now
        if now > first + LEAK and outcome in ("refused", "correct"):
            outcome, detail = "leak", f"{now >> 20} MB, {first >> 20} MB after the first"
        if outcome in ("refused", "correct"):
            shutil.rmtree(case)
        else:
            case.rename(sandbox / f"case-{number}")
        answers.write(json.dumps([target, outcome, detail, now]) + "\n")


def _left_behind(sandbox: Path) -> str:
    """Name what lies outside of an input's own files."""
    strangers = [file.name for file in sandbox.iterdir() if file.name != "case" and not file.name.startswith("case-")]
    case = sandbox / "case"
    strangers += [file.name for file in case.iterdir() if file.name not in ("input", "tmp")]
    strangers += [str(file.relative_to(case)) for file in (case / "tmp").iterdir()]
    known = {
        "stac", "band.tif", "dataset", "recipe.yaml", "shard.zarr.zip", "published", "hill.geojson", "points.csv",
    }  # fmt: skip
    strangers += [file.name for file in (case / "input").iterdir() if file.name not in known]
    strangers += [str(file) for file in (case / "input").rglob("*") if "evil" in file.name or file.suffix == ".tmp"]
    return ", ".join(strangers)


def _pages(kind: str) -> int:
    size, resident = Path("/proc/self/statm").read_text().split()[:2]
    return int(size if kind == "size" else resident) * resource.getpagesize()


if __name__ == "__main__":
    main()
