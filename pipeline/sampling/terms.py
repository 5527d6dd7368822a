"""What a drawn place must satisfy whatever else is drawn: UTM's latitudes, its region, land."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.grid import NORTH, SOUTH, Integers
from pipeline.records import Recipe
from pipeline.sampling.land import Flags, Land, land_shares
from pipeline.sampling.proposals import Draws
from pipeline.sampling.strata import Regions

LATITUDE, REGION, SEA, LAND_SHARE, OVERLAP = "latitude", "region", "sea", "land_share", "overlap"
"""Why a draw is rejected: outside the UTM zones, outside its region, centre at sea, too little land, an overlap."""

Labels = NDArray[np.object_]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Terms:
    """What a place must satisfy."""

    recipe: Recipe
    land: Land
    min_land_share: float
    """Least share of the patch that is land [1]; at 0 its centre alone matters."""
    regions: Regions | None
    region: Integers
    """Region of each sample, by number of the sample."""
    gap: float
    """Least distance between patches [m]."""
    max_attempts: int


def refusals(draws: Draws, terms: Terms) -> Labels:
    """Return why each place is rejected whatever else is drawn: the first reason that holds, or "" for none."""
    reasons: Labels = np.full(len(draws), "", np.object_)
    reasons[(draws.lat < SOUTH) | (draws.lat > NORTH)] = LATITUDE
    for reason, test in ((REGION, _is_elsewhere), (SEA, _is_at_sea), (LAND_SHARE, _has_little_land)):
        rows = np.flatnonzero(reasons == "")
        reasons[rows[test(draws.take(rows), terms)]] = reason
    return reasons


def _is_elsewhere(draws: Draws, terms: Terms) -> Flags:
    if terms.regions is None:
        return np.zeros(len(draws), np.bool_)
    return ~terms.regions.hold(terms.region[draws.index], lon=draws.lon, lat=draws.lat)


def _is_at_sea(draws: Draws, terms: Terms) -> Flags:
    return ~terms.land.holds(lon=draws.lon, lat=draws.lat)


def _has_little_land(draws: Draws, terms: Terms) -> Flags:
    if terms.min_land_share <= 0.0:
        return np.zeros(len(draws), np.bool_)
    return land_shares(terms.land, lon=draws.lon, lat=draws.lat, recipe=terms.recipe) < terms.min_land_share
