import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows import build_dataset as module
from pipeline.demo import DEMO_OVERRIDES
from pipeline.errors import RecipeError, TransientSourceError
from pipeline.search import Found
from pipeline.validate import validate

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
PREFECT = Path(sys.executable).parent / "prefect"
DEPLOYMENT = "build-dataset/landslides"
READY_SECONDS = 120
RUN_SECONDS = 300
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A Prefect server on this machine, and the folder that its worker was started in."""

    api: str
    folder: Path
    environment: dict[str, str]

    def prefect(self, *arguments: str, seconds: float = READY_SECONDS) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PREFECT, *arguments],
            check=False,
            cwd=REPOSITORY,
            env=self.environment,
            timeout=seconds,
            capture_output=True,
            text=True,
        )

    def run(self, *parameters: str) -> subprocess.CompletedProcess[str]:
        given = [word for parameter in parameters for word in ("--param", parameter)]
        return self.prefect("deployment", "run", DEPLOYMENT, *given, "--watch", seconds=RUN_SECONDS)

    def ask(self, path: str, **body: Any) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(f"{self.api}/{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def last_state(self) -> dict[str, Any]:
        return self.ask("flow_runs/filter", sort="START_TIME_DESC", limit=1)[0]["state"]


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def clean_environment(home: Path, api: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    return kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


@contextmanager
def running(*arguments: str, folder: Path, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            [PREFECT, *arguments],
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
    _, left = psutil.wait_procs(family, timeout=5)
    for child in left:
        child.kill()


def wait_for_server(platform: Platform, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            platform.ask("flow_runs/count")
        except requests.RequestException:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"no answer within {READY_SECONDS} s\n{log.read_text()}")


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("platform")
    folder, port = root / "worker", free_port()
    folder.mkdir()
    api = f"http://127.0.0.1:{port}/api"
    environment = clean_environment(root / "home", api)
    platform = Platform(api=api, folder=folder, environment=environment)
    start = ("server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
    with running(*start, folder=root, environment=environment, log=root / "server.log") as server:
        wait_for_server(platform, server, root / "server.log")
        for command in (
            ("work-pool", "create", "local", "--type", "process"),
            ("--no-prompt", "deploy", "--all", "--prefect-file", "deployments/prefect.yaml"),
        ):
            done = platform.prefect(*command)
            assert done.returncode == 0, done.stdout + done.stderr
        work = ("worker", "start", "--pool", "local", "--type", "process")
        with running(*work, folder=folder, environment=environment, log=root / "worker.log"):
            yield platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What the first run of the deployment left behind."""

    run: subprocess.CompletedProcess[str]
    state: dict[str, Any]
    archive: Path
    dataset: Path
    digests: dict[str, str]
    seconds: float


def digests_of(dataset: Path) -> dict[str, str]:
    files = sorted(dataset.rglob("*.zarr.zip"))
    return {str(file.relative_to(dataset)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def built(platform) -> Built:
    started = time.monotonic()
    run = platform.run()
    seconds = time.monotonic() - started
    out = platform.folder / "data" / "landslides"
    return Built(
        run=run,
        state=platform.last_state(),
        archive=out / "archive",
        dataset=out / "dataset",
        digests=digests_of(out / "dataset"),
        seconds=seconds,
    )


def test_the_deployment_builds_a_valid_dataset_in_the_folder_of_the_worker(built):
    assert built.run.returncode == 0, built.run.stdout + built.run.stderr
    assert built.state["type"] == "COMPLETED"
    assert built.state["message"].startswith(f"{built.dataset}: ")
    assert built.digests
    assert validate(built.dataset) == []


def test_the_run_shows_progress_files_and_summary(platform, built):
    artifacts = {artifact["key"]: artifact for artifact in platform.ask("artifacts/filter")}
    assert {name: artifacts[name]["data"] for name in ("survey-landslides", "build-landslides")} == {
        "survey-landslides": 100.0,
        "build-landslides": 100.0,
    }
    assert artifacts["build-landslides"]["updated"] > artifacts["build-landslides"]["created"]
    assert "## Missing, and why" in artifacts["summary-landslides"]["data"]
    table = artifacts["files-landslides"]["data"]
    assert all(path in table for path in built.digests)


def test_the_run_shows_a_line_of_every_stage_and_of_every_file(platform, built):
    lines = [(line["name"], line["message"]) for line in platform.ask("logs/filter", limit=200)]
    messages = "\n".join(message for name, message in lines if name == "prefect.task_runs")
    for part in (
        "landslides into ",
        " scenes\n",
        " judged\n",
        " windows to read\n",
        " files done\n",
        " patches written",
    ):
        assert part in messages
    files = [message.partition(":")[0] for name, message in lines if name == "pipeline.assemble"]
    assert sorted(files) == sorted(built.digests)


def test_a_second_run_builds_only_what_is_damaged(platform, built):
    paths = sorted(built.dataset / name for name in built.digests)
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    before = {path: path.stat().st_mtime_ns for path in paths}
    started = time.monotonic()
    run = platform.run()
    assert run.returncode == 0, run.stdout + run.stderr
    assert time.monotonic() - started < built.seconds
    assert digests_of(built.dataset) == built.digests
    assert [path for path in paths if path.stat().st_mtime_ns != before[path]] == [paths[0]]


def test_worker_processes_build_the_same_bytes_from_places_and_source(platform, built):
    out = platform.folder / "again"
    overrides = str(DEMO_OVERRIDES).replace("'", '"')
    run = platform.run(
        f"out={out}",
        f"places={built.archive / 'inventory.geojson'}",
        f"source={built.archive / 'catalog.json'}",
        f"overrides={overrides}",
        "cluster=local:2",
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert digests_of(out) == built.digests
    shutil.rmtree(out)


@pytest.mark.parametrize("wrong", ["cluster=17 abc", "overrides=5", "existing=never"])
def test_a_wrong_parameter_is_refused_before_there_is_a_run(platform, wrong):
    before = platform.ask("flow_runs/count")
    run = platform.run(wrong)
    assert run.returncode == 1
    assert f"Validation failed for field '{wrong.partition('=')[0]}'" in run.stdout + run.stderr
    assert platform.ask("flow_runs/count") == before


def test_a_wrong_recipe_fails_the_run_with_one_line(platform):
    run = platform.run("recipe=landslide")
    state = platform.last_state()
    assert run.returncode == 1
    assert (state["type"], state["message"]) == ("FAILED", "no recipe 'landslide'; did you mean landslides?")


@pytest.mark.parametrize(
    ("faults", "tries", "ending"),
    [
        ([TransientSourceError("429"), TransientSourceError("503")], 3, "COMPLETED"),
        ([TransientSourceError("429")] * 9, 4, "FAILED"),
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

    monkeypatch.setattr(module.stages, "connect", lambda _: None)
    monkeypatch.setattr(module, "find", find)
    search = module.search.with_options(retry_delay_seconds=0)
    settings = {
        PREFECT_API_URL: platform.api,
        PREFECT_HOME: platform.environment["PREFECT_HOME"],
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with temporary_settings(settings):
        state = search(None, return_state=True)
    assert (len(calls), state.type.value) == (tries, ending)
