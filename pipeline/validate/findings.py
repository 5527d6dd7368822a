"""What a check returns: where, and one line that says what is wrong."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One fault of a dataset."""

    where: str
    """Path inside the dataset, or a table's name."""
    what: str
    """One line: what is wrong, what was expected, what came."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"
