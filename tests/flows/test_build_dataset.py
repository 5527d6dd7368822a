import re
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import yaml
from httpx import ConnectError
from prefect import Flow
from prefect.cache_policies import NO_CACHE
from prefect.logging import disable_run_logger
from prefect.states import Failed
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object
from prefect.utilities.schema_tools import ValidationError, validate

from flows import build_dataset as module
from pipeline.catalog.built import LedgerRow
from pipeline.cluster import ClusterSetting, open_runner
from pipeline.errors import (
    AllowanceError,
    LayoutError,
    PipelineError,
    PixelError,
    RecipeError,
    SourceError,
    TransientSourceError,
)
from pipeline.folder import Request
from pipeline.recipes import load_recipe
from pipeline.records import Recipe, ShardReport

PREFECT_YAML = Path(__file__).parents[2] / "deployments" / "prefect.yaml"
DEPLOYMENTS = yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))["deployments"]
SCHEMA = parameter_schema(module.build_dataset.fn).model_dump_for_openapi()
TASKS = (module.prepare, module.search, module.survey, module.plan, module.build, module.finish)


@pytest.fixture(params=DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def deployment(request) -> dict[str, Any]:
    return request.param


def test_the_deployment_of_the_landslides_recipe_is_there():
    assert [deployment["name"] for deployment in DEPLOYMENTS] == ["landslides"]


def test_entrypoint_is_the_flow_in_an_installed_module(deployment):
    loaded = import_object(deployment["entrypoint"])
    assert isinstance(loaded, Flow)
    assert loaded.name == "build-dataset"


def test_parameters_fit_the_flow_and_the_recipe(deployment):
    parameters = deployment["parameters"]
    validate(parameters, SCHEMA, raise_on_error=True)
    whole = module.build_dataset.validate_parameters(parameters)
    assert isinstance(load_recipe(whole["recipe"], whole["overrides"] or {}), Recipe)
    assert ClusterSetting.parse(whole["cluster"]) == ClusterSetting()
    assert not Path(whole["out"]).is_absolute()


def test_runs_of_one_deployment_wait_for_each_other(deployment):
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_runs_keep_their_files_and_show_the_package_log(deployment):
    variables = deployment["work_pool"]["job_variables"]
    assert variables == {"working_dir": ".", "env": {"PREFECT_LOGGING_EXTRA_LOGGERS": "pipeline"}}


def test_the_work_pool_is_named_once():
    assert len(re.findall(r"^\s*name: local$", PREFECT_YAML.read_text(encoding="utf-8"), re.MULTILINE)) == 1


def test_every_parameter_has_a_description():
    described = {name: schema.get("description") for name, schema in SCHEMA["properties"].items()}
    assert list(described) == ["recipe", "overrides", "places", "source", "out", "cluster", "existing"]
    assert all(described.values()), described


@pytest.mark.parametrize(
    "wrong",
    [{"cluster": "17 abc"}, {"cluster": 4}, {"overrides": 5}, {"existing": "never"}, {"out": ""}, {"recipe": None}],
    ids=str,
)
def test_a_wrong_parameter_does_not_pass_the_schema(wrong):
    with pytest.raises(ValidationError):
        validate({"out": "data", **wrong}, SCHEMA, raise_on_error=True)


@pytest.mark.parametrize("cluster", ["local", "local:4", "tcp://10.0.0.1:8786", "tls://scheduler:8786"])
def test_what_the_schema_lets_pass_is_a_cluster(cluster):
    validate({"out": "data", "cluster": cluster}, SCHEMA, raise_on_error=True)
    ClusterSetting.parse(cluster)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransientSourceError("throttled"), True),
        (AllowanceError("used up"), False),
        (SourceError("gone"), False),
        (RecipeError("wrong"), False),
        (PixelError("float64"), False),
        (LayoutError("torn"), False),
        (PipelineError("no workers"), False),
        (OSError("disk is full"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_transient_trouble_is_tried_again(error, expected):
    assert module.is_transient(module.search, None, Failed(data=error)) is expected


@pytest.mark.parametrize("stage", TASKS, ids=lambda stage: stage.name)
def test_a_stage_is_retried_but_never_cached(stage):
    assert (stage.retries, stage.retry_delay_seconds, stage.retry_condition_fn) == (
        3,
        [10, 20, 40],
        module.is_transient,
    )
    assert (stage.cache_policy, stage.persist_result) == (NO_CACHE, False)


@pytest.mark.parametrize(
    ("places", "source", "line"),
    [
        ("slides.geojson", None, "places is given, source is not: give both, or neither of them for the demo"),
        (None, "planetary-computer", "source is given, places is not: give both, or neither of them for the demo"),
    ],
)
def test_places_without_source_are_refused_and_the_other_way_round(places, source, line, tmp_path):
    with pytest.raises(RecipeError, match=f"^{line}$"):
        module.make_request("landslides", {}, places, source, tmp_path)


def test_places_and_source_make_a_request(tmp_path):
    request = module.make_request("landslides", {"window.before": 30}, "slides.geojson", "planetary-computer", tmp_path)
    assert (request.places, request.source, request.out) == ("slides.geojson", "planetary-computer", tmp_path)
    assert request.recipe.window.before == 30


def test_neither_places_nor_source_make_the_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "demo_request", lambda *given: given)
    assert module.make_request("landslides", {"seed": 1}, None, None, tmp_path) == (tmp_path, "landslides", {"seed": 1})


class Shown:
    """Artifacts that would have been made."""

    def __init__(self, monkeypatch):
        self.progress = []
        self.made = {}
        monkeypatch.setattr(module, "create_progress_artifact", self.create_progress)
        monkeypatch.setattr(module, "update_progress_artifact", self.update_progress)
        monkeypatch.setattr(
            module, "create_table_artifact", lambda table, **rest: self.made.update({rest["key"]: table})
        )
        monkeypatch.setattr(
            module, "create_markdown_artifact", lambda markdown, **rest: self.made.update({rest["key"]: markdown})
        )

    def create_progress(self, progress, key, description):
        self.progress.append((key, progress, description))
        return key

    def update_progress(self, artifact_id, progress, description):
        self.progress.append((artifact_id, progress, description))


@pytest.fixture
def shown(monkeypatch):
    with disable_run_logger():
        yield Shown(monkeypatch)


def test_progress_moves_at_most_once_a_second_and_always_arrives(shown, monkeypatch):
    clock = {"now": 100.0}
    monkeypatch.setattr(module, "monotonic", lambda: clock["now"])
    progress = module.ProgressArtifact("build-landslides", "files done")
    for done, now in [(0, 100.0), (1, 100.1), (2, 100.9), (3, 101.2), (4, 101.3), (5, 101.4)]:
        clock["now"] = now
        progress(done, 5)
    assert shown.progress == [
        ("build-landslides", 0.0, "0 of 5 files done"),
        ("build-landslides", 60.0, "3 of 5 files done"),
        ("build-landslides", 100.0, "5 of 5 files done"),
    ]


def test_progress_of_nothing_to_do_is_whole(shown):
    module.ProgressArtifact("survey-landslides", "batches")(0, 0)
    assert shown.progress == [("survey-landslides", 100.0, "0 of 0 batches")]


def test_a_server_that_does_not_answer_does_not_stop_the_work(shown, monkeypatch):
    def refuse(*arguments, **options):
        raise ConnectError("All connection attempts failed")

    monkeypatch.setattr(module, "create_progress_artifact", refuse)
    module.ProgressArtifact("build-landslides", "files done")(1, 5)
    assert not shown.progress


def test_threads_of_this_process_know_the_run_that_they_work_for():
    run = ContextVar("run", default="none")
    token = run.set("this one")
    with open_runner(ClusterSetting()) as runner:
        assert list(runner.run(lambda _: run.get(), range(3), threads=2)) == ["this one"] * 3
    run.reset(token)


def ledger_row(**changes) -> LedgerRow:
    values = {
        "sample_id": "a", "modality": "S2L2A", "timestep": 0, "state": "written", "reason": "", "detail": "",
        "shard": "all/S2L2A/x.zarr.zip", "acquisition": "", "scene_ids": (), "valid": 1.0, "filled": 0.0, "cloud": None,
    }  # fmt: skip
    return LedgerRow(**{**values, **changes})


LEDGER = [
    ledger_row(),
    ledger_row(modality="DEM"),
    ledger_row(timestep=1, state="missing", reason="too_cloudy"),
    ledger_row(timestep=2, state="missing", reason="too_cloudy"),
]
DONE = ShardReport(path="all/DEM/x.zarr.zip", plan_digest="", state="done", sha256="f", bytes=12, seconds=0.5)
STOPPED = ShardReport(path="all/S2L2A/x.zarr.zip", plan_digest="", state="unfinished", error="archive.example: 503")


@pytest.fixture
def offline(shown, monkeypatch, tmp_path):
    """The flow without Prefect's engine, on a folder whose plan is made and whose stages are answered for."""
    for stage in TASKS:
        monkeypatch.setattr(module, stage.name, stage.fn)
    monkeypatch.setattr(module, "_whole", lambda value: value)
    request = Request(recipe=load_recipe("landslides"), places="p", source="s", out=tmp_path)
    monkeypatch.setattr(module, "make_request", lambda *_: request)
    monkeypatch.setattr(module, "check_folder", lambda *_: True)
    monkeypatch.setattr(module.stages, "connect", lambda _: None)
    monkeypatch.setattr(module.stages, "load_plan", lambda _: None)
    monkeypatch.setattr(module.stages, "build", lambda *_: [DONE])
    monkeypatch.setattr(module.stages, "finish", lambda *_: LEDGER)
    return monkeypatch


def test_a_run_that_builds_everything_completes_with_one_line(offline, tmp_path):
    state = module.build_dataset.fn(out="data")
    assert state.is_completed()
    assert state.message == f"{tmp_path}: 2 patches written, 2 missing, 1 of 1 files done"


def test_the_summary_says_what_is_missing_and_why(offline, shown):
    module.build_dataset.fn(out="data")
    text = shown.made["summary-landslides"]
    assert "| DEM | 1 |\n| S2L2A | 1 |" in text
    assert "| S2L2A | 2 | too_cloudy: every acquisition in the window hides more of the patch" in text


def test_the_table_of_files_begins_with_what_is_not_done(offline, shown):
    offline.setattr(module.stages, "build", lambda *_: [DONE, STOPPED])
    module.build_dataset.fn(out="data")
    assert shown.made["files-landslides"] == [
        {"path": STOPPED.path, "state": "unfinished", "bytes": 0, "seconds": 0.0},
        {"path": DONE.path, "state": "done", "bytes": 12, "seconds": 0.5},
    ]


@pytest.mark.parametrize(("existing", "again"), [("resume", "again: "), ("overwrite", "again with existing=resume: ")])
def test_unfinished_files_fail_the_run_and_say_how_to_go_on(offline, existing, again):
    offline.setattr(module.stages, "build", lambda *_: [DONE, STOPPED])
    state = module.build_dataset.fn(out="data", existing=existing)
    assert state.is_failed()
    assert state.message == (
        "1 of 2 files are unfinished (first: archive.example: 503); "
        f"run the same deployment {again}it goes on with them"
    )


@pytest.mark.parametrize("error", [SourceError("refused:\n  403"), OSError("refused:\n  403")], ids=repr)
def test_an_expected_error_fails_the_run_with_its_own_line(offline, error):
    def refuse(*arguments):
        raise error

    offline.setattr(module.stages, "build", refuse)
    state = module.build_dataset.fn(out="data")
    assert state.is_failed()
    assert state.message == "refused: 403"


def test_a_bug_is_not_dressed_up_as_an_ordinary_failure(offline):
    def stumble(*arguments):
        raise KeyError("S3")

    offline.setattr(module.stages, "build", stumble)
    with pytest.raises(KeyError):
        module.build_dataset.fn(out="data")


def test_a_folder_without_a_plan_is_searched_surveyed_and_planned_first(offline):
    calls = []
    offline.setattr(module, "check_folder", lambda *_: False)
    for name in ("search", "survey", "plan"):
        offline.setattr(module, name, lambda *_, name=name: calls.append(name) or ("found", "scores"))
    assert module.build_dataset.fn(out="data").is_completed()
    assert calls == ["search", "survey", "plan"]
