"""Which acquisitions could fill a patch: footprints against patches, frames and tiles joined into passes."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline import grid
from pipeline.plan.windows import Interval
from pipeline.records import AssetRef, Choice, PatchGrid, Sample, Scene, Score

WHOLE = 0.999
"""Share of a patch that footprints must reach to count as the whole: their outlines are simplified."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Part = tuple[float, Any]
"""Share of a patch inside an outline [1], and that part of it."""
Member = tuple[float, Any, Scene]
"""The same, and the scene of the outline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One acquisition over one patch: the scenes to mosaic, the one that serves best first."""

    acquisition: str
    acquired: datetime
    scenes: tuple[Scene, ...]
    reach: float
    """Share of the patch inside the scenes' footprints [1]."""
    first_reach: float = 1.0
    """Share of the patch inside the first scene's footprint [1]."""
    source: str = ""
    """Mirror that has the scenes; empty for the dataset's own source."""


Windows = Callable[[Sample], tuple[Interval, ...]]


def find_candidates(
    samples: Sequence[Sample], scenes: Sequence[Scene], windows: Windows | None
) -> dict[str, tuple[Candidate, ...]]:
    """Return the candidates of every sample, oldest first; `windows` None takes scenes of any date."""
    found: dict[str, tuple[Candidate, ...]] = {sample.id: () for sample in samples}
    if not scenes or not samples:
        return found
    outlines, shape_of = _outlines(scenes)
    patches = grid.footprints([sample.grid for sample in samples])
    patch, scene = _touching(patches, outlines, shape_of)
    if windows is not None:
        inside = _are_inside(scenes, scene, [windows(sample) for sample in samples], patch)
        patch, scene = patch[inside], scene[inside]
    overlap = _Overlap(patches, outlines)
    parts = overlap.of(patch, shape_of[scene])
    edges = np.searchsorted(patch, np.arange(len(samples) + 1)).tolist()
    numbers = scene.tolist()
    for index, (first, last) in enumerate(pairwise(edges)):
        if first < last:
            members = [(*part, scenes[n]) for part, n in zip(parts[first:last], numbers[first:last], strict=True)]
            found[samples[index].id] = _join_passes(samples[index].grid, patches[index], members)
    return found


def _outlines(scenes: Sequence[Scene]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the distinct outlines, and which of them each scene has: passes over one tile mostly share theirs."""
    numbers: dict[bytes, int] = {}
    shape_of = np.array([numbers.setdefault(scene.footprint, len(numbers)) for scene in scenes], np.int64)
    return np.array(shapely.from_wkb(list(numbers))), shape_of


def _touching(
    patches: NDArray[np.object_], outlines: NDArray[np.object_], shape_of: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of patch and scene whose outlines meet, by patch."""
    patch, shape = shapely.STRtree(outlines).query(patches, predicate="intersects")
    by_shape = np.argsort(shape_of, kind="stable")
    first = np.searchsorted(shape_of[by_shape], np.arange(len(outlines) + 1))
    count = np.diff(first)[shape]
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    scene = by_shape[np.repeat(first[shape], count) + within]
    patch = np.repeat(patch, count)
    order = np.lexsort((scene, patch))
    return patch[order], scene[order]


def _are_inside(
    scenes: Sequence[Scene],
    scene: NDArray[np.int64],
    windows: Sequence[tuple[Interval, ...]],
    patch: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Tell which pairs of scene and patch meet in time: acquired in one of the patch's half-open intervals."""
    most = max((len(intervals) for intervals in windows), default=0)
    acquired = np.array([_micros(one.acquired) for one in scenes], np.int64)[scene]
    inside = np.zeros(len(patch), np.bool_)
    for number in range(most):
        limits = [_limits(intervals[number]) if number < len(intervals) else (0, 0) for intervals in windows]
        start, end = np.array(limits, np.int64).T
        inside |= (start[patch] <= acquired) & (acquired < end[patch])
    return inside


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def _limits(interval: Interval) -> tuple[int, int]:
    return _micros(interval[0]), _micros(interval[1])


def seen_samples(samples: Sequence[Sample], scenes: Sequence[Scene], windows: Windows | None) -> set[str]:
    """Return the ids of samples that any scene touches in the sample's windows; `windows` None takes any date."""
    if not scenes or not samples:
        return set()
    outlines = np.array(shapely.from_wkb([scene.footprint for scene in scenes]))
    patches = grid.footprints([sample.grid for sample in samples])
    within = [windows(sample) if windows is not None else () for sample in samples]
    pairs = shapely.STRtree(outlines).query(patches, predicate="intersects")
    return {
        samples[patch].id
        for patch, scene in pairs.T.tolist()
        if windows is None or _is_inside(scenes[scene].acquired, within[patch])
    }


def to_choice(candidate: Candidate, bands: Sequence[str], score: Score | None, *, mask: str = "") -> Choice:
    """Return `candidate` as the plan stores it; `mask` names the band that says where a scene is valid."""
    first = candidate.scenes[0]
    return Choice(
        acquisition=candidate.acquisition,
        acquired=first.acquired,
        file_id=first.file_id,
        assets=tuple(_asset(scene, bands, mask) for scene in candidate.scenes),
        tile=first.tile,
        platform=first.platform,
        orbit_state=first.orbit_state,
        relative_orbit=first.relative_orbit,
        baseline=first.baseline,
        offset_rule=first.offset_rule,
        cloud=score.cloud if score and first.product != "S1" else None,
        bad=score.bad if score else None,
        source=candidate.source,
    )


def partnered(optical: Sequence[Candidate], level1c: Sequence[Candidate]) -> list[Candidate]:
    """Return the Level-2A candidates that have a Level-1C partner of the same datatake and tile.

    A candidate that needs a tile without a partner is left out whole: the mosaic would have a gap.
    """
    partners = {candidate.acquisition: {scene.tile for scene in candidate.scenes} for candidate in level1c}
    kept = []
    for candidate in optical:
        tiles = partners.get(candidate.acquisition, set())
        scenes = tuple(scene for scene in candidate.scenes if scene.tile in tiles)
        is_whole = candidate.first_reach >= WHOLE
        if scenes == candidate.scenes:
            kept.append(candidate)
        elif is_whole and scenes[:1] == candidate.scenes[:1]:
            kept.append(replace(candidate, scenes=scenes))
    return kept


def level1c_choice(optical: Candidate, level1c: Candidate, bands: Sequence[str], mask: str) -> Choice:
    """Return the Level-1C partner of a Level-2A candidate; Level-2A's classification says where it is valid."""
    partners: dict[str, Scene] = {}
    for scene in level1c.scenes:
        partners.setdefault(scene.tile, scene)
    pairs = [(partners[scene.tile], scene) for scene in optical.scenes]
    choice = to_choice(replace(level1c, scenes=tuple(partner for partner, _ in pairs)), bands, None)
    assets = tuple(
        replace(asset, mask_href=scene.hrefs[mask]) for asset, (_, scene) in zip(choice.assets, pairs, strict=True)
    )
    return replace(choice, assets=assets)


def scenes_with(scenes: Iterable[Scene], bands: Sequence[str], orbit_state: str | None) -> list[Scene]:
    """Return the scenes that have all of `bands` and, for radar, the pass direction."""
    return [
        scene
        for scene in scenes
        if all(band in scene.hrefs for band in bands) and orbit_state in {None, scene.orbit_state}
    ]


def _asset(scene: Scene, bands: Sequence[str], mask: str) -> AssetRef:
    hrefs: Mapping[str, str] = scene.hrefs
    return AssetRef(
        scene_id=scene.id,
        hrefs=tuple(hrefs[band] for band in bands),
        mask_href=hrefs[mask] if mask else "",
        offset=scene.offset,
    )


def _is_inside(moment: datetime, intervals: tuple[Interval, ...]) -> bool:
    return any(start <= moment < end for start, end in intervals)


class _Overlap:
    """How much of each patch lies inside an outline, worked out once for each pair of the two."""

    def __init__(self, patches: NDArray[np.object_], outlines: NDArray[np.object_]) -> None:
        self._patches, self._outlines = patches, outlines
        shapely.prepare(outlines)

    def of(self, patch: NDArray[np.int64], shape: NDArray[np.int64]) -> list[Part]:
        """Return for each pair of indices the share of the patch inside the outline, and the part itself."""
        count = len(self._outlines)
        pairs, back = np.unique(patch * count + shape, return_inverse=True)
        patches, outlines = self._patches[pairs // count], self._outlines[pairs % count]
        reach = np.ones(len(pairs))
        parts = patches.copy()
        # Where the outline covers the patch, as most do, there is nothing to cut.
        cut = np.flatnonzero(~shapely.covers(outlines, patches))
        parts[cut] = shapely.intersection(outlines[cut], patches[cut])
        reach[cut] = shapely.area(parts[cut]) / shapely.area(patches[cut])
        known = list(zip(reach.tolist(), parts, strict=True))
        return [known[number] for number in back.tolist()]


def _join_passes(patch_grid: PatchGrid, patch: shapely.Geometry, members: Iterable[Member]) -> tuple[Candidate, ...]:
    passes: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        if member[0] > 0.0:
            passes[member[2].acquisition].append(member)
    candidates = [_candidate(key, patch_grid, patch, held) for key, held in passes.items()]
    return tuple(sorted(candidates, key=lambda candidate: (candidate.acquired, candidate.acquisition)))


def _candidate(acquisition: str, patch_grid: PatchGrid, patch: shapely.Geometry, members: list[Member]) -> Candidate:
    if len(members) == 1:
        reach, _, scene = members[0]
        return Candidate(
            acquisition=acquisition,
            acquired=scene.acquired,
            scenes=(scene,),
            reach=min(reach, 1.0),
            first_reach=reach,
        )
    ordered = sorted(members, key=lambda member: member[2].id)
    # Stable sorts, least important key first; newest processing wins between copies of one tile.
    ordered.sort(key=lambda member: member[2].extras.get("generated", ""), reverse=True)
    ordered.sort(key=lambda member: member[2].baseline, reverse=True)
    ordered.sort(
        key=lambda member: (member[0] < WHOLE, member[2].epsg != patch_grid.epsg, -round(min(member[0], WHOLE), 3))
    )
    reach = 1.0
    if all(member[0] < 1.0 for member in members):
        reach = float(shapely.area(shapely.union_all([part for _, part, _ in ordered])) / shapely.area(patch))
    return Candidate(
        acquisition=acquisition,
        acquired=min(scene.acquired for _, _, scene in ordered),
        scenes=tuple(scene for _, _, scene in ordered),
        reach=min(reach, 1.0),
        first_reach=ordered[0][0],
    )
