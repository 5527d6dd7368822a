"""What stages and 12,000 shards cost when a shard itself costs nothing: `python benchmarks/orchestration.py`.

A file holds all that the embedded archive has, some forty patches of twelve dates; the recipe's own are larger.

Three figures: start-up (a flow run's process until its first stage, and two worker processes until they answer), the
shards through our runner on two worker processes, and the same inside a flow with its stages, progress and artifacts on
a Prefect server of its own. The last line sets the overhead against as many files built one after another on each
worker; a file's time is the mean over all modalities, masks included. `--shards 1200` for a quick look.
"""

import argparse
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import requests

from flows import tasks
from flows.build_dataset import build_dataset
from flows.runners import open_flow_runner
from pipeline import rounds, stages
from pipeline.assemble import BuildOptions, build_shard
from pipeline.cluster import ClusterSetting, open_runner, runners
from pipeline.demo import demo_request
from pipeline.records import ShardReport
from pipeline.search import find

WORKERS = 2
SIZE = ("samples_per_shard=64", "series_length=12", "places.negatives=8")
"""All that the archive has in one file of each modality: some forty patches."""
READY_SECONDS = 240


@contextmanager
def server(home: Path) -> Iterator[dict[str, str]]:
    """Start a Prefect server; yields the environment of its clients."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    environment = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "pipeline",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    command = [str(Path(sys.executable).parent / "prefect"), "server", "start", "--port", str(port), "--no-ui"]
    process = subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not answers(f"{environment['PREFECT_API_URL']}/health"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the Prefect server did not answer within {READY_SECONDS} s")
            time.sleep(0.5)
        yield environment
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def processor_seconds() -> float:
    """Return what this process and its ended children have used: on a busy machine the fairer figure."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def measured(folder: Path):
    """Return a request, its shards, and what they took in a row: mean seconds, processor seconds, S2L2A's seconds."""
    request = demo_request(folder, overrides=SIZE)
    source = stages.connect(request)
    with open_runner(ClusterSetting()) as runner:
        found, scores = stages.survey(find(request, source), request.recipe, source, runner, lambda *_: None)
        stages.make_plan(request, found, scores, runner)
    decided = stages.load_plan(request.out)
    shards = [shard for shard in stages.shards_of(decided, request.recipe) if shard.name.endswith("000001")]
    options = BuildOptions(root=request.out, source=source)
    build_shard(shards[0], request.recipe, options)
    started, begun, optical = time.perf_counter(), processor_seconds(), 0.0
    for shard in shards[1:]:
        report = build_shard(shard, request.recipe, options)
        optical = max(optical, report.seconds) if shard.modality == "S2L2A" else optical
    each = (time.perf_counter() - started) / (len(shards) - 1)
    return request, shards, (each, (processor_seconds() - begun) / (len(shards) - 1), optical)


def simulate(shard, **_):
    """Stand in for `build_shard`: everything but the pixels."""
    time.sleep(0)
    return ShardReport(path=shard.path, plan_digest="", state="done", bytes=1)


def through_runner(shards) -> tuple[float, float]:
    """Return seconds until two worker processes answer, and seconds for the shards."""
    started = time.perf_counter()
    with open_flow_runner(ClusterSetting(workers=WORKERS)) as runner:
        list(runner.run(int, range(4), threads=1))
        ready = time.perf_counter()
        done = sum(1 for _ in runner.run(partial(simulate, recipe=None), shards, threads=1))
    if done != len(shards):
        raise RuntimeError(f"{done} of {len(shards)} shards came back")
    return ready - started, time.perf_counter() - ready


def through_flow(request, shards) -> tuple[float, float]:
    """Return seconds from the flow's call to its first stage, and seconds of all stages, workers' start included."""
    marks = []

    def make_request(*_):
        marks.append(time.perf_counter())
        return request

    with (
        mock.patch.object(tasks, "make_request", make_request),
        mock.patch.object(stages, "shards_of", return_value=shards),
        mock.patch.object(rounds, "_shards", return_value=shards),
        mock.patch.object(rounds, "build_shard", simulate),
        mock.patch.object(stages, "finish", return_value=[]),
        mock.patch.object(rounds, "clear_leftovers"),
    ):
        started = time.perf_counter()
        state = build_dataset(out=str(request.out), cluster=f"local:{WORKERS}", return_state=True)
    if not state.is_completed():
        raise RuntimeError(state.message)
    return marks[0] - started, time.perf_counter() - marks[0]


def report(count: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        request, shards, (each, used, optical) = measured(Path(folder))
        many = [replace(shards[n % len(shards)], name=f"landslides_all_{n:06d}") for n in range(count)]
        # Simulated files would travel by as many as there may be, real ones by as many as their time allows.
        together = max(1, min(runners.BATCH_ITEMS, int(runners.BATCH_SECONDS / each)))
        with mock.patch.object(runners, "BATCH_ITEMS", together):
            begun = processor_seconds()
            workers_ready, runner = through_runner(many)
            runner_used = processor_seconds() - begun
            begun = processor_seconds()
            first_stage, flow = through_flow(request, many)
            flow_used = processor_seconds() - begun
    whole, whole_used = count * each / WORKERS, count * used
    print(f"one shard of {len(shards[0].samples)} patches, the mean     {each:8.2f} s, processor {used:8.2f} s")
    print(f"  travel together                     {together:8d}")
    print(f"  its largest, S2L2A                  {optical:8.2f} s")
    print(f"start-up: {WORKERS} worker processes          {workers_ready:8.1f} s")
    print(f"start-up: flow until its first stage  {first_stage:8.1f} s")
    for name, seconds, processor in (("runner", runner, runner_used), ("flow", flow, flow_used)):
        print(f"{count} simulated shards, {name:6}     {seconds:8.1f} s, processor {processor:8.1f} s")
        print(f"  of the time of real ones            {100 * seconds / whole:8.2f} % of {whole:.0f} s")
        print(f"  of as many S2L2A files              {100 * seconds * WORKERS / (count * optical):8.2f} %")
        print(f"  of their processor time             {100 * processor / whole_used:8.2f} % of {whole_used:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=12_000)
    parser.add_argument("--inside", action="store_true", help="PREFECT_API_URL is a server already")
    options = parser.parse_args()
    if options.inside:
        report(options.shards)
        return
    with tempfile.TemporaryDirectory() as home, server(Path(home)) as environment:
        command = [sys.executable, __file__, "--inside", "--shards", str(options.shards)]
        subprocess.run(command, check=True, env=environment)  # noqa: S603


if __name__ == "__main__":
    main()
