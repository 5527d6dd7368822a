"""Permits of one process, and when a request is sent again."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources import governor
from pipeline.sources.governor import LONGEST_PAUSE_SECONDS, AgainError, Governor, pause_of
from pipeline.sources.permits import Gate, Limit, ProcessPermits
from pipeline.sources.shares import Share


class Counting:
    """Permits that count who holds one, and keep what pauses were asked for."""

    processes = 1

    def __init__(self) -> None:
        self.held = 0
        self.pauses: list[float] = []

    @contextmanager
    def hold(self):
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(governor.time, "sleep", slept.append)
    monkeypatch.setattr(governor.random, "uniform", lambda _, high: high)
    return slept


def test_no_more_threads_than_permits_ask_at_once() -> None:
    permits, held, lock, most = ProcessPermits(Limit(name="three", at_once=3)), set(), threading.Lock(), [0]

    def ask(number: int) -> None:
        with permits.hold():
            with lock:
                held.add(number)
                most[0] = max(most[0], len(held))
            time.sleep(0.002)
            with lock:
                held.discard(number)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(60)))
    assert most[0] == 3


def test_starts_are_spread_over_time() -> None:
    gate, starts = Gate(Share(10, 50.0, 0.0)), []

    def ask(_: int) -> None:
        with gate.hold():
            starts.append(time.monotonic())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(6)))
    starts.sort()
    assert all(later - earlier >= 1 / 50 - 0.002 for earlier, later in pairwise(starts))


def test_a_pause_holds_back_every_thread() -> None:
    gate, asked = Gate(Share(4, float("inf"), 0.0)), time.monotonic()
    gate.pause(0.1)

    def ask(_: int) -> float:
        with gate.hold():
            return time.monotonic() - asked

    with ThreadPoolExecutor(4) as pool:
        assert min(pool.map(ask, range(4))) >= 0.1


def test_a_smaller_share_lets_requests_end_before_others_start() -> None:
    gate = Gate(Share(2, float("inf"), 0.0))
    first, second = gate.hold(), gate.hold()
    first.__enter__()
    second.__enter__()
    gate.allow(Share(1, float("inf"), 0.0))
    entered = threading.Event()

    def ask() -> None:
        with gate.hold():
            entered.set()

    thread = threading.Thread(target=ask)
    thread.start()
    first.__exit__(None, None, None)
    assert not entered.wait(0.05)
    second.__exit__(None, None, None)
    assert entered.wait(5.0)
    thread.join()


def test_a_closed_gate_lets_nobody_wait_for_ever() -> None:
    gate = Gate(Share(0, 0.0, 0.0))
    problems: list[str] = []

    def ask() -> None:
        try:
            with gate.hold():
                pass
        except TransientSourceError as err:
            problems.append(str(err))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    gate.close("nobody answers")
    for thread in threads:
        thread.join(5.0)
    assert problems == ["nobody answers"] * 3


def test_what_passes_is_asked_again_and_no_permit_is_held_meanwhile(waits: list[float]) -> None:
    permits, held = Counting(), []
    faults = [AgainError("HTTP 503"), AgainError("HTTP 429", pause=7.0), AgainError("ConnectionResetError")]

    def ask() -> str:
        held.append(permits.held)
        if faults:
            raise faults.pop(0)
        return "answer"

    assert Governor(permits=permits, attempts=4, first_wait=0.5).send(ask, "it failed") == "answer"
    assert held == [1, 1, 1, 1]
    assert permits.held == 0
    assert permits.pauses == [7.0]
    assert waits == [0.5, 1.0, 2.0]


def test_what_does_not_pass_is_given_up(waits: list[float]) -> None:
    def ask() -> None:
        raise AgainError("HTTP 503")

    with pytest.raises(TransientSourceError, match=r"^a\.tif failed: HTTP 503$"):
        Governor(permits=Counting(), attempts=9, first_wait=0.5).send(ask, "a.tif failed")
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_refusal_is_not_repeated(waits: list[float]) -> None:
    def ask() -> None:
        raise SourceError("gone")

    with pytest.raises(SourceError, match="gone"):
        Governor(permits=Counting(), attempts=5, first_wait=0.5).send(ask, "failed")
    assert waits == []


def test_a_server_says_how_long_to_wait_by_seconds_or_by_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert pause_of(503, "12") == 12.0
    assert 55.0 < pause_of(429, later) <= 60.0
    assert pause_of(429, "Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert pause_of(503, "86400") == LONGEST_PAUSE_SECONDS
    assert [pause_of(status, told) for status, told in ((429, None), (429, "soon"), (503, None))] == [1.0, 1.0, 0.0]
