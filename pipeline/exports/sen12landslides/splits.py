"""Which patch is in train, val or test: lists made beforehand, or the published splitter for each sensor by itself."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from pipeline.errors import LayoutError, RecipeError
from pipeline.splits.compat import compat_split

SPLITS = ("train", "val", "test")
COMPAT = "compat"
DEFAULT = "blocks"

Splitter = Callable[[pd.DataFrame], dict[str, list[str]]]
"""Patches (id, pixel_annotated, inventory) to sorted ids of train, val and test; a patch may be in none."""


def open_splitter(roots: Sequence[Path], name: str | None) -> Splitter:
    """Return the function that splits a table of patches.

    Parameters
    ----------
    roots : sequence of Path
        Folders of datasets; the lists `splits/<name>/{train,val,test}.txt` of all of them hold together.
    name : str or None
        Folder of the lists, or compat for the published splitter; None takes blocks.

    Raises
    ------
    RecipeError
        The name is none, a dataset has no such lists, or a patch is in two of them.
    LayoutError
        A list is missing or is not text.
    """
    if name == COMPAT:
        return compat_split
    chosen = name or DEFAULT
    if Path(chosen).name != chosen:
        raise RecipeError(f"a split is not called {chosen!r}: give the name of a folder below splits")
    split_of: dict[str, str] = {}
    for root in roots:
        folder = root / "splits" / chosen
        if not folder.is_dir():
            raise RecipeError(
                f"{root} has no split {chosen}: make it with `sen12 split {root}`"
                f"{f' --name {chosen}' if name else ''}, or give --split compat for the published splitter"
            )
        for split in SPLITS:
            _add(split_of, _read_ids(folder / f"{split}.txt"), split, folder)
    return lambda table: _listed(table, split_of)


def _add(split_of: dict[str, str], ids: Sequence[str], split: str, folder: Path) -> None:
    for id_ in ids:
        if split_of.setdefault(id_, split) != split:
            raise RecipeError(f"{folder}: patch {id_} is in {split_of[id_]} and in {split}")


def _read_ids(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise LayoutError(f"{path} cannot be read: make the split again with `sen12 split`") from err


def _listed(table: pd.DataFrame, split_of: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for id_ in sorted(table["id"]):
        if id_ in split_of:
            found[split_of[id_]].append(id_)
    return found
