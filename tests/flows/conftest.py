from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prefect.logging import disable_run_logger
from support.flow_runs import Built, digests_of
from support.prefect_server import Platform, prefect_platform

from flows import build_dataset as building
from flows import plan_dataset as planning
from flows import tasks
from pipeline.cluster import open_runner

STAGES = {
    building: ("prepare", "search", "survey", "plan", "build", "finish"),
    planning: ("prepare", "search", "survey", "plan", "price"),
}


@pytest.fixture(scope="session")
def platform(tmp_path_factory) -> Iterator[Platform]:
    """A Prefect server on SQLite with a process worker, for every test that asks."""
    with prefect_platform(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@pytest.fixture(scope="session")
def built(platform) -> Built:
    """The demo, as build-dataset/landslides builds it."""
    run = platform.run("build-dataset/landslides")
    out = platform.folder / "data" / "landslides"
    return Built(
        run=run,
        flow_run=platform.last_run(),
        archive=out / "archive",
        dataset=out / "dataset",
        digests=digests_of(out / "dataset"),
    )


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What runs show as artifacts; the stages are called as functions, without Prefect's engine."""
    held: list[str] = []

    @contextmanager
    def runner(setting, needs):
        with open_runner(setting, needs=needs) as opened:
            yield opened

    for flow, names in STAGES.items():
        for name in names:
            monkeypatch.setattr(flow, name, getattr(tasks, name).fn)
        monkeypatch.setattr(flow, "whole", lambda value: value)
        monkeypatch.setattr(flow, "open_flow_runner", runner)
    for kind in ("table", "markdown"):
        monkeypatch.setattr(tasks, f"create_{kind}_artifact", lambda *given, **named: held.append(str((given, named))))
    monkeypatch.setattr(tasks, "ProgressArtifact", lambda *_: lambda *_: None)
    with disable_run_logger():
        yield held
