"""How the files of a plan are cut into tiles: asked of a few headers, and how the fast reader asks for tiles."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio.enums import Compression
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from pipeline.assemble import READ_TOGETHER
from pipeline.errors import SourceError
from pipeline.records import PatchGrid, Recipe, Scene
from pipeline.sources.access import Signer
from pipeline.sources.cog.blocks import LARGEST_GAP, LONGEST_RUN
from pipeline.sources.window import open_reference

HEADERS = 64
"""Files whose headers are asked for at most; files of other scenes are taken to be like those."""
HEAD_BYTES = 32 << 10
"""What the fast reader reads of a file first."""
SAMPLED_TILES = 16


class Reading(NamedTuple):
    """How the fast reader asks for tiles."""

    together: int
    """Patches of one scene that are asked for at once."""
    gap: int
    """Tiles closer than this in the file come in one request [bytes]."""
    longest: float
    """Bytes of such a request at most."""
    stops_early: bool
    """Whether of a tile no more is fetched than its rows are likely to take."""


READING = Reading(together=READ_TOGETHER, gap=LARGEST_GAP, longest=LONGEST_RUN, stops_early=True)
"""What `pipeline.sources.cog` does."""

_EARLY_STOP_MARGIN = 1 / 16
"""Share of a tile that is fetched beyond the estimate."""

Tiles = dict[tuple[int, int], float]
"""Row and column of tiles, and the share of each from its first row to the last that is needed."""


class Kind(NamedTuple):
    """Files that are alike."""

    product: str
    band: str
    tile: str
    """MGRS tile; empty for a product without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayout:
    """How a file is cut into tiles, and where it lies."""

    epsg: int
    """0: that of each patch."""
    left: float
    top: float
    pixel_width: float
    pixel_height: float
    """In the unit of the file's CRS, positive."""
    width: int
    height: int
    tile_width: int
    tile_height: int
    """[px]"""
    packed: float
    """Bytes of a tile in the file, the mean of some."""
    unpacked: int
    """Bytes of a tile."""
    is_deflated: bool
    """Whether a part of a tile can be unpacked."""
    head: int
    """Bytes that are read first: the whole of a small file."""

    @property
    def cut(self) -> tuple[float, ...]:
        """What decides which tiles a window lies in."""
        placed = (self.epsg, self.left, self.top, self.pixel_width, self.pixel_height)
        return (*placed, self.width, self.height, self.tile_width, self.tile_height)

    def tiles(self, grid: PatchGrid) -> Tiles:
        """Return each tile that holds a part of the patch, and how far down it is needed [1]."""
        left, bottom, right, top = _bounds_in(grid, self.epsg)
        size = self.pixel_width * self.tile_width, self.pixel_height * self.tile_height
        # A patch ends where its last pixel does, not where the next one begins.
        inset = 0.01 * self.pixel_width, 0.01 * self.pixel_height
        columns = _span(
            left + inset[0] - self.left, right - inset[0] - self.left, size[0], self.width / self.tile_width
        )
        rows = _span(self.top - top + inset[1], self.top - bottom - inset[1], size[1], self.height / self.tile_height)
        deepest = (self.top - bottom) / size[1]
        return {(row, column): min(deepest - row, 1.0) for row in rows for column in columns}

    def fetched(self, share: float, reading: Reading) -> float:
        """Return the bytes of a tile that are asked for when it is needed so far down."""
        is_partial = reading.stops_early and self.is_deflated
        return self.packed * min(share + _EARLY_STOP_MARGIN, 1.0) if is_partial else self.packed

    def requests(self, tiles: Tiles, reading: Reading) -> tuple[int, float]:
        """Return how many requests tiles of one file take, and their bytes; the file has them row by row."""
        across = -(-self.width // self.tile_width)
        requests, size, run, stop = 0, 0.0, 0.0, -1.0
        for (row, column), share in sorted(tiles.items()):
            first, fetched = (row * across + column) * self.packed, self.fetched(share, reading)
            gap = first - stop
            if requests and gap <= reading.gap and run + gap + fetched <= reading.longest:
                run += gap + fetched
                size += gap + fetched
            else:
                requests, run, size = requests + 1, fetched, size + fetched
            stop = first + fetched
        return requests, size


def _span(first: float, last: float, step: float, count: float) -> range:
    stop = int(np.ceil(count))
    return range(max(int(first // step), 0), min(int(last // step) + 1, stop))


def _bounds_in(grid: PatchGrid, epsg: int) -> tuple[float, float, float, float]:
    if epsg in (0, grid.epsg):
        return grid.bounds
    left, bottom, right, top = _transformer(grid.epsg, epsg).transform_bounds(*grid.bounds)
    return float(left), float(bottom), float(right), float(top)


@cache
def _transformer(epsg: int, other: int) -> Transformer:
    return Transformer.from_crs(epsg, other, always_xy=True)


NOMINAL_TILE = 512
"""Pixels along a side of a tile."""
NOMINAL_RATIO = 0.67
"""Size of a tile in the file over that of its pixels, as measured on Sentinel-2's texture."""


class NominalLayouts:
    """Files as they commonly are: tiles of 512 px in each patch's own zone, deflated. No header is asked for."""

    def __init__(self, recipe: Recipe) -> None:
        """Take pixel sizes and dtypes from the modalities of `recipe`."""
        self._known: dict[tuple[str, str], FileLayout] = {}
        for modality in map(recipe.modality, recipe.modalities):
            itemsize = 4 if np.dtype(modality.dtype).kind == "f" else np.dtype(modality.dtype).itemsize
            for band in modality.bands:
                self._known[modality.product, band.name] = _nominal(band.resolution, itemsize)

    def of(self, href: str, scene_id: str, product: str, band: str) -> FileLayout:  # noqa: ARG002
        """Return the layout of a band; a quality band is taken to be of 20 m and one byte."""
        return self._known.get((product, band)) or _nominal(20, 1)


def _nominal(resolution: float, itemsize: int) -> FileLayout:
    unpacked = NOMINAL_TILE**2 * itemsize
    across, down = (math.ceil(extent / resolution) for extent in _ZONE)
    return FileLayout(
        epsg=0, left=0.0, top=_ZONE[1], pixel_width=resolution, pixel_height=resolution, width=across, height=down,
        tile_width=NOMINAL_TILE, tile_height=NOMINAL_TILE, packed=NOMINAL_RATIO * unpacked, unpacked=unpacked,
        is_deflated=True, head=HEAD_BYTES,
    )  # fmt: skip


_ZONE = 1e6, 1e7
"""Eastings and northings of a UTM zone are below [m]."""


class FileLayouts:
    """The layout of any file of a plan, by asking the headers of a few."""

    def __init__(self, source: Signer, scenes: Iterable[Scene], *, headers: int = HEADERS) -> None:
        """Ask through `source`, for no more than `headers` files."""
        self._source, self._left = source, headers
        self._tile_of: Mapping[str, str] = {scene.id: scene.tile for scene in scenes}
        self._known: dict[Kind, FileLayout] = {}
        self._alike: dict[tuple[str, str], FileLayout] = {}
        self.asked = 0
        """Headers that were asked for."""
        self.unreadable = 0
        """Those of them that could not be read; the files are taken to be like others."""

    def of(self, href: str, scene_id: str, product: str, band: str) -> FileLayout:
        """Return the layout of one band of a scene, or of a file of its kind.

        Raises
        ------
        SourceError
            No file of this product and band could be asked.
        """
        tile = self._tile_of.get(scene_id, "")
        kind, alike = Kind(product, band, tile), (product, band)
        if kind not in self._known:
            found = self._ask(href) if self._left > 0 or alike not in self._alike else None
            if found is None and alike not in self._alike:
                raise SourceError(
                    f"no header of {product} {band} can be read (asked: {scene_id}): nothing to predict from"
                )
            # Of scenes without a tile, and of those that were not asked, only the cutting is known, not their edges.
            self._known[kind] = found if found and tile else _boundless(found or self._alike[alike])
            self._alike.setdefault(alike, self._known[kind])
        return self._known[kind]

    def _ask(self, href: str) -> FileLayout | None:
        self._left -= 1
        try:
            with open_reference(self._source), rasterio.open(self._source.sign(href)) as file:
                layout = _layout_of(file)
        except (RasterioError, SourceError):
            layout = None
        self.asked += 1
        self.unreadable += layout is None
        return layout


def _layout_of(file: DatasetReader) -> FileLayout | None:
    epsg = file.crs.to_epsg() if file.crs else None
    if epsg is None:
        return None
    height, width = file.block_shapes[0]
    across, down = -(-file.width // width), -(-file.height // height)
    unpacked = height * width * np.dtype(file.dtypes[0]).itemsize
    sizes = [_tile_bytes(file, number % across, number // across) for number in _sample(across * down)]
    known = [size for size in sizes if size]
    packed = float(np.mean(known)) if known else 0.0
    return FileLayout(
        epsg=epsg,
        left=file.transform.c,
        top=file.transform.f,
        pixel_width=file.transform.a,
        pixel_height=-file.transform.e,
        width=file.width,
        height=file.height,
        tile_width=width,
        tile_height=height,
        packed=packed,
        unpacked=unpacked,
        is_deflated=file.compression is Compression.deflate,
        head=min(HEAD_BYTES, round(packed * across * down)),
    )


def _sample(count: int) -> list[int]:
    return sorted({round(index) for index in np.linspace(0, count - 1, min(SAMPLED_TILES, count))})


def _tile_bytes(file: DatasetReader, column: int, row: int) -> int:
    return int(file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=1) or 0)


_FAR = 4096
"""Tiles, in every direction."""


def _boundless(layout: FileLayout) -> FileLayout:
    return replace(
        layout,
        left=layout.left - _FAR * layout.tile_width * layout.pixel_width,
        top=layout.top + _FAR * layout.tile_height * layout.pixel_height,
        width=2 * _FAR * layout.tile_width,
        height=2 * _FAR * layout.tile_height,
    )
