"""Credentials: where they come from, that they are renewed, and that nothing shows them."""

import json
import logging
import pickle
import time
from pathlib import Path

import ee
import pytest
from support.earth_engine.account import KEY_ID, PROJECT, private_key, write_account
from support.earth_engine.server import Emulator

from pipeline.errors import RecipeError, TransientSourceError
from pipeline.records import PatchGrid
from pipeline.records.recipe import Collections
from pipeline.sources import open_source
from pipeline.sources.earth_engine import session
from pipeline.sources.earth_engine.session import Session, find_credentials
from pipeline.sources.reading import open_reader

pytest_plugins = ["support.earth_engine.fixtures"]

STORED = "from earthengine authenticate"
GRID = PatchGrid(epsg=32633, left=504_000.0, top=4_201_000.0, size=16, resolution=10.0)


def read(emulator: Emulator) -> None:
    href = f"ee://{emulator.catalogue['COPERNICUS/DEM/GLO30'][1].id}#DEM"
    with open_reader(open_source("earth-engine", Collections())) as reader:
        reader.read(href, GRID, resampling="nearest")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any credentials."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", session.SERVICE_ACCOUNT_VARIABLE, "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def store_user(home: Path) -> None:
    path = Path(ee.oauth.get_credentials_path())
    assert path.is_relative_to(home)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"refresh_token": STORED, "project": "another-project"}))


def test_a_service_account_comes_first_then_the_application_then_the_user(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_user(nowhere)
    assert find_credentials().refresh_token == STORED
    application = write_account(nowhere / "application.json", "http://127.0.0.1:1")
    application.write_text(application.read_text().replace("tester@", "application@"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(application))
    assert find_credentials().service_account_email == f"application@{PROJECT}.iam.gserviceaccount.com"
    own = write_account(nowhere / "own.json", "http://127.0.0.1:1")
    monkeypatch.setenv(session.SERVICE_ACCOUNT_VARIABLE, str(own))
    assert find_credentials().service_account_email == f"tester@{PROJECT}.iam.gserviceaccount.com"


def test_without_credentials_the_error_says_what_to_do(nowhere: Path) -> None:
    with pytest.raises(RecipeError, match=r"set EE_SERVICE_ACCOUNT_FILE .* or `earthengine authenticate`"):
        find_credentials()


@pytest.mark.parametrize("content", ["", "{}", '{"type": "service_account", "private_key": "SECRET"}', "SECRET"])
def test_a_broken_key_file_is_named_but_not_quoted(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = nowhere / "key.json"
    path.write_text(content)
    monkeypatch.setenv(session.SERVICE_ACCOUNT_VARIABLE, str(path))
    with pytest.raises(RecipeError, match=r"key\.json is not a readable service-account key file") as caught:
        find_credentials()
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_process_connects_once(earth: Emulator) -> None:
    for _ in range(3):
        read(earth)
    assert earth.requests["/$discovery/rest"] <= 4
    assert earth.requests[f"/v1/projects/{PROJECT}/algorithms"] <= 1


def test_the_project_is_the_one_that_was_named(earth: Emulator) -> None:
    read(earth)
    assert ee.data._get_state().cloud_api_user_project == PROJECT
    assert ee.data._get_state().deadline_ms == session.DEADLINE_MS
    assert ee.data._get_state().max_retries == 0


def test_an_expired_token_is_renewed(earth: Emulator) -> None:
    earth.tokens = set()
    read(earth)
    tokens = earth.requests["/token"]
    earth.tokens.clear()
    read(earth)
    assert earth.requests["/token"] > tokens


def test_a_server_that_is_away_is_transient(earth: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client waits between its attempts.
    monkeypatch.setattr(time, "sleep", lambda _: None)
    settings = Session(project=PROJECT, endpoint="http://127.0.0.1:9")
    with pytest.raises(TransientSourceError, match="Earth Engine cannot be reached"):
        settings.connect()


def test_a_source_that_is_sent_holds_no_secret(earth: Emulator) -> None:
    source = open_source("earth-engine", Collections())
    read(earth)
    sent = pickle.dumps(source)
    assert KEY_ID.encode() not in sent
    assert b"account.json" not in sent
    assert b"emulated-token" not in sent


def test_nothing_that_is_logged_shows_a_secret(earth: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        read(earth)
    assert "computePixels" in caplog.text
    for secret in (KEY_ID, "emulated-token", "PRIVATE KEY", private_key().splitlines()[5]):
        assert secret not in caplog.text
