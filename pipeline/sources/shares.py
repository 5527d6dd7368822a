"""Dividing what a provider allows among processes that come, go and die: the arithmetic, without any network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SILENT_SECONDS = 90.0
"""After so long without a word a process is taken for dead; no request lasts longer."""

TURN_SECONDS = 2.0
"""Where there are fewer permits than processes that want one, they go round in turns of this length."""

FRESH_SECONDS = 0.1
"""How long a division holds when nobody new comes."""


class Report(NamedTuple):
    """What a process says of itself."""

    in_use: int
    """Requests in flight."""
    in_force: int
    """How many it may have in flight by the share it was granted last."""
    wanted: int
    """The most requests in flight and waiting since its last report."""


class Share(NamedTuple):
    """What a process may do until it is told otherwise."""

    at_once: int
    """Requests in flight; those above it are let end."""
    per_second: float
    """Requests started a second; infinite for no limit."""
    pause: float
    """No request may start for so long [s]."""


@dataclass(slots=True)
class _Member:
    heard: float
    wanted: int = 0
    held: int = 0
    """The most that it can have in flight at this moment."""


@dataclass(slots=True)
class Shares:
    """One provider's limit and who holds how much of it.

    At no moment do all processes together have leave for more than `at_once` requests, nor for more than `per_second`
    starts: what one process gives up goes to another one only when it has said that it is no longer in use.
    """

    at_once: int
    per_second: float
    _members: dict[str, _Member] = field(default_factory=dict)
    _paused_until: float = 0.0
    _targets: Mapping[str, int] = field(default_factory=dict)
    _divided: float = float("-inf")

    def renew(self, name: str, report: Report, now: float) -> Share:
        """Take a process's report at monotonic time `now` [s] and return its share."""
        if name not in self._members:
            self._divided = float("-inf")
        member = self._members.setdefault(name, _Member(now))
        member.heard, member.wanted = now, report.wanted
        member.held = max(report.in_use, report.in_force)
        self._forget_silent(now)
        free = self.at_once - sum(other.held for key, other in self._members.items() if key != name)
        granted = max(0, min(self._target(name, now), free))
        member.held = max(member.held, granted)
        return Share(granted, self.per_second * granted / self.at_once, max(0.0, self._paused_until - now))

    def pause(self, seconds: float, now: float) -> None:
        """Let nobody start a request for `seconds`: the provider asked for it."""
        self._paused_until = max(self._paused_until, now + seconds)

    def leave(self, name: str) -> None:
        """Free what a process held: it ended."""
        if self._members.pop(name, None):
            self._divided = float("-inf")

    def _forget_silent(self, now: float) -> None:
        for name in [name for name, member in self._members.items() if now - member.heard > SILENT_SECONDS]:
            self.leave(name)

    def _target(self, name: str, now: float) -> int:
        if now - self._divided > FRESH_SECONDS:
            names = sorted(self._members)
            turn = int(now / TURN_SECONDS) % len(names)
            order = names[turn:] + names[:turn]
            self._targets = divide(self.at_once, {key: self._members[key].wanted for key in order}, order)
            self._divided = now
        return self._targets.get(name, 0)


def divide(at_once: int, wanted: Mapping[str, int], order: Sequence[str]) -> dict[str, int]:
    """Divide permits: evenly, but nobody gets more than wanted before all have that; what is left is spread evenly.

    Where it does not come out even, those that stand first in `order` get one more.
    """
    shares = dict.fromkeys(order, 0)
    left, hungry = at_once, [name for name in order if wanted[name]]
    while left and hungry:
        each = max(1, left // len(hungry))
        for name in hungry:
            more = min(each, wanted[name] - shares[name], left)
            shares[name] += more
            left -= more
        hungry = [name for name in hungry if shares[name] < wanted[name]]
    each, odd = divmod(left, len(order))
    return {name: share + each + (index < odd) for index, (name, share) in enumerate(shares.items())}
