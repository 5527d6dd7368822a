"""What building a plan will take, before a pixel is read: requests, bytes, hours and money.

Where tiles lie and how large they are packed is asked of a few files' headers; which windows are read, in which order
and how far together, is the plan's and the fast reader's. Everything else is the user's to say, or measured here.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import rasterio
from isal import isal_zlib
from pyproj import Transformer
from rasterio.enums import Compression
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from pipeline.errors import SourceError
from pipeline.layouts.encoding import CODECS
from pipeline.records import AssetRef, PatchGrid, PlanRow, Recipe, Scene, Shard
from pipeline.sources.access import Signer
from pipeline.sources.window import open_reference

HEADERS = 64
"""Files whose headers are asked for at most; files of other scenes are taken to be like those."""
HEAD_BYTES = 32 << 10
"""What the fast reader reads of a file first."""
CONNECTIONS = 32
"""Requests of one process at the same time."""
SAMPLED_TILES = 16
LABEL_RATIO = 0.02
"""Share that is left of masks after compression: they are nearly empty."""


class Reading(NamedTuple):
    """How the fast reader asks for tiles."""

    together: int
    """Patches of one scene that are asked for at once."""
    keeps: bool
    """Whether a tile is kept for the patches after these."""
    gap: int
    """Tiles closer than this in the file come in one request [bytes]."""
    longest: float
    """Bytes of such a request at most."""
    stops_early: bool
    """Whether of a tile no more is fetched than its rows are likely to take."""


READING = Reading(together=1, keeps=True, gap=32 << 10, longest=float("inf"), stops_early=False)
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
    if epsg == grid.epsg:
        return grid.bounds
    left, bottom, right, top = _transformer(grid.epsg, epsg).transform_bounds(*grid.bounds)
    return float(left), float(bottom), float(right), float(top)


@cache
def _transformer(epsg: int, other: int) -> Transformer:
    return Transformer.from_crs(epsg, other, always_xy=True)


@dataclass(slots=True)
class Load:
    """What building asks of provider and machine."""

    opens: int = 0
    """Files whose header is read, once for each file of the dataset that needs them."""
    requests: int = 0
    """Headers and runs of tiles."""
    bytes: float = 0.0
    """Over the network."""
    unpacked: float = 0.0
    """Decoded tiles [bytes], each down to the last row that is needed."""
    pixels: float = 0.0
    """Arrays before compression [bytes]."""
    stored: float = 0.0
    """Files of the dataset [bytes], taken to compress as well as the files that they are read from."""
    rounds: float = 0.0
    """Waits for an answer, one after the other."""

    def add(self, other: "Load") -> None:
        """Add another load to this one."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What no plan knows."""

    latency: float
    """Until an answer begins [s]."""
    bandwidth: float
    """Of one worker [bytes/s]."""
    workers: int
    unpack_rate: float
    """Tiles, of one core [bytes/s of pixels]."""
    pack_rate: float
    """Chunks, of one core [bytes/s of pixels]."""
    threads: int = 8
    """Scenes that a worker reads at the same time."""
    price_per_request: float = 0.0
    price_per_gigabyte: float = 0.0
    """In the user's own currency; 0 where nothing is charged."""


class Outlook(NamedTuple):
    """Time and money of a load under a setting."""

    hours: float
    network_hours: float
    """Waiting and transfer, were the processor infinitely fast."""
    processor_hours: float
    """Of all cores together."""
    price: float


def outlook_of(load: Load, setting: Setting) -> Outlook:
    """Return how long the load takes and what it costs: a worker reads and computes at the same time, on one core."""
    waiting = max(load.rounds / setting.threads, load.requests / CONNECTIONS) * setting.latency
    network = (waiting + load.bytes / setting.bandwidth) / setting.workers
    processor = load.unpacked / setting.unpack_rate + load.pixels / setting.pack_rate
    price = load.requests * setting.price_per_request + load.bytes / 1e9 * setting.price_per_gigabyte
    return Outlook(
        hours=max(network, processor / setting.workers) / 3600,
        network_hours=network / 3600,
        processor_hours=processor / 3600,
        price=price,
    )


def load_of(shards: Iterable[Shard], recipe: Recipe, files: "FileLayouts") -> Load:
    """Return what building all shards asks for."""
    total = Load()
    for shard in shards:
        total.add(_shard_load(shard, recipe, files))
    return total


def _shard_load(shard: Shard, recipe: Recipe, files: "FileLayouts") -> Load:
    modality = shard.kind
    item = np.dtype(modality.dtype).itemsize
    frames = len(shard.samples) * shard.timesteps
    load = Load(pixels=float(frames * recipe.size_of(shard.modality) ** 2 * (item * len(shard.bands) + 1)))
    ratios = []
    grids = {sample.id: sample.grid for sample in shard.samples}
    for rows in _by_first_scene(shard.rows):
        windows = _Windows(files, modality.product, shard.bands)
        ordered = sorted(rows, key=lambda row: (-grids[row.sample_id].top, grids[row.sample_id].left, row.sample_id))
        for first in range(0, len(ordered), READING.together):
            windows.read([(row, grids[row.sample_id]) for row in ordered[first : first + READING.together]])
        load.add(windows.load)
        ratios += windows.ratios
    load.stored = load.pixels * (float(np.mean(ratios)) if ratios else LABEL_RATIO)
    return load


def _by_first_scene(rows: Sequence[PlanRow]) -> Iterator[list[PlanRow]]:
    groups: dict[str, list[PlanRow]] = {}
    for row in rows:
        if row.choice is not None and row.choice.assets:
            groups.setdefault(row.choice.assets[0].hrefs[0], []).append(row)
    return iter(groups.values())


@dataclass(slots=True)
class _Windows:
    """The tiles of one scene's files, and its neighbours', as they are asked for."""

    files: "FileLayouts"
    product: str
    bands: Sequence[str]
    load: Load = field(default_factory=Load)
    ratios: list[float] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _tiles: dict[tuple[str, tuple[float, ...]], Tiles] = field(default_factory=dict)

    def read(self, rows: Sequence[tuple[PlanRow, PatchGrid]]) -> None:
        """Ask for what some patches need and was not asked for yet."""
        wanted: dict[str, tuple[AssetRef, set[PatchGrid]]] = {}
        for row, grid in rows:
            for asset in row.choice.assets if row.choice else ():
                wanted.setdefault(asset.hrefs[0], (asset, set()))[1].add(grid)
        opened = self.load.opens
        for asset, grids in wanted.values():
            self._read_asset(asset, grids)
        self.load.rounds += 1 + (self.load.opens > opened)

    def _read_asset(self, asset: AssetRef, grids: set[PatchGrid]) -> None:
        alike: dict[tuple[float, ...], list[FileLayout]] = {}
        for href, band in _files(asset, self.bands):
            layout = self.files.of(href, asset.scene_id, self.product, band)
            alike.setdefault(layout.cut, []).append(layout)
            if href not in self._known:
                self._known.add(href)
                self.load.opens += 1
                self.load.requests += 1
                self.load.bytes += layout.head
        for cut, layouts in alike.items():
            tiles: Tiles = {}
            for grid in grids:
                for tile, share in layouts[0].tiles(grid).items():
                    tiles[tile] = max(share, tiles.get(tile, 0.0))
            seen = self._tiles.setdefault((asset.hrefs[0], cut), {})
            new = {tile: share for tile, share in tiles.items() if tile not in seen}
            deeper = sum(max(share - seen.get(tile, 0.0), 0.0) for tile, share in tiles.items())
            if READING.keeps:
                seen |= {tile: max(share, seen.get(tile, 0.0)) for tile, share in tiles.items()}
            for layout in layouts:
                requests, size = layout.requests(new, READING)
                self.load.requests += requests
                self.load.bytes += size
                self.load.unpacked += deeper * layout.unpacked
            self.ratios += [layout.packed / layout.unpacked for layout in layouts]


def _files(asset: AssetRef, bands: Sequence[str]) -> list[tuple[str, str]]:
    """Return reference and band of each file once; the classification is called SCL."""
    named = dict(zip(asset.hrefs, bands, strict=True))
    if asset.mask_href:
        named.setdefault(asset.mask_href, "SCL")
    return list(named.items())


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


def calibrate() -> tuple[float, float]:
    """Return how fast one core of this machine unpacks tiles and packs chunks [bytes of pixels per second].

    Of pixels with the texture of an image: a random walk along rows and columns, with the noise of a sensor.
    """
    rng = np.random.default_rng(0)
    walk = rng.integers(-9, 10, (512, 512)).cumsum(axis=0) // 8 + rng.integers(-9, 10, (512, 512)).cumsum(axis=1)
    pixels = (2000 + walk + rng.integers(-20, 21, walk.shape)).astype(np.uint16)
    differences = np.diff(pixels, axis=1, prepend=np.uint16(0))
    packed = isal_zlib.compress(differences.tobytes())
    chunk = pixels[:256, :256].astype(np.int16)
    return (
        pixels.nbytes / _seconds(lambda: isal_zlib.decompress(packed)),
        chunk.nbytes / _seconds(lambda: CODECS["chunked"].encode(chunk)),
    )


def _seconds(call: Callable[[], object]) -> float:
    """Return the shortest of several times, which is the least disturbed."""
    taken = []
    for _ in range(15):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)
