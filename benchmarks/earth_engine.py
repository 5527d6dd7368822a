"""Requests to Earth Engine for one file of patches: ours, Xee's, one for each date or band, counted by the emulator.

    PYTHONPATH=.:tests python benchmarks/earth_engine.py --places 64 --json earth_engine.json

Xee is no dependency: `pip install xee` beside this package, or its row is left out with a line that says so. The
genuine client talks to the emulator in `tests/support`, over the embedded archive. Requests are what counts against
the quota of 40 in flight; seconds are those of an emulator on this machine and say nothing of Earth Engine's.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import ee
import xarray as xr
from support.earth_engine.account import PROJECT, write_account
from support.earth_engine.catalogue import catalogue_of
from support.earth_engine.server import Emulator, serve

from benchmarks.ratios import Row
from pipeline.archive import write_archive
from pipeline.records import PatchGrid
from pipeline.records.recipe import Collections
from pipeline.sources.contract import ScoreWindow
from pipeline.sources.earth_engine import open_earth_engine, recent, session
from pipeline.sources.window import Wanted

COLLECTION = "COPERNICUS/S2_SR_HARMONIZED"
BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
DATES, SIZE, THREADS = 4, 264, 8
LEFT, TOP = 503_160.0, 4_203_900.0
"""Corner of the archive's eastern tile, 624 px wide."""


def places(count: int) -> list[PatchGrid]:
    """Return patches inside the eastern tile, 50 m apart at most: what overlaps costs as much as what does not."""
    steps = [(index % 8, index // 8) for index in range(count)]
    return [
        PatchGrid(epsg=32633, left=LEFT + 50.0 * x, top=TOP - 50.0 * (y % 60), size=SIZE, resolution=10.0)
        for x, y in steps
    ]


def bands_of(images: Sequence[str]) -> list[list[Wanted]]:
    """Return what is read of each date."""
    return [[Wanted(f"ee://{image}#{band}", "nearest") for band in ("SCL", *BANDS)] for image in images]


def run_ours(grids: Sequence[PatchGrid], images: Sequence[str]) -> None:
    """Score every patch on every date, then read all bands and dates of a patch as a build does."""
    source = open_earth_engine(Collections())
    windows = [ScoreWindow(grid, (f"ee://{image}#SCL",)) for grid in grids for image in images]
    for first in range(0, len(windows), source.windows_at_once):
        source.class_shares(windows[first : first + source.windows_at_once])
    wanted = bands_of(images)

    def read_patch(grid: PatchGrid) -> None:
        with source.open_reader() as reader:
            reader.read_ahead((bands, grid) for bands in wanted)
            for bands in wanted:
                reader.read_bands(bands, grid)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read_patch, grids))


def run_band_by_band(grids: Sequence[PatchGrid], images: Sequence[str]) -> None:
    """Read every band of every patch and date in a request of its own."""
    _run_one_by_one(grids, [[band] for bands in bands_of(images) for band in bands])


def run_date_by_date(grids: Sequence[PatchGrid], images: Sequence[str]) -> None:
    """Read all bands of every patch and date in a request of its own."""
    _run_one_by_one(grids, bands_of(images))


def _run_one_by_one(grids: Sequence[PatchGrid], reads: Sequence[Sequence[Wanted]]) -> None:
    source = open_earth_engine(Collections())

    def read(job: tuple[PatchGrid, Sequence[Wanted]]) -> None:
        with source.open_reader() as reader:
            reader.read_bands(job[1], job[0])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read, [(grid, bands) for grid in grids for bands in reads]))


def run_xee(grids: Sequence[PatchGrid], images: Sequence[str]) -> None:
    """Open a dataset for each patch on its exact grid, as Xee's manual has it, and load its bands."""
    open_earth_engine(Collections()).session.connect()
    collection = ee.ImageCollection([ee.Image(image) for image in images]).select(["SCL", *BANDS])
    for grid in grids:
        transform = (grid.resolution, 0.0, grid.left, 0.0, -grid.resolution, grid.top)
        dataset = xr.open_dataset(
            collection, engine="ee", crs=f"EPSG:{grid.epsg}", crs_transform=transform, shape_2d=(SIZE, SIZE)
        )
        dataset.load()


WAYS: dict[str, Callable[[Sequence[PatchGrid], Sequence[str]], None]] = {
    "ours": run_ours,
    "one request per date": run_date_by_date,
    "one request per band": run_band_by_band,
    "Xee": run_xee,
}


def measured(way: str, emulator: Emulator, grids: Sequence[PatchGrid], images: Sequence[str]) -> Counter[str]:
    """Return how many requests of each kind the server computed."""
    emulator.computed.clear()
    recent.forget()
    start = time.perf_counter()
    WAYS[way](grids, images)
    counts = Counter(emulator.computed)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(f"{way:<22}{sum(counts.values()):>7} requests ({listed}); {time.perf_counter() - start:.0f} s", flush=True)
    return counts


def compare(ways: Sequence[str], count: int, folder: Path) -> list[Row]:
    """Serve the embedded archive and run every way over the same patches and dates."""
    archive = write_archive(folder / "archive")
    catalogue = catalogue_of(archive.catalog)
    images = [image.id for image in catalogue[COLLECTION] if image.id.endswith("T33SWC")][:DATES]
    with serve(catalogue) as emulator:
        account = write_account(folder / "account.json", emulator.url)
        environment = {
            session.PROJECT_VARIABLE: PROJECT, session.ENDPOINT_VARIABLE: emulator.url,
            session.SERVICE_ACCOUNT_VARIABLE: str(account),
        }  # fmt: skip
        # The client would look up deprecated assets on the network.
        with mock.patch.dict(os.environ, environment), mock.patch.object(ee.deprecation, "_FetchDataCatalogStac", dict):
            totals = {way: sum(measured(way, emulator, places(count), images).values()) for way in ways}
            session.disconnect()
    conditions = f"{count} places × {DATES} dates × {len(BANDS)} bands and SCL, {SIZE} px; counted by the emulator"
    return [
        Row(f"Earth Engine, {way}", *[totals[way] / totals["ours"]] * 3, "requests", conditions)
        for way in ways
        if way != "ours"
    ]


def main() -> None:
    """Print the table and, if asked, write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=64, help="patches of the file [64]")
    parser.add_argument("--json", type=Path, help="where the rows go")
    options = parser.parse_args()
    ways = list(WAYS)
    if importlib.util.find_spec("xee") is None:
        print("xee is not installed: its row is left out; `pip install xee` to have it", file=sys.stderr)
        ways.remove("Xee")
    with tempfile.TemporaryDirectory() as folder:
        rows: list[Any] = [asdict(row) for row in compare(ways, options.places, Path(folder))]
    for row in rows:
        print(f"{row['name']:<40}{row['ratio']:>7.1f} × ours; {row['conditions']}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
