"""Finished landslide datasets with known numbers, written without an archive: for exports."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from support.records import rectangle

from pipeline import grid as grids
from pipeline.catalog import Decided, write_decided
from pipeline.catalog.built import LedgerRow
from pipeline.catalog.codec import to_table, write_table
from pipeline.layouts.ssl4eo import NO_TIME, ShardContent, write_shard
from pipeline.plan.packing import NOWHERE, Place
from pipeline.recipes import load_recipe, recipe_to_yaml
from pipeline.records import MODALITIES, AssetRef, Choice, Event, PatchGrid, PlanRow, Recipe, Sample

FIRST = datetime(2021, 11, 1, tzinfo=UTC)
EVENT = datetime(2022, 1, 10, tzinfo=UTC)
SENSORS = ("S2L2A", "S1ASC", "S1DSC")
NEW_BASELINE = datetime(2022, 1, 25, tzinfo=UTC)


@dataclass(kw_only=True)
class Site:
    """A dataset in memory; change its arrays, then write it."""

    recipe: Recipe
    samples: list[Sample]
    events: list[Event]
    arrays: dict[str, NDArray[Any]]
    """Modality to (sample, time, band, y, x)."""
    lost: set[tuple[int, str, int]]
    """Frames that are missing: sample, modality, timestep."""
    padding: set[tuple[int, str, int]]
    """Frames in which an earlier image stands once more."""
    unplaced: set[int]
    """Samples that are in no file."""
    mixed: set[int]
    """Timesteps whose scenes carry different offsets."""

    def day(self, step: int) -> datetime:
        return FIRST + timedelta(days=10 * step, hours=10)

    def offset(self, step: int) -> int:
        return -1000 if self.day(step) >= NEW_BASELINE else 0

    def write(self, root: Path) -> Path:
        root.mkdir(parents=True)
        (root / "recipe.yaml").write_text(recipe_to_yaml(self.recipe))
        held = [index for index in range(len(self.samples)) if index not in self.unplaced]
        places = {sample.id: NOWHERE for sample in self.samples}
        places |= {self.samples[i].id: Place(split="all", shard="site_1", position=p) for p, i in enumerate(held)}
        rows = [
            self._row(index, modality, step)
            for index in range(len(self.samples))
            for modality, array in self.arrays.items()
            for step in range(array.shape[1])
        ]
        decided = Decided(
            samples=tuple(self.samples),
            events=tuple(self.events),
            scenes=(),
            scores=(),
            rows=tuple(rows),
            places=places,
        )
        write_decided(root, decided)
        write_table(root / "ledger.parquet", to_table([self._ledger(row) for row in rows], LedgerRow))
        for modality, array in self.arrays.items():
            write_shard(root / "all" / modality / "site_1.zarr.zip", self._content(modality, array[held], held))
        return root

    def _is_lost(self, index: int, modality: str, step: int) -> bool:
        return index in self.unplaced or (index, modality, step) in self.lost

    def _row(self, index: int, modality: str, step: int) -> PlanRow:
        offsets = (0, -1000) if step in self.mixed else (self.offset(step),)
        assets = tuple(AssetRef(scene_id=f"scene{offset}", hrefs=("a.tif",), offset=offset) for offset in offsets)
        choice = Choice(acquisition="pass", acquired=self.day(step), file_id="file", assets=assets)
        return PlanRow(
            sample_id=self.samples[index].id,
            modality=modality,
            timestep=step,
            choice=None if self._is_lost(index, modality, step) else choice,
            reason="too_cloudy" if self._is_lost(index, modality, step) else "",
            is_padding=(index, modality, step) in self.padding,
        )

    def _ledger(self, row: PlanRow) -> LedgerRow:
        return LedgerRow(
            sample_id=row.sample_id, modality=row.modality, timestep=row.timestep,
            state="missing" if row.choice is None else "written", reason=row.reason, detail="", shard="",
            acquisition="", scene_ids=(), valid=1.0, filled=0.0, cloud=None,
        )  # fmt: skip

    def _content(self, modality: str, array: NDArray[Any], held: list[int]) -> ShardContent:
        samples = [self.samples[index] for index in held]
        shape = array.shape[:2]
        times = np.array([[np.datetime64(self.day(s).replace(tzinfo=None), "ns") for s in range(shape[1])]] * shape[0])
        half = (np.arange(array.shape[-1]) + 0.5) * 10.0
        for position, index in enumerate(held):
            for step in range(shape[1]):
                if self._is_lost(index, modality, step):
                    times[position, step] = NO_TIME
        return ShardContent(
            bands=array,
            band_names=self.recipe.bands_of(modality),
            sample_ids=tuple(sample.id for sample in samples),
            file_ids=np.full(shape, "file"),
            times=times,
            epsg=np.array([sample.grid.epsg for sample in samples]),
            lon=np.array([sample.lon for sample in samples]),
            lat=np.array([sample.lat for sample in samples]),
            eastings=np.array([sample.grid.left + half for sample in samples]),
            northings=np.array([sample.grid.top - half for sample in samples]),
        )


def make_site(
    count: int = 2, *, length: int = 6, size: int = 32, region: str = "site", overrides: Mapping[str, Any] | None = None
) -> Site:
    """`count` patches side by side; the even ones hold a landslide. Values differ from pixel to pixel."""
    settings = {"series_length": length, "patch_size": size, "name": region, **(overrides or {})}
    recipe = load_recipe("landslides", settings)
    patches = [
        PatchGrid(epsg=32633, left=500_000.0 + 10.0 * size * i, top=5_100_000.0, size=size, resolution=10.0)
        for i in range(count)
    ]
    events = [
        Event(id=str(i + 1), date=EVENT, wkb=rectangle(patch, left=0.2, right=0.6, bottom=0.3, top=0.8))
        for i, patch in enumerate(patches)
        if i % 2 == 0
    ]
    generator = np.random.default_rng(7)
    return Site(
        recipe=recipe,
        samples=[_sample(region, i, patch, events) for i, patch in enumerate(patches)],
        events=events,
        arrays=_arrays(recipe, patches, generator),
        lost=set(),
        padding=set(),
        unplaced=set(),
        mixed=set(),
    )


def _sample(region: str, index: int, patch: PatchGrid, events: list[Event]) -> Sample:
    place = grids.centre(patch)
    sample = Sample(
        id=f"{region}_{100 + index}", region=region, grid=patch, lon=place.lon, lat=place.lat, date=EVENT,
        is_annotated=False,
    )  # fmt: skip
    if index % 2:
        return sample
    return replace(sample, is_annotated=True, event_ids=(str(index + 1),), event_dates=(EVENT,))


def _arrays(recipe: Recipe, patches: list[PatchGrid], generator: np.random.Generator) -> dict[str, NDArray[Any]]:
    count, length, size = len(patches), recipe.series_length, recipe.patch_size
    mask = np.zeros((count, 1, 1, size, size), np.uint8)
    mask[::2, ..., size // 5 : size * 7 // 10, size // 5 : size * 3 // 5] = 1
    optical = (count, length, len(MODALITIES["S2L2A"].bands), size, size)
    radar = (count, length, 2, size, size)
    return {
        "S2L2A": generator.integers(-300, 12_000, optical).astype(np.int16),
        "SCL": generator.integers(1, 12, (count, length, 1, size, size)).astype(np.uint8),
        "S1ASC": generator.uniform(-30.0, 3.0, radar).astype(np.float32),
        "S1DSC": generator.uniform(-60.0, 3.0, radar).astype(np.float32),
        "DEM": generator.uniform(-20.0, 900.0, (count, 1, 1, size, size)).astype(np.float32),
        "MASK": mask,
    }


def polygon_of(event: Event, epsg: int) -> shapely.Polygon:
    """The event's polygon in metres of a zone."""
    return grids.project(shapely.from_wkb(event.wkb), epsg)
