"""scenes.parquet: every scene of a search on disk, in groups of neighbours, of which planning reads those it needs."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from pipeline import grid
from pipeline.catalog.codec import arrow_schema, from_table, geo_metadata, to_table
from pipeline.catalog.stored import Stored, TableWriter, read_group
from pipeline.records import Product, Sample, Scene

GROUP_SCENES = 8192
"""Scenes in a row group."""
BOX_SAMPLES = 64
"""So many neighbouring samples are looked up by their common box."""

_GEOMETRIES = ("Point", "LineString", "LinearRing", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon")
"""Names of geometries by the numbers that shapely gives them."""

RENAMED = {"geometry": "footprint"}
SCENES_SCHEMA = pa.schema(
    [*(field for field in arrow_schema(Scene) if field.name != "footprint"), pa.field("geometry", pa.binary())]
)
Boxes = NDArray[np.float32]
"""West, south, east, north [degrees] of each, rounded outwards; (number, 4)."""


@dataclass(frozen=True, slots=True)
class ScenePart:
    """Which scenes of a table to read: small enough to be sent to a worker."""

    path: Path
    groups: tuple[tuple[int, NDArray[np.int32]], ...]
    """Row groups and the rows to take of each."""

    def read(self, products: Collection[Product] | None = None) -> list[Scene]:
        """Return the scenes in the order of the table; those of some products, by default of all."""
        return [scene for number, rows in self.groups for scene in self._read(number, rows, products)]

    def _read(self, number: int, rows: NDArray[np.int32], products: Collection[Product] | None) -> list[Scene]:
        columns = {name: column for column, name in RENAMED.items()}
        table = read_group(self.path, number, Scene, columns).take(rows)
        if products is not None:
            table = table.filter(pc.is_in(table["product"], pa.array(sorted(products), pa.string())))
        return from_table(table, Scene, self.path)


class SceneTable(Stored[Scene]):
    """The scenes of a search on disk, and in memory only where each of them lies."""

    def __init__(self, path: Path, boxes: Boxes, owners: NDArray[np.int64], kinds: Sequence[Scene]) -> None:
        super().__init__(path, Scene, RENAMED)
        self.kinds = tuple(kinds)
        """One scene for each product, collection, pass direction and set of bands that there is."""
        self._boxes, self._owners = boxes, owners
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int64)
        edges = np.searchsorted(owners, self._starts)
        self._edges = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
        self._extents = np.array([_extent(boxes[first:last]) for first, last in self._edges]).reshape(-1, 4)

    def near(self, samples: Sequence[Sample]) -> ScenePart:
        """Return the scenes whose outlines may touch the samples' patches, neighbours in order."""
        wanted = _boxes_around(samples)
        groups = []
        for number in np.flatnonzero(_meet(self._extents, wanted)).tolist():
            first, last = self._edges[number]
            hits = self._owners[first:last][_meet(self._boxes[first:last], wanted)]
            if len(hits):
                groups.append((number, (np.unique(hits) - self._starts[number]).astype(np.int32)))
        return ScenePart(path=self.path, groups=tuple(groups))


class SceneWriter(TableWriter):
    """Writes the scenes of a search as they are found, each once."""

    def __init__(self, path: Path) -> None:
        # Its description as GeoParquet is known only in the end.
        super().__init__(path, SCENES_SCHEMA)
        self.count = 0
        self._seen: set[bytes] = set()
        self._waiting: list[Scene] = []
        self._boxes: list[Boxes] = []
        self._owners: list[NDArray[np.int64]] = []
        self._shapes: set[str] = set()
        self._kinds: dict[tuple[str, str, str, frozenset[str]], Scene] = {}

    def add(self, scenes: Iterable[Scene]) -> None:
        """Add scenes that were found; those that are there already are left out."""
        for scene in scenes:
            key = blake2b(f"{scene.product}\0{scene.collection}\0{scene.id}".encode(), digest_size=16).digest()
            if key not in self._seen:
                self._seen.add(key)
                self._waiting.append(scene)
                kind = (scene.product, scene.collection, scene.orbit_state, frozenset(scene.hrefs))
                self._kinds.setdefault(kind, scene)
        if len(self._waiting) >= GROUP_SCENES:
            self.flush()

    @property
    def kinds(self) -> tuple[Scene, ...]:
        """One scene for each product, collection, pass direction and set of bands that was added."""
        return tuple(self._kinds.values())

    def flush(self) -> None:
        """Write what waits as row groups of its own, by time and id."""
        waiting = sorted(self._waiting, key=lambda scene: (scene.acquired, scene.id))
        self._waiting = []
        for first in range(0, len(waiting), GROUP_SCENES):
            self._write_group(waiting[first : first + GROUP_SCENES])

    def _write_group(self, scenes: Sequence[Scene]) -> None:
        shapes, owners = np.array(shapely.from_wkb([scene.footprint for scene in scenes])), np.arange(len(scenes))
        kinds = np.unique(shapely.get_type_id(shapes)).tolist()
        self._shapes.update(_GEOMETRIES[kind] for kind in kinds)
        if kinds != [shapely.GeometryType.POLYGON]:
            shapes, owners = shapely.get_parts(shapes, return_index=True)
        self._boxes.append(_outwards(shapely.bounds(shapes)))
        self._owners.append(owners + self.count)
        self.count += len(scenes)
        table = to_table(scenes, Scene)
        outlines = table["footprint"]
        self.write(table.drop_columns("footprint").append_column("geometry", outlines))

    def finish(self) -> None:
        """Write the rest, and what makes the table GeoParquet."""
        self.flush()
        bounds = _extent(np.concatenate(self._boxes)) if self._boxes else None
        self.describe("geo", json.dumps(geo_metadata(self._shapes, bounds), sort_keys=True))

    def table(self) -> SceneTable:
        """Return what was written; only when the writer was left."""
        boxes = np.concatenate(self._boxes) if self._boxes else np.empty((0, 4), np.float32)
        owners = np.concatenate(self._owners) if self._owners else np.empty(0, np.int64)
        return SceneTable(self.path, boxes, owners, self.kinds)


def scenes_over(scenes: Iterable[Scene], samples: Sequence[Sample]) -> tuple[list[Scene], list[Scene]]:
    """Return the scenes whose outlines touch a sample's patch, and one scene for each product and pass direction."""
    tree = shapely.STRtree(grid.footprints([sample.grid for sample in samples]))
    near: list[Scene] = []
    kinds: dict[tuple[str, str, frozenset[str]], Scene] = {}
    waiting = iter(scenes)
    while group := list(islice(waiting, GROUP_SCENES)):
        touching, _ = tree.query(shapely.from_wkb([scene.footprint for scene in group]), predicate="intersects")
        near += [group[index] for index in np.unique(touching).tolist()]
        for scene in group:
            kinds.setdefault((scene.product, scene.orbit_state, frozenset(scene.hrefs)), scene)
    return near, list(kinds.values())


def _boxes_around(samples: Sequence[Sample]) -> NDArray[np.float64]:
    parts, owners = shapely.get_parts(grid.footprints([sample.grid for sample in samples]), return_index=True)
    bounds = shapely.bounds(parts)
    # A patch at the antimeridian has a part on either side, which no common box may join.
    sides = owners // BOX_SAMPLES * 2 + (bounds[:, 0] >= 0.0)
    return np.array([_extent(bounds[sides == side]) for side in np.unique(sides)]).reshape(-1, 4)


def _extent(boxes: NDArray[np.floating]) -> list[float]:
    lows, highs = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return [*lows.tolist(), *highs.tolist()]


def _outwards(bounds: NDArray[np.float64]) -> Boxes:
    rounded = bounds.astype(np.float32)
    rounded[:, :2] = np.nextafter(rounded[:, :2], np.float32(-np.inf))
    rounded[:, 2:] = np.nextafter(rounded[:, 2:], np.float32(np.inf))
    return rounded


def _meet(boxes: NDArray[np.floating], wanted: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which boxes meet any of those wanted."""
    met = np.zeros(len(boxes), np.bool_)
    for west, south, east, north in wanted:
        met |= (boxes[:, 0] <= east) & (boxes[:, 2] >= west) & (boxes[:, 1] <= north) & (boxes[:, 3] >= south)
    return met
