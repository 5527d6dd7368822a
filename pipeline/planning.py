"""Deciding in neighbourhoods: what is asked of scenes and scores never exceeds what some thousand patches need."""

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

from pipeline.catalog.planned import write_part
from pipeline.catalog.scenes import ScenePart
from pipeline.catalog.scores import ScorePart
from pipeline.plan.rows import plan_rows
from pipeline.records import PlanRow, Recipe, Sample, Scene, Score

SIZE = 1000
"""Patches of a neighbourhood."""
_LEVEL = 16
"""Steps of the curve along which patches are neighbours: 2¹⁶ in longitude and in latitude."""


def neighbourhoods(samples: Sequence[Sample], *, size: int = SIZE) -> list[tuple[Sample, ...]]:
    """Divide samples into groups of neighbours along a Hilbert curve over the globe, each in the order of samples."""
    if len(samples) <= size:
        return [tuple(samples)] if samples else []
    places = gpd.GeoSeries(shapely.points([sample.lon for sample in samples], [sample.lat for sample in samples]))
    along = places.hilbert_distance(total_bounds=(-180.0, -90.0, 180.0, 90.0), level=_LEVEL).to_numpy()
    order = np.lexsort((np.arange(len(samples)), along))
    groups = np.array_split(order, -(-len(samples) // size))
    return [tuple(samples[index] for index in np.sort(group).tolist()) for group in groups]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """What deciding a group of neighbours rests on; scenes and scores are read by who decides."""

    number: int
    samples: tuple[Sample, ...]
    stretches: tuple[int, ...]
    """Stretch of the order of packing that each sample lies in."""
    scenes: ScenePart
    scores: ScorePart
    kinds: tuple[Scene, ...]
    """Scenes that stand for all of the source's."""
    unlabelled: Mapping[str, str]
    """Samples whose labels would be wrong, with the reason code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What was decided of a neighbourhood, besides the rows in its part."""

    part: Path
    served: frozenset[str]
    """Samples that get a place in a file."""
    reasons: frozenset[str]
    """Why rows have no image."""


def decide_neighbourhood(item: Neighbourhood, *, recipe: Recipe, folder: Path, stretches: int) -> Decisions:
    """Decide a neighbourhood and leave its rows in a part of its own."""
    part = folder / f"rows-{item.number:06d}.arrow"
    lies_in = dict(zip((sample.id for sample in item.samples), item.stretches, strict=True))
    with without_collector():
        scores = by_key(item.scores.read())
        planned = plan_rows(item.samples, item.scenes.read(), scores, recipe, kinds=item.kinds)
        rows = with_reasons(planned, item.unlabelled)
        write_part(part, rows, lies_in, stretches)
    return Decisions(
        part=part,
        served=frozenset(served(rows, recipe)),
        reasons=frozenset(row.reason for row in rows if row.reason),
    )


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python from looking for cycles while a million records without any are made: 40 % of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def by_key(scores: Iterable[Score]) -> dict[tuple[str, str], Score]:
    """Return scores by sample id and acquisition."""
    return {(score.sample_id, score.acquisition): score for score in scores}


def with_reasons(rows: Iterable[PlanRow], unlabelled: Mapping[str, str]) -> list[PlanRow]:
    """Return the rows, those of unlabelled samples without image and with the reason."""
    return [_left_out(row, unlabelled[row.sample_id]) if row.sample_id in unlabelled else row for row in rows]


def _left_out(row: PlanRow, reason: str) -> PlanRow:
    return PlanRow(sample_id=row.sample_id, modality=row.modality, timestep=row.timestep, choice=None, reason=reason)


def served(rows: Sequence[PlanRow], recipe: Recipe) -> set[str]:
    """Return the samples that get a place in a file."""
    if recipe.complete:
        return {row.sample_id for row in rows} - {row.sample_id for row in rows if row.choice is None}
    series = {modality.name for modality in recipe.wanted if modality.is_series}
    if any(row.modality in series for row in rows):
        return {row.sample_id for row in rows if row.choice and row.modality in series}
    return {row.sample_id for row in rows if row.choice}
