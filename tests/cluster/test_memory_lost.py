"""A worker that runs out of memory for real costs the file that it was on, and says so."""

import time

import pytest

from pipeline.cluster import ClusterSetting, open_runner, processes

MEGABYTE = 10**6


def swallow(megabytes: int) -> int:
    """Take so much memory, slowly enough that the worker's nanny sees it."""
    held = []
    for _ in range(megabytes // 20):
        held.append(b"x" * (20 * MEGABYTE))
        time.sleep(0.02)
    return len(held)


@pytest.mark.servers
def test_a_worker_that_runs_out_of_memory_costs_its_item_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MEMORY_LIMIT", 1_800 * MEGABYTE)
    with open_runner(ClusterSetting(workers=2)) as runner:
        done = runner.run(swallow, [20, 6_000, 40], threads=1, lost=lambda item, problem: f"{item}: {problem}")
        results = {str(result) for result in done}
    assert {"1", "2"} <= results
    (lost,) = results - {"1", "2"}
    assert lost.startswith("6000: 4 workers died one after the other while they ran it, most likely for want of memory")
