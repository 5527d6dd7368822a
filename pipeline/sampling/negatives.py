"""Cells without landslides: drawn from the inventory's extent by a keyed rank, the same in any order of work."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.grid import (
    NORTH,
    SOUTH,
    Floats,
    Integers,
    cell_grid,
    footprints,
    is_far,
    project_all,
    to_lonlat,
    to_utm,
    utm_epsgs,
)
from pipeline.records import PatchGrid, Recipe, Sample
from pipeline.sampling.inventory import Inventory
from pipeline.sampling.lattice import BORDER, LatticeZone, annotated_in, cell_samples, cells_met, lattice_zones

_BLOCK = 1 << 20
"""Cells ranked at a time, which bounds memory."""

Ranks = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Pool:
    """The cells of one zone that may be drawn from."""

    zone: LatticeZone
    annotated: Sequence[Sample]
    taken: Integers
    """Numbers of cells that a polygon or a patch of another zone touches, sorted."""
    key: int
    """Key of the ranks: 64 bits of seed, region and zone."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Terms:
    """What a cell must satisfy to be drawn."""

    recipe: Recipe
    coverage: BaseGeometry | None
    is_one_zone: bool


def negative_samples(
    annotated: Sequence[Sample], inventory: Inventory, recipe: Recipe, *, coverage: BaseGeometry | None
) -> tuple[Sample, ...]:
    """Return cells that no polygon touches, `places.negatives` times as many as `annotated` or all there are.

    Parameters
    ----------
    annotated : sequence of Sample
        The annotated cells of `inventory`, or some of them: they say how many to draw, and the dates.
    inventory : Inventory
        Its zones and extents are drawn from; no cell of theirs that it annotates is overlapped on the ground.
    recipe : Recipe
        `places` and `seed`; a cell's rank depends on the seed, the region, the zone and the cell alone.
    coverage : shapely geometry, optional
        Lon/lat area, cut at the antimeridian, that a cell must lie wholly inside.

    Returns
    -------
    tuple of Sample
        By zone, column and row; each has the date of the nearest annotated sample of its zone. Where an inventory
        uses several zones, only cells wholly inside their own zone are drawn.
    """
    wanted = round(recipe.places.negatives * len(annotated))
    if not wanted:
        return ()
    if coverage is not None:
        shapely.prepare(coverage)
    zones = lattice_zones(inventory, recipe)
    # One lattice cannot overlap itself: patches matter to one another across zones only.
    reached = annotated_in(zones, inventory, recipe) if len(zones) > 1 else ()
    pools = list(_pools(zones, annotated, reached, recipe))
    if not pools:
        return ()
    terms = _Terms(recipe=recipe, coverage=coverage, is_one_zone=len(zones) == 1)
    samples: list[Sample] = []
    for pool, ids in zip(pools, _drawn(pools, wanted, terms), strict=True):
        bare = cell_samples(pool.zone, ids, recipe)
        dates = [pool.annotated[index].date for index in _nearest(bare, pool.annotated)]
        samples.extend(replace(sample, date=date) for sample, date in zip(bare, dates, strict=True))
    return tuple(samples)


def _pools(
    zones: Sequence[LatticeZone], annotated: Sequence[Sample], reached: Sequence[Sample], recipe: Recipe
) -> Iterator[_Pool]:
    places = np.array([(sample.grid.epsg, sample.lon, sample.lat) for sample in reached]).reshape(-1, 3)
    for zone in zones:
        own = [sample for sample in annotated if sample.grid.epsg == zone.epsg]
        if own:
            foreign = [reached[index].grid for index in _foreign_near(zone, places, recipe)]
            yield _pool(zone, own, foreign, recipe)


def _pool(zone: LatticeZone, annotated: Sequence[Sample], foreign: Sequence[PatchGrid], recipe: Recipe) -> _Pool:
    obstacles = np.concatenate([zone.polygons, project_all(footprints(foreign), zone.epsg)])
    met = cells_met(obstacles, recipe, inset=-BORDER)
    inside = zone.extent.holds(met.ix, met.iy)
    key = f"{recipe.seed}|{zone.region}|{zone.epsg}".encode()
    return _Pool(
        zone=zone,
        annotated=annotated,
        taken=np.unique(zone.extent.ids(met.ix[inside], met.iy[inside])),
        key=int.from_bytes(blake2b(key, digest_size=8).digest(), "little"),
    )


def _foreign_near(zone: LatticeZone, places: Floats, recipe: Recipe) -> list[int]:
    """Return which places (epsg, lon, lat) are patches of another zone that may overlap the zone's extent."""
    near = np.flatnonzero((places[:, 0] != zone.epsg) & ~is_far(places[:, 1], epsg=zone.epsg))
    easting, northing = to_utm(lon=places[near, 1], lat=places[near, 2], epsg=zone.epsg)
    step, (left, bottom), extent = recipe.step, recipe.anchor, zone.extent
    x, y = (easting - left) / step - extent.origin.ix, (northing - bottom) / step - extent.origin.iy
    overlaps = (x > -2.0) & (x < extent.columns + 2.0) & (y > -2.0) & (y < extent.rows + 2.0)
    indices: list[int] = near[overlaps].tolist()
    return indices


def _drawn(pools: Sequence[_Pool], wanted: int, terms: _Terms) -> Iterator[Integers]:
    """Yield the numbers of the drawn cells of each pool, sorted: the `wanted` of lowest rank over all pools."""
    share = min(1.0, 4.0 * wanted / sum(pool.zone.extent.size for pool in pools))
    while True:
        found = [_accepted(pool, share, terms) for pool in pools]
        if share >= 1.0 or sum(ids.size for ids, _ in found) >= wanted:
            break
        share = min(1.0, 4.0 * share)
    ids = np.concatenate([ids for ids, _ in found])
    ranks = np.concatenate([ranks for _, ranks in found])
    pool = np.repeat(np.arange(len(pools)), [ids.size for ids, _ in found])
    lowest = np.lexsort((ids, pool, ranks))[:wanted]
    for index in range(len(pools)):
        yield np.sort(ids[lowest[pool[lowest] == index]])


def _accepted(pool: _Pool, share: float, terms: _Terms) -> tuple[Integers, Ranks]:
    """Return the cells among the lowest-ranked `share` [1] of all that may be drawn, and their ranks."""
    limit = np.uint64(min(int(share * 2.0**64), 2**64 - 1))
    blocks = []
    for start in range(0, pool.zone.extent.size, _BLOCK):
        ids = np.arange(start, min(start + _BLOCK, pool.zone.extent.size))
        ids = ids[_ranks(pool, ids) <= limit]
        blocks.append(_usable(ids[~np.isin(ids, pool.taken)], pool.zone, terms))
    accepted = np.concatenate(blocks)
    return accepted, _ranks(pool, accepted)


def _ranks(pool: _Pool, ids: Integers) -> Ranks:
    """Return a pseudo-random rank that depends on the key and the absolute cell only."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    ix, iy = (axis.astype(np.uint64) for axis in pool.zone.extent.cells(ids))
    return _mixed(_mixed(np.uint64(pool.key) + ix * golden) + iy * golden)


def _mixed(bits: Ranks) -> Ranks:
    # SplitMix64's finaliser (Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators).
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _usable(ids: Integers, zone: LatticeZone, terms: _Terms) -> Integers:
    if not terms.is_one_zone:
        ids = ids[_is_inside_zone(ids, zone, terms.recipe)]
    if terms.coverage is not None:
        ids = ids[_is_covered(ids, zone, terms.recipe, terms.coverage)]
    return ids


def _is_inside_zone(ids: Integers, zone: LatticeZone, recipe: Recipe) -> NDArray[np.bool_]:
    # Cells are tried a tenth larger: zone borders bow against grid lines.
    corners = np.array([-0.05, 1.05])
    inside = np.ones(ids.size, np.bool_)
    for across in corners:
        for up in corners:
            lon, lat = _places(ids, zone, recipe, across=across, up=up)
            within = (lat >= SOUTH) & (lat <= NORTH)
            inside &= within & (utm_epsgs(lon=lon, lat=np.clip(lat, SOUTH, NORTH)) == zone.epsg)
    return inside


def _is_covered(ids: Integers, zone: LatticeZone, recipe: Recipe, coverage: BaseGeometry) -> NDArray[np.bool_]:
    lon, lat = _places(ids, zone, recipe, across=0.5, up=0.5)
    covered = np.asarray(shapely.intersects_xy(coverage, lon, lat), np.bool_)
    ix, iy = (axis.tolist() for axis in zone.extent.cells(ids[covered]))
    grids = [cell_grid(x, y, epsg=zone.epsg, recipe=recipe) for x, y in zip(ix, iy, strict=True)]
    covered[covered] = shapely.covers(coverage, footprints(grids))
    return covered


def _places(ids: Integers, zone: LatticeZone, recipe: Recipe, *, across: float, up: float) -> tuple[Floats, Floats]:
    ix, iy = zone.extent.cells(ids)
    easting = recipe.anchor[0] + (ix + across) * recipe.step
    northing = recipe.anchor[1] + (iy + up) * recipe.step
    return to_lonlat(easting=easting, northing=northing, epsg=zone.epsg)


def _nearest(samples: Sequence[Sample], annotated: Sequence[Sample]) -> list[int]:
    """Return for each sample the index of the nearest annotated one, the lowest id of equals."""
    by_id = sorted(range(len(annotated)), key=lambda index: annotated[index].id)
    centres = [shapely.Point(annotated[i].grid.left, annotated[i].grid.top) for i in by_id]
    places = [shapely.Point(sample.grid.left, sample.grid.top) for sample in samples]
    sample, match = shapely.STRtree(centres).query_nearest(places, all_matches=True)
    first = np.full(len(samples), len(annotated))
    np.minimum.at(first, sample, match)
    return [by_id[index] for index in first.tolist()]
