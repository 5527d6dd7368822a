"""What is drawn how often, and how an input may end."""

from typing import NamedTuple

REFUSED, CORRECT = "refused", "correct"

WEIGHTS = {
    "catalogue": 14, "item": 18, "raster": 22, "table": 8, "resume": 2, "recipe": 12, "shard": 10, "published": 6,
    "places": 8,
}  # fmt: skip
"""How often each target is drawn, by its name in `fuzz.targets`."""


class Ended(NamedTuple):
    """What became of an input."""

    target: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0
    """Processor time."""
    resident: int = 0
    """Memory of the process afterwards [bytes]."""

    @property
    def is_good(self) -> bool:
        return self.outcome in (REFUSED, CORRECT)
