"""The flows build-dataset and plan-dataset without Prefect's engine: order of stages, endings, one line each."""

from contextlib import contextmanager
from contextvars import ContextVar

import pytest
from prefect.logging import disable_run_logger
from support.flows import DONE, LEDGER, STOPPED

from flows import build_dataset as building
from flows import plan_dataset as planning
from flows import tasks
from pipeline.cluster import ClusterSetting, open_runner
from pipeline.errors import SourceError
from pipeline.folder import Request
from pipeline.recipes import load_recipe
from pipeline.stages import Cost

STAGES = {
    building: ("prepare", "search", "survey", "plan", "build", "finish"),
    planning: ("prepare", "search", "survey", "plan", "price"),
}


def ignore(shown, *, key, description):
    pass


def test_threads_of_this_process_know_the_run_that_they_work_for():
    run = ContextVar("run", default="none")
    token = run.set("this one")
    with open_runner(ClusterSetting()) as runner:
        assert list(runner.run(lambda _: run.get(), range(3), threads=2)) == ["this one"] * 3
    run.reset(token)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The flows on a folder whose plan is made and whose stages are answered for."""

    @contextmanager
    def no_runner(setting, needs):
        yield setting

    for flow, names in STAGES.items():
        for name in names:
            monkeypatch.setattr(flow, name, getattr(tasks, name).fn)
        monkeypatch.setattr(flow, "whole", lambda value: value)
        monkeypatch.setattr(flow, "open_flow_runner", no_runner)
        monkeypatch.setattr(flow, "check_folder", lambda *_: True)
    request = Request(recipe=load_recipe("landslides"), places="p", source="s", out=tmp_path)
    cost = Cost(patches=3, left_out=0, shards=2, windows=40, read_bytes=0, stored_bytes=0)
    monkeypatch.setattr(tasks, "make_request", lambda *_: request)
    monkeypatch.setattr(tasks.stages, "connect", lambda _: None)
    monkeypatch.setattr(tasks.stages, "load_plan", lambda _: type("Decided", (), {"rows": ()}))
    monkeypatch.setattr(tasks.stages, "cost_of", lambda *_: cost)
    monkeypatch.setattr(tasks.stages, "build", lambda *_: [DONE])
    monkeypatch.setattr(tasks.stages, "finish", lambda *_: LEDGER)
    for kind in ("table", "markdown"):
        monkeypatch.setattr(tasks, f"create_{kind}_artifact", ignore)
    with disable_run_logger():
        yield monkeypatch


def test_a_run_that_builds_everything_completes_with_one_line(offline, tmp_path):
    state = building.build_dataset.fn(out="data")
    assert state.is_completed()
    assert state.message == f"{tmp_path}: 2 patches written, 2 missing, 1 of 1 files done"


@pytest.mark.parametrize(("existing", "again"), [("resume", "again: "), ("overwrite", "again with existing=resume: ")])
def test_unfinished_files_fail_the_run_and_say_how_to_go_on(offline, existing, again):
    offline.setattr(tasks.stages, "build", lambda *_: [DONE, STOPPED])
    state = building.build_dataset.fn(out="data", existing=existing)
    assert state.is_failed()
    assert state.message == (
        "1 of 2 files are unfinished (first: archive.example: 503); "
        f"run the same deployment {again}it goes on with them"
    )


@pytest.mark.parametrize("error", [SourceError("refused:\n  403"), OSError("refused:\n  403")], ids=repr)
def test_an_expected_error_fails_the_run_with_its_own_line(offline, error):
    def refuse(*arguments):
        raise error

    offline.setattr(tasks.stages, "build", refuse)
    state = building.build_dataset.fn(out="data")
    assert state.is_failed()
    assert state.message == "refused: 403"


def test_a_bug_is_not_dressed_up_as_an_ordinary_failure(offline):
    def stumble(*arguments):
        raise KeyError("S3")

    offline.setattr(tasks.stages, "build", stumble)
    with pytest.raises(KeyError):
        building.build_dataset.fn(out="data")


def test_a_cluster_that_is_none_ends_the_run_before_anything_is_read(offline):
    offline.setattr(building, "prepare", lambda *_: pytest.fail("prepared"))
    state = building.build_dataset.fn(out="data", cluster="four workers")
    assert state.is_failed()
    assert state.message.startswith("cluster 'four workers' is not local, ")


def test_a_folder_without_a_plan_is_searched_surveyed_and_planned_first(offline):
    calls = []
    offline.setattr(building, "check_folder", lambda *_: False)
    for name in ("search", "survey", "plan"):
        offline.setattr(building, name, lambda *_, name=name: calls.append(name) or ("found", "scores"))
    assert building.build_dataset.fn(out="data").is_completed()
    assert calls == ["search", "survey", "plan"]


def test_planning_stops_before_pixels_and_says_what_they_cost(offline, tmp_path):
    calls = []
    offline.setattr(planning, "check_folder", lambda *_: False)
    offline.setattr(tasks.stages, "build", lambda *_: pytest.fail("built"))
    for name in ("search", "survey", "plan"):
        offline.setattr(planning, name, lambda *_, name=name: calls.append(name) or ("found", "scores"))
    state = planning.plan_dataset.fn(out="data")
    assert state.is_completed()
    assert calls == ["search", "survey", "plan"]
    assert state.message.startswith(f"{tmp_path / 'plan.parquet'}: 3 patches in 2 files; 40 windows to read, ")
    assert state.message.endswith("; build-dataset with the same parameters goes on from here")
