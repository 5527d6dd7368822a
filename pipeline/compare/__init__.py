"""Comparing two datasets in words: what was asked, what was decided, what the pixels are, what the tables say."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.catalog import read_decided
from pipeline.compare.pixels import Compared, PixelDifference, compare_pixels
from pipeline.compare.plans import PlanDifference, compare_plans
from pipeline.compare.tables import TableDifference, compare_tables
from pipeline.copies import Lend, in_place
from pipeline.errors import LayoutError
from pipeline.folder import flat, read_provenance, read_recipe

__all__ = ["Difference", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How dataset B differs from dataset A."""

    recipe: dict[str, tuple[Any, Any]]
    """Dotted recipe key to its value in A and in B; `source` and `places` among them."""
    plan: PlanDifference
    pixels: dict[str, PixelDifference]
    """By modality."""
    metadata: tuple[TableDifference, ...]
    """Tables that differ."""

    @property
    def is_same(self) -> bool:
        """True when nothing differs."""
        same_pixels = all(part.is_same for part in self.pixels.values())
        return not self.recipe and self.plan.is_same and same_pixels and not self.metadata

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"same": self.is_same, **asdict(self)}

    def lines(self) -> list[str]:
        """Return the comparison in words, by part."""
        asked = [f"recipe: {key}: {_shown(a)} / {_shown(b)}" for key, (a, b) in self.recipe.items()]
        pixels = [f"pixels: {name}: {part}" for name, part in self.pixels.items()]
        tables = [f"metadata: {table}" for table in self.metadata]
        return [
            *(asked or ["recipe: the same"]),
            *(f"plan: {line}" for line in self.plan.lines()),
            *pixels,
            *(tables or ["metadata: the same"]),
        ]


def compare(a: Path, b: Path, *, lend: Lend = in_place) -> Difference:
    """Compare two datasets, finished or not; nothing is changed. `lend` makes files of pixels readable, one of each.

    Raises
    ------
    LayoutError
        One of them is no dataset, or damaged.
    """
    for root in (a, b):
        if not (root / "plan.parquet").is_file():
            raise LayoutError(f"{root} holds no dataset with a plan: plan.parquet is not there")
    one, other = read_decided(a), read_decided(b)
    return Difference(
        recipe=_compare_requests(a, b),
        plan=compare_plans(one, other),
        pixels=compare_pixels(Compared(a, one, lend), Compared(b, other, lend)),
        metadata=compare_tables(a, b),
    )


def _compare_requests(a: Path, b: Path) -> dict[str, tuple[Any, Any]]:
    one, other = _asked(a), _asked(b)
    keys = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
    return {key: (one.get(key), other.get(key)) for key in keys}


def _asked(root: Path) -> dict[str, Any]:
    provenance = read_provenance(root)
    return {**flat(read_recipe(root).model_dump(mode="json")), **{key: provenance.get(key) for key in _REQUESTED}}


_REQUESTED = ("source", "places_sha256")


def _shown(value: Any) -> str:
    return "not there" if value is None else str(value)
