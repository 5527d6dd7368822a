"""A Prefect server and a process worker on this machine, with everything deployed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from support.processes import free_port, running

REPOSITORY = Path(__file__).parents[2]
PREFECT = Path(sys.executable).parent / "prefect"
READY_SECONDS = 240
RUN_SECONDS = 420
CLI_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A server's address, the folder that its worker was started in, and the worker's process."""

    api: str
    folder: Path
    environment: Mapping[str, str]
    worker: psutil.Process | None = None

    def call(self, *words: str | Path, seconds: float = CLI_SECONDS) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            check=False,
            cwd=REPOSITORY,
            env=dict(self.environment),
            timeout=seconds,
            capture_output=True,
            text=True,
        )

    def prefect(self, *words: str, seconds: float = CLI_SECONDS) -> subprocess.CompletedProcess[str]:
        return self.call(PREFECT, *words, seconds=seconds)

    def run(self, deployment: str, *parameters: str) -> subprocess.CompletedProcess[str]:
        given = [word for parameter in parameters for word in ("--param", parameter)]
        return self.prefect("deployment", "run", deployment, *given, "--watch", seconds=RUN_SECONDS)

    def ask(self, path: str, **body: Any) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(f"{self.api}/{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def last_run(self) -> dict[str, Any]:
        return self.ask("flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=1)[0]

    def last_state(self) -> dict[str, Any]:
        return self.last_run()["state"]

    def artifacts(self) -> dict[str, dict[str, Any]]:
        return {artifact["key"]: artifact for artifact in self.ask("artifacts/filter", sort="UPDATED_DESC")[::-1]}

    def logs_of(self, run: str) -> list[tuple[str, str]]:
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}}
        return [(line["name"], line["message"]) for line in self.ask("logs/filter", limit=200, **wanted)]


def clean_environment(home: Path, api: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "AWS_"))}
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
def prefect_platform(root: Path, **settings: str) -> Iterator[Platform]:
    """Yield a platform on an empty server; `settings` are more of the server's variables."""
    folder, port = root / "worker", free_port()
    folder.mkdir()
    api = f"http://127.0.0.1:{port}/api"
    environment = clean_environment(root / "home", api)
    platform = Platform(api=api, folder=folder, environment=environment)
    start = (PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
    log = root / "server.log"
    with running(start, folder=root, environment=environment | settings, log=log) as server:
        wait_for_server(platform, server, log)
        for command in (
            ("work-pool", "create", "local", "--type", "process"),
            ("--no-prompt", "deploy", "--all", "--prefect-file", "deployments/prefect.yaml"),
        ):
            done = platform.prefect(*command, seconds=READY_SECONDS)
            assert done.returncode == 0, done.stdout + done.stderr
        work = (PREFECT, "worker", "start", "--pool", "local", "--type", "process")
        with running(work, folder=folder, environment=environment, log=root / "worker.log") as worker:
            yield Platform(api=api, folder=folder, environment=environment, worker=psutil.Process(worker.pid))


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
