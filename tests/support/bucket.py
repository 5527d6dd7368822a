"""A bucket at a real S3-compatible server, for modules that take part with `pytest_plugins`."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.object_stores import BUCKET
from support.s3_server import ask, s3_server

from pipeline import stores
from pipeline.stores import open_target


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url, pytest.MonkeyPatch.context() as patch:
        ask("PUT", f"{url}/{BUCKET}")
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ALLOW_HTTP", "true")
        patch.setenv("AWS_ACCESS_KEY_ID", "a-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-very-secret-key")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setattr(stores, "RETRY_SECONDS", 1)
        open_target.cache_clear()
        yield url
    open_target.cache_clear()


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    # Whatever is left in the folder of temporary files shows.
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    return f"s3://{BUCKET}/{request.node.name}"
