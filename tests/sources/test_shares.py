"""Dividing a limit among processes: never too much in all, whatever comes, goes, lags and dies."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.sources.shares import SILENT_SECONDS, TURN_SECONDS, Report, Share, Shares, divide

WANTED = st.lists(st.integers(0, 60), min_size=1, max_size=9)


@given(at_once=st.integers(1, 50), wanted=WANTED)
def test_everything_is_given_out_and_the_modest_get_what_they_want(at_once: int, wanted: Sequence[int]) -> None:
    names = [f"w{index}" for index in range(len(wanted))]
    shares = divide(at_once, dict(zip(names, wanted, strict=True)), names)
    assert sum(shares.values()) == at_once
    short = [shares[name] for name, count in zip(names, wanted, strict=True) if shares[name] < count]
    # Who gets less than wanted gets no less than anybody else, but for what does not come out even.
    assert not short or max(shares.values()) - min(short) <= 1


def test_what_does_not_come_out_even_goes_round() -> None:
    shares, held = Shares(1, math.inf), {"a": 0, "b": 0}
    leaders = []
    for step in range(40):
        for name, count in list(held.items()):
            held[name] = shares.renew(name, Report(count, count, 5), step * TURN_SECONDS / 4).at_once
        leaders.append(max(held, key=lambda name: held[name]) if any(held.values()) else "")
    assert {"a", "b"} <= set(leaders)
    assert all(0 <= count <= 1 for count in held.values())


class Processes(RuleBasedStateMachine):
    """Processes that start and end requests, and renew their shares late: answers are on their way meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.shares = Shares(7, 70.0)
        self.in_use: dict[str, int] = {}
        self.in_force: dict[str, Share] = {}
        self.coming: dict[str, Share] = {}

    @rule(name=st.sampled_from("abcd"))
    def starts(self, name: str) -> None:
        if name in self.in_force and self.in_use[name] < self.in_force[name].at_once:
            self.in_use[name] += 1

    @rule(name=st.sampled_from("abcd"))
    def ends(self, name: str) -> None:
        if self.in_use.get(name):
            self.in_use[name] -= 1

    @rule(name=st.sampled_from("abcd"), waiting=st.integers(0, 20))
    def renews(self, name: str, waiting: int) -> None:
        if name not in self.in_force:
            self.in_use[name], self.in_force[name] = 0, Share(0, 0.0, 0.0)
        if name not in self.coming:
            report = Report(self.in_use[name], self.in_force[name].at_once, self.in_use[name] + waiting)
            self.coming[name] = self.shares.renew(name, report, self.now)

    @rule(name=st.sampled_from("abcd"))
    def hears(self, name: str) -> None:
        if name in self.coming:
            self.in_force[name] = self.coming.pop(name)

    @rule(name=st.sampled_from("abcd"))
    def dies(self, name: str) -> None:
        for held in (self.in_use, self.in_force, self.coming):
            held.pop(name, None)
        self.shares.leave(name)

    @rule(seconds=st.floats(0.0, 3.0))
    def waits(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.in_force)
    @rule(data=st.data())
    def is_silent_for_long(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.in_force)))
        for held in (self.in_use, self.in_force, self.coming):
            held.pop(name, None)
        # The others are heard of meanwhile.
        self.now += SILENT_SECONDS / 2
        for other in self.in_force:
            self.renews(other, 0)
            self.hears(other)
        self.now += SILENT_SECONDS / 2 + 1.0

    @invariant()
    def is_never_too_much(self) -> None:
        assert sum(self.in_use.values()) <= 7
        assert sum(share.at_once for share in self.in_force.values()) <= 7
        assert sum(share.per_second for share in self.in_force.values()) <= 70.0 + 1e-9


Processes.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestProcesses = Processes.TestCase


def test_the_dead_leave_all_they_held_to_the_living() -> None:
    shares = Shares(8, 80.0)
    assert shares.renew("dead", Report(0, 0, 8), 0.0) == Share(8, 80.0, 0.0)
    assert shares.renew("alive", Report(0, 0, 8), 1.0) == Share(0, 0.0, 0.0)
    assert shares.renew("alive", Report(0, 0, 8), SILENT_SECONDS + 1.0) == Share(8, 80.0, 0.0)


def test_a_pause_is_told_to_everybody_and_passes() -> None:
    shares = Shares(4, math.inf)
    shares.pause(10.0, 100.0)
    shares.pause(3.0, 101.0)
    assert [shares.renew(name, Report(0, 0, 1), 104.0).pause for name in "ab"] == [6.0, 6.0]
    assert shares.renew("a", Report(0, 0, 1), 111.0).pause == 0.0


@pytest.mark.parametrize("wanted", [0, 1, 100])
def test_who_is_alone_has_it_all(wanted: int) -> None:
    assert Shares(32, 80.0).renew("only", Report(0, 0, wanted), 0.0) == Share(32, 80.0, 0.0)
