"""What building a file cannot leave out: unpacking each tile once, down to the last row needed, and packing its chunks.

Each is done alone, on as many threads as there are cores, and nothing is kept of it.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from isal import isal_zlib
from numpy.typing import NDArray
from rasterio.warp import transform_bounds

from pipeline.layouts import open_shard
from pipeline.layouts.encoding import CODECS
from pipeline.records import PatchGrid, Shard

CORES = os.cpu_count() or 1


class Packed(NamedTuple):
    """A tile, and how much of it is needed."""

    data: memoryview
    wanted: int
    """Bytes of pixels."""


@dataclass(slots=True)
class _File:
    """A tiled file, as its own header describes it."""

    data: memoryview
    page: tifffile.TiffPage

    def spans(self, grid: PatchGrid) -> Iterator[tuple[int, int]]:
        """Yield the number of each tile that holds a part of the patch, and the rows of it that are needed."""
        scale, tie = self.page.tags["ModelPixelScaleTag"].value, self.page.tags["ModelTiepointTag"].value
        left, bottom, right, top = self._bounds(grid)
        column, last_column = int((left - tie[3]) / scale[0] + 0.01), int((right - tie[3]) / scale[0] - 0.01)
        row, last_row = int((tie[4] - top) / scale[1] + 0.01), int((tie[4] - bottom) / scale[1] - 0.01)
        across, width, height = (
            -(-self.page.imagewidth // self.page.tilewidth),
            self.page.tilewidth,
            self.page.tilelength,
        )
        for down in range(row // height, last_row // height + 1):
            rows = min(last_row - down * height + 1, height)
            for along in range(column // width, last_column // width + 1):
                yield down * across + along, rows

    def tile(self, number: int, rows: int) -> Packed:
        first, count = self.page.dataoffsets[number], self.page.databytecounts[number]
        return Packed(self.data[first : first + count], rows * self.page.tilewidth * self.page.dtype.itemsize)

    def _bounds(self, grid: PatchGrid) -> tuple[float, float, float, float]:
        epsg = int(self.page.geotiff_tags.get("ProjectedCSTypeGeoKey", 4326))
        return grid.bounds if epsg == grid.epsg else transform_bounds(f"EPSG:{grid.epsg}", f"EPSG:{epsg}", *grid.bounds)


def needed_tiles(shard: Shard) -> list[Packed]:
    """Return the packed tiles of a shard whose files lie on disk."""
    grids = {sample.id: sample.grid for sample in shard.samples}
    wanted: dict[str, set[PatchGrid]] = {}
    for row in shard.rows:
        for asset in row.choice.assets if row.choice else ():
            for href in dict.fromkeys((*asset.hrefs, asset.mask_href or asset.hrefs[0])):
                wanted.setdefault(href, set()).add(grids[row.sample_id])
    tiles = []
    for href, places in wanted.items():
        file = _opened(href)
        deepest: dict[int, int] = {}
        for number, rows in (span for grid in places for span in file.spans(grid)):
            deepest[number] = max(rows, deepest.get(number, 0))
        tiles += [file.tile(number, rows) for number, rows in sorted(deepest.items())]
    return tiles


def _opened(href: str) -> _File:
    with Path(href).open("rb") as raw:
        data = memoryview(mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ))
    with tifffile.TiffFile(href) as file:
        page = file.pages[0]
        page.dataoffsets, page.databytecounts, page.geotiff_tags  # noqa: B018
        return _File(data, page)


def chunks_of(path: Path) -> list[NDArray[Any]]:
    """Return the pixels of every chunk of a shard."""
    with open_shard(path) as dataset:
        arrays = [dataset[name].values for name in ("bands", "cloud_mask") if name in dataset]
    return [frame for array in arrays for frame in np.ascontiguousarray(array).reshape(-1, *array.shape[2:])]


def unpack_all(tiles: Sequence[Packed]) -> None:
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda tile: len(isal_zlib.decompressobj().decompress(tile.data, tile.wanted)), tiles))


def pack_all(chunks: Sequence[NDArray[Any]]) -> None:
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda chunk: len(CODECS["chunked"].encode(chunk)), chunks))
