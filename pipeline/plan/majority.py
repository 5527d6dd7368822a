"""Whose zone: the grid of a seasonal sample lies in the zone of most of its images' tiles."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipeline import grid
from pipeline.plan.policies import Scores
from pipeline.plan.rows import plan_rows
from pipeline.records import Recipe, Sample, Scene

MODALITY = "S2L2A"
OPTICAL = frozenset({"S2L2A", "S2L1C"})
"""Products whose acquisitions decide each other."""


def majority_grids(
    samples: Sequence[Sample], scenes: Sequence[Scene], scores: Scores, recipe: Recipe
) -> dict[str, Sample]:
    """Return the samples that move, by id, on the grid of the zone of most of their Sentinel-2 tiles.

    Among equals the zone of the earliest image wins, as in SSL4EO-S12 v1.1's metadata.
    """
    # What else is planned decides no optical image.
    optical = [modality.name for modality in recipe.wanted if modality.product in OPTICAL]
    recipe = recipe.model_copy(update={"modalities": tuple(optical), "alternates": 0})
    zones: dict[str, list[int]] = {}
    for row in plan_rows(samples, scenes, scores, recipe):
        if row.modality == MODALITY and row.choice is not None and row.choice.tile:
            zones.setdefault(row.sample_id, []).append(grid.tile_epsg(row.choice.tile))
    moved = {}
    for sample in samples:
        held = zones.get(sample.id, [])
        if held and (epsg := Counter(held).most_common(1)[0][0]) != sample.grid.epsg:
            moved[sample.id] = _on_zone(sample, epsg, recipe)
    return moved


def _on_zone(sample: Sample, epsg: int, recipe: Recipe) -> Sample:
    patch = grid.patch_around(lon=sample.lon, lat=sample.lat, recipe=recipe, epsg=epsg)
    lon, lat = grid.centre(patch)
    return replace(sample, grid=patch, lon=lon, lat=lat)
