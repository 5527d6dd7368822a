"""What is there: places from the user's file, and every scene of the source that could serve them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from pathlib import Path

import shapely

from pipeline import grid
from pipeline.catalog.scenes import SceneTable, SceneWriter
from pipeline.errors import RecipeError
from pipeline.folder import Request, planning_folder, writing
from pipeline.plan.candidates import seen_samples
from pipeline.plan.rows import needed_bands, windows_for
from pipeline.plan.windows import Interval, merged
from pipeline.records import Copy, Event, PatchGrid, Product, Reason, Recipe, RejectedEvent, Sample, Scene
from pipeline.sampling import Inventory, Placement, negative_samples, read_places, wanted_negatives
from pipeline.slopes import DemSlopes
from pipeline.sources import Query, Source
from pipeline.sources.clusters import cluster_places


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Places, and every scene that could serve them."""

    samples: tuple[Sample, ...]
    events: tuple[Event, ...]
    scenes: SceneTable
    rejected: tuple[RejectedEvent, ...] = ()
    """Events that cannot be used, by id."""
    unlabelled: Mapping[str, str] = field(default_factory=dict)
    """Samples whose labels would be wrong, by id, with the reason code: they get no place in a file."""
    notes: tuple[str, ...] = ()
    """What a person should know about the places, one line each."""
    copies: tuple[Copy, ...] = ()
    """What mirrors have of scenes whose classification could not be read, once places are surveyed."""


def find(request: Request, source: Source) -> Found:
    """Turn places into samples and search the source for every scene that could serve them.

    The scenes lie on disk, in a folder beside the dataset's own files where planning works.

    Raises
    ------
    RecipeError
        The places are wrong, lie outside the archive, or need a band that the source does not have.
    """
    recipe = request.recipe
    placement = read_places(request.places, recipe)
    if recipe.window is not None or any(_needs_date(name, recipe) for name in recipe.modalities):
        _require_dates(placement.samples, request)
    with writing(request.out), planning_folder(request.out) as folder:
        if placement.inventory is None:
            return _find_points(placement.samples, request, source, folder)
        return _find_inventory(placement, placement.inventory, request, source, folder)


def _find_points(samples: tuple[Sample, ...], request: Request, source: Source, folder: Path) -> Found:
    with SceneWriter(folder / "scenes.parquet") as scenes:
        for product in needed_products(request.recipe):
            before = scenes.count
            for found in search(product, samples, request.recipe, source):
                scenes.add(found)
            scenes.flush()
            kinds = [kind for kind in scenes.kinds if kind.product == product]
            _require_scenes(product, kinds if scenes.count > before else [], samples, request)
        scenes.finish()
    return Found(samples=samples, events=(), scenes=scenes.table())


def _find_inventory(
    placement: Placement, inventory: Inventory, request: Request, source: Source, folder: Path
) -> Found:
    recipe, samples = request.recipe, placement.samples
    scenes: list[Scene] = []
    products = needed_products(recipe)
    for product in products[:1]:
        scenes = _distinct(search(product, samples, recipe, source, widened=True))
        _require_scenes(product, scenes, samples, request)
    negatives = _negatives(placement, inventory, scenes, recipe, source)
    samples = tuple(sorted((*samples, *negatives), key=_spatial_order))
    for product in products[1:]:
        found = _distinct(search(product, samples, recipe, source))
        _require_scenes(product, found, samples, request)
        scenes += found
    with SceneWriter(folder / "scenes.parquet") as table:
        for _, members in groupby(scenes, key=lambda scene: scene.product):
            table.add(members)
            table.flush()
        table.finish()
    used = {event_id for sample in samples for event_id in sample.event_ids}
    return Found(
        samples=samples,
        events=tuple(event for event in inventory.events if event.id in used),
        scenes=table.table(),
        rejected=_rejected(inventory, placement.samples, scenes, recipe),
        unlabelled=placement.unlabelled,
        notes=_notes(placement, negatives, recipe),
    )


def _negatives(
    placement: Placement, inventory: Inventory, scenes: Sequence[Scene], recipe: Recipe, source: Source
) -> tuple[Sample, ...]:
    coverage = shapely.union_all([shapely.from_wkb(scene.footprint) for scene in scenes]) if scenes else None
    slopes = DemSlopes(source=source) if recipe.places.min_slope is not None else None
    return negative_samples(_labelled(placement), inventory, recipe, coverage=coverage, slopes=slopes)


def _labelled(placement: Placement) -> list[Sample]:
    return [sample for sample in placement.samples if sample.id not in placement.unlabelled]


def _rejected(
    inventory: Inventory, samples: Sequence[Sample], scenes: Sequence[Scene], recipe: Recipe
) -> tuple[RejectedEvent, ...]:
    """Return the inventory's rejected events and those that no scene could show, by id.

    An event is outside the source when no scene touches any of its patches within their windows. Where the recipe has
    images, elevation alone does not count.
    """
    if not scenes:
        return inventory.rejected
    dated = {product: within for product in needed_products(recipe) if (within := windows_for(product, recipe))}
    seen = seen_samples(samples, scenes, None) if not any(scene.product in dated for scene in scenes) else set()
    for product, within in dated.items():
        seen |= seen_samples(samples, [scene for scene in scenes if scene.product == product], within)
    patches = Counter(event_id for sample in samples for event_id in sample.event_ids)
    shown = {event_id for sample in samples if sample.id in seen for event_id in sample.event_ids}
    outside = [
        RejectedEvent(
            id=event.id,
            region=inventory.region_of(event),
            reason=str(Reason.OUTSIDE_SOURCE),
            detail=f"the source has no scene over its patches ({patches[event.id]}) around {event.date:%Y-%m-%d}; "
            "check place and date",
            wkb=event.wkb,
        )
        for event in inventory.events
        if event.id in patches and event.id not in shown
    ]
    return tuple(sorted((*inventory.rejected, *outside), key=lambda event: event.id))


def _notes(placement: Placement, negatives: Sequence[Sample], recipe: Recipe) -> tuple[str, ...]:
    wanted = wanted_negatives(_labelled(placement), recipe)
    drawn = Counter(sample.region for sample in negatives)
    return tuple(
        f"negatives: {drawn[region]} of {count} wanted could be drawn in {region}"
        for region, count in wanted.items()
        if drawn[region] < count
    )


def needed_products(recipe: Recipe) -> list[Product]:
    """Return the products that a source must supply, the one that places are judged by first."""
    order: tuple[Product, ...] = ("S2L2A", "S2L1C", "S1", "DEM", "LULC")
    wanted = [modality.product for modality in recipe.wanted]
    return [*(product for product in order if product in wanted), *(n for n in wanted if n in recipe.own_modalities)]


def search(
    product: Product, samples: Sequence[Sample], recipe: Recipe, source: Source, *, widened: bool = False
) -> Iterator[list[Scene]]:
    """Search per cluster of places and per stretch of time; scenes of several clusters come several times.

    `widened` takes in where negatives may lie.
    """
    grids = [_widened(sample.grid, recipe.places.margin) if widened else sample.grid for sample in samples]
    for area, members in cluster_places(list(grid.footprints(grids))):
        for start, end in _stretches([samples[index] for index in members], product, recipe):
            own = recipe.own_modalities.get(product)
            yield source.search(Query(product=product, start=start, end=end, footprint=area, own=own))


def _distinct(answers: Iterable[Sequence[Scene]]) -> list[Scene]:
    """Return every scene once, by time and id."""
    found = {(scene.collection, scene.id): scene for scenes in answers for scene in scenes}
    return sorted(found.values(), key=lambda scene: (scene.acquired, scene.id))


def _require_dates(samples: Sequence[Sample], request: Request) -> None:
    undated = [sample.id for sample in samples if sample.date is None]
    if undated:
        raise RecipeError(
            f"{request.places}: {len(undated)} of {len(samples)} places have no date (first: {undated[0]}); "
            "add a date column or use --set places.date=YYYY-MM-DD"
        )


def _needs_date(modality: str, recipe: Recipe) -> bool:
    own = recipe.own_modalities.get(modality)
    return own is not None and own.needs_date


def _require_scenes(product: Product, scenes: Sequence[Scene], samples: Sequence[Sample], request: Request) -> None:
    recipe = request.recipe
    modalities = [modality.name for modality in recipe.wanted if modality.product == product]
    if not scenes:
        within = windows_for(product, recipe)
        times = merged([interval for sample in samples for interval in within(sample)]) if within else []
        when = f" between {times[0][0]:%Y-%m-%d} and {times[-1][1] - timedelta(days=1):%Y-%m-%d}" if times else ""
        raise RecipeError(
            f"{request.places} lies outside the archive: {request.source} has no {product} scene over its "
            f"{len(samples)} patches{when}; check coordinates and dates, "
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
    within = windows_for(product, recipe)
    return merged([interval for sample in samples for interval in within(sample)]) if within else [(None, None)]


def _spatial_order(sample: Sample) -> tuple[str, int, int, int, str]:
    return (sample.region, sample.grid.epsg, sample.lattice_x or 0, sample.lattice_y or 0, sample.id)
