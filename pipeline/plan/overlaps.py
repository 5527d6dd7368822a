"""Where and when patches and scenes meet: pairs of the two, held as arrays, of which there are tens of millions."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline import grid
from pipeline.errors import SourceError
from pipeline.plan.windows import Interval
from pipeline.records import Sample, Scene

Indices = NDArray[np.int64]
Geometries = NDArray[np.object_]
Windows = Callable[[Sample], tuple[Interval, ...]]
"""When scenes of a sample may be from."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlaps:
    """Pairs of a patch and a scene that has a part of it, by patch, then in the order of scenes."""

    patch: Indices
    """Index into the samples."""
    scene: Indices
    acquired: Indices
    """When the scene was acquired [µs since 1970]."""
    share: NDArray[np.float64]
    """Share of the patch inside the scene's outline, above 0 [1]; 1.0 where the outline covers the patch."""
    outlines: Geometries
    """Outline of each patch, lon/lat."""
    part_of: Indices
    """Index into `parts`."""
    parts: Geometries
    """What lies inside of a patch, lon/lat."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.patch)

    def inside(self, pairs: Iterable[int]) -> list[Any]:
        """Return the part of the patch that lies inside the outline, for some of the pairs."""
        return [self.parts[self.part_of[pair]] for pair in pairs]


def overlaps(samples: Sequence[Sample], scenes: Sequence[Scene], windows: Windows | None) -> Overlaps:
    """Return which scenes have a part of which patch, in its windows; `windows` None takes scenes of any date.

    Outlines are compared only where their boxes meet and the time fits, and once where scenes share them: passes over
    one tile mostly do.

    Raises
    ------
    SourceError
        The outline of a scene cannot be cut.
    """
    outlines = grid.footprints([sample.grid for sample in samples])
    numbers: dict[bytes, int] = {}
    shape_of = np.array([numbers.setdefault(scene.footprint, len(numbers)) for scene in scenes], np.int64)
    shapes = np.array(shapely.from_wkb(list(numbers)), dtype=object)
    meeting_patch, meeting_shape = shapely.STRtree(shapes).query(outlines)
    acquired = np.array([_micros(scene.acquired) for scene in scenes], np.int64)
    within = [windows(sample) for sample in samples] if windows else None
    meeting, scene = _within(acquired, shape_of, meeting_patch, meeting_shape, within)
    used, part_of = np.unique(meeting, return_inverse=True)
    try:
        share, parts = _parts(outlines[meeting_patch[used]], shapes, meeting_shape[used])
    except shapely.errors.GEOSException as err:
        raise _damaged(scenes, shapes, err) from None
    patch = meeting_patch[meeting]
    kept = np.flatnonzero(share[part_of] > 0.0)
    kept = kept[np.lexsort((scene[kept], patch[kept]))]
    return Overlaps(
        patch=patch[kept],
        scene=scene[kept],
        acquired=acquired[scene[kept]],
        share=share[part_of[kept]],
        outlines=outlines,
        part_of=part_of[kept],
        parts=parts,
    )


def _within(
    acquired: Indices,
    shape_of: Indices,
    patch: Indices,
    shape: Indices,
    windows: Sequence[tuple[Interval, ...]] | None,
) -> tuple[Indices, Indices]:
    """Return each scene of a pair of patch and shape that was acquired in a window of the patch, with the pair."""
    # A scene's key ascends with its shape and, for one shape, with time.
    times, rank = np.unique(acquired, return_inverse=True)
    stride = len(times) + 1
    key = shape_of * stride + rank
    by_key = np.argsort(key, kind="stable")
    key = key[by_key]
    found = []
    for start, end in _limits(windows) if windows is not None else [(None, None)]:
        opens = 0 if start is None else np.searchsorted(times, start)[patch]
        closes = len(times) if end is None else np.searchsorted(times, end)[patch]
        first, last = np.searchsorted(key, shape * stride + opens), np.searchsorted(key, shape * stride + closes)
        count = np.maximum(last - first, 0)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        scene = by_key[np.repeat(first, count) + within]
        found.append(np.repeat(np.arange(len(patch)), count) * len(acquired) + scene)
    # Windows may overlap.
    pairs = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    return pairs // len(acquired), pairs % len(acquired)


def _limits(windows: Sequence[tuple[Interval, ...]]) -> list[tuple[Indices, Indices]]:
    """Return the first, second, … window of all patches [µs since 1970]; who has fewer has empty ones."""
    known: dict[Interval, tuple[int, int]] = {}
    limits = []
    for number in range(max(map(len, windows), default=0)):
        held = [intervals[number] if number < len(intervals) else (EPOCH, EPOCH) for intervals in windows]
        found = [known.get(one) or known.setdefault(one, (_micros(one[0]), _micros(one[1]))) for one in held]
        start, end = np.array(found, np.int64).T
        limits.append((start, end))
    return limits


def _parts(patches: Geometries, shapes: Geometries, shape: Indices) -> tuple[NDArray[np.float64], Geometries]:
    """Return the share of each patch inside its outline [1], and that part."""
    distinct, number = np.unique(shape, return_inverse=True)
    outlines = shapes[distinct]
    shapely.prepare(outlines)
    outlines = outlines[number]
    parts, share = patches.copy(), np.ones(len(patches))
    # Where the outline covers the patch, as most do, there is nothing to cut.
    rest = np.flatnonzero(~shapely.covers(outlines, patches))
    is_cut = shapely.intersects(outlines[rest], patches[rest])
    share[rest[~is_cut]] = 0.0
    cut = rest[is_cut]
    parts[cut] = shapely.intersection(outlines[cut], patches[cut])
    share[cut] = shapely.area(parts[cut]) / shapely.area(patches[cut])
    return share, parts


def _damaged(scenes: Sequence[Scene], shapes: Geometries, problem: Exception) -> SourceError:
    """Return the error that names the first scene whose outline is not valid."""
    invalid = {shapely.to_wkb(shape) for shape in shapes[~shapely.is_valid(shapes)]}
    outlines = ((scene.id, shapely.to_wkb(shapely.from_wkb(scene.footprint))) for scene in scenes)
    name = next((scene_id for scene_id, outline in outlines if outline in invalid), "a scene")
    return SourceError(f"{name}: its outline cannot be cut to a patch, its item's geometry is damaged: {problem}")


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
