"""The flows on a real Prefect server: refused, failed, cancelled and resumed runs, and who is told."""

import http.server
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from support.flow_runs import digests_of
from support.prefect_server import PREFECT, REPOSITORY

from flows import tasks
from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.demo import DEMO_OVERRIDES
from pipeline.errors import RecipeError, TransientSourceError
from pipeline.search import Found

pytestmark = pytest.mark.servers

BUILD = "build-dataset/landslides"
SMOKE = "build-dataset/landslides-smoke"
WAIT_SECONDS = 240
STOP_SECONDS = 60
"""Prefect itself gives a process 30 s to end before it kills it."""


def wait_until(happened, seconds: float = WAIT_SECONDS) -> float:
    started = time.monotonic()
    while not happened():
        assert time.monotonic() - started < seconds, f"did not happen within {seconds} s"
        time.sleep(0.2)
    return time.monotonic() - started


@pytest.mark.parametrize(
    "wrong", ["cluster=17 abc", "overrides=5", "existing=never", "recipe=landslide", 'overrides={"windw.before": 90}']
)
def test_a_wrong_parameter_is_refused_before_there_is_a_run(platform, wrong):
    before = platform.ask("flow_runs/count")
    run = platform.run(BUILD, wrong)
    assert run.returncode == 1
    assert f"Validation failed for field '{wrong.partition('=')[0]}'" in " ".join((run.stdout + run.stderr).split())
    assert platform.ask("flow_runs/count") == before


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("recipe=gone.yaml", "recipe file gone.yaml does not exist"),
        ('overrides={"seasons": "two-years"}', "recipe landslides: give either window"),
    ],
)
def test_what_only_the_recipe_knows_fails_the_run_with_one_line(platform, wrong, line):
    run = platform.run(BUILD, wrong)
    state = platform.last_state()
    assert run.returncode == 1
    assert state["type"] == "FAILED"
    assert state["message"].startswith(line)
    assert "\n" not in state["message"]


def test_a_scheduler_that_does_not_answer_fails_the_run_with_one_line(platform, built):
    run = platform.run(BUILD, "cluster=tcp://127.0.0.1:9")
    state = platform.last_state()
    assert (run.returncode, state["type"]) == (1, "FAILED")
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in state["message"]
    assert "dask scheduler" in state["message"]
    assert "\n" not in state["message"]


def test_an_unreadable_scene_is_missing_and_named_and_the_rest_is_built(platform, built):
    out = platform.folder / "unreadable"
    shutil.copytree(built.archive, out / "archive")
    rows = [row for row in read_decided(built.dataset).rows if row.modality == "S1ASC" and row.choice]
    scene = Path(min(href for asset in rows[0].choice.assets for href in asset.hrefs).removeprefix("file://"))
    broken = out / "archive" / scene.relative_to(built.archive)
    broken.write_bytes(b"\0" * 4096)
    overrides = '{"alternates": 0, "modalities": ["S2L2A", "S1ASC"], "bands.S2L2A": ["B02"]}'
    run = platform.run(BUILD, f"out={out}", f"overrides={overrides}")
    assert run.returncode == 0, run.stdout + run.stderr
    summary = platform.artifacts()["summary-landslides"]["data"]
    assert "| S1ASC |" in summary
    assert "unreadable: " in summary
    shutil.rmtree(out)


def test_an_archive_that_is_gone_fails_the_run_with_one_line(platform, built):
    run = platform.run(
        BUILD, f"out={platform.folder / 'gone'}", f"places={built.archive / 'inventory.geojson'}", "source=gone.json"
    )
    state = platform.last_state()
    assert (run.returncode, state["type"]) == (1, "FAILED")
    assert "gone.json" in state["message"]
    assert "\n" not in state["message"]


def test_a_cancelled_run_stops_within_seconds_leaves_no_process_and_resumes_to_the_same_bytes(
    platform, built, tmp_path, record_property
):
    # One patch a file makes a run long enough to be stopped half-way.
    values = {**DEMO_OVERRIDES, "samples_per_shard": 1}
    given = ["--places", str(built.archive / "inventory.geojson"), "--source", str(built.archive / "catalog.json")]
    sets = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    assert main(["build", "landslides", *given, *sets, "--out", str(tmp_path / "whole")]) == 0
    whole = digests_of(tmp_path / "whole")

    out = platform.folder / "cancelled"
    parameters = (f"out={out}", "cluster=local:2", 'overrides={"samples_per_shard": 1}')
    started = [word for parameter in parameters for word in ("--param", parameter)]
    assert platform.prefect("deployment", "run", SMOKE, *started).returncode == 0
    wait_until(lambda: any(out.rglob("receipts/**/*.json")))
    run, family = platform.last_run(), platform.worker.children(recursive=True)
    assert len(family) >= 3, "the run's process and two workers"
    assert platform.prefect("flow-run", "cancel", run["id"]).returncode == 0
    seconds = wait_until(lambda: platform.last_state()["type"] == "CANCELLED", STOP_SECONDS)
    record_property("cancelled_after_seconds", round(seconds, 1))
    _, left = psutil.wait_procs(family, timeout=5)
    assert left == []
    assert 0 < len(digests_of(out / "dataset")) < len(whole)
    again = platform.run(SMOKE, *parameters)
    assert again.returncode == 0, again.stdout + again.stderr
    assert digests_of(out / "dataset") == whole
    shutil.rmtree(out)


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    heard: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", heard
    server.shutdown()
    thread.join(5)


def test_a_failed_run_is_told_to_whom_the_automations_name(platform, tmp_path):
    save = (
        "import sys; from prefect.blocks.notifications import CustomWebhookNotificationBlock as Block; "
        "print(Block(name='test', url=sys.argv[1], json_data={'subject': '{{subject}}', 'body': '{{body}}'})"
        ".save('failures', overwrite=True))"
    )
    with listener() as (url, heard):
        saved = platform.call(sys.executable, "-c", save, url)
        assert saved.returncode == 0, saved.stderr
        text = (REPOSITORY / "deployments" / "automations.yaml").read_text(encoding="utf-8")
        file = tmp_path / "automations.yaml"
        file.write_text(text.replace("FAILURES", saved.stdout.split()[-1]), encoding="utf-8")
        made = platform.prefect("automation", "create", "--from-file", str(file))
        assert made.returncode == 0, made.stdout + made.stderr
        assert platform.run(BUILD, "recipe=gone.yaml").returncode == 1
        wait_until(lambda: heard, 60)
    told = json.loads(heard[0])
    assert told["subject"] == "build-dataset/landslides: Failed"
    assert told["body"].startswith("recipe file gone.yaml does not exist")
    assert len(yaml.safe_load(text)["automations"]) == 2


def test_without_a_server_there_is_one_line_that_says_what_to_do(platform):
    nowhere = {**platform.environment, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    alone = type(platform)(api="", folder=platform.folder, environment=nowhere)
    ready = alone.call(sys.executable, "-m", "flows.ready", BUILD)
    line = "no Prefect server answers at http://127.0.0.1:9/api; start one with `prefect server start`"
    assert (ready.returncode, ready.stdout.count("\n")) == (1, 1)
    assert line in ready.stdout
    run = alone.call(PREFECT, "deployment", "run", BUILD)
    assert run.returncode == 1
    assert "All connection attempts failed" in run.stdout + run.stderr


def test_a_deployment_that_is_not_there_is_named(platform):
    ready = platform.call(sys.executable, "-m", "flows.ready", "build-dataset/nowhere")
    assert ready.returncode == 1
    assert "deployment build-dataset/nowhere is not there; `prefect --no-prompt deploy --all" in ready.stdout


@pytest.mark.parametrize(
    ("faults", "tries", "ending"),
    [
        ([TransientSourceError("429"), TransientSourceError("503")], 3, "COMPLETED"),
        ([TransientSourceError("429")] * 9, 5, "FAILED"),
        ([RecipeError("no such place")], 1, "FAILED"),
    ],
    ids=["passes", "stays", "permanent"],
)
def test_the_engine_tries_a_stage_again_only_for_transient_trouble(platform, monkeypatch, faults, tries, ending):
    calls = []

    def find(*_):
        calls.append("find")
        if len(calls) <= len(faults):
            raise faults[len(calls) - 1]
        return Found(samples=(), events=(), scenes=())

    monkeypatch.setattr(tasks.stages, "connect", lambda _: None)
    monkeypatch.setattr(tasks, "find", find)
    search = tasks.search.with_options(retry_delay_seconds=0)
    settings = {
        PREFECT_API_URL: platform.api,
        PREFECT_HOME: platform.environment["PREFECT_HOME"],
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with temporary_settings(settings):
        state = search(None, return_state=True)
    assert (len(calls), state.type.value) == (tries, ending)
