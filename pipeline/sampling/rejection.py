"""Which draws are kept, so that no two patches overlap.

The outcome is that of a plain loop over ids and, for each, over attempts: the first place that passes every test and
whose patch overlaps none kept for a lower id. Blocks of ids are drawn ahead and settled together for speed alone.
"""

from dataclasses import dataclass, field

import numpy as np

from pipeline.grid import Integers, patches_around
from pipeline.sampling.overlap import SquareIndex, Squares, joined, reach_of, squares_of
from pipeline.sampling.proposals import Draws, Sampler
from pipeline.sampling.terms import OVERLAP, Labels, Terms, refusals

_BLOCK = 8192
"""Samples settled together."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Patches:
    """Patches that are there already, and what to call each."""

    squares: Squares
    ids: Labels


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Settled:
    """What is decided about some samples."""

    kept: Draws
    """By sample; those that no draw was kept for are missing."""
    rejected: Draws
    """By sample and attempt."""
    reason: Labels
    """Of each rejected draw."""
    overlapped: Labels
    """Id of the patch that a rejected one overlaps, the first that there was; "" where it overlaps none."""

    @classmethod
    def joined(cls, parts: "list[Settled]") -> "Settled":
        """Return what is decided in all parts."""
        return cls(
            kept=Draws.joined([part.kept for part in parts]),
            rejected=Draws.joined([part.rejected for part in parts]),
            reason=np.concatenate([part.reason for part in parts]),
            overlapped=np.concatenate([part.overlapped for part in parts]),
        )


def sample_ids(index: Integers) -> Labels:
    """Return the ids of samples: seven digits."""
    return np.array([f"{number:07d}" for number in index.tolist()], np.object_)


def settle(index: Integers, sampler: Sampler, terms: Terms, taken: Patches) -> Settled:
    """Return what is decided about the samples of `index` (ascending), which keep off the patches `taken`."""
    reach = reach_of(max(terms.recipe.step + terms.gap, float(taken.squares.side.max(initial=0.0))))
    parts: list[Settled] = []
    for start in range(0, len(index), _BLOCK):
        before = SquareIndex(taken.squares, reach=reach)
        settled, squares = _settle_block(index[start : start + _BLOCK], sampler, terms, before, taken.ids)
        parts.append(settled)
        ids = np.concatenate([taken.ids, sample_ids(settled.kept.index)])
        taken = Patches(squares=joined([taken.squares, squares]), ids=ids)
    return Settled.joined(parts)


def _settle_block(
    index: Integers, sampler: Sampler, terms: Terms, before: SquareIndex, names: Labels
) -> tuple[Settled, Squares]:
    candidates, failures = _Candidates(index=index), []
    tried = np.zeros(len(index), np.int64)
    waiting = np.arange(len(index))
    while waiting.size:
        passed, failed = _next_passing(index[waiting], tried[waiting] + 1, sampler, terms)
        failures.append(failed)
        tried[waiting] = terms.max_attempts
        tried[np.searchsorted(index, passed.index)] = passed.attempt
        grids = patches_around(lon=passed.lon, lat=passed.lat, recipe=terms.recipe)
        candidates.add(passed, squares_of(grids, gap=terms.gap), before)
        kept, winner = candidates.choose()
        waiting = np.flatnonzero((kept < 0) & (tried < terms.max_attempts))
    return candidates.report(kept, winner, failures, names)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Failures:
    """Draws that a test of their own rejects, and why."""

    draws: Draws
    reason: Labels


def _next_passing(index: Integers, attempt: Integers, sampler: Sampler, terms: Terms) -> tuple[Draws, _Failures]:
    """Draw for each sample from an attempt on until a place passes the tests of its own, or attempts run out."""
    passed, failed, reasons = [], [], []
    while True:
        draws = sampler.draw(index=index, attempt=attempt)
        reason = refusals(draws, terms)
        is_fine = reason == ""
        passed.append(draws.take(np.flatnonzero(is_fine)))
        failed.append(draws.take(np.flatnonzero(~is_fine)))
        reasons.append(reason[~is_fine])
        again = ~is_fine & (attempt < terms.max_attempts)
        if not again.any():
            break
        index, attempt = index[again], attempt[again] + 1
    return Draws.joined(passed), _Failures(draws=Draws.joined(failed), reason=np.concatenate(reasons))


@dataclass(slots=True, eq=False, kw_only=True)
class _Candidates:
    """Draws of a block that pass the tests of their own, and which others each overlaps."""

    index: Integers
    """Samples of the block, ascending."""
    draws: list[Draws] = field(default_factory=list)
    squares: list[Squares] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    """Position in the block of each candidate's sample; a sample's candidates are in the order of their attempts."""
    blocker: list[int] = field(default_factory=list)
    """The first patch from before the block that each candidate overlaps, or -1."""
    rivals: list[list[int]] = field(default_factory=list)
    """Candidates of lower samples that each one overlaps."""

    def add(self, draws: Draws, squares: Squares, before: SquareIndex) -> None:
        first = len(self.owner)
        self.draws.append(draws)
        self.squares.append(squares)
        self.owner.extend(np.searchsorted(self.index, draws.index).tolist())
        self.blocker.extend([-1] * len(draws))
        self.rivals.extend([] for _ in range(len(draws)))
        new, old = before.overlaps(squares)
        new, lowest = np.unique(new, return_index=True)
        for candidate, patch in zip((new + first).tolist(), old[lowest].tolist(), strict=True):
            self.blocker[candidate] = patch
        everyone = SquareIndex(joined(self.squares), reach=before.reach)
        new, other = everyone.overlaps(squares)
        for one, two in zip((new + first).tolist(), other.tolist(), strict=True):
            self._pair(one, two)
            if two < first:
                self._pair(two, one)

    def _pair(self, candidate: int, other: int) -> None:
        if self.owner[other] < self.owner[candidate]:
            self.rivals[candidate].append(other)

    def choose(self) -> tuple[Integers, dict[int, int]]:
        """Return each sample's kept candidate, or -1, and the lowest sample that beats each candidate that lost."""
        of_sample: list[list[int]] = [[] for _ in self.index]
        for candidate, sample in enumerate(self.owner):
            of_sample[sample].append(candidate)
        kept = [-1] * len(self.index)
        winner: dict[int, int] = {}
        for sample, candidates in enumerate(of_sample):
            for candidate in candidates:
                beating = [self.owner[rival] for rival in self.rivals[candidate] if kept[self.owner[rival]] == rival]
                if self.blocker[candidate] < 0 and not beating:
                    kept[sample] = candidate
                    break
                winner[candidate] = min(beating, default=-1)
        return np.array(kept, np.int64), winner

    def report(
        self, kept: Integers, winner: dict[int, int], failures: list[_Failures], names: Labels
    ) -> tuple[Settled, Squares]:
        """Return what is decided, and the squares of the kept: draws after the kept one were never needed."""
        draws = Draws.joined(self.draws)
        chosen, lost = kept[kept >= 0], np.array(sorted(winner), np.int64)
        beaten = Draws.joined([draws.take(lost), *(failure.draws for failure in failures)])
        reason = np.concatenate([np.full(lost.size, OVERLAP, np.object_), *(failure.reason for failure in failures)])
        overlapped: Labels = np.full(len(beaten), "", np.object_)
        blocker = np.array(self.blocker, np.int64)[lost]
        by_sample = self.index[[winner[candidate] for candidate in lost.tolist()]] if lost.size else lost
        overlapped[: lost.size] = np.where(blocker >= 0, names[blocker] if names.size else "", sample_ids(by_sample))
        last = np.full(len(self.index), np.iinfo(np.int64).max)
        last[kept >= 0] = draws.attempt[chosen]
        rows = np.lexsort((beaten.attempt, beaten.index))
        rows = rows[(beaten.attempt < last[np.searchsorted(self.index, beaten.index)])[rows]]
        settled = Settled(
            kept=draws.take(chosen), rejected=beaten.take(rows), reason=reason[rows], overlapped=overlapped[rows]
        )
        return settled, joined(self.squares).take(chosen)
