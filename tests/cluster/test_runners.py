"""Runners: every result once, errors as raised, a bounded number in flight, one line where no scheduler answers."""

import operator
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate

import pytest
from distributed import Client, LocalCluster, get_client

from pipeline.cluster import ClusterSetting, DaskRunner, LocalRunner, Runner, connect, open_runner, packing, runners
from pipeline.errors import PipelineError, RecipeError, SourceError, TransientSourceError
from pipeline.sources.permits import Limit, Permits

WORKERS = 2


@pytest.fixture(scope="module")
def dask_runner() -> Iterator[Runner]:
    with open_runner(ClusterSetting(workers=WORKERS)) as runner:
        yield runner


@pytest.fixture(params=["local", "dask"])
def runner(request: pytest.FixtureRequest) -> Runner:
    return LocalRunner() if request.param == "local" else request.getfixturevalue("dask_runner")


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_every_item_gives_its_result_once(runner: Runner, count: int) -> None:
    assert sorted(runner.run(operator.neg, range(count), threads=2)) == sorted(-number for number in range(count))


def hold(item: int, *, permits: Permits) -> list[tuple[float, float]]:
    """Hold a permit in two threads of a worker, and return when."""

    def held(_: int) -> tuple[float, float]:
        with permits.hold():
            start = time.time()
            time.sleep(0.03)
            return start, time.time()

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(held, range(2)))


@pytest.mark.parametrize("count", [2, 4])
def test_permits_are_shared_by_every_thread_of_every_worker(runner: Runner, count: int) -> None:
    task = partial(hold, permits=runner.permits(Limit(name=f"test-{count}", at_once=count)))
    spans = [span for spans in runner.run(task, range(12), threads=4) for span in spans]
    assert len(spans) == 24
    # The starts sort behind the ends of the same instant.
    moments = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    assert 2 <= max(accumulate(step for _, step in moments)) <= count


def test_equal_items_are_each_worked_on(runner: Runner) -> None:
    assert list(runner.run(operator.neg, [7] * 9, threads=2)) == [-7] * 9
    assert len(set(runner.run(os.urandom, [16] * 9, threads=2))) == 9


def test_items_may_come_from_a_generator_and_functions_may_be_partial(runner: Runner) -> None:
    task = partial(operator.mul, 3)
    assert sorted(runner.run(task, (number for number in range(10)), threads=3)) == list(range(0, 30, 3))


@pytest.mark.parametrize("error", [ValueError, TimeoutError, SourceError, TransientSourceError])
def test_an_error_comes_through_as_it_was_raised(runner: Runner, error: type[Exception]) -> None:
    def task(number: int) -> int:
        if number == 5:
            raise error(f"number {number}")
        return number

    with pytest.raises(error, match=r"^number 5$") as caught:
        list(runner.run(task, range(50), threads=2))
    assert type(caught.value) is error


def test_after_an_error_the_runner_goes_on(runner: Runner) -> None:
    with pytest.raises(ZeroDivisionError):
        list(runner.run(partial(operator.floordiv, 6), [0], threads=1))
    assert sorted(runner.run(partial(operator.floordiv, 6), [1, 2, 3], threads=1)) == [2, 3, 6]


def test_a_consumer_may_stop_early(runner: Runner) -> None:
    results = runner.run(operator.neg, range(1000), threads=2)
    assert next(results) <= 0
    results.close()  # type: ignore[attr-defined]
    assert sorted(runner.run(operator.neg, range(3), threads=2)) == [-2, -1, 0]


@pytest.mark.parametrize("threads", [1, 3])
def test_items_are_drawn_only_as_results_are_taken(runner: Runner, threads: int) -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(600):
            drawn.append(number)
            yield number

    slots = threads if isinstance(runner, LocalRunner) else WORKERS
    ahead = [len(drawn) - taken for taken, _ in enumerate(runner.run(operator.neg, items(), threads=threads))]
    # Two batches a slot are in flight; those that are done at once are replaced before the first is handed out.
    largest = 1 if isinstance(runner, LocalRunner) else runners.BATCH_ITEMS
    assert max(ahead) <= 4 * slots * largest
    assert len(drawn) == 600


def test_short_items_travel_together_and_long_ones_alone(
    dask_runner: DaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(runners, "pack", lambda batch: sizes.append(len(batch)) or packing.pack(batch))
    assert sorted(dask_runner.run(operator.neg, range(200), threads=1)) == list(range(-199, 1))
    assert sizes[0] == 1
    assert max(sizes) == runners.BATCH_ITEMS
    assert sum(sizes) == 200
    sizes.clear()
    monkeypatch.setattr(runners, "BATCH_SECONDS", 0.02)
    list(dask_runner.run(time.sleep, [0.03] * 12, threads=1))
    assert sizes == [1] * 12


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_no_more_threads_than_asked_for_run_at_once(threads: int) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def task(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    list(LocalRunner().run(task, range(30), threads=threads))
    assert most == threads


def test_items_that_wait_are_dropped_when_one_fails() -> None:
    started: list[int] = []

    def task(number: int) -> None:
        started.append(number)
        if number == 0:
            raise ValueError("first")
        time.sleep(0.2)

    with pytest.raises(ValueError, match="first"):
        list(LocalRunner().run(task, range(1000), threads=1))
    assert len(started) <= 2


def test_work_on_worker_processes_leaves_this_process(dask_runner: Runner) -> None:
    processes = set(dask_runner.run(lambda _: os.getpid(), range(20), threads=1))
    assert os.getpid() not in processes
    assert len(processes) <= WORKERS


def test_a_running_scheduler_is_used_by_its_address_and_left_running(dask_runner: DaskRunner) -> None:
    address = dask_runner.client.scheduler.address
    with open_runner(ClusterSetting(address=address)) as runner:
        assert sorted(runner.run(operator.neg, range(5), threads=1)) == [-4, -3, -2, -1, 0]
    assert sorted(dask_runner.run(operator.neg, range(3), threads=1)) == [-2, -1, 0]


def test_an_error_of_the_work_is_not_taken_for_one_of_the_cluster(dask_runner: DaskRunner) -> None:
    address = dask_runner.client.scheduler.address
    with pytest.raises(TimeoutError, match=r"^mine$"), open_runner(ClusterSetting(address=address)):
        raise TimeoutError("mine")


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:9", "http://127.0.0.1:9", "tcp://127.0.0.1:port", "tcp://127.0.0.1", "tcp://"]
)
def test_an_address_where_no_scheduler_answers_gives_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 1)
    line = f"no Dask scheduler answers at {address}; start one with `dask scheduler`"
    with pytest.raises(RecipeError, match=f"^{line}$"), open_runner(ClusterSetting(address=address)):
        pytest.fail("there is no scheduler")


def test_a_malformed_address_does_not_hold_up_the_program_that_ends() -> None:
    script = (
        "from pipeline.cluster import ClusterSetting, open_runner\n"
        "from pipeline.errors import RecipeError\n"
        "try:\n"
        "    with open_runner(ClusterSetting(address='http://127.0.0.1:9')): pass\n"
        "except RecipeError: print('refused')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "refused\n", "")


def test_a_scheduler_without_workers_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 1)
    line = "the Dask scheduler at .* has no workers; start some with `dask worker`"
    with (
        LocalCluster(n_workers=0, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=":0") as empty,
        pytest.raises(PipelineError, match=f"^{line}$"),
        open_runner(ClusterSetting(address=empty.scheduler_address)),
    ):
        pytest.fail("there is no worker")


def test_no_client_becomes_the_default_of_the_process(dask_runner: DaskRunner) -> None:
    assert isinstance(dask_runner.client, Client)
    list(dask_runner.run(operator.neg, range(3), threads=1))
    with pytest.raises(ValueError, match="No global client"):
        get_client()


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("local", ClusterSetting()),
        ("local:0", ClusterSetting()),
        ("local:4", ClusterSetting(workers=4)),
        ("tcp://10.0.0.1:8786", ClusterSetting(address="tcp://10.0.0.1:8786")),
        ("tls://scheduler:8786", ClusterSetting(address="tls://scheduler:8786")),
    ],
)
def test_a_cluster_is_written_as_one_word(text: str, setting: ClusterSetting) -> None:
    assert ClusterSetting.parse(text) == setting


@pytest.mark.parametrize(
    "text", ["", "dask", "local:", "local:x", "local:-1", "local:1.5", "host:8786", "tcp:host", ":"]
)
def test_a_word_that_is_no_cluster_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(
        RecipeError, match=rf"^cluster '{text}' is not local, local:WORKERS, kubernetes:FILE, slurm:FILE or a scheduler"
    ):
        ClusterSetting.parse(text)


def test_without_workers_or_an_address_work_stays_in_this_process() -> None:
    with open_runner(ClusterSetting()) as runner:
        assert isinstance(runner, LocalRunner)
