"""Limits, back-off and what errors mean, with the genuine client against faults on loopback HTTP."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import ee
import numpy as np
import pytest
from numpy.typing import NDArray
from support.earth_engine.algorithms import Catalogue
from support.earth_engine.fixtures import Serve
from support.earth_engine.server import ALLOWANCE, TOO_MANY, Emulator, Fault

from pipeline.errors import AllowanceError, RecipeError, SourceError, TransientSourceError
from pipeline.records import PatchGrid
from pipeline.records.recipe import Collections
from pipeline.sources.earth_engine import governor, open_earth_engine, session, usage
from pipeline.sources.earth_engine.governor import Limits
from pipeline.sources.earth_engine.source import EarthEngineSource
from pipeline.sources.reading import open_reader

pytest_plugins = ["support.earth_engine.fixtures"]


def patch(number: int = 0) -> PatchGrid:
    return PatchGrid(epsg=32633, left=501_000.0 + 100 * number, top=4_203_000.0 - 20 * number, size=32, resolution=10.0)


def opened(**limits: Any) -> EarthEngineSource:
    source = open_earth_engine(Collections())
    return replace(source, limits=replace(source.limits, **{"per_second": 1000.0, **limits}))


def elevation(emulator: Emulator) -> str:
    return f"ee://{emulator.catalogue['COPERNICUS/DEM/GLO30'][1].id}#DEM"


def read(source: EarthEngineSource, href: str, number: int = 0) -> NDArray[np.float32]:
    with open_reader(source) as reader:
        return reader.read_measured(href, patch(number), resampling="nearest")


def test_sixty_patches_in_24_threads_never_pass_the_limit(serve_earth: Serve, earth_catalogue: Catalogue) -> None:
    with serve_earth(earth_catalogue, limit=8, latency=0.03) as emulator:
        source, href = opened(concurrent=8), elevation(emulator)
        with ThreadPoolExecutor(24) as pool:
            patches = list(pool.map(lambda number: read(source, href, number), range(60)))
        assert emulator.refused == []
        assert emulator.computed["computePixels"] == 60
        assert 2 <= emulator.peak <= 8
        assert all(np.isfinite(values).any() for values in patches)


def test_a_server_that_grants_less_is_asked_again_until_all_is_there(
    serve_earth: Serve, earth_catalogue: Catalogue
) -> None:
    with serve_earth(earth_catalogue, limit=3, latency=0.02) as emulator:
        source, href = opened(concurrent=12, attempts=40), elevation(emulator)
        with ThreadPoolExecutor(12) as pool:
            patches = list(pool.map(lambda number: read(source, href, number), range(30)))
        assert emulator.refused
        assert set(emulator.refused) == {TOO_MANY}
        assert usage.tallies()["sen12-build"].failures == len(emulator.refused)
        expected = [read(source, href, number) for number in range(30)]
        np.testing.assert_array_equal(patches, expected)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, count=5, message="Quota exceeded for quota metric 'Compute requests'"),
        Fault(status=503, count=3),
        Fault(status=500, count=2),
        Fault(truncate=True, count=2),
    ],
    ids=["429 storm", "503", "500", "truncated"],
)
def test_what_passes_is_asked_again_and_gives_the_same_pixels(earth: Emulator, fault: Fault) -> None:
    source, href = opened(), elevation(earth)
    expected = read(source, href)
    failures = fault.count
    earth.faults.append(fault)
    np.testing.assert_array_equal(read(source, href), expected)
    assert fault.count == 0
    assert usage.tallies()["sen12-build"].failures == failures


def test_a_slow_answer_is_given_up_at_the_deadline(earth: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "DEADLINE_MS", 1000)
    source, href = opened(), elevation(earth)
    expected = read(source, href)
    earth.faults.append(Fault(seconds=3.0))
    started = time.monotonic()
    np.testing.assert_array_equal(read(source, href), expected)
    assert 1.0 <= time.monotonic() - started < 3.0


def test_what_does_not_pass_is_given_up_after_so_many_attempts(earth: Emulator) -> None:
    source, href = opened(attempts=3), elevation(earth)
    earth.faults.append(Fault(status=503, count=100, message="down for repairs"))
    with pytest.raises(TransientSourceError, match=r"HTTP 503: down for repairs; given up after 3 attempts$") as caught:
        read(source, href)
    assert not isinstance(caught.value, AllowanceError)
    assert earth.requests["computePixels"] == 3


def test_a_refusal_is_not_repeated(earth: Emulator) -> None:
    source = opened()
    with pytest.raises(SourceError, match="Image asset 'COPERNICUS/DEM/GLO30/none' not found") as caught:
        read(source, "ee://COPERNICUS/DEM/GLO30/none#DEM")
    assert not isinstance(caught.value, TransientSourceError)
    assert earth.requests["computePixels"] == 1


@pytest.mark.parametrize("status", [429, 403])
def test_a_used_up_allowance_is_not_repeated(earth: Emulator, status: int) -> None:
    source, href = opened(), elevation(earth)
    earth.faults.append(Fault(status=status, message=ALLOWANCE))
    with pytest.raises(AllowanceError, match="--resume goes on when there is allowance again"):
        read(source, href)
    assert earth.requests["computePixels"] == 1


def test_restricted_mode_stops_before_the_next_request(earth: Emulator) -> None:
    source, href = opened(), elevation(earth)
    expected = read(source, href)
    earth.faults.append(Fault(header=("x-earth-engine-quota-status", "parallelism_restricted=true")))
    np.testing.assert_array_equal(read(source, href), expected)
    with pytest.raises(AllowanceError, match="has restricted the project"):
        read(source, href)
    assert earth.requests["computePixels"] == 2


def test_a_permit_is_free_while_a_request_waits(earth: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governor, "FIRST_WAIT_SECONDS", 5.0)
    monkeypatch.setattr(governor.random, "uniform", max)
    source, href = opened(concurrent=1, attempts=2), elevation(earth)
    read(source, href)
    earth.faults.append(Fault(status=503))
    waiting = threading.Thread(target=read, args=(source, href))
    waiting.start()
    while earth.requests["computePixels"] < 2:
        time.sleep(0.01)
    started = time.monotonic()
    read(source, href)
    assert time.monotonic() - started < 3.0
    waiting.join()


def caused(status: int | None, message: str) -> ee.EEException:
    """An error as the client makes it, which keeps the status in the context only."""

    http = Exception("refused")
    http.resp = SimpleNamespace(status=status)  # type: ignore[attr-defined]
    error = ee.EEException(message)
    error.__context__ = http
    return error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (caused(429, TOO_MANY), "transient"),
        (caused(429, ALLOWANCE), "allowance"),
        (caused(500, "Internal error"), "transient"),
        (caused(503, "EECU backend unavailable"), "transient"),
        (caused(501, "emulator: x is not implemented"), "refused"),
        (caused(400, "Image.select: Band pattern 'B99' did not match any bands"), "refused"),
        (caused(403, "User Rate Limit Exceeded: rate limit"), "transient"),
        (caused(403, "Permission denied"), "refused"),
        (caused(404, "not found"), "refused"),
        (ee.EEException("Earth Engine client library not initialized"), "refused"),
        (TimeoutError("timed out"), "transient"),
        (ConnectionError("reset"), "transient"),
    ],
    ids=str,
)
def test_errors_are_told_apart_although_the_client_loses_the_status(error: Exception, fault: str) -> None:
    assert usage.fault_of(error) == fault


def test_waits_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(governor, "FIRST_WAIT_SECONDS", 1.0)
    assert [governor._longest_wait(attempt) for attempt in (1, 2, 3, 6, 7, 20)] == [1.0, 2.0, 4.0, 32.0, 32.0, 32.0]


@pytest.mark.parametrize("text", ["0", "41", "-1", "many", "1.5"])
def test_a_limit_beyond_the_quota_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EE_MAX_REQUESTS", text)
    with pytest.raises(RecipeError, match="give a number from 1 to 40"):
        Limits.from_environment()


def test_the_pool_is_large_enough_for_every_thread(earth: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    source, href = opened(concurrent=40), elevation(earth)
    read(source, href)
    earth.latency = 0.05
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda number: read(source, href, number), range(80)))
    assert "pool is full" not in caplog.text
