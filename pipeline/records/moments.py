"""Count, mean and spread of a band, mergeable in any grouping.

The merge is Chan, Golub and LeVeque (1979), Updating formulae and a pairwise algorithm for computing sample variances.
"""

import math
from dataclasses import dataclass

LARGEST = 3.5e38
"""No float32 is larger [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Statistics of one band over its valid pixels."""

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    """Sum of squared deviations from the mean."""
    minimum: float = math.inf
    maximum: float = -math.inf

    @property
    def std(self) -> float:
        """Population standard deviation; NaN when nothing was counted."""
        return math.sqrt(self.m2 / self.count) if self.count else math.nan

    @property
    def is_possible(self) -> bool:
        """Whether any float32 pixels can have these moments; what was read from a file need not be."""
        if not self.count:
            return True
        values = (self.minimum, self.mean, self.maximum)
        return self.count > 0 and all(abs(value) <= LARGEST for value in values) and 0 <= self.m2 < math.inf

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of pixels together."""
        if not other.count:
            return self
        if not self.count:
            return other
        count = self.count + other.count
        delta = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + delta * other.count / count,
            m2=self.m2 + other.m2 + delta * delta * self.count * other.count / count,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
        )
