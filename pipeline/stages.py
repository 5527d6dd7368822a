"""The stages of a dataset after the search: survey, decide, build, finish; each is one call for any driver."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.assemble import BuildOptions, batches_of, build_shard, unfinished
from pipeline.catalog import Decided, read_decided, replanned, write_built, write_replanned
from pipeline.catalog.built import Ledger
from pipeline.catalog.decided import TABLES, write_places
from pipeline.catalog.planned import STRETCH, Order, write_plan
from pipeline.catalog.scores import ScoreTable
from pipeline.cluster import Runner
from pipeline.errors import RecipeError
from pipeline.folder import Request, clear_leftovers, end_planning, start_folder, writing
from pipeline.plan.packing import NOWHERE, Place, pack, packing_order
from pipeline.planning import Decisions, Neighbourhood, decide_neighbourhood, neighbourhoods
from pipeline.receipts import plan_digest
from pipeline.records import Recipe, Scene, Shard, ShardReport, Unreadable, unreadable_in
from pipeline.report import write_card, write_preview
from pipeline.scoring import Progress, survey
from pipeline.search import Found
from pipeline.sources import Source, open_source
from pipeline.sources.contract import Forecast, ForecastingSource, ParticularSource
from pipeline.sources.permits import LimitedSource
from pipeline.sources.reading import together_of
from pipeline.targets import require_room, target_of

__all__ = [
    "BUILD_ROUNDS",
    "Cost",
    "Progress",
    "build",
    "connect",
    "cost_of",
    "fallback_line",
    "finish",
    "forecast_of",
    "load_plan",
    "make_plan",
    "shards_of",
    "survey",
    "verification_line",
    "vouched",
]

logger = logging.getLogger(__name__)

BUILD_ROUNDS = 3
"""How often shards that a transient fault stopped are tried in one run."""


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
    for name in TABLES:
        (folder / f"{name}.parquet").replace(request.out / f"{name}.parquet")
    end_planning(request.out)


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
    """Build every shard that is not done; those that a transient fault stopped are tried again a few times.

    One that killed its workers is unfinished, and is not tried again in this run. When all are done, images that
    proved to be of no use are noted in unreadable.parquet, their samples are planned again without them, and the shards
    that this changes are built again, until everything planned could be read. While a single shard is unfinished
    nothing is planned again, or the order in which faults come would choose the images. The plan in the folder is the
    one that was built.
    """
    clear_leftovers(options.root)
    decided = _caught_up(options.root, decided, recipe)
    scenes = decided.scenes
    shards = shards_of(decided, recipe)
    require_room(options.root, options.store, shards, recipe)
    if options.verify:
        shards = vouched(shards, scenes)
    reports = _build_shards(shards, recipe, options, runner, progress)
    while found := _found_unreadable(shards, reports, decided, recipe):
        decided = replanned(decided, (*decided.unreadable, *found), recipe)
        write_replanned(options.root, decided)
        before = {shard.path: shard for shard in shards}
        shards = shards_of(decided, recipe)
        if options.verify:
            shards = vouched(shards, scenes)
        changed = [shard for shard in shards if shard != before[shard.path]]
        logger.warning("%d planned images cannot be used; %d files are built again", len(found), len(changed))
        reports |= _build_shards(changed, recipe, options, runner, progress)
    return [reports[path] for path in sorted(reports)]


def vouched(shards: Iterable[Shard], scenes: Iterable[Scene]) -> list[Shard]:
    """Return the shards with the checksums that the items of `scenes` state of the assets they read."""
    stated = {scene.hrefs[band]: checksum for scene in scenes for band, checksum in scene.checksums.items()}
    return [
        replace(shard, checksums={href: stated[href] for href in sorted(shard.hrefs & stated.keys())})
        for shard in shards
    ]


def verification_line(decided: Decided, recipe: Recipe) -> str:
    """Return how many of the planned assets can be compared with a checksum, and how many can not."""
    shards = vouched(shards_of(decided, recipe), decided.scenes)
    read = {href for shard in shards for href in shard.hrefs}
    stated = {href for shard in shards for href in shard.checksums}
    line = f"verify: {len(stated)} assets are read whole and compared with their checksums"
    return f"{line}; {len(read - stated)} state none and are read as they come" if read - stated else line


def _caught_up(root: Path, decided: Decided, recipe: Recipe) -> Decided:
    """Return the plan that follows from what proved unreadable: a run may have ended before it was written."""
    now = replanned(decided, decided.unreadable, recipe)
    if now.rows != decided.rows:
        write_replanned(root, now)
    return now


def _found_unreadable(
    shards: Sequence[Shard], reports: Mapping[str, ShardReport], decided: Decided, recipe: Recipe
) -> list[Unreadable]:
    """Return images that no plan may choose again and that are not known yet; none until every shard is done."""
    if not recipe.alternates or any(report.state != "done" for report in reports.values()):
        return []
    known = set(decided.unreadable)
    found = (image for shard in shards for image in unreadable_in(shard, reports[shard.path]))
    return sorted({image for image in found if image not in known})


def _build_shards(
    todo: Sequence[Shard], recipe: Recipe, options: BuildOptions, runner: Runner, progress: Progress
) -> dict[str, ShardReport]:
    """Return the reports of the shards by path, after a few rounds over those that are not done."""
    total, done = len(todo), 0
    reports: dict[str, ShardReport] = {}
    deadly: set[str] = set()

    def give_up(shard: Shard, problem: str) -> ShardReport:
        deadly.add(shard.path)
        # The worker began the attempt and could not say what ended it.
        target = target_of(options.root, options.store)
        tried = target.attempts(shard).explained(problem)
        target.note(shard, tried)
        return unfinished(shard.path, plan_digest(shard, recipe), f"{shard.path}: {problem}", tried)

    progress(0, total)
    task = partial(build_shard, recipe=recipe, options=_limited_options(options, runner))
    for _ in range(BUILD_ROUNDS):
        for report in runner.run(task, todo, threads=1, lost=give_up):
            reports[report.path] = report
            done += report.state == "done"
            progress(done, total)
        todo = [shard for shard in todo if reports[shard.path].state != "done" and shard.path not in deadly]
        if not todo:
            break
    # A worker that died half way left its file behind, and the one that did its work again did not see it.
    clear_leftovers(options.root)
    return reports


def fallback_line(reports: Sequence[ShardReport]) -> str:
    """Return how many windows the fast reader left to GDAL, and why; empty when it read them all."""
    left = Counter[str]()
    for report in reports:
        left.update(report.fallbacks)
    if not left:
        return ""
    return f"{left.total()} windows read by GDAL: " + ", ".join(f"{left[reason]} × {reason}" for reason in sorted(left))


def _limited_options(options: BuildOptions, runner: Runner) -> BuildOptions:
    """Return `options` with limits shared, and as many threads as it takes to ask as much as is allowed."""
    source = options.source
    if not isinstance(source, LimitedSource) or source.limit is None:
        return options
    permits = runner.permits(source.limit)
    is_fixed = not source.requests_per_thread
    threads = options.threads if is_fixed else max(options.threads, source.limit.at_once // permits.processes)
    return replace(options, source=source.with_permits(permits), threads=threads)


def finish(root: Path, decided: Decided, recipe: Recipe, reports: Sequence[ShardReport]) -> Ledger:
    """Write ledger, metadata, statistics, preview and card; returns the ledger."""
    shards = shards_of(decided, recipe)
    with writing(root):
        ledger, statistics = write_built(root, decided, shards, reports)
        write_preview(root, decided, shards)
        write_card(root, recipe, ledger, decided, statistics)
    return ledger
