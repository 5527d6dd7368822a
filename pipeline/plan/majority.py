"""Whose zone: the grid of a seasonal sample lies in the zone of most of its images' tiles."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipeline import grid
from pipeline.plan.policies import Scores
from pipeline.plan.rows import Offer, chosen_optical
from pipeline.records import Recipe, Sample, Scene


def majority_grids(
    samples: Sequence[Sample], scenes: Sequence[Scene], offer: Offer, scores: Scores, recipe: Recipe
) -> dict[str, Sample]:
    """Return the samples that move, by id, on the grid of the zone of most of their Sentinel-2 tiles.

    `offer` has the Sentinel-2 acquisitions that could serve each sample. Among equals the zone of the earliest image
    wins, as in SSL4EO-S12 v1.1's metadata.
    """
    chosen = chosen_optical(samples, scenes, offer, scores, recipe)
    moved = {}
    for sample in samples:
        tiles = [candidate.scenes[0].tile for candidate in chosen[sample.id]]
        held = [grid.tile_epsg(tile) for tile in tiles if tile]
        if held and (epsg := Counter(held).most_common(1)[0][0]) != sample.grid.epsg:
            moved[sample.id] = _on_zone(sample, epsg, recipe)
    return moved


def _on_zone(sample: Sample, epsg: int, recipe: Recipe) -> Sample:
    patch = grid.patch_around(lon=sample.lon, lat=sample.lat, recipe=recipe, epsg=epsg)
    lon, lat = grid.centre(patch)
    return replace(sample, grid=patch, lon=lon, lat=lat)
