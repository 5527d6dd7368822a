"""How much memory a worker really takes to build one file, against the bound that planning holds workers to.

    python benchmarks/memory.py [--samples 64] [--size 264] [--steps 4] [--store chunked]

builds one S2L2A file in a process of its own from tiled GeoTIFFs of noise, which compress worst, through the same
`build_shard` as every dataset, and prints peak, bound and their ratio; exit code 1 when the peak is above the bound.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio
from pydantic import TypeAdapter
from rasterio.transform import from_origin

from pipeline.assemble import BuildOptions, build_shard
from pipeline.cluster import worker_bound
from pipeline.recipes import load_recipe
from pipeline.records import MODALITIES, AssetRef, Choice, PatchGrid, PlanRow, Recipe, Shard, ShardSample

EPSG, LEFT, TOP = 32633, 500_000.0, 4_200_000.0
BLOCK = 1024
SEED = 20_240_101
SHARD = TypeAdapter(Shard)


class Files:
    """A source whose references need no signature."""

    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> Mapping[str, str]:
        return {}


def recipe_of(options: argparse.Namespace) -> Recipe:
    values = {"patch_size": options.size, "samples_per_shard": options.samples, "series_length": options.steps}
    return load_recipe("landslides", {**values, "modalities": ["S2L2A"], "store": options.store})


def write_raster(path: Path, resolution: int, ground: float, *, classes: bool = False) -> str:
    side = int(ground // resolution)
    rng = np.random.default_rng([SEED, resolution, len(path.name)])
    values = rng.integers(4, 6, (side, side), np.uint8) if classes else rng.integers(1, 10_000, (side, side), np.uint16)
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": values.dtype, "crs": f"EPSG:{EPSG}",
        "transform": from_origin(LEFT, TOP, resolution, resolution), "tiled": True, "blockxsize": BLOCK,
        "blockysize": BLOCK, "compress": "deflate", "predictor": 2, "zlevel": 1, "nodata": 0,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(values, 1)
    return str(path)


def make_shard(recipe: Recipe, folder: Path) -> Shard:
    """Patches side by side on scenes that hold them all, one scene for each time."""
    columns = int(np.ceil(np.sqrt(recipe.samples_per_shard)))
    ground = columns * recipe.step
    bands = recipe.bands_of("S2L2A")
    assets = []
    for step in range(recipe.series_length):
        hrefs = tuple(
            write_raster(folder / f"{step}_{band}.tif", int(MODALITIES["S2L2A"].band(band).resolution), ground)
            for band in bands
        )
        mask = write_raster(folder / f"{step}_SCL.tif", 20, ground, classes=True)
        assets.append(AssetRef(scene_id=f"scene{step}", hrefs=hrefs, mask_href=mask))
    start = datetime(2023, 1, 1, tzinfo=UTC)
    samples = tuple(
        ShardSample(
            id=f"place{number}",
            grid=PatchGrid(
                epsg=EPSG,
                left=LEFT + number % columns * recipe.step,
                top=TOP - number // columns * recipe.step,
                size=recipe.patch_size,
                resolution=recipe.resolution,
            ),
            lon=15.0,
            lat=38.0,
            date=start,
        )
        for number in range(recipe.samples_per_shard)
    )
    rows = tuple(
        PlanRow(
            sample_id=sample.id,
            modality="S2L2A",
            timestep=step,
            choice=Choice(
                acquisition=asset.scene_id, acquired=start + timedelta(days=5 * step), file_id="x" * 38, assets=(asset,)
            ),
        )
        for sample in samples
        for step, asset in enumerate(assets)
    )
    return Shard(
        name="memory_all_000001", split="all", modality="S2L2A", bands=bands, samples=samples, rows=rows,
        timesteps=recipe.series_length,
    )  # fmt: skip


def peak_memory() -> int:
    """Return the most memory that this process ever held [bytes]; getrusage would count its parent's, too."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


def measure(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Build in this process, which did nothing else before."""
    recipe = recipe_of(options)
    shard = SHARD.validate_json((folder / "shard.json").read_bytes())
    before = peak_memory()
    started = time.perf_counter()
    report = build_shard(shard, recipe, BuildOptions(root=folder / "out", source=Files()))
    if report.state != "done" or any(patch.state != "written" for patch in report.patches):
        raise RuntimeError(f"not every patch was written: {report.error}")
    peak = peak_memory()
    return {
        "peak": peak,
        "before": before,
        "file": report.bytes,
        "seconds": time.perf_counter() - started,
        "bound": worker_bound(recipe),
    }


def measured(options: argparse.Namespace) -> dict[str, float]:
    """Make the files here, and build from them in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="sen12-memory-") as name:
        shard = make_shard(recipe_of(options), Path(name))
        (Path(name) / "shard.json").write_bytes(SHARD.dump_json(shard))
        given = {"samples": options.samples, "size": options.size, "steps": options.steps, "store": options.store}
        arguments = [part for key, value in given.items() for part in (f"--{key}", str(value))]
        command = [sys.executable, __file__, *arguments, "--measure", name]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout  # noqa: S603
        return {"bands": len(shard.bands), **json.loads(printed)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--size", type=int, default=264, help="pixels along each side of a patch")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--store", choices=("chunked", "published"), default="chunked")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options, options.measure)))
        return 0
    taken = measured(options)
    shape = (options.samples, options.steps, taken["bands"], options.size, options.size)
    ratio = taken["peak"] / taken["bound"]
    print(
        f"{' × '.join(map(str, shape))} int16, {options.store}: array {2 * np.prod(shape) / 1e6:.0f} MB, "
        f"file {taken['file'] / 1e6:.0f} MB, {taken['seconds']:.1f} s; peak {taken['peak'] / 1e6:.0f} MB "
        f"({taken['before'] / 1e6:.0f} MB before), bound {taken['bound'] / 1e6:.0f} MB, ratio {ratio:.2f}"
    )
    return int(ratio > 1.0)


if __name__ == "__main__":
    sys.exit(main())
