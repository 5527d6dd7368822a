"""Sums of moments without rounding: the same bits in whatever order and grouping they are added."""

import math
from dataclasses import dataclass
from fractions import Fraction

from pipeline.records import Moments

_DENOMINATOR = 2**1074
"""Every double is a whole number of these parts."""


@dataclass(slots=True)
class ExactTotal:
    """Moments added up without rounding; only what is read off is rounded, once."""

    count: int = 0
    values: int = 0
    """Sum, in parts of 1."""
    squares: int = 0
    """Sum of squares, in parts of parts."""
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, moments: Moments) -> None:
        """Add the moments of more pixels; they must be finite."""
        mean = _parts(moments.mean)
        self.count += moments.count
        self.values += moments.count * mean
        self.squares += _parts(moments.m2) * _DENOMINATOR + moments.count * mean * mean
        self.minimum = min(self.minimum, moments.minimum)
        self.maximum = max(self.maximum, moments.maximum)

    @property
    def mean(self) -> float | None:
        """Mean of all pixels; None when nothing was counted."""
        return float(Fraction(self.values, self.count * _DENOMINATOR)) if self.count else None

    @property
    def std(self) -> float | None:
        """Population standard deviation; None when nothing was counted."""
        if not self.count:
            return None
        spread = self.count * self.squares - self.values * self.values
        return math.sqrt(max(0.0, float(Fraction(spread, (self.count * _DENOMINATOR) ** 2))))


def _parts(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * (_DENOMINATOR // denominator)
