"""Building in rounds: files that trouble stopped are tried again, and what can never be read is read elsewhere."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pipeline.assemble import BuildOptions, build_shard, unfinished
from pipeline.catalog import Decided, write_replanned
from pipeline.cluster import Progress, Runner, limited
from pipeline.failover import settled
from pipeline.folder import clear_leftovers
from pipeline.receipts import Attempts, plan_digest
from pipeline.records import Recipe, Shard, ShardReport, Unreadable, unreadable_in
from pipeline.sources.permits import LimitedSource
from pipeline.targets import require_room, target_of

logger = logging.getLogger(__name__)

BUILD_ROUNDS = 3
"""How often shards that a transient fault stopped are tried in one run."""


def build_in_rounds(
    decided: Decided, recipe: Recipe, options: BuildOptions, runner: Runner, progress: Progress
) -> list[ShardReport]:
    """Build every shard that is not done; those that a transient fault stopped are tried again a few times.

    One that killed its workers is unfinished, and is not tried again in this run. When all are done, images that
    proved to be of no use are noted in unreadable.parquet, mirrors are asked for them, their samples are planned again,
    and the shards that this changes are built again, until everything planned could be read. While a single shard is
    unfinished, or a mirror does not answer, nothing is planned again, or the order in which faults come would choose
    the images: files with such images stay unfinished.
    """
    clear_leftovers(options.root)
    # A run may have ended before the plan was written that follows from what proved unreadable.
    plan = _planned(_Plan(decided), decided.unreadable, recipe, options)
    shards = _shards(plan.decided, recipe, options)
    require_room(options.root, options.store, shards, recipe)
    reports = _build_shards(shards, recipe, options, runner, progress)
    while not plan.waiting and (found := _found_unreadable(shards, reports, plan.decided, recipe)):
        plan = _planned(plan, (*plan.decided.unreadable, *found), recipe, options)
        before = {shard.path: shard for shard in shards}
        shards = _shards(plan.decided, recipe, options)
        changed = [shard for shard in shards if shard != before[shard.path]]
        logger.warning("%d planned images cannot be used; %d files are built again", len(found), len(changed))
        _keep_counts(changed, reports, recipe, options)
        reports |= _build_shards(changed, recipe, options, runner, progress)
    return [_held_back(reports[shard.path], shard, plan) for shard in sorted(shards, key=lambda shard: shard.path)]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan that is built, and what it cannot settle yet."""

    decided: Decided
    waiting: frozenset[str] = frozenset()
    """Samples with images that a mirror could not be asked for."""
    problem: str = ""


def _planned(plan: _Plan, unreadable: Iterable[Unreadable], recipe: Recipe, options: BuildOptions) -> _Plan:
    """Return the plan that follows from what proved unreadable, written where it is another one."""
    before = plan.decided
    now = settled(before, unreadable, recipe, options.mirrors)
    changed = (now.decided.rows, now.decided.unreadable, now.decided.copies)
    if changed != (before.rows, before.unreadable, before.copies):
        write_replanned(options.root, now.decided)
    return _Plan(now.decided, now.waiting, now.problem)


def _held_back(report: ShardReport, shard: Shard, plan: _Plan) -> ShardReport:
    """Return the report of a file as unfinished where it lacks an image that a mirror may have."""
    if report.state != "done" or plan.waiting.isdisjoint(sample.id for sample in shard.samples):
        return report
    missing = {patch.sample_id for patch in report.patches if patch.state == "missing" and patch.acquisition}
    if missing.isdisjoint(plan.waiting):
        return report
    return ShardReport(
        path=report.path, plan_digest=report.plan_digest, state="unfinished", attempts=report.attempts,
        faults=report.faults, failed_requests=report.failed_requests,
        error=f"{shard.path}: {plan.problem}",
    )  # fmt: skip


def _shards(decided: Decided, recipe: Recipe, options: BuildOptions) -> Sequence[Shard]:
    shards = decided.shards(recipe)
    return vouched(shards, decided) if options.verify else shards


def vouched(shards: Iterable[Shard], decided: Decided) -> list[Shard]:
    """Return the shards with the checksums that items, of mirrors too, state of the assets they read."""
    copies = [copy.scene for copy in decided.copies if copy.scene is not None]
    stated = {
        scene.hrefs[band]: checksum
        for scenes in (decided.scenes, copies)
        for scene in scenes
        for band, checksum in scene.checksums.items()
    }
    return [
        replace(shard, checksums={href: stated[href] for href in sorted(shard.hrefs & stated.keys())})
        for shard in shards
    ]


def _found_unreadable(
    shards: Sequence[Shard], reports: Mapping[str, ShardReport], decided: Decided, recipe: Recipe
) -> list[Unreadable]:
    """Return images that no plan may choose again and that are not known yet; none until every shard is done."""
    if not (recipe.alternates or decided.mirrors) or any(report.state != "done" for report in reports.values()):
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


def _keep_counts(
    changed: Iterable[Shard], reports: Mapping[str, ShardReport], recipe: Recipe, options: BuildOptions
) -> None:
    """Note what failed in building files before, for receipts of files that are built once more."""
    target = target_of(options.root, options.store)
    for shard in changed:
        failed = reports[shard.path].failed_requests
        if failed:
            target.note(shard, Attempts(plan_digest=plan_digest(shard, recipe), failed_requests=failed))


def _limited_options(options: BuildOptions, runner: Runner) -> BuildOptions:
    """Return `options` with limits shared, and as many threads as it takes to ask as much as is allowed."""
    options = replace(options, mirrors=options.mirrors.each(partial(limited, runner=runner)))
    source = options.source
    if not isinstance(source, LimitedSource) or source.limit is None:
        return options
    permits = runner.permits(source.limit)
    is_fixed = not source.requests_per_thread
    threads = options.threads if is_fixed else max(options.threads, source.limit.at_once // permits.processes)
    return replace(options, source=source.with_permits(permits), threads=threads)
