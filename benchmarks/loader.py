"""Random access for training, one sample at one date: `python -m benchmarks.loader [--quick]`.

The same pixels in chunks of one patch, as `store: chunked` has them, and in chunks of a whole file, as the published
files do. Files lie in the system's cache, as after the first epoch; who reads has opened them before.
"""

import itertools
import tempfile
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.ratios import Pair, measure, parse, show
from pipeline import open_patches, open_shard
from pipeline.layouts.ssl4eo import ShardContent, write_shard

BANDS = 12


def content(samples, times, side, store):
    """Return patches cut from one texture with the correlation of an image."""
    rng = np.random.default_rng(0)
    wide = side + 64
    texture = gaussian_filter(rng.normal(0, 4000, (BANDS, wide, wide)), (0, 3, 3)) + rng.normal(
        2000, 15, (BANDS, wide, wide)
    )
    texture = texture.astype(np.int16)
    frames = (samples, times)
    bands = np.empty((*frames, BANDS, side, side), np.int16)
    for sample, time in itertools.product(range(samples), range(times)):
        x, y = sample, (sample * 7 + time * 13) % 64
        bands[sample, time] = texture[:, y : y + side, x : x + side]
    return ShardContent(
        bands=bands,
        band_names=tuple(f"B{band:02d}" for band in range(BANDS)),
        sample_ids=tuple(f"{sample:07d}" for sample in range(samples)),
        file_ids=np.full(frames, "x"),
        times=np.full(frames, np.datetime64("2023-08-10", "ns")),
        epsg=np.full(samples, 32633),
        lon=np.zeros(samples),
        lat=np.zeros(samples),
        eastings=np.zeros((samples, side)),
        northings=np.zeros((samples, side)),
        store=store,
    )


def main():
    options = parse(__doc__)
    samples, times, side = (8, 2, 64) if options.quick else (64, 4, 264)
    with tempfile.TemporaryDirectory() as folder:
        paths = {store: Path(folder) / f"{store}.zarr.zip" for store in ("chunked", "published")}
        for store, path in paths.items():
            write_shard(path, content(samples, times, side, store))
        show(measure(list(pairs(paths, samples, times, side)), 3 if options.quick else 15), options.json)


def pairs(paths, samples, times, side):
    places = itertools.cycle(np.random.default_rng(1).permutation(samples * times).tolist())
    ours, published = open_patches(paths["chunked"]), open_patches(paths["published"])
    lazy = {store: open_shard(path)["bands"] for store, path in paths.items()}
    said = f"{samples} patches × {times} dates × {BANDS} bands × {side} px, int16, {{}}"

    def patch(reader):
        return lambda: reader.read(*divmod(next(places), times))

    def array(store):
        def read():
            sample, time = divmod(next(places), times)
            return lazy[store][sample, time].values

        return read

    yield Pair(name="patch, whole-file chunks by xarray / ours", theirs=array("published"), ours=patch(ours),
               conditions=said.format("warm"))  # fmt: skip
    yield Pair(name="patch, our chunks by xarray / ours", theirs=array("chunked"), ours=patch(ours),
               conditions=said.format("warm"))  # fmt: skip
    yield Pair(name="patch, whole-file chunks: xarray / our reader", theirs=array("published"), ours=patch(published),
               conditions=said.format("warm"))  # fmt: skip


if __name__ == "__main__":
    main()
