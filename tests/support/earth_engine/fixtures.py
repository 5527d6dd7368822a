"""The embedded archives behind the emulator, and what a user sets to reach it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import ee
import pytest

from pipeline.archive import Archive
from pipeline.sources.earth_engine import governor, session, usage

from .account import PROJECT, write_account
from .algorithms import Catalogue
from .catalogue import catalogue_of
from .server import Emulator, serve

Serve = Callable[..., AbstractContextManager[Emulator]]


@pytest.fixture(scope="session")
def archive(embedded_archive: Archive) -> Archive:
    return embedded_archive


@pytest.fixture(scope="session")
def earth_catalogue(archive: Archive) -> Catalogue:
    return catalogue_of(archive.catalog)


@pytest.fixture
def serve_earth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serve a catalogue, with an environment that leads there and short waits."""
    # The client would look up deprecated assets on the network.
    monkeypatch.setattr(ee.deprecation, "_FetchDataCatalogStac", dict)
    monkeypatch.setattr(governor, "FIRST_WAIT_SECONDS", 0.02)

    @contextmanager
    def serving(catalogue: Catalogue, **settings: object) -> Iterator[Emulator]:
        with serve(catalogue, **settings) as emulator:
            account = write_account(tmp_path / "account.json", emulator.url)
            monkeypatch.setenv(session.PROJECT_VARIABLE, PROJECT)
            monkeypatch.setenv(session.ENDPOINT_VARIABLE, emulator.url)
            monkeypatch.setenv(session.SERVICE_ACCOUNT_VARIABLE, str(account))
            usage.forget_tallies()
            try:
                yield emulator
            finally:
                session.disconnect()

    return serving


@pytest.fixture
def earth(serve_earth: Serve, earth_catalogue: Catalogue) -> Iterator[Emulator]:
    """The landslide archive, without limits."""
    with serve_earth(earth_catalogue) as emulator:
        yield emulator
