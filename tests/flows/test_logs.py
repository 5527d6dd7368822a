"""What reaches a run's log: every kind of line, and of none of them too many."""

import logging

import pytest

from flows import logs as module
from flows.logs import Thinned, prepare_logs


@pytest.fixture
def clock(monkeypatch):
    now = {"now": 0.0}
    monkeypatch.setattr(module, "monotonic", lambda: now["now"])
    return now


def record(text="%d of 9", *arguments, level=logging.INFO, line=7):
    return logging.LogRecord("pipeline.assemble", level, "assemble.py", line, text, arguments or (1,), None)


def test_so_many_lines_of_one_kind_pass_in_a_period(clock):
    thinned = Thinned(lines=3, seconds=60)
    assert [thinned.filter(record("%d", number)) for number in range(5)] == [True, True, True, False, False]


def test_other_lines_pass_beside_them(clock):
    thinned = Thinned(lines=1, seconds=60)
    assert thinned.filter(record())
    assert not thinned.filter(record())
    assert thinned.filter(record(line=8))
    assert thinned.filter(record(level=logging.WARNING))


def test_the_first_line_of_the_next_period_says_how_many_are_not_shown(clock):
    thinned = Thinned(lines=2, seconds=60)
    for number in range(12):
        thinned.filter(record("%d", number))
    clock["now"] = 60.0
    following = record("%d of %d", 5, 9)
    assert thinned.filter(following)
    assert following.getMessage() == "5 of 9 [10 more such lines before are not shown]"
    after = record("%d", 6)
    assert thinned.filter(after)
    assert after.getMessage() == "6"


def test_a_quiet_period_leaves_no_note(clock):
    thinned = Thinned(lines=2, seconds=60)
    thinned.filter(record())
    clock["now"] = 61.0
    following = record("%d", 3)
    assert thinned.filter(following)
    assert following.getMessage() == "3"


def test_errors_always_pass(clock):
    thinned = Thinned(lines=1, seconds=60)
    assert all(thinned.filter(record(level=logging.ERROR)) for _ in range(50))


def test_preparing_twice_thins_once():
    handler, package = logging.NullHandler(), logging.getLogger("pipeline")
    level = package.level
    package.addHandler(handler)
    try:
        prepare_logs()
        prepare_logs()
        assert [type(held) for held in handler.filters] == [Thinned]
        assert package.isEnabledFor(logging.INFO)
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
