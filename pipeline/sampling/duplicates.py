"""Events that an inventory has twice: the same ground on the same day."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import shapely

from pipeline.grid import Geometries, Integers

SAME = 0.9
"""Intersection over union from which two polygons are the same ground."""


def duplicates_of(polygons: Geometries, days: Sequence[datetime]) -> dict[int, int]:
    """Return which polygons repeat an earlier one of the same day, each with the index of the one that is kept.

    Intersection over union is that of lon/lat, which is that of the ground wherever a degree is as long for both. A
    polygon is compared with those that are kept: one that repeats a repetition alone stays.

    Parameters
    ----------
    polygons : object (n,)
        Valid lon/lat polygons, cut at the antimeridian, the ones to be kept first.
    days : sequence of datetime
        Day of each.
    """
    found = _copies(polygons, days)
    single = np.array([index for index in range(len(polygons)) if index not in found], np.int64)
    for earlier, later in _same_ground(polygons[single], [days[index] for index in single.tolist()]):
        first, second = int(single[earlier]), int(single[later])
        if first not in found and second not in found:
            found[second] = first
    return {index: found.get(kept, kept) for index, kept in found.items()}


def _copies(polygons: Geometries, days: Sequence[datetime]) -> dict[int, int]:
    """Return what is repeated to the last bit: a pile of copies would make as many pairs as its square."""
    seen: dict[tuple[datetime, bytes], int] = {}
    copies = {}
    for index, key in enumerate(zip(days, shapely.to_wkb(polygons), strict=True)):
        kept = seen.setdefault(key, index)
        if kept != index:
            copies[index] = kept
    return copies


def _same_ground(polygons: Geometries, days: Sequence[datetime]) -> list[tuple[int, int]]:
    """Return the pairs of the same ground and day, earlier index first, in the order of the later one."""
    one, other = (np.asarray(side, np.int64) for side in shapely.STRtree(polygons).query(polygons))
    area = shapely.area(polygons)
    number = np.unique(np.array([day.toordinal() for day in days], np.int64), return_inverse=True)[1]
    near = (one < other) & (number[one] == number[other])
    one, other = one[near], other[near]
    alike = np.minimum(area[one], area[other]) >= SAME * np.maximum(area[one], area[other])
    one, other = one[alike], other[alike]
    shared = shapely.area(shapely.intersection(polygons[one], polygons[other]))
    same = shared >= SAME * (area[one] + area[other] - shared)
    pairs: Integers = np.stack([one[same], other[same]], axis=1)
    return [(int(first), int(second)) for first, second in pairs[np.lexsort(pairs.T)]]
