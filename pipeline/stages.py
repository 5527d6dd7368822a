"""The stages of a dataset after the search: survey, decide, build, finish; each is one call for any driver."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.assemble import BuildOptions, batches_of
from pipeline.catalog import Decided, read_decided, write_built
from pipeline.catalog.built import Ledger
from pipeline.catalog.decided import COPIES, TABLES, write_copies, write_places
from pipeline.catalog.planned import STRETCH, Order, write_plan
from pipeline.catalog.scores import ScoreTable
from pipeline.cluster import Progress, Runner
from pipeline.errors import RecipeError
from pipeline.folder import Request, add_mirrors, end_planning, mirror_names, start_folder, writing
from pipeline.plan.packing import NOWHERE, Place, pack, packing_order
from pipeline.planning import Decisions, Neighbourhood, decide_neighbourhood, neighbourhoods
from pipeline.records import Recipe, Shard, ShardReport
from pipeline.report import write_card, write_preview
from pipeline.rounds import build_in_rounds, vouched
from pipeline.scoring import survey
from pipeline.search import Found
from pipeline.sources import Source, open_source
from pipeline.sources.contract import Forecast, ForecastingSource, ParticularSource
from pipeline.sources.mirrors import Mirrors, connect_mirrors
from pipeline.sources.reading import together_of

__all__ = [
    "Cost",
    "build",
    "connect",
    "cost_of",
    "fallback_line",
    "finish",
    "forecast_of",
    "load_plan",
    "make_plan",
    "mirrors_asked_for",
    "mirrors_of",
    "shards_of",
    "survey",
    "verification_line",
    "vouched",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What building a plan will take."""

    patches: int
    """Samples that get a place in a file."""
    left_out: int
    """Samples without any image."""
    shards: int
    windows: int
    """Raster windows to read: one per scene and band of every planned patch."""
    read_bytes: int
    """Decoded size of these windows at their bands' own resolution [bytes]."""
    stored_bytes: int
    """Size of the arrays before compression [bytes]."""


def connect(request: Request) -> Source:
    """Open the source that the request names; raises RecipeError when it cannot do what the recipe asks for."""
    source = open_source(request.source, request.recipe.collections)
    if isinstance(source, ParticularSource):
        source.check(request.recipe)
    return source


def make_plan(request: Request, found: Found, scores: ScoreTable, runner: Runner) -> None:
    """Decide and write every decided table; what an earlier dataset left in the folder goes when all of it is there.

    Samples without any image, or whose labels would be wrong, get rows with reasons, but no file.

    Raises
    ------
    RecipeError
        No sample has a usable image.
    """
    folder, recipe = found.scenes.path.parent, request.recipe
    order = packing_order(found.samples, recipe)
    turns = {sample.id: turn for turn, sample in enumerate(order)}
    stretches = -(-len(order) // STRETCH)
    items = (
        Neighbourhood(
            number=number,
            samples=samples,
            stretches=tuple(turns[sample.id] // STRETCH for sample in samples),
            scenes=found.scenes.near(samples),
            scores=scores.of(samples),
            kinds=found.scenes.kinds,
            unlabelled={sample.id: found.unlabelled[sample.id] for sample in samples if sample.id in found.unlabelled},
        )
        for number, samples in enumerate(neighbourhoods(found.samples))
    )
    task = partial(decide_neighbourhood, recipe=recipe, folder=folder, stretches=stretches)
    with writing(request.out):
        made = sorted(runner.run(task, items, threads=1), key=lambda one: one.part)
        places = _pack(found, made, recipe)
        ranks = {sample.id: rank for rank, sample in enumerate(found.samples)}
        order_of = Order(places=places, turns=turns, ranks=ranks)
        write_plan(folder / "plan.parquet", [one.part for one in made], stretches, order_of)
        write_places(folder, found.samples, places, found.events, found.rejected)
        write_copies(folder, found.copies)
        _move_in(request, folder)


def _pack(found: Found, made: Sequence[Decisions], recipe: Recipe) -> dict[str, Place]:
    served = frozenset[str]().union(*(one.served for one in made))
    if not served:
        reasons = sorted(frozenset[str]().union(*(one.reasons for one in made)))
        advice = "mend the inventory" if found.unlabelled else "look farther in time, or raise max_cloud"
        raise RecipeError(f"none of {len(found.samples)} patches has a usable image ({', '.join(reasons)}); {advice}")
    places = pack([sample for sample in found.samples if sample.id in served], recipe)
    return {sample.id: places.get(sample.id, NOWHERE) for sample in found.samples}


def _move_in(request: Request, folder: Path) -> None:
    """Make the folder the request's own and put the tables into it, the plan last."""
    start_folder(request)
    written = [name for name in (COPIES, *(f"{name}.parquet" for name in TABLES)) if (folder / name).exists()]
    for name in written:
        (folder / name).replace(request.out / name)
    end_planning(request.out)


def mirrors_of(root: Path, source: str, recipe: Recipe, added: Sequence[str] = ()) -> Mirrors:
    """Open the mirrors of the dataset in `root`, `added` ones last: they are the dataset's from now on.

    Raises
    ------
    RecipeError
        There is no such provider or catalogue, or it can be no mirror of `source`.
    """
    # Those that cannot be opened are refused before they are noted.
    connect_mirrors(added, source, recipe.collections)
    return connect_mirrors(add_mirrors(root, added), source, recipe.collections)


def mirrors_asked_for(request: Request) -> Mirrors:
    """Open the mirrors that a request names; raises RecipeError as `mirrors_of`."""
    names = mirror_names(request.source, request.mirrors)
    return connect_mirrors(names, request.source, request.recipe.collections)


def load_plan(root: Path) -> Decided:
    """Read the decided tables of a dataset back."""
    return read_decided(root)


def shards_of(decided: Decided, recipe: Recipe) -> Sequence[Shard]:
    """Return every file that the plan asks for; of a plan on disk they are made as they are asked for."""
    return decided.shards(recipe)


def cost_of(decided: Decided, recipe: Recipe) -> Cost:
    """Return what building will take, from the plan alone."""
    shards = shards_of(decided, recipe)
    windows = read_bytes = stored_bytes = 0
    for shard in shards:
        modality, itemsize = shard.kind, np.dtype(shard.kind.dtype).itemsize
        resolution = recipe.resolution_of(shard.modality)
        frame = recipe.size_of(shard.modality) ** 2 * itemsize * len(shard.bands)
        stored_bytes += frame * len(shard.samples) * shard.timesteps
        for row in shard.rows:
            assets = row.choice.assets if row.choice else ()
            windows += sum(len(asset.hrefs) + bool(asset.mask_href) for asset in assets)
            if assets:
                read_bytes += sum(
                    round((recipe.step / max(modality.band(band).resolution, resolution)) ** 2) * itemsize
                    for band in shard.bands
                )
    left_out = sum(not decided.places[sample.id].shard for sample in decided.samples)
    return Cost(
        patches=len(decided.samples) - left_out,
        left_out=left_out,
        shards=len(shards),
        windows=windows,
        read_bytes=read_bytes,
        stored_bytes=stored_bytes,
    )


def forecast_of(decided: Decided, recipe: Recipe, source: Source) -> Forecast | None:
    """Return what building asks of a provider that counts requests; None where the source's does not."""
    if not isinstance(source, ForecastingSource):
        return None
    together = together_of(source)
    return source.forecast(
        [(row.choice.assets, grids[row.sample_id]) for row in batch if row.choice is not None and row.choice.assets]
        for shard in shards_of(decided, recipe)
        for grids in ({sample.id: sample.grid for sample in shard.samples},)
        for batches in batches_of(shard, together)
        for batch in batches
    )


def build(
    decided: Decided, recipe: Recipe, options: BuildOptions, runner: Runner, progress: Progress
) -> list[ShardReport]:
    """Build every shard that is not done, and again those that change because of what could not be read.

    See `rounds.build_in_rounds`. The plan in the folder is the one that was built.
    """
    return build_in_rounds(decided, recipe, options, runner, progress)


def verification_line(decided: Decided, recipe: Recipe) -> str:
    """Return how many of the planned assets can be compared with a checksum, and how many can not."""
    shards = vouched(shards_of(decided, recipe), decided)
    read = {href for shard in shards for href in shard.hrefs}
    stated = {href for shard in shards for href in shard.checksums}
    line = f"verify: {len(stated)} assets are read whole and compared with their checksums"
    return f"{line}; {len(read - stated)} state none and are read as they come" if read - stated else line


def fallback_line(reports: Sequence[ShardReport]) -> str:
    """Return how many windows the fast reader left to GDAL, and why; empty when it read them all."""
    left = Counter[str]()
    for report in reports:
        left.update(report.fallbacks)
    if not left:
        return ""
    return f"{left.total()} windows read by GDAL: " + ", ".join(f"{left[reason]} × {reason}" for reason in sorted(left))


def finish(root: Path, decided: Decided, recipe: Recipe, reports: Sequence[ShardReport]) -> Ledger:
    """Write ledger, metadata, statistics, preview and card; returns the ledger."""
    shards = shards_of(decided, recipe)
    with writing(root):
        ledger, statistics = write_built(root, decided, shards, reports)
        write_preview(root, decided, shards)
        write_card(root, recipe, ledger, decided, statistics)
    return ledger
