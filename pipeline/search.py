"""What is there: places from the user's file, and every scene of the source that could serve them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import shapely

from pipeline import grid
from pipeline.errors import RecipeError
from pipeline.folder import Request
from pipeline.plan.rows import needed_bands, radar_windows
from pipeline.plan.windows import Interval, merged, windows_of
from pipeline.records import Event, PatchGrid, Product, Recipe, Sample, Scene
from pipeline.sampling import negative_samples, read_places
from pipeline.sources import Query, Source
from pipeline.sources.clusters import cluster_places


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Places, and every scene that could serve them."""

    samples: tuple[Sample, ...]
    events: tuple[Event, ...]
    scenes: tuple[Scene, ...]


def find(request: Request, source: Source) -> Found:
    """Turn places into samples and search the source for every scene that could serve them.

    Raises
    ------
    RecipeError
        The places are wrong, lie outside the archive, or need a band that the source does not have.
    """
    recipe = request.recipe
    placement = read_places(request.places, recipe)
    samples = placement.samples
    if recipe.window is not None:
        _require_dates(samples, request)
    products = needed_products(recipe)
    scenes: list[Scene] = []
    if products:
        scenes = search(products[0], samples, recipe, source, widened=placement.inventory is not None)
        _require_scenes(products[0], scenes, samples, request)
    if placement.inventory is not None:
        coverage = shapely.union_all([shapely.from_wkb(scene.footprint) for scene in scenes]) if scenes else None
        negatives = negative_samples(samples, placement.inventory, recipe, coverage=coverage)
        samples = tuple(sorted((*samples, *negatives), key=_spatial_order))
    for product in products[1:]:
        found = search(product, samples, recipe, source)
        _require_scenes(product, found, samples, request)
        scenes += found
    events = placement.inventory.events if placement.inventory else ()
    used = {event_id for sample in samples for event_id in sample.event_ids}
    return Found(samples=samples, events=tuple(e for e in events if e.id in used), scenes=tuple(scenes))


def needed_products(recipe: Recipe) -> list[Product]:
    """Return the products that a source must supply, the one that places are judged by first."""
    order: tuple[Product, ...] = ("S2L2A", "S2L1C", "S1", "DEM", "LULC")
    wanted = {modality.product for modality in recipe.wanted}
    return [product for product in order if product in wanted]


def search(
    product: Product, samples: Sequence[Sample], recipe: Recipe, source: Source, *, widened: bool = False
) -> list[Scene]:
    """Search per cluster of places and per stretch of time; `widened` takes in where negatives may lie."""
    grids = [_widened(sample.grid, recipe.places.margin) if widened else sample.grid for sample in samples]
    found: dict[tuple[str, str], Scene] = {}
    for area, members in cluster_places(list(grid.footprints(grids))):
        for start, end in _stretches([samples[index] for index in members], product, recipe):
            for scene in source.search(Query(product=product, start=start, end=end, footprint=area)):
                found[scene.collection, scene.id] = scene
    return sorted(found.values(), key=lambda scene: (scene.acquired, scene.id))


def _require_dates(samples: Sequence[Sample], request: Request) -> None:
    undated = [sample.id for sample in samples if sample.date is None]
    if undated:
        raise RecipeError(
            f"{request.places}: {len(undated)} of {len(samples)} places have no date (first: {undated[0]}); "
            "add a date column or use --set places.date=YYYY-MM-DD"
        )


def _require_scenes(product: Product, scenes: Sequence[Scene], samples: Sequence[Sample], request: Request) -> None:
    recipe = request.recipe
    modalities = [modality.name for modality in recipe.wanted if modality.product == product]
    if not scenes:
        times = merged([interval for sample in samples for interval in windows_of(sample, recipe)])
        when = f" between {times[0][0]:%Y-%m-%d} and {times[-1][1] - timedelta(days=1):%Y-%m-%d}" if times else ""
        raise RecipeError(
            f"{request.places} lies outside the archive: {request.source} has no {product} scene over its "
            f"{len(samples)} patches{'' if product in STATIC else when}; check coordinates and dates, "
            f"or leave {', '.join(modalities)} out of modalities"
        )
    offered = {band for scene in scenes for band in scene.hrefs}
    lacking = [band for band in needed_bands(product, recipe) if band not in offered]
    if lacking:
        advice = _advice(product, offered, recipe)
        raise RecipeError(f"no asset of {request.source} supplies {', '.join(lacking)}{advice}")


def _advice(product: Product, offered: set[str], recipe: Recipe) -> str:
    """Return which bands there are, and the override that asks for no others."""
    for modality in recipe.wanted:
        wanted = recipe.bands_of(modality.name)
        if modality.product == product and not offered.issuperset(wanted):
            known = ", ".join(band for band in modality.band_names if band in offered)
            if not known:
                return f": leave {modality.name} out of modalities"
            return f" ({modality.name}); it has {known}: use --set 'bands.{modality.name}=[{known}]'"
    return ", which says where scenes are valid and cloudy: name another collection"


STATIC: tuple[Product, ...] = ("DEM", "LULC")
"""Products that are searched without a time."""


def _widened(patch: PatchGrid, cells: int) -> PatchGrid:
    side = patch.size * patch.resolution
    return PatchGrid(
        epsg=patch.epsg,
        left=patch.left - cells * side,
        top=patch.top + cells * side,
        size=patch.size * (2 * cells + 1),
        resolution=patch.resolution,
    )


def _stretches(samples: Sequence[Sample], product: Product, recipe: Recipe) -> Sequence[Interval | tuple[None, None]]:
    if product in STATIC:
        return [(None, None)]
    windows = radar_windows if product == "S1" else windows_of
    return merged([interval for sample in samples for interval in windows(sample, recipe)])


def _spatial_order(sample: Sample) -> tuple[str, int, int, int, str]:
    return (sample.region, sample.grid.epsg, sample.lattice_x or 0, sample.lattice_y or 0, sample.id)
