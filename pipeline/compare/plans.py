"""How two plans differ: their places, where these lie in the files, and the images chosen for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.catalog import Decided
from pipeline.records import PlanRow

EXAMPLES = 3
"""Differences of a kind that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """How many differ in one way, and the first few."""

    count: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        if len(self.examples) < self.count:
            return f"{self.count} (as {', '.join(self.examples)})"
        return f"{self.count} ({', '.join(self.examples)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDifference:
    """How the plan of B differs from that of A; only what differs is named."""

    samples: Mapping[str, Differing]
    """`only in A`, `only in B`, `other grid`, `other file or position`, `other events`."""
    choices: Mapping[str, Mapping[str, Differing]]
    """Modality to `other image`, `other assets`, `image in A only`, `image in B only`, `other reason`."""
    rows: int
    """Rows of places that both have."""

    @property
    def is_same(self) -> bool:
        """True when nothing differs."""
        return not self.samples and not self.choices

    def lines(self) -> list[str]:
        """Return the difference in words."""
        if self.is_same:
            return [f"the same, {self.rows} rows"]
        samples = [f"places: {what} {part}" for what, part in self.samples.items()]
        choices = [f"{name}: {what} {part}" for name, parts in self.choices.items() for what, part in parts.items()]
        return [*samples, *choices]


def compare_plans(a: Decided, b: Decided) -> PlanDifference:
    """Compare places by id, and rows by place, modality and timestep."""
    shared = {sample.id for sample in a.samples} & {sample.id for sample in b.samples}
    one, other = _rows(a, shared), _rows(b, shared)
    found: dict[str, dict[str, list[str]]] = {}
    for key in sorted({*one, *other}):
        what = _difference(one.get(key), other.get(key))
        if what:
            sample, modality, step = key
            found.setdefault(modality, {}).setdefault(what, []).append(f"{sample} {step}")
    return PlanDifference(
        samples=_compare_samples(a, b),
        choices={name: {what: _counted(keys) for what, keys in parts.items()} for name, parts in found.items()},
        rows=len(one.keys() & other.keys()),
    )


def _compare_samples(a: Decided, b: Decided) -> dict[str, Differing]:
    one, other = ({sample.id: sample for sample in decided.samples} for decided in (a, b))
    shared = sorted(one.keys() & other.keys())
    kinds = {
        "only in A": sorted(one.keys() - other.keys()),
        "only in B": sorted(other.keys() - one.keys()),
        "other grid": [name for name in shared if one[name].grid != other[name].grid],
        "other file or position": [name for name in shared if a.places[name] != b.places[name]],
        "other events": [
            name
            for name in shared
            if (one[name].event_ids, one[name].event_dates) != (other[name].event_ids, other[name].event_dates)
        ],
    }
    return {what: _counted(names) for what, names in kinds.items() if names}


def _rows(decided: Decided, samples: set[str]) -> dict[tuple[str, str, int], PlanRow]:
    return {(row.sample_id, row.modality, row.timestep): row for row in decided.rows if row.sample_id in samples}


def _difference(a: PlanRow | None, b: PlanRow | None) -> str:
    one, other = (row.choice if row else None for row in (a, b))
    if one is None and other is None:
        return "other reason" if (a.reason if a else "") != (b.reason if b else "") else ""
    if one is None:
        return "image in B only"
    if other is None:
        return "image in A only"
    if (one.acquisition, one.acquired) != (other.acquisition, other.acquired):
        return "other image"
    return "other assets" if one.assets != other.assets else ""


def _counted(names: Sequence[str]) -> Differing:
    return Differing(count=len(names), examples=tuple(names[:EXAMPLES]))
