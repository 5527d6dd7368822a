"""The stages as Prefect tasks: each with its own retries, of trouble that may pass and of nothing else."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from prefect import State, Task, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.logging import get_run_logger
from prefect.tasks import exponential_backoff
from prefect.utilities.annotations import quote

from flows.artifacts import (
    ProgressArtifact,
    built_line,
    built_markdown,
    cost_line,
    file_rows,
    plan_markdown,
)
from flows.parameters import Verify, make_request
from pipeline import stages
from pipeline.assemble import BuildOptions
from pipeline.catalog.scores import ScoreTable
from pipeline.cluster import ClusterSetting, LocalRunner, Runner, open_runner
from pipeline.errors import AllowanceError, TransientSourceError
from pipeline.folder import Request
from pipeline.mirror import Mirror
from pipeline.publish import Publication, publish, require_whole
from pipeline.records import ShardReport
from pipeline.report.preview import shown_files
from pipeline.search import Found, find

Given = ParamSpec("Given")
Result = TypeVar("Result")
Item = TypeVar("Item")


def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Return whether a stage failed of something that may pass soon: the only failure that Prefect tries again."""
    problem = state.result(raise_on_failure=False)
    return isinstance(problem, TransientSourceError) and not isinstance(problem, AllowanceError)


def stage(
    name: str, *, retries: int = 0, backoff: int = 10
) -> Callable[[Callable[Given, Result]], Task[Given, Result]]:
    """Return what makes a function a stage, tried again `retries` times after `backoff` seconds, doubled each time.

    Nothing is cached or kept by Prefect: the dataset's folder says what is done.
    """
    return task(
        name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=retries,
        retry_delay_seconds=exponential_backoff(backoff_factor=backoff) if retries else 0,
        retry_jitter_factor=0.5 if retries else None,
        retry_condition_fn=is_transient,
    )


def whole(value: Item) -> Item:
    """Hand a value to a task as it is: Prefect walks through every element of what is not quoted."""
    return cast(Item, quote(value))


@stage("prepare")
def prepare(
    recipe: str, overrides: dict[str, Any], places: str | None, source: str | None, mirrors: list[str], mirror: Mirror
) -> Request:
    """Return the request that the parameters make; writes the demo's archive when it is the demo."""
    request = replace(make_request(recipe, overrides, places, source, mirror), mirrors=tuple(mirrors))
    get_run_logger().info("%s into %s", request.recipe.name, _place(request, mirror))
    return request


@stage("search", retries=4, backoff=10)
def search(request: Request) -> Found:
    """Turn places into samples and find every scene that could serve them."""
    found = find(request, stages.connect(request))
    get_run_logger().info("%d patches, %d scenes", len(found.samples), len(found.scenes))
    for note in found.notes:
        get_run_logger().info("%s", note)
    return found


@stage("survey", retries=3, backoff=30)
def survey(request: Request, found: Found, runner: Runner, verify: Verify = None) -> tuple[Found, ScoreTable]:
    """Judge every patch on every acquisition that could serve it; returns the patches on their final grids."""
    progress = ProgressArtifact(f"survey-{request.recipe.name}", "batches of scenes surveyed")
    source, run, mirrors = stages.connect(request), _verification(verify), stages.mirrors_asked_for(request)
    found, scores = stages.survey(found, request.recipe, source, runner, progress, verify=run, mirrors=mirrors)
    get_run_logger().info("%d patches on scenes judged", len(scores))
    return found, scores


@stage("plan")
def plan(request: Request, found: Found, scores: ScoreTable, runner: Runner, mirror: Mirror) -> None:
    """Decide what every file will hold, and write the plan."""
    # Workers of an object store have no folder in common to put their parts of the plan into.
    stages.make_plan(request, found, scores, LocalRunner() if mirror.store else runner)
    mirror.push()
    decided = stages.load_plan(request.out)
    get_run_logger().info("%s", cost_line(stages.cost_of(decided, request.recipe)))


@stage("price")
def price(request: Request, mirror: Mirror) -> str:
    """Show the plan on disk and what building it takes, and return the cost in one line."""
    place = _place(request, mirror)
    decided = stages.load_plan(request.out)
    cost, name = stages.cost_of(decided, request.recipe), request.recipe.name
    create_table_artifact([_cost_row(cost)], key=f"cost-{name}", description=f"Cost of {place}")
    markdown = plan_markdown(request.recipe, cost, decided.rows)
    create_markdown_artifact(markdown, key=f"plan-{name}", description="What is planned")
    get_run_logger().info("%s", cost_line(cost))
    return f"{place}/plan.parquet: {cost_line(cost)}"


@stage("build", retries=2, backoff=60)
def build(request: Request, runner: Runner, mirror: Mirror, verify: Verify = None) -> list[ShardReport]:
    """Build every file of the plan on disk that is not done."""
    mirrors = stages.mirrors_of(request.out, request.source, request.recipe, request.mirrors)
    decided = stages.load_plan(request.out)
    source, run = stages.connect(request), _verification(verify)
    options = BuildOptions(root=request.out.resolve(), source=source, mirrors=mirrors, store=mirror.store, verify=run)
    if run:
        get_run_logger().info("%s", stages.verification_line(decided, request.recipe))
    progress = ProgressArtifact(f"build-{request.recipe.name}", "files done")
    reports = stages.build(decided, request.recipe, options, runner, progress)
    get_run_logger().info("%d of %d files done", sum(report.state == "done" for report in reports), len(reports))
    if left := stages.fallback_line(reports):
        get_run_logger().info("%s", left)
    return reports


@stage("finish")
def finish(request: Request, reports: Sequence[ShardReport], mirror: Mirror) -> str:
    """Write tables, statistics, preview and card, show what was built, and return it in one line."""
    decided = stages.load_plan(request.out)
    if mirror.store:
        mirror.fetch(shown_files(decided, stages.shards_of(decided, request.recipe)))
    ledger = stages.finish(request.out, decided, request.recipe, reports)
    mirror.push()
    place = _place(request, mirror)
    name, summary = request.recipe.name, built_line(place, ledger, reports)
    create_table_artifact(file_rows(reports), key=f"files-{name}", description=f"Files of {place}")
    create_markdown_artifact(built_markdown(name, summary, ledger), key=f"summary-{name}", description="What was built")
    get_run_logger().info("%s", summary)
    return summary


@stage("check")
def check(dataset: Path) -> str:
    """Refuse a dataset that is not fit to be published; returns the name of its recipe."""
    name = require_whole(dataset)
    get_run_logger().info("%s: no findings", dataset)
    return name


@stage("copy", retries=4, backoff=30)
def copy(dataset: Path, target: str, name: str) -> Publication:
    """Copy every file and check it at the target; then write the manifest."""
    progress = ProgressArtifact(f"publish-{name}", "files at the target")
    with open_runner(ClusterSetting()) as runner:
        publication = publish(dataset, target, runner, progress)
    create_markdown_artifact(f"# {name}\n\n{publication}", key=f"published-{name}", description="What was published")
    get_run_logger().info("%s", publication)
    return publication


def _place(request: Request, mirror: Mirror) -> str:
    """Return what the user calls the dataset's place; that of a demo is not the folder that was named."""
    return mirror.store or str(request.out)


def _verification(verify: Verify) -> str:
    """Return a name for a stage in which assets are to be compared with their checksums, or nothing."""
    return secrets.token_hex(8) if verify == "full" else ""


def _cost_row(cost: stages.Cost) -> dict[str, Any]:
    return {
        "patches": cost.patches,
        "left out": cost.left_out,
        "files": cost.shards,
        "windows to read": cost.windows,
        "MB to read": round(cost.read_bytes / 1e6, 1),
        "MB before compression": round(cost.stored_bytes / 1e6, 1),
    }
