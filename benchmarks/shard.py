"""A whole shard, plan to zip, against the sum of what cannot be left out: `python -m benchmarks.shard [--quick]`.

Left out cannot be: unpacking each tile that the shard needs once, down to the last row needed, and packing its chunks.
Both are measured alone, on as many threads as there are cores. Files lie on disk, in the system's cache.
"""

import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio
from isal import isal_zlib
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter, zoom

from benchmarks.ratios import parse, row_of, seconds, show
from pipeline.assemble import BuildOptions, build_shard
from pipeline.layouts import open_shard
from pipeline.layouts.encoding import CODECS
from pipeline.recipes import load_recipe
from pipeline.records import MODALITIES, AssetRef, Choice, PatchGrid, PlanRow, Shard, ShardSample
from pipeline.sources.cog.header import parse_header
from pipeline.sources.cog.windows import window_of

EPSG, LEFT, TOP = 32633, 499_980.0, 5_100_000.0
CORES = os.cpu_count() or 1


class Files:
    """Files as they are."""

    def sign(self, href):
        return href

    def gdal_env(self):
        return {}


@dataclass(frozen=True, kw_only=True)
class Work:
    """One shard of one catalogue."""

    folder: Path
    side: int
    tile: int
    dates: int
    patches: int
    patch: int

    def path(self, date, band):
        return self.folder / str(date) / f"{band}.tif"

    def make(self):
        """Write two pictures for each pixel size; bands and dates share them under names of their own."""
        for date in range(self.dates):
            for at, band in enumerate([*MODALITIES["S2L2A"].bands, *MODALITIES["SCL"].bands]):
                seed = (date + at) % 2
                original = self.folder / f"{band.resolution}-{seed}-{band.name == 'SCL'}.tif"
                if not original.exists():
                    self._write(original, band, seed)
                self.path(date, band.name).parent.mkdir(exist_ok=True)
                os.link(original, self.path(date, band.name))

    def _write(self, path, band, seed):
        side = self.side * 10 // band.resolution
        rng = np.random.default_rng(seed)
        if band.name == "SCL":
            values = np.full((side, side), 4, np.uint8)
        else:
            coarse = zoom(gaussian_filter(rng.normal(0, 9000, (side // 4 + 1,) * 2).astype(np.float32), 3), 4, order=1)
            noise = rng.normal(0, 60, (side, side)).astype(np.float32)
            values = np.clip(2500 + coarse[:side, :side] + noise, 1, 12000).astype(np.uint16)
        with rasterio.open(
            path, "w", driver="GTiff", width=side, height=side, count=1, dtype=values.dtype, crs=f"EPSG:{EPSG}",
            transform=from_origin(LEFT, TOP, band.resolution, band.resolution), tiled=True, blockxsize=self.tile,
            blockysize=self.tile, compress="deflate", predictor=2,
        ) as file:  # fmt: skip
            file.write(values, 1)

    def shard(self):
        rng = np.random.default_rng(3)
        bands = MODALITIES["S2L2A"].band_names
        samples, rows = [], []
        for number in range(self.patches):
            column, row = rng.integers(0, (self.side - self.patch) // 6, 2) * 6
            grid = PatchGrid(
                epsg=EPSG, left=LEFT + 10.0 * column, top=TOP - 10.0 * row, size=self.patch, resolution=10.0
            )
            samples.append(ShardSample(id=f"{number:07d}", grid=grid, lon=15.0, lat=46.0, date=None))
            for date in range(self.dates):
                asset = AssetRef(
                    scene_id=str(date),
                    hrefs=tuple(str(self.path(date, band)) for band in bands),
                    mask_href=str(self.path(date, "SCL")),
                )
                choice = Choice(
                    acquisition=str(date), file_id=str(date), assets=(asset,),
                    acquired=datetime(2023, 6, 1, tzinfo=UTC) + timedelta(days=5 * date),
                )  # fmt: skip
                rows.append(PlanRow(sample_id=samples[-1].id, modality="S2L2A", timestep=date, choice=choice))
        return Shard(
            name="bench", split="all", modality="S2L2A", bands=bands, samples=tuple(samples), rows=tuple(rows),
            timesteps=self.dates,
        )  # fmt: skip


def needed_tiles(shard):
    """Return packed bytes of each tile of the shard, and how many bytes of pixels are needed of it."""
    found = {}
    grids = {sample.id: sample.grid for sample in shard.samples}
    wanted = {}
    for row in shard.rows:
        for asset in row.choice.assets:
            for href in (*asset.hrefs, asset.mask_href):
                wanted.setdefault(href, []).append(grids[row.sample_id])
    for href, places in wanted.items():
        data = Path(href).read_bytes()
        image = parse_header(data, whole=True)
        for grid in places:
            window = window_of(image, grid, "nearest")
            for number in window.tiles(image):
                last = min(int(window.rows[-1]) - number // image.across * image.tile_height + 1, image.tile_height)
                start = int(image.offsets[number])
                packed, rows = found.get((href, number), (data[start : start + int(image.counts[number])], 0))
                found[href, number] = packed, max(rows, last)
        found = {
            key: (packed, rows if key[0] != href else rows * image.tile_width * image.dtype.itemsize)
            for key, (packed, rows) in found.items()
        }
    return list(found.values())


def unpack_all(tiles):
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda tile: len(isal_zlib.decompressobj().decompress(*tile)), tiles))


def pack_all(frames):
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda frame: len(CODECS["chunked"].encode(frame)), frames))


def main():
    options = parse(__doc__)
    small = options.quick
    with tempfile.TemporaryDirectory() as home:
        work = Work(
            folder=Path(home), side=1200 if small else 2748, tile=256 if small else 512, dates=2 if small else 4,
            patches=4 if small else 64, patch=128 if small else 264,
        )  # fmt: skip
        work.make()
        show(list(measured(work, Path(home) / "out", 2 if small else 3)), options.json)


def measured(work, out, rounds):
    shard, recipe = work.shard(), load_recipe("landslides", [f"patch_size={work.patch}"])
    build = BuildOptions(root=out, source=Files())

    def whole():
        shutil.rmtree(out, ignore_errors=True)
        return build_shard(shard, recipe, build)

    whole()
    with open_shard(out / shard.path) as dataset:
        bands = dataset["bands"].values
        frames = [
            *bands.reshape(-1, 1, 1, *bands.shape[2:]),
            *dataset["cloud_mask"].values.reshape(-1, *bands.shape[3:]),
        ]
    tiles = needed_tiles(shard)
    calls = (whole, lambda: unpack_all(tiles), lambda: pack_all(frames))
    rows = [[both_times(call) for call in calls] for _ in range(rounds)]
    work_said = f"{work.patches} patches × {work.dates} dates × 12 bands × {work.patch} px"
    for clock, unit in enumerate(("wall", "processor time")):
        times = np.array([[taken[clock] for taken in row] for row in rows])
        medians = ", ".join(f"{value:.2f}" for value in np.median(times, axis=0))
        said = f"{work_said}, {work.tile} px tiles on disk, {CORES} cores; shard, unpack, pack: {medians} s"
        yield row_of("shard / (unpack + pack)", (times[:, 0] / times[:, 1:].sum(axis=1)).tolist(), unit, said)


def both_times(call):
    """Return seconds by the wall clock and of all cores."""
    used = time.process_time()
    wall = seconds(call)
    return wall, time.process_time() - used


if __name__ == "__main__":
    main()
