"""Patches in the files of a dataset: their frames by time, elevation and mask."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.copies import Lend, in_place
from pipeline.errors import LayoutError
from pipeline.exports.sen12landslides.datasets import BESIDE, Dataset, Frame
from pipeline.exports.sen12landslides.sensors import Sensor
from pipeline.exports.sen12landslides.series import Frames
from pipeline.layouts.ssl4eo import open_shard
from pipeline.records import MODALITIES, S2_NODATA, Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredPatch:
    """One patch in the open files of its dataset."""

    dataset: Dataset
    sample: Sample
    shards: Mapping[str, xr.Dataset]
    """Modality to open file."""
    position: int

    def written(self, modality: str) -> list[int]:
        """Return the timesteps that were written and are no padding."""
        frames = [Frame(self.sample.id, modality, s) for s in range(self.dataset.recipe.timesteps_of(modality))]
        states = self.dataset.states
        return [
            frame.timestep
            for frame in frames
            if states.get(frame, ("", ""))[0] == "written" and frame not in self.dataset.padding
        ]

    def read(self, modality: str, steps: Sequence[int], bands: Sequence[str] = ()) -> NDArray[Any]:
        """Return stored values (step, band, y, x) of these bands, by default of all."""
        names = list(bands) or list(self.dataset.recipe.bands_of(modality))
        stored = self.shards[modality]["bands"].isel(sample=self.position, time=list(steps))
        return np.asarray(stored.sel(band=names).values)

    def static(self, modality: str) -> NDArray[Any] | None:
        """Return (y, x) of a modality without time; None when it is missing."""
        if modality not in self.shards or not self.written(modality):
            return None
        return np.asarray(self.read(modality, [0])[0, 0])

    def frames(self, sensor: Sensor) -> Frames:
        """Return what there is of a sensor, by time; Sentinel-2 frames without one known offset are left out."""
        if sensor.modality not in self.shards:
            return self._frames(sensor, [], {})
        if sensor.key != "s2":
            steps = self.written(sensor.modality)
            return self._frames(sensor, steps, dict.fromkeys(steps, 0))
        classified = set(self.written("SCL")) if "SCL" in self.shards else set()
        offsets = {
            step: offset
            for step in self.written(sensor.modality)
            if (offset := self.dataset.offsets[Frame(self.sample.id, sensor.modality, step)]) is not None
        }
        return self._frames(sensor, [step for step in offsets if step in classified], offsets)

    def _frames(self, sensor: Sensor, steps: list[int], offsets: Mapping[int, int]) -> Frames:
        times = self._times(sensor.modality, steps)
        order = np.argsort(times, kind="stable")
        steps = [steps[index] for index in order]
        recipe, size = self.dataset.recipe, self.sample.grid.size
        shape, dtype = (0, len(sensor.bands), size, size), MODALITIES[sensor.modality].dtype
        stored = self.read(sensor.modality, steps, sensor.stored_bands) if steps else np.empty(shape, dtype)
        is_radar = sensor.key != "s2"
        classes = self.read("SCL", steps)[:, 0] if steps and not is_radar else np.empty((0, size, size), np.uint8)
        return Frames(
            values=stored if is_radar else stored.astype(np.int32) - recipe.offset,
            valid=np.isfinite(stored) if is_radar else stored != S2_NODATA,
            days=times[order].astype("datetime64[D]"),
            offsets=np.array([offsets[step] for step in steps], np.int32),
            classes=None if is_radar else classes,
        )

    def _times(self, modality: str, steps: Sequence[int]) -> NDArray[np.datetime64]:
        if not steps:
            return np.array([], "datetime64[ns]")
        return np.asarray(self.shards[modality]["time_"].values[self.position, list(steps)])


def stored_patches(dataset: Dataset, *, lend: Lend = in_place) -> Iterator[StoredPatch]:
    """Yield every patch that lies in a file, file by file in their order; one file of each modality is open at a time.

    `lend` makes each readable while it is open.

    Raises
    ------
    LayoutError
        A file is absent, damaged, or holds another patch where the tables say this one lies.
    """
    places = dataset.decided.places
    held = [sample for sample in dataset.decided.samples if places[sample.id].shard]
    held.sort(key=lambda sample: (places[sample.id].split, places[sample.id].shard, places[sample.id].position))
    planned = {(places[row.sample_id].shard, row.modality) for row in dataset.decided.rows}
    for (split, shard), members in groupby(held, key=lambda s: (places[s.id].split, places[s.id].shard)):
        modalities = [name for name in _needed(dataset) if (shard, name) in planned]
        paths = {name: dataset.root / split / name / f"{shard}.zarr.zip" for name in modalities}
        with _opened(paths, lend, is_packed=dataset.recipe.store == "published") as shards:
            for sample in members:
                position = places[sample.id].position
                _check_position(shards, paths, sample.id, position)
                yield StoredPatch(dataset=dataset, sample=sample, shards=shards, position=position)


def _needed(dataset: Dataset) -> list[str]:
    names = (name for sensor in dataset.sensors for name in (sensor.modality, *BESIDE[sensor.key]))
    return list(dict.fromkeys(names))


@contextmanager
def _opened(paths: Mapping[str, Path], lend: Lend, *, is_packed: bool) -> Iterator[dict[str, xr.Dataset]]:
    with ExitStack() as stack:
        lent = {name: stack.enter_context(lend(path)) for name, path in paths.items()}
        shards = {name: stack.enter_context(open_shard(path)) for name, path in lent.items()}
        if is_packed:
            # A chunk holds all patches of a time: reading patch by patch would decompress it for each.
            shards = {name: shard.load() for name, shard in shards.items()}
        yield shards


def _check_position(shards: Mapping[str, xr.Dataset], paths: Mapping[str, Path], id_: str, position: int) -> None:
    for name, shard in shards.items():
        ids = shard["sample"].values
        if position >= len(ids) or str(ids[position]) != id_:
            raise LayoutError(f"{paths[name]} does not hold patch {id_} at {position}; build again with --resume")
