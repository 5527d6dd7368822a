"""Norms from statistics per file, as Sen12Landslides kept them: pooled mean and population standard deviation.

The pooled mean is the mean of the files' means, the variance the mean of std² + (mean - pooled mean)²: exact where
every file has as many pixels.
"""

import json
import math
from pathlib import Path

import pandas as pd

from pipeline.errors import RecipeError

COLUMNS = ("file", "variable", "mean", "std")


def pooled_norm(table: Path, paths: Path) -> dict[str, list[float]]:
    """Return `mean` and `std` of each variable over the train files.

    Parameters
    ----------
    table : Path
        CSV with `file` (name without suffix), `variable`, `mean` and `std`; one row per file and variable.
    paths : Path
        JSON with a list of paths under `train`.

    Returns
    -------
    dict of list of float
        One number per variable, in the order in which the table first names them; sums are rounded once.

    Raises
    ------
    RecipeError
        A file cannot be read, or a train file has no row, or two, of a variable.
    """
    statistics, names = _read_table(table), _read_train(paths)
    means, stds = (_wide(statistics, column, names, table) for column in ("mean", "std"))
    pooled = {name: math.fsum(means[name]) / len(names) for name in means}
    variances = {name: math.fsum(stds[name] ** 2 + (means[name] - pooled[name]) ** 2) / len(names) for name in means}
    return {"mean": list(pooled.values()), "std": [math.sqrt(variance) for variance in variances.values()]}


def _read_table(path: Path) -> pd.DataFrame:
    try:
        statistics = pd.read_csv(path, dtype={"file": str, "variable": str})
    except (OSError, ValueError) as err:
        raise RecipeError(f"{path} cannot be read as CSV: {' '.join(str(err).split())}") from err
    missing = [name for name in COLUMNS if name not in statistics.columns]
    if missing:
        raise RecipeError(f"{path} has no column {', '.join(missing)}")
    for name in statistics["file"][statistics.duplicated(["file", "variable"])]:
        raise RecipeError(f"{path} has two rows of one variable for {name}")
    return statistics


def _read_train(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise RecipeError(f"{path} cannot be read as JSON: {' '.join(str(err).split())}") from err
    train = content.get("train") if isinstance(content, dict) else None
    if not isinstance(train, list) or not train or not all(isinstance(name, str) for name in train):
        raise RecipeError(f"{path} has no list of paths under train")
    return [Path(name).stem for name in train]


def _wide(statistics: pd.DataFrame, column: str, names: list[str], path: Path) -> dict[str, "pd.Series[float]"]:
    values = {}
    for variable, rows in statistics.groupby("variable", sort=False):
        held = pd.to_numeric(rows.set_index("file")[column], errors="coerce").reindex(names)
        if held.isna().any():
            raise RecipeError(f"{path} has no {column} of {variable} for train file {held.index[held.isna()][0]}")
        values[str(variable)] = held.astype("float64")
    return values
