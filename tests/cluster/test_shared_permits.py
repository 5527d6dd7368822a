"""One limit for the worker processes of a cluster: never passed, paused for all at once, and freed by the dead."""

import os
import time
from collections.abc import Iterator
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import dask
import pytest

from pipeline.cluster import ClusterSetting, Runner, open_runner
from pipeline.sources.permits import Limit, Permits


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """Three worker processes; the last test kills one of them."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 3}), open_runner(ClusterSetting(workers=3)) as made:
        yield made


pytestmark = pytest.mark.slow


class Held(NamedTuple):
    start: float
    end: float
    process: int


def hold(number: int, permits: Permits, seconds: float, pause: float = 0.0) -> Held:
    with permits.hold():
        start = time.time()
        time.sleep(seconds)
        if pause and number == 0:
            permits.pause(pause)
        return Held(start, time.time(), os.getpid())


def most_at_once(spans: list[Held]) -> int:
    moments = sorted([(span.start, 1) for span in spans] + [(span.end, -1) for span in spans])
    return max(accumulate(step for _, step in moments))


def test_three_processes_ask_no_more_at_once_and_no_more_a_second_than_one_may(runner: Runner) -> None:
    permits = runner.permits(Limit(name="narrow", at_once=2, per_second=40.0))
    spans = list(runner.run(partial(hold, permits=permits, seconds=0.02), range(90), threads=1))
    assert most_at_once(spans) <= 2
    assert len({span.process for span in spans}) == 3
    starts = sorted(span.start for span in spans)
    # Ninety starts at forty a second.
    assert starts[-1] - starts[0] >= 89 / 40 * 0.9


def test_a_pause_that_one_process_is_told_is_kept_by_all(runner: Runner) -> None:
    permits = runner.permits(Limit(name="paused", at_once=30))
    spans = sorted(runner.run(partial(hold, permits=permits, seconds=0.05, pause=3.0), range(120), threads=1))
    told = next(span for span in spans if span.end - span.start >= 0.05)
    # The others hear of it within half a second; then nobody starts until the pause is over.
    gaps = [later.start - earlier.start for earlier, later in pairwise(spans)]
    assert max(gaps) >= 2.0
    assert len({span.process for span in spans if span.start > told.start + 2.0}) >= 2


def test_what_a_killed_worker_held_goes_to_the_others(runner: Runner, tmp_path: Path) -> None:
    permits, marker = runner.permits(Limit(name="deadly", at_once=1)), tmp_path / "killed"
    spans = list(runner.run(partial(hold_once_deadly, permits=permits, marker=marker), range(6), threads=1))
    assert marker.is_file()
    assert len(spans) == 6
    assert most_at_once(spans) == 1


def hold_once_deadly(number: int, permits: Permits, marker: Path) -> Held:
    with permits.hold():
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), 9)
        start = time.time()
        time.sleep(0.01)
        return Held(start, time.time(), os.getpid())
