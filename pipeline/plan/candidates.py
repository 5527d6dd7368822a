"""Which acquisitions could fill a patch: footprints against patches, frames and tiles joined into passes."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline import grid
from pipeline.plan.windows import Interval
from pipeline.records import AssetRef, Choice, PatchGrid, Sample, Scene, Score

WHOLE = 0.999
"""Share of a patch that footprints must reach to count as the whole: their outlines are simplified."""


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


Windows = Callable[[Sample], tuple[Interval, ...]]


def find_candidates(
    samples: Sequence[Sample], scenes: Sequence[Scene], windows: Windows | None
) -> dict[str, tuple[Candidate, ...]]:
    """Return the candidates of every sample, oldest first; `windows` None takes scenes of any date."""
    found: dict[str, tuple[Candidate, ...]] = {sample.id: () for sample in samples}
    if not scenes or not samples:
        return found
    outlines = np.array(shapely.from_wkb([scene.footprint for scene in scenes]))
    patches = grid.footprints([sample.grid for sample in samples])
    pairs = shapely.STRtree(outlines).query(patches, predicate="intersects")
    touching: dict[int, list[int]] = defaultdict(list)
    for patch_index, scene_index in pairs.T.tolist():
        touching[patch_index].append(scene_index)
    for patch_index, scene_indices in touching.items():
        sample = samples[patch_index]
        inside = scene_indices
        if windows is not None:
            intervals = windows(sample)
            inside = [index for index in scene_indices if _is_inside(scenes[index].acquired, intervals)]
        found[sample.id] = _join_passes(sample.grid, patches[patch_index], scenes, outlines, inside)
    return found


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
        is_whole = scenes == candidate.scenes or candidate.first_reach >= WHOLE
        if is_whole and scenes[:1] == candidate.scenes[:1]:
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


def _join_passes(
    patch_grid: PatchGrid,
    patch: shapely.Geometry,
    scenes: Sequence[Scene],
    outlines: NDArray[np.object_],
    indices: Iterable[int],
) -> tuple[Candidate, ...]:
    passes: dict[str, list[tuple[float, Scene, shapely.Geometry]]] = defaultdict(list)
    for index in indices:
        part = shapely.intersection(outlines[index], patch)
        reach = shapely.area(part) / shapely.area(patch)
        if reach > 0.0:
            passes[scenes[index].acquisition].append((float(reach), scenes[index], part))
    candidates = [_candidate(key, patch_grid, patch, members) for key, members in passes.items()]
    return tuple(sorted(candidates, key=lambda candidate: (candidate.acquired, candidate.acquisition)))


def _candidate(
    acquisition: str,
    patch_grid: PatchGrid,
    patch: shapely.Geometry,
    members: list[tuple[float, Scene, shapely.Geometry]],
) -> Candidate:
    ordered = sorted(members, key=lambda member: member[1].id)
    # Stable sorts, least important key first; newest processing wins between copies of one tile.
    ordered.sort(key=lambda member: member[1].extras.get("generated", ""), reverse=True)
    ordered.sort(key=lambda member: member[1].baseline, reverse=True)
    ordered.sort(
        key=lambda member: (member[0] < WHOLE, member[1].epsg != patch_grid.epsg, -round(min(member[0], WHOLE), 3))
    )
    reach = shapely.area(shapely.union_all([part for _, _, part in ordered])) / shapely.area(patch)
    return Candidate(
        acquisition=acquisition,
        acquired=min(scene.acquired for _, scene, _ in ordered),
        scenes=tuple(scene for _, scene, _ in ordered),
        reach=float(min(reach, 1.0)),
        first_reach=ordered[0][0],
    )
