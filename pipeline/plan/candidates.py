"""Which acquisitions could fill a patch: footprints against patches, frames and tiles joined into passes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline import grid
from pipeline.plan.overlaps import Indices, Overlaps, Windows, overlaps
from pipeline.plan.windows import Interval
from pipeline.records import Sample, Scene

WHOLE = 0.999
"""Share of a patch that footprints must reach to count as the whole: their outlines are simplified."""

Member = tuple[float, int, Scene]
"""Share of a patch inside a scene's outline [1], number of that overlap, and the scene."""


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


def find_candidates(
    samples: Sequence[Sample], scenes: Sequence[Scene], windows: Windows | None
) -> dict[str, tuple[Candidate, ...]]:
    """Return the candidates of every sample, oldest first; `windows` None takes scenes of any date."""
    found: dict[str, tuple[Candidate, ...]] = {sample.id: () for sample in samples}
    if not scenes or not samples:
        return found
    pairs = overlaps(samples, scenes, windows)
    if not len(pairs):
        return found
    passes = _join_passes(scenes, pairs)
    candidates = _candidates(samples, scenes, pairs, passes)
    edges = np.searchsorted(passes.patch, np.arange(len(samples) + 1)).tolist()
    for sample, (first, last) in zip(samples, pairwise(edges), strict=True):
        found[sample.id] = tuple(candidates[first:last])
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Passes:
    """Acquisitions over patches, by patch, time and name; each has one scene or more."""

    patch: Indices
    order: Indices
    """Overlaps, those of one pass over a patch beside each other."""
    first: Indices
    """Where those of each pass begin in `order`."""
    count: Indices
    is_whole: NDArray[np.bool_]
    """Whether every one of them covers the patch."""


def _join_passes(scenes: Sequence[Scene], pairs: Overlaps) -> _Passes:
    numbers = {name: number for number, name in enumerate(sorted({scene.acquisition for scene in scenes}))}
    name = np.array([numbers[scene.acquisition] for scene in scenes], np.int64)[pairs.scene]
    order = np.lexsort((name, pairs.patch))
    patch, name = pairs.patch[order], name[order]
    first = np.flatnonzero(np.diff(patch, prepend=-1) | np.diff(name, prepend=-1))
    begun = np.minimum.reduceat(pairs.acquired[order], first)
    by_time = np.lexsort((name[first], begun, patch[first]))
    return _Passes(
        patch=patch[first[by_time]],
        order=order,
        first=first[by_time],
        count=np.diff(first, append=len(order))[by_time],
        is_whole=np.logical_and.reduceat(pairs.share[order] == 1.0, first)[by_time],
    )


def _candidates(
    samples: Sequence[Sample], scenes: Sequence[Scene], pairs: Overlaps, passes: _Passes
) -> list[Candidate]:
    """Return a candidate for each pass; patches that lie whole inside the same scenes share theirs."""
    made = np.empty(len(passes.first), np.object_)
    alone = passes.is_whole & (passes.count == 1)
    distinct, number = np.unique(pairs.scene[passes.order[passes.first[alone]]], return_inverse=True)
    single = np.empty(len(distinct), np.object_)
    single[:] = [_alone(scenes[index]) for index in distinct.tolist()]
    made[alone] = single[number]
    shared: dict[tuple[int, ...], Candidate] = {}
    for index in np.flatnonzero(~alone).tolist():
        held = passes.order[passes.first[index] :][: passes.count[index]]
        patch, numbers = int(passes.patch[index]), pairs.scene[held].tolist()
        epsg = samples[patch].grid.epsg
        known = shared.get((epsg, *numbers)) if passes.is_whole[index] else None
        if known is None:
            shares = pairs.share[held].tolist()
            members = [(share, pair, scenes[n]) for share, pair, n in zip(shares, held.tolist(), numbers, strict=True)]
            known = _candidate(members, epsg, pairs, patch)
            if passes.is_whole[index]:
                shared[epsg, *numbers] = known
        made[index] = known
    candidates: list[Candidate] = made.tolist()
    return candidates


def _alone(scene: Scene) -> Candidate:
    return Candidate(acquisition=scene.acquisition, acquired=scene.acquired, scenes=(scene,), reach=1.0)


def _candidate(members: list[Member], epsg: int, pairs: Overlaps, patch: int) -> Candidate:
    reach = 1.0
    if len(members) > 1:
        members = _ranked(members, epsg)
        if all(share < 1.0 for share, _, _ in members):
            inside = shapely.union_all(pairs.inside(pair for _, pair, _ in members))
            reach = float(shapely.area(inside) / shapely.area(pairs.outlines[patch]))
    else:
        reach = members[0][0]
    scenes = tuple(scene for _, _, scene in members)
    return Candidate(
        acquisition=scenes[0].acquisition,
        acquired=min(scene.acquired for scene in scenes),
        scenes=scenes,
        reach=min(reach, 1.0),
        first_reach=members[0][0],
    )


def _ranked(members: list[Member], epsg: int) -> list[Member]:
    """Return the scenes of one pass over a patch in the zone `epsg`, the one that serves best first."""
    ordered = sorted(members, key=lambda member: member[2].id)
    # Stable sorts, least important key first; newest processing wins between copies of one tile.
    ordered.sort(key=lambda member: member[2].extras.get("generated", ""), reverse=True)
    ordered.sort(key=lambda member: member[2].baseline, reverse=True)
    ordered.sort(key=lambda member: (member[0] < WHOLE, member[2].epsg != epsg, -round(min(member[0], WHOLE), 3)))
    return ordered


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


def scenes_with(scenes: Iterable[Scene], bands: Sequence[str], orbit_state: str | None) -> list[Scene]:
    """Return the scenes that have all of `bands` and, for radar, the pass direction."""
    wanted = frozenset(bands)
    return [scene for scene in scenes if wanted <= scene.hrefs.keys() and orbit_state in {None, scene.orbit_state}]


def _is_inside(moment: datetime, intervals: tuple[Interval, ...]) -> bool:
    return any(start <= moment < end for start, end in intervals)
