"""Flows into an object store: a real S3-compatible server, and runs that are killed on a real Prefect server."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
from support.flow_runs import digests_of
from support.flows import parameters
from support.object_stores import copy_of, leftovers, shards_at
from support.orders import Order, shard_digests

from flows import build_dataset as building
from flows import plan_dataset as planning
from flows import publish_dataset as publishing
from pipeline.demo import DEMO_OVERRIDES
from pipeline.validate import validate

pytest_plugins = ["support.fixtures", "support.bucket"]

KILL_SECONDS = 240


def test_a_run_plans_and_builds_at_a_store_and_leaves_nothing_here(
    url: str, small_order: Order, small_dataset: Path, tmp_path: Path, artifacts: list[str]
) -> None:
    given = parameters(small_order, url)
    planned = planning.plan_dataset.fn(**given)
    assert planned.is_completed(), planned.message
    assert planned.message.startswith(f"{url}/plan.parquet: ")
    assert shards_at(url) == set()
    built = building.build_dataset.fn(**given, verify="full")
    assert built.is_completed(), built.message
    assert built.message.startswith(f"{url}: ")
    assert shard_digests(copy_of(url, tmp_path / "copy")) == shard_digests(small_dataset)
    assert validate(tmp_path / "copy") == []
    assert os.environ["TMPDIR"] not in "\n".join(artifacts)
    assert leftovers() == []


def test_a_bucket_that_is_not_there_fails_the_run_with_one_line(
    server: str, small_order: Order, artifacts: list[str]
) -> None:
    state = building.build_dataset.fn(**parameters(small_order, "s3://no-such-bucket/x"))
    assert state.is_failed()
    assert state.message.startswith("s3://no-such-bucket/x does not exist or may not be used (listing: 404")


def test_a_store_is_not_published_from(artifacts: list[str]) -> None:
    state = publishing.publish_dataset.fn(dataset="s3://bucket/x", target="s3://bucket/y")
    assert state.is_failed()
    assert state.message.startswith("s3://bucket/x is an object store, and publishing copies from a folder")


@pytest.mark.servers
def test_a_run_that_is_killed_goes_on_at_the_store_to_the_same_bytes(platform, built, url: str, tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")} | {
        "TMPDIR": str(tmp_path)
    }
    # One patch a file makes a run long enough to be killed half-way.
    overrides = json.dumps({**DEMO_OVERRIDES, "samples_per_shard": 1})
    run = (
        "deployment", "run", "build-dataset/landslides", "--param", f"out={url}", "--param", f"overrides={overrides}",
        "--job-variable", f"env={json.dumps(variables)}",
    )  # fmt: skip
    started = platform.prefect(*run)
    assert started.returncode == 0, started.stdout + started.stderr
    end = time.monotonic() + KILL_SECONDS
    while len(shards_at(url)) < 5:
        assert time.monotonic() < end, platform.last_state()
        time.sleep(0.05)
    for process in platform.worker.children(recursive=True):
        process.send_signal(signal.SIGKILL)
    before = len(shards_at(url))
    done = platform.prefect(*run, "--watch", seconds=KILL_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    copy = copy_of(url, tmp_path / "copy")
    assert before < len(shards_at(url))
    assert validate(copy) == []
    folder = platform.folder / "one-by-one"
    assert platform.run("build-dataset/landslides", f"out={folder}", f"overrides={overrides}").returncode == 0
    assert digests_of(copy) == digests_of(folder / "dataset")
    shutil.rmtree(folder)
    assert [path for path in tmp_path.rglob("sen12*") if path.is_dir()] == []
    assert psutil.pid_exists(platform.worker.pid)
