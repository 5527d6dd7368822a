"""The split of Sen12Landslides as published: 64/16/20 %, stratified by coverage and inventory (create_splits.py)."""

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

from pipeline.errors import RecipeError

COLUMNS = ("id", "pixel_annotated", "inventory")

PATCH_PIXELS = 128 * 128
"""Pixels of a published patch."""

_SHARE = 0.2
_SEED = 42


def read_split_table(path: Path) -> pd.DataFrame:
    """Read the table that `compat_split` takes from a CSV file.

    Returns
    -------
    pandas.DataFrame
        `id` str, `pixel_annotated` int64 (0 to 16384), `inventory` str, in the order of the file; other columns
        are dropped.

    Raises
    ------
    RecipeError
        The file cannot be read, lacks a column or a value, repeats an id or a count is no whole number in range.
    """
    try:
        text = path.read_text("utf-8-sig")
        table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as err:
        raise RecipeError(f"{path} cannot be read as CSV: {_one_line(err)}") from err
    if not isinstance(table.index, pd.RangeIndex):
        raise RecipeError(f"{path} has rows with more fields than its header")
    return _checked(table, str(path))


def compat_split(table: pd.DataFrame) -> dict[str, list[str]]:
    """Split patches as the published splitter does; the order of the rows does not matter.

    The published splitter goes by sorted file name, `<region>_<sensor>_<number>.nc`. That is the order of the ids,
    as strings, as long as no region's name begins with another's and an underscore, as in all published sets.

    Parameters
    ----------
    table : pandas.DataFrame
        `id`, `pixel_annotated` (0 to 16384) and `inventory`, one row per patch. The strata go by the first token
        of the id, which is what the published `inventory` holds.

    Returns
    -------
    dict of list of str
        Ids of `train`, `val` and `test`, each sorted as strings.

    Raises
    ------
    RecipeError
        The table is wrong (see `read_split_table`), or its strata are too small for the published splitter.
    """
    patches = _checked(table, "the split table").sort_values("id", ignore_index=True)
    ids = patches["id"].to_numpy(dtype=np.object_)
    _, which, sizes = np.unique(_strata(patches), return_inverse=True, return_counts=True)
    alone = sizes[which] == 1
    rest, test = _divide(np.flatnonzero(~alone), which)
    train, val = _divide(rest, which)
    parts = {"train": np.concatenate([train, np.flatnonzero(alone)]), "val": val, "test": test}
    return {name: sorted(ids[rows].tolist()) for name, rows in parts.items()}


def _strata(patches: pd.DataFrame) -> NDArray[np.str_]:
    ratio = patches["pixel_annotated"].to_numpy() / PATCH_PIXELS
    coverage = np.searchsorted(np.percentile(ratio, [25, 75]), ratio, side="left")
    return np.array([f"{c}_{name.split('_')[0]}" for c, name in zip(coverage, patches["id"], strict=True)])


def _divide(rows: NDArray[np.int64], which: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        kept, taken = train_test_split(rows, test_size=_SHARE, stratify=which[rows], random_state=_SEED)
    except ValueError as err:
        raise RecipeError(f"{len(rows)} patches cannot be split as published: {_one_line(err)}") from err
    return kept, taken


def _checked(table: pd.DataFrame, where: str) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise RecipeError(f"{where} has no column {', '.join(missing)}")
    if table.empty:
        raise RecipeError(f"{where} has no rows")
    names = {name: table[name].fillna("").astype(str).str.strip() for name in ("id", "inventory")}
    for name, values in names.items():
        if (values == "").any():
            raise RecipeError(f"{where} has a row without {name}")
    if names["id"].duplicated().any():
        raise RecipeError(f"{where} repeats id {names['id'][names['id'].duplicated()].iloc[0]}")
    counts = pd.to_numeric(table["pixel_annotated"], errors="coerce").astype("float64")
    wrong = ~(counts.between(0, PATCH_PIXELS) & (counts % 1 == 0))
    if wrong.any():
        subject = f"pixel_annotated of {names['id'][wrong].iloc[0]}"
        came = str(table["pixel_annotated"][wrong].iloc[0])
        raise RecipeError(f"{where}: {subject} must be a whole number from 0 to {PATCH_PIXELS}, got {came!r}")
    checked = pd.DataFrame({**names, "pixel_annotated": counts.astype("int64")})
    return checked[list(COLUMNS)].reset_index(drop=True)


def _one_line(err: Exception) -> str:
    return " ".join(str(err).split())
