"""The flows on a real Prefect server with a real worker: runs that end well."""

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from distributed import Client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from support.flow_runs import digests_of
from support.processes import free_port, running

from flows.work_pools import make_missing
from pipeline.demo import DEMO_OVERRIDES
from pipeline.publish import MANIFEST
from pipeline.validate import validate

pytestmark = pytest.mark.slow

BUILD = "build-dataset/landslides"
DASK_SECONDS = 120


def test_the_deployment_builds_a_valid_dataset_in_the_folder_of_the_worker(built):
    assert built.run.returncode == 0, built.run.stdout + built.run.stderr
    assert built.flow_run["state"]["type"] == "COMPLETED"
    assert built.flow_run["state"]["message"].startswith(f"{built.dataset}: ")
    assert built.digests
    assert validate(built.dataset) == []


def test_the_run_shows_progress_files_and_summary(platform, built):
    artifacts = platform.artifacts()
    assert {name: artifacts[name]["data"] for name in ("survey-landslides", "build-landslides")} == {
        "survey-landslides": 100.0,
        "build-landslides": 100.0,
    }
    assert artifacts["build-landslides"]["updated"] > artifacts["build-landslides"]["created"]
    assert "## Missing, and why" in artifacts["summary-landslides"]["data"]
    table = artifacts["files-landslides"]["data"]
    assert all(path in table for path in built.digests)


def test_the_run_shows_a_line_of_every_stage_and_of_every_file(platform, built):
    lines = platform.logs_of(built.flow_run["id"])
    messages = "\n".join(message for name, message in lines if name == "prefect.task_runs")
    parts = (
        "landslides into ",
        " scenes\n",
        " judged\n",
        " windows to read",
        " files done\n",
        " patches written",
    )
    assert [part for part in parts if part not in messages] == []
    files = [message.partition(":")[0] for name, message in lines if name == "pipeline.assemble"]
    assert sorted(files) == sorted(built.digests)


def test_a_second_run_builds_only_what_is_damaged(platform, built):
    paths = sorted(built.dataset / name for name in built.digests)
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    before = {path: path.stat().st_mtime_ns for path in paths}
    run = platform.run(BUILD)
    assert run.returncode == 0, run.stdout + run.stderr
    assert digests_of(built.dataset) == built.digests
    assert [path for path in paths if path.stat().st_mtime_ns != before[path]] == [paths[0]]


def test_planning_shows_what_building_would_take_and_reads_no_pixel(platform, built):
    out = platform.folder / "planned"
    run = platform.run("plan-dataset/landslides", f"out={out}")
    assert run.returncode == 0, run.stdout + run.stderr
    message = platform.last_state()["message"]
    assert message.startswith(f"{out / 'dataset' / 'plan.parquet'}: ")
    assert "windows to read" in message
    artifacts = platform.artifacts()
    assert "patches planned" in artifacts["plan-landslides"]["data"]
    assert "windows to read" in artifacts["cost-landslides"]["data"]
    assert not list(out.rglob("*.zarr.zip"))
    for table in ("samples.parquet", "survey.parquet"):
        assert (out / "dataset" / table).read_bytes() == (built.dataset / table).read_bytes()
    shutil.rmtree(out)


def test_publishing_copies_the_whole_dataset_and_shows_it(platform, built):
    run = platform.run("publish-dataset/landslides")
    assert run.returncode == 0, run.stdout + run.stderr
    home = platform.folder / "published" / "landslides"
    assert digests_of(home) == built.digests
    assert (home / MANIFEST).is_file()
    assert platform.artifacts()["publish-landslides"]["data"] == 100.0
    assert "every checksum matches" in platform.last_state()["message"]


def test_worker_processes_build_the_same_bytes_from_places_and_source_and_are_heard(platform, built):
    out = platform.folder / "again"
    overrides = str(DEMO_OVERRIDES).replace("'", '"')
    run = platform.run(
        BUILD,
        f"out={out}",
        f"places={built.archive / 'inventory.geojson'}",
        f"source={built.archive / 'catalog.json'}",
        f"overrides={overrides}",
        "cluster=local:2",
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert digests_of(out) == built.digests
    lines = platform.logs_of(platform.last_run()["id"])
    files = [message.partition(":")[0] for name, message in lines if name == "pipeline.assemble"]
    assert sorted(files) == sorted(built.digests)
    shutil.rmtree(out)


def test_a_running_scheduler_builds_the_same_bytes_and_its_workers_never_import_prefect(platform, built, tmp_path):
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = Path(sys.executable).parent / "dask"
    scheduler = (dask, "scheduler", "--host", address, "--no-dashboard", "--no-show")
    worker = (dask, "worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard")
    options = {"folder": tmp_path, "environment": platform.environment}
    with (
        running(scheduler, log=tmp_path / "scheduler.log", **options),
        running(worker, log=tmp_path / "worker.log", **options),
        Client(address, timeout=DASK_SECONDS, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=DASK_SECONDS)
        out = platform.folder / "address"
        run = platform.run(BUILD, f"out={out}", f'cluster={{"kind": "address", "address": "{address}"}}')
        assert run.returncode == 0, run.stdout + run.stderr
        modules = client.run(lambda: sorted(name.partition(".")[0] for name in __import__("sys").modules))
        assert len(modules) == 2
    assert digests_of(out / "dataset") == built.digests
    for names in modules.values():
        assert "pipeline" in names
        assert "prefect" not in names
    shutil.rmtree(out)


def test_the_deployment_is_ready_and_one_without_a_worker_says_what_to_do(platform):
    ready = platform.call(sys.executable, "-m", "flows.ready", BUILD, "build-dataset/landslides-slurm")
    assert ready.returncode == 1
    first, second = ready.stdout.splitlines()
    assert first == f"{BUILD}: ready"
    line = "no worker takes runs of work pool slurm; `prefect worker start --pool slurm --type process`"
    assert second == f"build-dataset/landslides-slurm: {line}"


def test_deploying_again_changes_nothing_that_is_there(platform):
    before = {one["name"]: one["id"] for one in platform.ask("work_pools/filter")}
    started = time.monotonic()
    done = platform.prefect("--no-prompt", "deploy", "--all", "--prefect-file", "deployments/prefect.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 120
    assert {one["name"]: one["id"] for one in platform.ask("work_pools/filter")} == before
    assert len(platform.ask("deployments/filter")) == 9


def test_a_work_pool_that_is_not_there_is_made_from_its_template_and_only_once(platform, tmp_path):
    variables = {"type": "object", "properties": {"command": {"type": "string"}}}
    template = {"variables": variables, "job_configuration": {"command": "{{ command }}"}}
    file = tmp_path / "template.json"
    file.write_text(json.dumps(template), encoding="utf-8")
    pools = {"local": {"type": "kubernetes"}, "new": {"type": "kubernetes", "base_job_template": str(file)}}
    settings = {PREFECT_API_URL: platform.api, PREFECT_HOME: platform.environment["PREFECT_HOME"]}
    with temporary_settings(settings):
        assert asyncio.run(make_missing(pools)) == {"made": ["new"]}
        assert asyncio.run(make_missing(pools)) == {"made": []}
        with pytest.raises(ValueError, match=r"^work pool other: template gone\.json cannot be read"):
            asyncio.run(make_missing({"other": {"type": "kubernetes", "base_job_template": "gone.json"}}))
    made = {pool["name"]: pool for pool in platform.ask("work_pools/filter")}
    assert made["local"]["type"] == "process"
    assert made["new"]["base_job_template"]["job_configuration"] == template["job_configuration"]
    assert platform.prefect("work-pool", "delete", "new").returncode == 0
