"""What building the shards of a plan asks of provider and machine."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np

from pipeline.records import AssetRef, PatchGrid, PlanRow, Recipe, Shard
from pipeline.simulate.files import READING, FileLayout, Tiles

LABEL_RATIO = 0.02
"""Share that is left of masks after compression: they are nearly empty."""


class Layouts(Protocol):
    """How files are cut into tiles."""

    def of(self, href: str, scene_id: str, product: str, band: str) -> FileLayout:
        """Return the layout of one band of a scene; raises SourceError where nothing is known of such files."""


@dataclass(slots=True)
class Load:
    """What building asks of provider and machine."""

    opens: float = 0
    """Files whose header is read, once for each file of the dataset that needs them."""
    requests: float = 0
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

    def times(self, factor: float) -> "Load":
        """Return so many times this load; counts need not be whole then."""
        return Load(**{one.name: getattr(self, one.name) * factor for one in fields(self)})


def load_of(shards: Iterable[Shard], recipe: Recipe, files: Layouts) -> Load:
    """Return what building all shards asks for."""
    total = Load()
    for shard in shards:
        total.add(_shard_load(shard, recipe, files))
    return total


def _shard_load(shard: Shard, recipe: Recipe, files: Layouts) -> Load:
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

    files: Layouts
    product: str
    bands: Sequence[str]
    load: Load = field(default_factory=Load)
    ratios: list[float] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

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
        for layouts in alike.values():
            tiles: Tiles = {}
            for grid in grids:
                for tile, share in layouts[0].tiles(grid).items():
                    tiles[tile] = max(share, tiles.get(tile, 0.0))
            for layout in layouts:
                requests, size = layout.requests(tiles, READING)
                self.load.requests += requests
                self.load.bytes += size
                self.load.unpacked += sum(tiles.values()) * layout.unpacked
            self.ratios += [layout.packed / layout.unpacked for layout in layouts]


def _files(asset: AssetRef, bands: Sequence[str]) -> list[tuple[str, str]]:
    """Return reference and band of each file once; the classification is called SCL."""
    named = dict(zip(asset.hrefs, bands, strict=True))
    if asset.mask_href:
        named.setdefault(asset.mask_href, "SCL")
    return list(named.items())
