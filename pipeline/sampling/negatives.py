"""Cells without landslides: drawn from the inventory's extent by a keyed rank, the same in any order of work."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.errors import RecipeError
from pipeline.grid import Integers
from pipeline.records import Recipe, Sample
from pipeline.sampling.criteria import Slopes, Surroundings, Terms, nearest_of, usable
from pipeline.sampling.inventory import Inventory
from pipeline.sampling.land import open_land
from pipeline.sampling.lattice import LatticeZone, annotated_in, cell_samples, lattice_zones
from pipeline.sampling.obstacles import Obstacles, taken_cells

_BLOCK = 1 << 20
"""Cells ranked at a time, which bounds memory."""

_SLOPES_AT_ONCE = 256
"""Patches whose elevation is asked for at a time, at most."""

SLOPES_PER_NEGATIVE = 50
"""Patches whose slope is looked at for every one that is wanted, at most."""

Ranks = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Pool:
    """The cells of one region in one zone that may be drawn from."""

    zone: LatticeZone
    annotated: Sequence[Sample]
    taken: Integers
    """Numbers of cells that a polygon or a patch of another zone touches, sorted."""
    around: Surroundings
    key: int
    """Key of the ranks: 64 bits of seed, region and zone."""


def negative_samples(
    annotated: Sequence[Sample],
    inventory: Inventory,
    recipe: Recipe,
    *,
    coverage: BaseGeometry | None,
    slopes: Slopes | None = None,
) -> tuple[Sample, ...]:
    """Return cells that no polygon touches, as many for each region as `wanted_negatives` says or all there are.

    Parameters
    ----------
    annotated : sequence of Sample
        The annotated cells of `inventory`, or some of them: they say how many to draw, and the dates.
    inventory : Inventory
        Its zones and extents are drawn from; no cell of theirs that it annotates is overlapped on the ground, and none
        that a rejected polygon touches is drawn.
    recipe : Recipe
        `places` and `seed`; a cell's rank depends on the seed, the region, the zone and the cell alone. Its criteria
        leave out cells nearer than `min_distance` to any polygon, measured in metres of the zone from the cell's
        border; with less land than `min_land`; and flatter than `min_slope`, which is looked at for at most
        `SLOPES_PER_NEGATIVE` cells for each one wanted, in the order of their ranks.
    coverage : shapely geometry, optional
        Lon/lat area, cut at the antimeridian, that a cell must lie wholly inside.
    slopes : callable, optional
        Tells mean slopes; needed where the recipe asks for one.

    Returns
    -------
    tuple of Sample
        By region, zone, column and row; each has the date of the nearest annotated sample of its region and zone. Where
        an inventory uses several zones, only cells wholly inside their own zone are drawn. A cell in the extents of
        several regions belongs to the one whose annotated cell is nearest.

    Raises
    ------
    RecipeError
        The recipe asks for a slope, and `slopes` is not given.
    """
    wanted = wanted_negatives(annotated, recipe)
    if not wanted:
        return ()
    if recipe.places.min_slope is not None and slopes is None:
        raise RecipeError("places.min_slope needs elevation: name a source that has it")
    if coverage is not None:
        shapely.prepare(coverage)
    zones = lattice_zones(inventory, recipe)
    # One lattice cannot overlap itself: patches matter to one another across zones and regions only.
    reached = annotated_in(zones, inventory, recipe) if len(zones) > 1 else ()
    terms = Terms(
        recipe=recipe,
        coverage=coverage,
        is_one_zone=len({zone.epsg for zone in zones}) == 1,
        land=open_land() if recipe.places.min_land is not None else None,
        slopes=slopes,
    )
    obstacles = Obstacles(zones=zones, inventory=inventory, reached=reached, recipe=recipe)
    samples: list[Sample] = []
    for region in sorted(wanted):
        own = [sample for sample in annotated if sample.region == region]
        pools = list(_pools([zone for zone in zones if zone.region == region], own, obstacles))
        samples += _samples_of(pools, wanted[region], terms)
    return tuple(samples)


def wanted_negatives(annotated: Sequence[Sample], recipe: Recipe) -> Mapping[str, int]:
    """Return how many cells to draw for each region: `places.negatives` times as many as it has in `annotated`."""
    counts = Counter(sample.region for sample in annotated)
    wanted = {region: round(recipe.places.negatives * count) for region, count in counts.items()}
    return {region: count for region, count in wanted.items() if count}


def _samples_of(pools: Sequence[_Pool], wanted: int, terms: Terms) -> Iterator[Sample]:
    if not pools:
        return
    for pool, ids in zip(pools, _drawn(pools, wanted, terms), strict=True):
        bare = cell_samples(pool.zone, ids, terms.recipe)
        dates = [pool.annotated[index].date for index in _nearest(bare, pool.annotated)]
        yield from (replace(sample, date=date) for sample, date in zip(bare, dates, strict=True))


def _pools(zones: Sequence[LatticeZone], annotated: Sequence[Sample], obstacles: Obstacles) -> Iterator[_Pool]:
    for zone in zones:
        own = [sample for sample in annotated if sample.grid.epsg == zone.epsg]
        if own:
            key = f"{obstacles.recipe.seed}|{zone.region}|{zone.epsg}".encode()
            around = obstacles.around(zone)
            yield _Pool(
                zone=zone,
                annotated=own,
                taken=taken_cells(zone, obstacles, around),
                around=around,
                key=int.from_bytes(blake2b(key, digest_size=8).digest(), "little"),
            )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Ranked:
    """Cells of several pools in the order of their ranks."""

    pools: Sequence[_Pool]
    pool: Integers
    ids: Integers

    def samples(self, first: int, end: int, recipe: Recipe) -> list[Sample]:
        """Return the bare samples of some of them, in their order."""
        chosen = zip(self.pool[first:end].tolist(), self.ids[first:end].tolist(), strict=True)
        return [cell_samples(self.pools[pool].zone, np.array([id_]), recipe)[0] for pool, id_ in chosen]


def _drawn(pools: Sequence[_Pool], wanted: int, terms: Terms) -> Iterator[Integers]:
    """Yield the numbers of the drawn cells of each pool, sorted: the `wanted` of lowest rank over all pools."""
    share = min(1.0, 4.0 * wanted / sum(pool.zone.extent.size for pool in pools))
    known: list[bool] = []
    while True:
        ranked = _ranked(pools, share, terms)
        chosen = _steep(ranked, wanted, terms, known)
        if share >= 1.0 or chosen.size >= wanted:
            break
        share = min(1.0, 4.0 * share)
    for index in range(len(pools)):
        yield np.sort(ranked.ids[chosen[ranked.pool[chosen] == index]])


def _ranked(pools: Sequence[_Pool], share: float, terms: Terms) -> _Ranked:
    """Return the cells among the lowest-ranked `share` [1] of all that may be drawn but for their slope."""
    found = [_accepted(pool, share, terms) for pool in pools]
    ids = np.concatenate([ids for ids, _ in found])
    ranks = np.concatenate([ranks for _, ranks in found])
    pool = np.repeat(np.arange(len(pools)), [ids.size for ids, _ in found])
    order = np.lexsort((ids, pool, ranks))
    return _Ranked(pools=pools, pool=pool[order], ids=ids[order])


def _steep(ranked: _Ranked, wanted: int, terms: Terms, known: list[bool]) -> Integers:
    """Return the positions of the first `wanted` cells that are steep enough; `known` is what was found before.

    A larger share of the cells only adds to the end of their order, so what is known stays true; it grows here.
    """
    least, slopes = terms.recipe.places.min_slope, terms.slopes
    if least is None or slopes is None:
        return np.arange(min(wanted, ranked.ids.size))
    most = min(ranked.ids.size, SLOPES_PER_NEGATIVE * wanted)
    while (lacking := wanted - sum(known)) > 0 and len(known) < most:
        end = min(most, len(known) + min(2 * lacking, _SLOPES_AT_ONCE))
        # Where there is no elevation the slope is NaN, which is not steep enough.
        known += [slope >= least for slope in slopes(ranked.samples(len(known), end, terms.recipe)).tolist()]
    return np.flatnonzero(np.array(known, np.bool_))[:wanted]


def _accepted(pool: _Pool, share: float, terms: Terms) -> tuple[Integers, Ranks]:
    """Return the cells among the lowest-ranked `share` [1] of all that may be drawn, and their ranks."""
    limit = np.uint64(min(int(share * 2.0**64), 2**64 - 1))
    blocks = []
    for start in range(0, pool.zone.extent.size, _BLOCK):
        ids = np.arange(start, min(start + _BLOCK, pool.zone.extent.size))
        ids = ids[_ranks(pool, ids) <= limit]
        blocks.append(usable(ids[~np.isin(ids, pool.taken)], pool.zone, pool.around, terms))
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


def _nearest(samples: Sequence[Sample], annotated: Sequence[Sample]) -> list[int]:
    """Return for each sample the index of the nearest annotated one, the lowest id of equals."""
    by_id = sorted(range(len(annotated)), key=lambda index: annotated[index].id)
    centres = np.array([(annotated[i].grid.left, annotated[i].grid.top) for i in by_id]).reshape(-1, 2)
    places = np.array([(sample.grid.left, sample.grid.top) for sample in samples]).reshape(-1, 2)
    return [by_id[index] for index in nearest_of(places, centres).tolist()]
