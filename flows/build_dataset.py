"""Flow build-dataset: places in, dataset out; a stage is a Prefect task, and the disk alone says what is done."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, TypeVar, cast
from uuid import UUID

from httpx import HTTPError
from prefect import State, Task, flow, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff
from prefect.utilities.annotations import quote
from pydantic import Field

from pipeline import stages
from pipeline.assemble import BuildOptions
from pipeline.catalog import Ledger
from pipeline.cluster import ClusterSetting, open_runner
from pipeline.demo import demo_request
from pipeline.errors import AllowanceError, PipelineError, RecipeError, TransientSourceError
from pipeline.folder import Existing, Request, check_folder
from pipeline.recipes import load_recipe
from pipeline.records import Score, ShardReport
from pipeline.report import REASONS, missing_counts
from pipeline.search import Found, find

Item = TypeVar("Item")

UPDATE_SECONDS = 1.0
"""A progress artifact is brought up to date no more often than this."""
TABLE_ROWS = 1000
"""The table of files ends here; receipts/ has all of them."""

Text = Annotated[str, Field(min_length=1)]
ClusterText = Annotated[str, Field(pattern=r"^(local(:\d+)?|\w+://\S+)$")]


def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Return whether a stage failed of something that may pass soon: the only failure that Prefect tries again."""
    problem = state.result(raise_on_failure=False)
    return isinstance(problem, TransientSourceError) and not isinstance(problem, AllowanceError)


STAGE: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=10),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
}


# Prefect reads the descriptions of parameters from the section `Args:`, and from no other style of docstring.
@flow(name="build-dataset", persist_result=False)
def build_dataset(  # noqa: PLR0913
    *,
    recipe: Text = "landslides",
    overrides: dict[str, Any] | None = None,
    places: str | None = None,
    source: str | None = None,
    out: Text,
    cluster: ClusterText = "local",
    existing: Existing = "resume",
) -> State[Any]:
    """Build a dataset of satellite patches, or go on with one; without places and source, the demo.

    Args:
        recipe: Name of a recipe that ships with the package, or path of a YAML file.
        overrides: Recipe values to change, dotted keys to values: {"window.before": 90, "series_length": 8}.
        places: Path of an inventory of dated polygons, or of points as CSV or Parquet. Needs a source.
        source: Provider name as planetary-computer, or path or URL of a STAC catalogue. Needs places.
        out: Folder of the dataset; of archive and dataset for the demo. A relative path starts where the worker runs.
        cluster: Where the work runs. "local" is the flow's own process, "local:4" four worker processes beside it,
            "tcp://host:8786" a running Dask scheduler whose workers see the same files.
        existing: What to do when the folder holds this dataset already. "resume" builds what is not done.
    """
    _set_log_levels()
    try:
        setting = ClusterSetting.parse(cluster)
        request = prepare(recipe, overrides or {}, places, source, Path(out).absolute())
        if not check_folder(request, existing):
            found = search(request)
            found, scores = survey(request, _whole(found), setting)
            plan(request, _whole(found), _whole(scores))
        reports = build(request, setting)
        summary = finish(request, _whole(reports))
    except (PipelineError, OSError) as err:
        return Failed(message=_one_line(err))
    return _ending(summary, reports, existing)


@task(name="prepare", **STAGE)
def prepare(recipe: str, overrides: dict[str, Any], places: str | None, source: str | None, out: Path) -> Request:
    """Return the request that the parameters make; writes the demo's archive when it is the demo."""
    request = make_request(recipe, overrides, places, source, out)
    get_run_logger().info("%s into %s", request.recipe.name, request.out)
    return request


def make_request(recipe: str, overrides: dict[str, Any], places: str | None, source: str | None, out: Path) -> Request:
    """Return the request that the parameters make.

    Raises
    ------
    RecipeError
        The recipe or an override is wrong, or one of places and source is missing.
    """
    if not places and not source:
        return demo_request(out, recipe, overrides)
    if not places or not source:
        given, missing = ("places", "source") if places else ("source", "places")
        raise RecipeError(f"{given} is given, {missing} is not: give both, or neither of them for the demo")
    return Request(recipe=load_recipe(recipe, overrides), places=places, source=source, out=out)


@task(name="search", **STAGE)
def search(request: Request) -> Found:
    """Turn places into samples and find every scene that could serve them."""
    found = find(request, stages.connect(request))
    get_run_logger().info("%d patches, %d scenes", len(found.samples), len(found.scenes))
    return found


@task(name="survey", **STAGE)
def survey(request: Request, found: Found, setting: ClusterSetting) -> tuple[Found, list[Score]]:
    """Judge every patch on every acquisition that could serve it; returns the patches on their final grids."""
    progress = ProgressArtifact(f"survey-{request.recipe.name}", "batches of scenes surveyed")
    with open_runner(setting) as runner:
        found, scores = stages.survey(found, request.recipe, stages.connect(request), runner, progress)
    get_run_logger().info("%d patches on scenes judged", len(scores))
    return found, scores


@task(name="plan", **STAGE)
def plan(request: Request, found: Found, scores: Sequence[Score]) -> None:
    """Decide what every file will hold, and write the plan."""
    decided = stages.decide(found, scores, request.recipe)
    stages.save_plan(request, decided)
    cost = stages.cost_of(decided, request.recipe)
    get_run_logger().info("%d patches in %d files, %d windows to read", cost.patches, cost.shards, cost.windows)


@task(name="build", **STAGE)
def build(request: Request, setting: ClusterSetting) -> list[ShardReport]:
    """Build every file of the plan on disk that is not done."""
    decided = stages.load_plan(request.out)
    options = BuildOptions(root=request.out.resolve(), source=stages.connect(request))
    progress = ProgressArtifact(f"build-{request.recipe.name}", "files done")
    with open_runner(setting) as runner:
        reports = stages.build(decided, request.recipe, options, runner, progress)
    get_run_logger().info("%d of %d files done", sum(report.state == "done" for report in reports), len(reports))
    return reports


@task(name="finish", **STAGE)
def finish(request: Request, reports: Sequence[ShardReport]) -> str:
    """Write tables, statistics, preview and card, publish what was built, and return it in one line."""
    ledger = stages.finish(request.out, stages.load_plan(request.out), request.recipe, reports)
    name, summary = request.recipe.name, _summary(request.out, ledger, reports)
    create_table_artifact(_file_rows(reports), key=f"files-{name}", description=f"Files of {request.out}")
    create_markdown_artifact(_markdown(name, summary, ledger), key=f"summary-{name}", description="What was built")
    get_run_logger().info("%s", summary)
    return summary


class ProgressArtifact:
    """A progress bar in Prefect; a call brings it up to date, though not more often than every `UPDATE_SECONDS`."""

    def __init__(self, key: str, unit: str) -> None:
        self.key = key
        self.unit = unit
        self._artifact: UUID | None = None
        self._due = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Show `done` of `total`; a server that does not answer costs a line in the log, not the run."""
        if done < total and monotonic() < self._due:
            return
        try:
            self._show(100 * done / total if total else 100.0, f"{done} of {total} {self.unit}")
        except HTTPError as err:
            get_run_logger().warning("progress is not shown: %s", _one_line(err))
        self._due = monotonic() + UPDATE_SECONDS

    def _show(self, percent: float, description: str) -> None:
        if self._artifact is None:
            self._artifact = cast(UUID, create_progress_artifact(percent, key=self.key, description=description))
        else:
            update_progress_artifact(self._artifact, percent, description=description)


def _set_log_levels() -> None:
    # PREFECT_LOGGING_EXTRA_LOGGERS adds a handler; the level stays the root's, which hides INFO.
    logging.getLogger("pipeline").setLevel(logging.INFO)
    logging.getLogger("distributed").setLevel(logging.WARNING)


def _whole(value: Item) -> Item:
    # Prefect walks through every element of what a task is given, unless it is quoted.
    return cast(Item, quote(value))


def _one_line(problem: object) -> str:
    return " ".join(str(problem).split())


def _ending(summary: str, reports: Sequence[ShardReport], existing: Existing) -> State[Any]:
    unfinished = [report for report in reports if report.state != "done"]
    if not unfinished:
        return Completed(message=summary)
    again = "" if existing == "resume" else " with existing=resume"
    return Failed(
        message=f"{len(unfinished)} of {len(reports)} files are unfinished (first: {_one_line(unfinished[0].error)}); "
        f"run the same deployment again{again}: it goes on with them"
    )


def _summary(out: Path, ledger: Ledger, reports: Sequence[ShardReport]) -> str:
    states = Counter(row.state for row in ledger)
    gaps = f", {len(ledger) - states['written']} missing" if len(ledger) > states["written"] else ""
    done = sum(report.state == "done" for report in reports)
    return f"{out}: {states['written']} patches written{gaps}, {done} of {len(reports)} files done"


def _file_rows(reports: Sequence[ShardReport]) -> list[dict[str, Any]]:
    listed = sorted(reports, key=lambda report: (report.state == "done", report.path))[:TABLE_ROWS]
    return [{"path": r.path, "state": r.state, "bytes": r.bytes, "seconds": r.seconds} for r in listed]


def _markdown(name: str, summary: str, ledger: Ledger) -> str:
    written = Counter(row.modality for row in ledger if row.state == "written")
    missing = [
        f"| {modality} | {count} | {reason}: {REASONS.get(reason, 'see ledger.parquet')} |"
        for (modality, reason), count in sorted(missing_counts(ledger).items())
    ]
    lines = [f"# {name}", "", summary, "", "| modality | patches written |", "|---|---|"]
    lines += [f"| {modality} | {count} |" for modality, count in sorted(written.items())]
    lines += ["", "## Missing, and why", ""]
    lines += ["| modality | patches | reason |", "|---|---|---|", *missing] if missing else ["Nothing."]
    return "\n".join(lines)
