"""The readers that are compared: each reads the same windows of all bands at all dates and returns their digest."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import odc.stac
import rasterio
import rasterio.windows

from benchmarks.reading.scenes import BANDS, LEFT, TOP, Collection
from pipeline.assemble import READ_TOGETHER
from pipeline.records import PatchGrid
from pipeline.sources.reading import open_reader
from pipeline.sources.window import GDAL_OPTIONS, Wanted

AT_ONCE = 16
"""Requests that those have in flight who set it."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one reader is to read."""

    collection: Collection
    root: str
    """Folder or URL below which the files lie."""
    grids: Sequence[PatchGrid]

    def href(self, date: int, band: str) -> str:
        return f"{self.root}/{self.collection.path(date, band)}"

    @property
    def dates(self) -> range:
        return range(self.collection.dates)


class Plain:
    """References that need no signature."""

    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> Mapping[str, str]:
        return {}


def ours(work: Work) -> int:
    """Read a scene at a time for all places, as a shard is built."""

    def read_scene(date: int) -> int:
        wanted = [Wanted(work.href(date, band), "nearest") for band in BANDS]
        grids, total = sorted(work.grids, key=lambda grid: (-grid.top, grid.left)), 0
        with open_reader(Plain()) as reader:
            for first in range(0, len(grids), READ_TOGETHER):
                together = grids[first : first + READ_TOGETHER]
                reader.read_ahead((wanted, grid) for grid in together)
                total += _digest(band for grid in together for band in reader.read_bands(wanted, grid))
        return total

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(read_scene, work.dates))


def odc_lazy(work: Work) -> int:
    """Load a place at a time as odc-stac's documentation shows; over HTTP with more threads than cores."""
    odc.stac.configure_rio(cloud_defaults=True)
    items = work.collection.items(work.root)
    threads = {"num_workers": AT_ONCE} if "://" in work.root else {}
    total = 0
    for grid in work.grids:
        lazy = odc.stac.load(items, bands=list(BANDS), geobox=grid.geobox, chunks={}, resampling="nearest")
        loaded = lazy.compute(scheduler="threads", **threads)
        total += _digest(loaded[band].values[date] for date in work.dates for band in BANDS)
    return total


def patch_and_band(work: Work) -> int:
    """Open each band of each patch by itself, as collection scripts do, sixteen patches at a time, with tuned GDAL."""

    def read_place(grid: PatchGrid) -> int:
        with rasterio.Env(**GDAL_OPTIONS):
            return _digest(_read_fresh(work.href(date, band), grid) for date in work.dates for band in BANDS)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(read_place, work.grids))


def shared_handles(work: Work) -> int:
    """Open each file once, with tuned GDAL, and read one place after another from all of them, sixteen at a time."""
    with rasterio.Env(**GDAL_OPTIONS), ThreadPoolExecutor(AT_ONCE) as pool:
        files = list(pool.map(_open, [work.href(date, band) for date in work.dates for band in BANDS]))
        # The next place is asked of a file while other files still read the one before.
        total = sum(pool.map(lambda job: _digest([_locked_window(*job)]), [(f, g) for g in work.grids for f in files]))
        for file, _ in files:
            file.close()
    return total


def file_by_file(work: Work) -> int:
    """Open each file once, with tuned GDAL, and read all places from it before the next, sixteen files at a time."""

    def read_file(href: str) -> int:
        with rasterio.Env(**GDAL_OPTIONS), rasterio.open(href) as file:
            return _digest(_window(file, grid) for grid in work.grids)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(read_file, [work.href(date, band) for date in work.dates for band in BANDS]))


def _open(href: str) -> tuple[rasterio.DatasetReader, Lock]:
    with rasterio.Env(**GDAL_OPTIONS):
        return rasterio.open(href), Lock()


def _locked_window(shared: tuple[rasterio.DatasetReader, Lock], grid: PatchGrid) -> np.ndarray:
    file, lock = shared
    with rasterio.Env(**GDAL_OPTIONS), lock:
        return _window(file, grid)


READERS: Mapping[str, Callable[[Work], int]] = {
    "ours": ours,
    "odc.stac.load, lazy": odc_lazy,
    "one patch and band at a time": patch_and_band,
    "shared rasterio handles": shared_handles,
    "rasterio, file by file": file_by_file,
}


def _read_fresh(href: str, grid: PatchGrid) -> np.ndarray:
    with rasterio.open(href) as file:
        return _window(file, grid)


def _window(file: rasterio.DatasetReader, grid: PatchGrid) -> np.ndarray:
    times = int(file.res[0] // grid.resolution)
    side = grid.size // times
    column, row = int((grid.left - LEFT) // file.res[0]), int((TOP - grid.top) // file.res[0])
    return file.read(1, window=rasterio.windows.Window(column, row, side, side)).repeat(times, 0).repeat(times, 1)


def _digest(patches: Iterable[np.ndarray]) -> int:
    """Return a number that is the same for the same patches in any order: a sum over every 97th pixel."""
    return sum(int(np.ravel(patch)[::97].sum(dtype=np.int64)) for patch in patches)
