"""The tasks of Sen12Landslides: which patches take part."""

from dataclasses import dataclass

import pandas as pd

PUBLISHED_EXCLUDE = ("usa_alaska", "nepal")
"""What the published files of S12LS-LD leave out: parts of ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Which patches take part in a task."""

    name: str
    min_annotated_pixel: int | None = None
    """Fewest landslide pixels; None takes any number."""
    annotated_only: bool = False
    exclude: tuple[str, ...] = ()
    """Parts of ids, lower case, that are left out."""
    include: tuple[str, ...] = ()
    """Parts of ids, lower case, one of which must be there; empty takes all."""


TASKS: dict[str, Task] = {
    "S12LS-LD": Task(name="S12LS-LD", min_annotated_pixel=50, annotated_only=True),
    "S12LS-AD": Task(name="S12LS-AD"),
}


def filter_patches(table: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Return the rows of `table` (id, pixel_annotated, inventory, is_annotated) that take part in `task`."""
    names = table["id"].str.lower()
    kept = pd.Series(data=True, index=table.index, dtype=bool)
    if task.annotated_only:
        kept &= table["is_annotated"].astype(bool)
    if task.min_annotated_pixel is not None:
        kept &= table["pixel_annotated"] >= task.min_annotated_pixel
    for part in task.exclude:
        kept &= ~names.str.contains(part, regex=False)
    if task.include:
        kept &= names.map(lambda name: any(part in name for part in task.include)).astype(bool)
    return table[kept]
