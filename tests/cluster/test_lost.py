"""What is lost on the way: a worker costs nothing, a deadly item is given up, a lost scheduler ends with one line."""

import operator
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from support.dask_processes import DaskProcesses, dask_processes
from support.orders import Order, shard_digests

from pipeline import stages
from pipeline.assemble import BuildOptions
from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.cluster import ClusterSetting, DaskRunner, Runner, open_runner, runners
from pipeline.errors import PipelineError
from pipeline.folder import read_recipe

pytest_plugins = ["support.fixtures"]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[DaskProcesses]:
    with dask_processes(tmp_path, workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def fragile() -> Iterator[Runner]:
    """Two worker processes; whatever kills four of them is given up, which no innocent neighbour in flight does."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 3}),
        open_runner(ClusterSetting(workers=2)) as runner,
    ):
        yield runner


def test_an_item_that_kills_its_workers_is_given_up_and_the_others_are_done(fragile: Runner) -> None:
    def task(number: int) -> int:
        if number == 3:
            os._exit(1)
        return -number

    given_up: list[tuple[int, str]] = []

    def lost(number: int, problem: str) -> int:
        given_up.append((number, problem))
        return 1000

    results = sorted(fragile.run(task, range(4), threads=1, lost=lost))
    assert results == [-2, -1, 0, 1000]
    ((number, problem),) = given_up
    assert number == 3
    assert problem.startswith("4 workers died one after the other while they ran it, most likely for want of memory:")
    assert sorted(fragile.run(operator.neg, range(3), threads=1)) == [-2, -1, 0]


@pytest.mark.slow
def test_items_that_travelled_with_a_deadly_one_are_done(fragile: Runner) -> None:
    def task(number: int) -> int:
        if number == 30:
            os._exit(1)
        return -number

    given_up: list[int] = []
    results = list(fragile.run(task, range(60), threads=1, lost=lambda number, _: given_up.append(number) or 1000))
    assert given_up == [30]
    assert sorted(results) == sorted([*(-number for number in range(60) if number != 30), 1000])


def test_without_a_way_to_give_up_a_deadly_item_ends_the_run_with_one_line(fragile: Runner) -> None:
    with pytest.raises(PipelineError, match=r"^4 workers died one after the other"):
        list(fragile.run(lambda _: os._exit(1), [0], threads=1))


class Deadly:
    """A runner on whose workers one file is deadly."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def run(self, function, items, *, threads, lost=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        for shard in items:
            self.calls.append(shard.path)
            deadly = "/DEM/" in shard.path and shard.path.endswith("000001.zarr.zip")
            yield lost(shard, "4 workers died") if deadly else function(shard)


def test_a_file_that_kills_its_workers_ends_unfinished_and_is_not_tried_again(
    small_order: Order, small_dataset: Path, tmp_path: Path
) -> None:
    assert main(small_order.arguments(tmp_path / "dataset", command="plan")) == 0
    root, runner = tmp_path / "dataset", Deadly()
    recipe = read_recipe(root)
    request = stages.Request(recipe=recipe, places=str(small_order.places), source=str(small_order.catalogue), out=root)
    options = BuildOptions(root=root, source=stages.connect(request))
    reports = stages.build(read_decided(root), recipe, options, runner, lambda *_: None)
    unfinished = [(report.path, report.error) for report in reports if report.state != "done"]
    (path,) = [path for path in shard_digests(small_dataset) if "/DEM/" in path and path.endswith("000001.zarr.zip")]
    assert unfinished == [(path, f"{path}: 4 workers died")]
    assert runner.calls.count(path) == 1
    small_order.build(root, "--resume")
    assert shard_digests(root) == shard_digests(small_dataset)


@pytest.mark.slow
def test_a_worker_that_is_killed_half_way_costs_no_byte(two: DaskProcesses, small_order: Order, tmp_path: Path) -> None:
    order = small_order.with_overrides("samples_per_shard=2")
    expected = shard_digests(order.build(tmp_path / "here"))
    out, killed, is_over = tmp_path / "there", threading.Event(), threading.Event()

    def kill_one() -> None:
        while not is_over.wait(0.01):
            if list(out.rglob("*.zarr.zip")):
                two.workers[0].kill()
                killed.set()
                return

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        order.build(out, "--scheduler", two.address)
    finally:
        is_over.set()
        thread.join()
    assert killed.is_set()
    assert shard_digests(out) == expected


@pytest.mark.slow
def test_a_lost_scheduler_ends_with_one_line_and_a_dataset_that_goes_on(
    two: DaskProcesses, small_order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = small_order.with_overrides("samples_per_shard=2")
    out, is_over = tmp_path / "there", threading.Event()

    def kill_scheduler() -> None:
        while not is_over.wait(0.01):
            if list(out.rglob("*.zarr.zip")):
                assert two.scheduler is not None
                two.scheduler.kill()
                return

    thread = threading.Thread(target=kill_scheduler)
    thread.start()
    try:
        assert main(order.arguments(out, "--scheduler", two.address)) == 1
    finally:
        is_over.set()
        thread.join()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sen12: error")]
    assert line == (
        f"sen12: error: the Dask scheduler at {two.address} is lost; what is built is kept: start it again, "
        "and the same command with --resume goes on"
    )
    order.build(out, "--resume")
    assert shard_digests(out) == shard_digests(order.build(tmp_path / "here"))


def test_a_cluster_whose_workers_are_all_gone_ends_with_one_line(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runners, "POLL_SECONDS", 0.2)
    with dask_processes(tmp_path, workers=1) as made, open_runner(ClusterSetting(address=made.address)) as runner:
        results = runner.run(time.sleep, [0, 60], threads=1)
        next(results)
        monkeypatch.setattr(runners, "WORKERLESS_SECONDS", 1.0)
        made.workers[0].kill()
        with pytest.raises(PipelineError, match=r"^the Dask cluster at .* has had no worker for 1 s; what is built is"):
            next(results)


def test_workers_that_come_later_are_used(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runners, "POLL_SECONDS", 0.1)
    with dask_processes(tmp_path, workers=1) as made, open_runner(ClusterSetting(address=made.address)) as runner:
        assert isinstance(runner, DaskRunner)

        def task(number: int) -> int:
            time.sleep(0.05)
            return os.getpid()

        seen: set[int] = set()
        for count, process in enumerate(runner.run(task, range(2000), threads=1)):
            if count == 3:
                made.add_worker()
            seen.add(process)
            if len(seen) == 2:
                break
        assert len(seen) == 2
