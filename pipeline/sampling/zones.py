"""Which UTM zone a polygon's patches lie in: neighbours share one, so that patches never overlap across zones."""

from collections.abc import Iterable, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.errors import RecipeError
from pipeline.grid import FARTHEST, Floats, Geometries, Integers, epsg_of, is_far, utm_epsgs
from pipeline.records import Recipe
from pipeline.sampling.tables import refusal, refuse_any

REACH = 3
"""Steps that a polygon's box is widened by: cells of two clusters stay at least two steps apart on the ground."""

_METRES_PER_DEGREE = 110_000.0
"""A little less than the shortest degree of latitude on WGS 84 (110,574 m), so that boxes are never too narrow."""


def zones_of(polygons: Geometries, names: Sequence[str], *, recipe: Recipe, name: str) -> Integers:
    """Return the EPSG code of the zone that each polygon's patches lie in.

    Parameters
    ----------
    polygons : object (n,)
        Lon/lat polygons, cut at the antimeridian.
    names : sequence of str
        What to call each polygon in an error.
    recipe : Recipe
        Its `places.crs` if it has one; else each connected cluster of polygons takes the zone that most of its
        polygons lie in, the lowest code of equals.
    name : str
        What to call the inventory in an error.

    Raises
    ------
    RecipeError
        A polygon lies outside the UTM zones, or too far from the zone it was given.
    """
    places = shapely.get_coordinates(shapely.point_on_surface(polygons))
    if recipe.places.crs is not None:
        zones = np.full(len(polygons), epsg_of(recipe.places.crs), np.int64)
    else:
        zones = _shared_zones(polygons, places, step=recipe.step, name=name)
    far = np.zeros(len(polygons), np.bool_)
    for epsg in np.unique(zones).tolist():
        here = zones == epsg
        far[here] = is_far(places[here, 0], epsg=epsg)
    refuse_any(
        far,
        [f"{event} in EPSG:{epsg}" for event, epsg in zip(names, zones.tolist(), strict=True)],
        path=f"inventory {name}",
        what=f"polygons lie more than {FARTHEST:g}° from their zone's central meridian",
        advice="split the inventory, or give another zone with --set places.crs=EPSG:326zz",
    )
    return zones


def near_zone(polygons: Geometries, *, epsg: int) -> NDArray[np.bool_]:
    """Tell which lon/lat polygons lie near enough to a zone to be told in its metres."""
    places = shapely.get_coordinates(shapely.point_on_surface(polygons))
    return ~is_far(places[:, 0], epsg=epsg)


def _shared_zones(polygons: Geometries, places: Floats, *, step: float, name: str) -> Integers:
    try:
        own = utm_epsgs(lon=places[:, 0], lat=places[:, 1])
    except RecipeError as err:
        raise refusal(f"inventory {name}: a polygon at {err}; remove it") from err
    if np.unique(own).size == 1:
        return own
    _, cluster = np.unique(clusters_of(polygons, step=step), return_inverse=True)
    votes, count = np.unique(np.stack([cluster, own]), axis=1, return_counts=True)
    order = np.lexsort((votes[1], -count, votes[0]))
    _, first = np.unique(votes[0, order], return_index=True)
    return np.asarray(votes[1, order][first][cluster], np.int64)


def clusters_of(polygons: Geometries, *, step: float) -> Integers:
    """Return for each polygon its cluster, as the index of one of the cluster's polygons.

    Two polygons are linked when their lon/lat boxes, each widened by three steps of `step` [m], overlap; the
    antimeridian does not part them.
    """
    parts, owner = shapely.get_parts(polygons, return_index=True)
    pad = REACH * step / _METRES_PER_DEGREE
    boxes, owner = _with_far_side(_widened(shapely.bounds(parts), pad), np.asarray(owner, np.int64))
    group, order, starts = _grouped(boxes, pad)
    areas = _unions(np.asarray(shapely.box(*boxes.T), np.object_)[order], starts)
    heads = owner[order][starts]
    left, right = shapely.STRtree(areas).query(areas, predicate="intersects")
    members = zip(owner.tolist(), heads[group].tolist(), strict=True)
    meetings = left < right
    neighbours = zip(heads[left[meetings]].tolist(), heads[right[meetings]].tolist(), strict=True)
    return _components(len(polygons), [*members, *neighbours])


def _widened(bounds: Floats, pad: float) -> Floats:
    poleward = np.minimum(np.abs(bounds[:, [1, 3]]).max(axis=1) + pad, 89.0)
    aside = pad / np.cos(np.radians(poleward))
    upward = np.full_like(aside, pad)
    widened: Floats = bounds + np.stack([-aside, -upward, aside, upward], axis=1)
    return widened


def _with_far_side(boxes: Floats, owner: Integers) -> tuple[Floats, Integers]:
    west, east = boxes[:, 0] < -180.0, boxes[:, 2] > 180.0
    turn = np.array([360.0, 0.0, 360.0, 0.0])
    everything = np.concatenate([boxes, boxes[west] + turn, boxes[east] - turn])
    return everything, np.concatenate([owner, owner[west], owner[east]])


def _grouped(boxes: Floats, pad: float) -> tuple[Integers, Integers, Integers]:
    # Boxes are at least 2 pads wide and high, so those whose middles share a square of one pad surely overlap.
    squares = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2.0 / pad).astype(np.int64)
    _, group = np.unique(squares, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return group, order, starts


def _unions(boxes: NDArray[np.object_], starts: Integers) -> Geometries:
    ends = np.append(starts[1:], len(boxes))
    areas = boxes[starts]
    for index in np.flatnonzero(ends - starts > 1):
        areas[index] = shapely.union_all(boxes[starts[index] : ends[index]])
    return areas


def _components(count: int, links: Iterable[tuple[int, int]]) -> Integers:
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in links:
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    return np.array([root(node) for node in range(count)], np.int64)
