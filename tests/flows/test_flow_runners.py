"""Workers of a flow: their log lines arrive, and they know nothing of Prefect."""

import importlib.util
import logging
import sys
from functools import partial
from types import ModuleType

import pytest

from flows.logs import prepare_logs
from flows.runners import open_flow_runner
from pipeline import stages
from pipeline.assemble import BuildOptions, build_shard
from pipeline.cluster import ClusterSetting, LocalRunner
from pipeline.folder import read_recipe


@pytest.fixture
def main_of_a_run(monkeypatch) -> ModuleType:
    """The main module that a run's process has: Prefect's engine."""
    engine = ModuleType("__main__")
    engine.__spec__ = importlib.util.find_spec("prefect.flow_engine")
    monkeypatch.setitem(sys.modules, "__main__", engine)
    return engine


def test_worker_processes_of_a_run_build_files_without_importing_prefect(main_of_a_run, demo):
    decided, recipe = stages.load_plan(demo), read_recipe(demo)
    options = BuildOptions(root=demo, source=None)  # type: ignore[arg-type]
    shards = stages.shards_of(decided, recipe)[:3]
    with open_flow_runner(ClusterSetting(workers=1)) as runner:
        reports = list(runner.run(partial(build_shard, recipe=recipe, options=options), shards, threads=1))
        (modules,) = runner.run(lambda _: sorted(__import__("sys").modules), [0], threads=1)
    assert sorted(report.path for report in reports) == sorted(shard.path for shard in shards)
    assert "pipeline.assemble" in modules
    assert [name for name in modules if name.partition(".")[0] == "prefect"] == []
    assert sys.modules["__main__"] is main_of_a_run


def test_lines_of_worker_processes_arrive_here_under_their_own_name():
    lines: list[tuple[str, str]] = []
    handler = logging.NullHandler()
    handler.handle = lambda record: lines.append((record.name, record.getMessage()))  # type: ignore[method-assign]
    package = logging.getLogger("pipeline")
    level = package.level
    package.addHandler(handler)
    prepare_logs()

    def work(number: int) -> int:
        logger = __import__("logging").getLogger("pipeline.assemble")
        logger.debug("hidden %d", number)
        logger.info("file %d", number)
        return number

    try:
        with open_flow_runner(ClusterSetting(workers=1)) as runner:
            assert sorted(runner.run(work, range(3), threads=1)) == [0, 1, 2]
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
    assert sorted(lines) == [("pipeline.assemble", f"file {number}") for number in range(3)]


def test_without_workers_nothing_is_started_and_main_is_given_back(main_of_a_run):
    with open_flow_runner(ClusterSetting()) as runner:
        assert isinstance(runner, LocalRunner)
    assert sys.modules["__main__"] is main_of_a_run
