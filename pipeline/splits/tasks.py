"""Tasks: which patches of a dataset take part, with the names and thresholds of Sen12Landslides (create_splits.py)."""

from dataclasses import dataclass

import pandas as pd

from pipeline.errors import RecipeError

COLUMNS = ("id", "pixel_annotated", "inventory", "is_annotated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Conditions that a patch must meet, all of them; None and () ask for nothing.

    Raises
    ------
    RecipeError
        The conditions contradict one another.
    """

    name: str
    min_annotated_pixel: int | None = None
    """Smallest number of pixels under a landslide."""
    annotated_only: bool = False
    """Only patches that a landslide reaches into."""
    non_annotated_only: bool = False
    """Only patches without."""
    exclude: tuple[str, ...] = ()
    """Patches whose id holds one of these are left out; upper and lower case are alike."""
    include: tuple[str, ...] = ()
    """Only patches whose id holds one of these."""
    min_confidence: float | None = None
    """Smallest mean confidence of the patch's dates [1]; patches without a landslide have 1."""
    max_confidence: float | None = None
    """Largest mean confidence [1]."""

    def __post_init__(self) -> None:
        if self.annotated_only and self.non_annotated_only:
            raise RecipeError(f"task {self.name} wants annotated patches only and non-annotated patches only")

    @property
    def needs_confidence(self) -> bool:
        """True when the table must have a column `confidence`."""
        return self.min_confidence is not None or self.max_confidence is not None


TASKS: dict[str, Task] = {
    "S12LS-LD": Task(name="S12LS-LD", min_annotated_pixel=50, annotated_only=True),
    "S12LS-AD": Task(name="S12LS-AD"),
}
"""Landslide detection and anomaly detection; the latter takes every patch, as its description says."""

PUBLISHED_EXCLUDE = ("usa_alaska", "nepal")
"""Regions that the published S12LS-LD leaves out; only for comparison with it."""


def filter_patches(table: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Return the rows of the patches that take part in a task, in their order.

    Parameters
    ----------
    table : pandas.DataFrame
        `id`, `pixel_annotated`, `inventory`, `is_annotated`, and `confidence` [0 to 1] where the task asks for it.

    Raises
    ------
    RecipeError
        The table lacks a column, or a patch a confidence that the task asks for.
    """
    wanted = (*COLUMNS, "confidence") if task.needs_confidence else COLUMNS
    for column in wanted:
        if column not in table.columns:
            raise RecipeError(f"task {task.name} needs a table with column {column}")
    kept = _named(table["id"].astype(str).str.lower(), task)
    if task.min_annotated_pixel is not None:
        kept &= table["pixel_annotated"] >= task.min_annotated_pixel
    if task.annotated_only:
        kept &= table["is_annotated"].astype(bool)
    if task.non_annotated_only:
        kept &= ~table["is_annotated"].astype(bool)
    return table[_confident(table, task, kept) if task.needs_confidence else kept]


def _named(ids: "pd.Series[str]", task: Task) -> "pd.Series[bool]":
    kept = pd.Series(data=not task.include, index=ids.index, dtype=bool)
    for pattern in task.include:
        kept |= ids.str.contains(pattern.lower(), regex=False)
    for pattern in task.exclude:
        kept &= ~ids.str.contains(pattern.lower(), regex=False)
    return kept


def _confident(table: pd.DataFrame, task: Task, kept: "pd.Series[bool]") -> "pd.Series[bool]":
    confidence = table["confidence"].where(table["is_annotated"].astype(bool), 1.0)
    for name in table["id"][kept & confidence.isna()]:
        raise RecipeError(f"task {task.name} goes by confidence, and patch {name} has none")
    low = -1.0 if task.min_confidence is None else task.min_confidence
    high = 2.0 if task.max_confidence is None else task.max_confidence
    return kept & confidence.between(low, high)
