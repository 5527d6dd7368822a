"""Grouping places, so that neighbours share one search instead of making one each."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from pipeline.sources.footprints import cut_at_antimeridian

_MARGIN = 0.001
"""Degrees added around a cluster: a single point still gets an area."""

_CLEAR_GAP = 0.25
"""Share of a group's width from which an empty strip is a better place to divide it than its middle."""


def cluster_places(
    footprints: Sequence[BaseGeometry], *, max_degrees: float = 1.0
) -> list[tuple[BaseGeometry, tuple[int, ...]]]:
    """Group places into compact boxes; the grouping does not depend on the order of the places.

    A group is divided until it fits: at its widest empty strip if that is a quarter of its width or more, else in
    the middle. Every division leaves at most three quarters of the width, so 250,000 places take
    O(n log n) per halving of the extent.

    Parameters
    ----------
    footprints
        Areas in lon/lat, cut at the antimeridian.
    max_degrees
        Largest width and height of a group [degrees]; only a place that is larger itself exceeds it.

    Returns
    -------
    One (box, indices) per group: the box covers every footprint of the group and is cut at the antimeridian; the
    indices into `footprints` ascend, and each index occurs once.

    Raises
    ------
    ValueError
        A footprint is empty.
    """
    if not len(footprints):
        return []
    extents = _extents(footprints)
    clusters: list[tuple[BaseGeometry, tuple[int, ...]]] = []
    pending = [np.arange(len(footprints))]
    while pending:
        members = pending.pop()
        lower = _lower_part(extents[members], max_degrees)
        if lower is None:
            clusters.append((_box(extents[members]), tuple(members.tolist())))
        else:
            pending += [members[~lower], members[lower]]
    return clusters


def _extents(footprints: Sequence[BaseGeometry]) -> NDArray[np.float64]:
    """Return west, south, east, north of each place on a map that is cut where no place is."""
    extents = shapely.bounds(np.array(footprints, dtype=object))
    if np.isnan(extents).any():
        raise ValueError("an empty footprint cannot be searched for")
    for index in np.flatnonzero(extents[:, 2] - extents[:, 0] > 180.0):
        extents[index, [0, 2]] = _extent_across(footprints[int(index)])
    centres = (extents[:, 0] + extents[:, 2]) / 2.0
    wrapped = (centres + 180.0) % 360.0 - 180.0
    ordered = np.sort(wrapped)
    gaps = np.diff(ordered, append=ordered[0] + 360.0)
    first = ordered[(int(gaps.argmax()) + 1) % ordered.size]
    wrapped += np.where(wrapped < first, 360.0, 0.0)
    extents[:, [0, 2]] += (wrapped - centres)[:, None]
    return extents


def _extent_across(footprint: BaseGeometry) -> tuple[float, float]:
    bounds = shapely.bounds(shapely.get_parts(footprint))
    east = np.where(bounds[:, 2] <= 0.0, bounds[:, 2] + 360.0, bounds[:, 2])
    west = np.where(bounds[:, 2] <= 0.0, bounds[:, 0] + 360.0, bounds[:, 0])
    return float(west.min()), float(east.max())


def _lower_part(extents: NDArray[np.float64], max_degrees: float) -> NDArray[np.bool_] | None:
    """Return which members form the lower part when the group has to be divided, else None."""
    spans = extents[:, 2:].max(axis=0) - extents[:, :2].min(axis=0)
    centres = (extents[:, :2] + extents[:, 2:]) / 2.0
    divisible = (spans > max_degrees) & (np.ptp(centres, axis=0) > 0.0)
    if not divisible.any():
        return None
    values = centres[:, int(np.where(divisible, spans, 0.0).argmax())]
    return values <= _last_of_lower_part(values)


def _last_of_lower_part(values: NDArray[np.float64]) -> float:
    ordered = np.sort(values)
    gaps = np.diff(ordered)
    width = ordered[-1] - ordered[0]
    index = int(gaps.argmax())
    if gaps[index] < _CLEAR_GAP * width:
        index = int(np.searchsorted(ordered, ordered[0] + width / 2.0, side="right")) - 1
    return float(ordered[index])


def _box(extents: NDArray[np.float64]) -> BaseGeometry:
    west, south = extents[:, :2].min(axis=0) - _MARGIN
    east, north = extents[:, 2:].max(axis=0) + _MARGIN
    if east - west >= 360.0:
        west, east = -180.0, 180.0
    return cut_at_antimeridian(box(west, max(south, -90.0), east, min(north, 90.0)))
