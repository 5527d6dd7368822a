"""How steep patches are, by the source's elevation."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline import grid as grids
from pipeline.errors import SourceError, TransientSourceError
from pipeline.grid import Floats
from pipeline.pixels.slope import horn_slope
from pipeline.plan.candidates import find_candidates, scenes_with
from pipeline.records import PatchGrid, Sample, Scene
from pipeline.sources import Query, Source
from pipeline.sources.clusters import cluster_places
from pipeline.sources.reading import WindowReader, open_reader

_THREADS = 8
"""Elevation tiles read at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemSlopes:
    """Mean slopes of patches, from the elevation of a source."""

    source: Source

    def __call__(self, samples: Sequence[Sample]) -> Floats:
        """Return the mean slope of each patch.

        Heights are brought onto the patch and a pixel around it, bilinear; the mean is over the pixels whose slope is
        known (Horn 1981).

        Returns
        -------
        float64 (n,)
            Degrees, 0 to 90; NaN where the source has no elevation, or none that can be read.

        Raises
        ------
        TransientSourceError
            The provider is unreachable or throttles: no slope is told, or luck would choose the patches.
        SourceError
            The source has no collection of elevation.
        """
        wider = [replace(sample, grid=_with_border(sample.grid)) for sample in samples]
        candidates = find_candidates(wider, scenes_with(self._scenes(wider), ("DEM",), None), None)
        groups: dict[str, list[int]] = defaultdict(list)
        for index, sample in enumerate(wider):
            if candidates[sample.id]:
                groups[candidates[sample.id][0].scenes[0].id].append(index)

        def read_group(key: str) -> list[tuple[int, float]]:
            with open_reader(self.source) as reader:
                found = ((index, candidates[wider[index].id][0].scenes) for index in groups[key])
                return [(index, _mean_slope(wider[index].grid, scenes, reader)) for index, scenes in found]

        slopes = np.full(len(samples), np.nan)
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            for told in pool.map(read_group, sorted(groups)):
                for index, slope in told:
                    slopes[index] = slope
        return slopes

    def _scenes(self, samples: Sequence[Sample]) -> list[Scene]:
        found: dict[tuple[str, str], Scene] = {}
        for area, _ in cluster_places(list(grids.footprints([sample.grid for sample in samples]))):
            for scene in self.source.search(Query(product="DEM", footprint=area)):
                found[scene.collection, scene.id] = scene
        return [found[key] for key in sorted(found)]


def _with_border(grid: PatchGrid) -> PatchGrid:
    return replace(grid, left=grid.left - grid.resolution, top=grid.top + grid.resolution, size=grid.size + 2)


def _mean_slope(grid: PatchGrid, scenes: Sequence[Scene], reader: WindowReader) -> float:
    heights: NDArray[np.float32] = np.full((grid.size, grid.size), np.nan, np.float32)
    for scene in scenes:
        is_open = np.isnan(heights)
        if not is_open.any():
            break
        try:
            read = reader.read_measured(scene.hrefs["DEM"], grid, resampling="bilinear")
        except TransientSourceError:
            raise
        except SourceError:
            return float("nan")
        heights[is_open] = read[is_open]
    slope = horn_slope(heights, grid.resolution)
    known = slope[np.isfinite(slope)]
    return float(known.mean()) if known.size else float("nan")
