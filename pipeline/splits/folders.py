"""A split on disk: `splits/<name>/` with a list of ids for each part, and the rule that made it."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.errors import LayoutError, RecipeError

PARTS = ("train", "val", "test", "buffer")
"""Every patch in a file is in one of them; those in the buffer are neither trained on nor scored."""

FOLDER = "splits"

NORM = "norm.json"
"""Mean and standard deviation of the train patches, beside the lists that they come from."""


def split_folder(root: Path, name: str) -> Path:
    """Return the folder of a split; raises RecipeError when `name` cannot be a folder's name."""
    if not name or name.startswith(".") or any(mark in name for mark in "/\\\0"):
        raise RecipeError(f"a split cannot be called {name!r}: give a plain folder name")
    return root / FOLDER / name


def write_split(
    root: Path, name: str, parts: Mapping[str, Sequence[str]], documents: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Write the lists of a split, one id a line in the order of strings, and JSON documents beside them.

    Each file is replaced in one step, `train.txt` last; the same content always gives the same bytes. A norm that was
    computed from earlier lists is removed.

    Parameters
    ----------
    parts : mapping of str to ids
        Ids of each of `PARTS`; one that is absent gets an empty list.
    documents : mapping
        File name without suffix, such as `rule`, to content.

    Returns
    -------
    Path
        Folder of the split.
    """
    folder = split_folder(root, name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NORM).unlink(missing_ok=True)
    for document, content in sorted(documents.items()):
        write_document(folder / f"{document}.json", content)
    for part in reversed(PARTS):
        _replace(folder / f"{part}.txt", "".join(f"{sample}\n" for sample in sorted(parts.get(part, ()))))
    return folder


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in one step; numbers must be finite."""
    _replace(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_rule(root: Path, name: str) -> dict[str, Any]:
    """Return what made a split: `rule` and its parameters; empty for lists that somebody else wrote.

    Raises
    ------
    LayoutError
        rule.json is damaged.
    """
    path = split_folder(root, name) / "rule.json"
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise LayoutError(f"{path} cannot be read; split again") from err
    if not isinstance(content, dict):
        raise LayoutError(f"{path} holds no rule; split again")
    return content


def read_split(root: Path, name: str) -> dict[str, tuple[str, ...]]:
    """Return the ids of each of `PARTS`, in the order of strings.

    Raises
    ------
    LayoutError
        The split or one of its lists is not there, cannot be read, or names a patch twice.
    """
    folder = split_folder(root, name)
    if not folder.is_dir():
        held = ", ".join(split_names(root)) or "none"
        raise LayoutError(f"{root} has no split {name} (it has {held}); make one with `sen12 split {root}`")
    parts = {part: _read_list(folder / f"{part}.txt") for part in PARTS}
    ids = sorted(sample for samples in parts.values() for sample in samples)
    for first, second in pairwise(ids):
        if first == second:
            raise LayoutError(f"{folder} names patch {first} twice; split again")
    return parts


def split_names(root: Path) -> list[str]:
    """Return the names of the splits in a dataset's folder."""
    return sorted(path.parent.name for path in (root / FOLDER).glob("*/train.txt"))


def _read_list(path: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError) as err:
        raise LayoutError(f"{path} is not there or cannot be read; split again") from err


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
