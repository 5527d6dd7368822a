"""Finished datasets as an export sees them: what was decided, what was written, and whether it fits the layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pipeline.catalog import Decided, read_decided
from pipeline.catalog.codec import read_table
from pipeline.errors import LayoutError, RecipeError
from pipeline.exports.sen12landslides.sensors import SENSORS, Sensor, check_ids
from pipeline.folder import read_recipe
from pipeline.records import Event, Recipe

BESIDE = {"s1asc": ("DEM", "MASK"), "s1dsc": ("DEM", "MASK"), "s2": ("SCL", "DEM", "MASK")}
"""Modalities that a sensor's files hold besides its own."""

_ONE_OF_EACH = ("series_length", "patch_size", "resolution")


class Frame(NamedTuple):
    """Key of one frame in plan and ledger."""

    sample_id: str
    modality: str
    timestep: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """One folder."""

    root: Path
    recipe: Recipe
    decided: Decided
    states: Mapping[Frame, tuple[str, str]]
    """State and reason code of every frame, from the ledger."""

    @cached_property
    def offsets(self) -> dict[Frame, int | None]:
        """What was added to the numbers of each Sentinel-2 frame; None where its scenes differ."""
        found: dict[Frame, int | None] = {}
        for row in self.decided.rows:
            if row.modality == "S2L2A" and row.choice is not None:
                given = sorted({asset.offset for asset in row.choice.assets})
                found[Frame(row.sample_id, row.modality, row.timestep)] = given[0] if len(given) == 1 else None
        return found

    @cached_property
    def padding(self) -> frozenset[Frame]:
        """Frames in which an earlier image of the series stands once more."""
        rows = (row for row in self.decided.rows if row.is_padding)
        return frozenset(Frame(row.sample_id, row.modality, row.timestep) for row in rows)

    @cached_property
    def sensors(self) -> tuple[Sensor, ...]:
        """The sensors that the dataset has files of."""
        planned = {row.modality for row in self.decided.rows if self.decided.places[row.sample_id].shard}
        return tuple(sensor for sensor in SENSORS.values() if sensor.modality in planned)

    @cached_property
    def events(self) -> dict[str, Event]:
        """Every event by its id."""
        return {event.id: event for event in self.decided.events}

    @cached_property
    def regions(self) -> dict[str, str]:
        """Region of the patches that each event reaches into, by the event's id."""
        return {event_id: sample.region for sample in self.decided.samples for event_id in sample.event_ids}

    def gap(self, sample_id: str, modality: str) -> str:
        """Return the reason code of the first frame that is missing; empty when none is."""
        steps = range(self.recipe.timesteps_of(modality))
        found = (self.states.get(Frame(sample_id, modality, step)) for step in steps)
        return next((reason for state, reason in filter(None, found) if state != "written"), "")


def open_datasets(roots: Sequence[Path]) -> tuple[Dataset, ...]:
    """Read what datasets say of themselves, and check that they can be exported together.

    Raises
    ------
    LayoutError
        A folder holds no finished dataset.
    RecipeError
        A dataset lacks a band or modality, no sensor was planned, series or patches differ between datasets, or two
        patches have one id.
    """
    datasets = tuple(_open(root) for root in roots)
    for dataset in datasets:
        _check_recipe(dataset)
    for name in _ONE_OF_EACH:
        found = {getattr(dataset.recipe, name): dataset.root for dataset in datasets}
        if len(found) > 1:
            told = ", ".join(f"{value} in {root}" for value, root in found.items())
            raise RecipeError(f"datasets of different {name} cannot be exported together: {told}")
    check_ids([sample.id for dataset in datasets for sample in dataset.decided.samples])
    return datasets


def _open(root: Path) -> Dataset:
    recipe = read_recipe(root)
    ledger = read_table(root / "ledger.parquet").select(["sample_id", "modality", "timestep", "state", "reason"])
    columns = ledger.to_pydict()
    keys = map(Frame, columns["sample_id"], columns["modality"], columns["timestep"])
    states = dict(zip(keys, zip(columns["state"], columns["reason"], strict=True), strict=True))
    unfinished = sum(state == "unfinished" for state, _ in states.values())
    if unfinished:
        raise LayoutError(f"{root}: {unfinished} frames are unfinished; build it again with --resume first")
    return Dataset(root=root, recipe=recipe, decided=read_decided(root), states=states)


def _check_recipe(dataset: Dataset) -> None:
    recipe, root = dataset.recipe, dataset.root
    if not dataset.sensors:
        names = ", ".join(sensor.modality for sensor in SENSORS.values())
        raise RecipeError(f"{root} has nothing to export: Sen12Landslides files are made of {names}")
    for sensor in dataset.sensors:
        lacking = [name for name in BESIDE[sensor.key] if name not in recipe.modalities]
        if lacking:
            raise RecipeError(f"{root} has no {lacking[0]}, which {sensor.key} files hold: build with it in modalities")
        bands = [name for name in sensor.stored_bands if name not in recipe.bands_of(sensor.modality)]
        if bands:
            raise RecipeError(f"{root} has no {sensor.modality} band {', '.join(bands)}, which {sensor.key} files hold")
