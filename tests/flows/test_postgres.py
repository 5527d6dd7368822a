"""The server on PostgreSQL instead of SQLite: the same smoke run, the same refusals."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.flow_runs import digests_of
from support.prefect_server import Platform, prefect_platform
from support.processes import free_port

pytestmark = pytest.mark.servers

SMOKE = "build-dataset/landslides-smoke"
FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
ACCOUNT = "nobody"
"""PostgreSQL refuses to run as the superuser."""


def binary(name: str) -> str | None:
    return next((str(folder / name) for folder in FOLDERS if (folder / name).is_file()), shutil.which(name))


def call(folder: Path, *words: str) -> None:
    account = ACCOUNT if os.geteuid() == 0 else None
    done = subprocess.run(
        words, check=False, cwd=folder, user=account, capture_output=True, text=True, timeout=120, env={"LC_ALL": "C"}
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Yield the address of an empty database on loopback."""
    initdb, control = binary("initdb"), binary("pg_ctl")
    if not initdb or not control:
        pytest.skip("PostgreSQL's server is not here: apt-get install postgresql")
    data, port = folder / "data", free_port()
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam(ACCOUNT).pw_uid, -1)
    call(folder, initdb, "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    call(folder, control, "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"
    finally:
        call(folder, control, "-D", str(data), "-m", "immediate", "-w", "stop")


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("on_postgres")
    # The account cannot enter the folder of the tests' own user.
    with (
        TemporaryDirectory() as folder,
        postgres(Path(folder)) as url,
        prefect_platform(root, PREFECT_SERVER_DATABASE_CONNECTION_URL=url) as platform,
    ):
        yield platform


def test_the_smoke_deployment_completes(on_postgres, demo):
    run = on_postgres.run(SMOKE)
    assert run.returncode == 0, run.stdout + run.stderr
    assert on_postgres.last_state()["type"] == "COMPLETED"
    assert digests_of(on_postgres.folder / "data" / "landslides-smoke" / "dataset") == digests_of(demo)
    assert on_postgres.artifacts()["build-landslides"]["data"] == 100.0
    # Nothing went to a database of its own beside PostgreSQL.
    assert not list(Path(on_postgres.environment["PREFECT_HOME"]).rglob("prefect.db"))


def test_a_wrong_parameter_is_refused_before_there_is_a_run(on_postgres):
    before = on_postgres.ask("flow_runs/count")
    run = on_postgres.run(SMOKE, "overrides=5")
    assert run.returncode == 1
    assert "Validation failed for field 'overrides'" in run.stdout + run.stderr
    assert on_postgres.ask("flow_runs/count") == before
