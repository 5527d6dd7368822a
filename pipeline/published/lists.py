"""The lists of a split, `splits/*_train.txt`: bare file names, ascending, one a line, and the files that are there."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from pipeline.published.folder import Folder
from pipeline.validate.findings import Finding


def check_lists(folder: Folder, split: str) -> Iterator[Finding]:
    """Yield what is wrong with the lists of a split, and how they differ from the files."""
    for path in folder.lists(split):
        where = folder.inside(path)
        try:
            text = path.read_bytes().decode("utf-8")
        except (OSError, ValueError) as err:
            yield Finding(where, f"cannot be read: {' '.join(str(err).split())}")
            continue
        yield from (Finding(where, what) for what in _line_problems(text))
        yield from (Finding(where, what) for what in compare_names(_names(text), folder.names(split), split))


def check_modalities(folder: Folder, split: str) -> Iterator[Finding]:
    """Yield the modalities of a split that lack files which others have."""
    names = folder.names(split)
    for modality, held in folder.files[split].items():
        absent = sorted(set(names) - set(held))
        if absent:
            yield Finding(f"{split}/{modality}", f"lacks {len(absent)} files of other modalities (first: {absent[0]})")


def compare_names(given: Sequence[str], held: Sequence[str], split: str) -> Iterator[str]:
    """Yield how names in a list or table differ from those of the files."""
    absent, unnamed = sorted(set(given) - set(held)), sorted(set(held) - set(given))
    if absent:
        yield f"names {len(absent)} files that are not in {split}/ (first: {absent[0]})"
    if unnamed:
        yield f"does not name {len(unnamed)} files of {split}/ (first: {unnamed[0]})"


def bare_name_problems(names: Sequence[str]) -> Iterator[str]:
    """Yield which names carry a folder."""
    folders = [name for name in names if Path(name).name != name or "\\" in name]
    if folders:
        yield f"names {len(folders)} files with a folder, expected bare names (first: {folders[0]})"


def _names(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _line_problems(text: str) -> Iterator[str]:
    lines = text.split("\n")
    if lines[-1]:
        yield "does not end with a line break"
    if any(line != line.strip() or not line for line in lines[:-1]):
        yield "has empty lines, blanks or carriage returns"
    names = _names(text)
    yield from bare_name_problems(names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        yield f"names {len(twice)} files twice (first: {twice[0]})"
    falls = [after for before, after in pairwise(names) if before > after]
    if falls:
        yield f"is not in ascending order (first out of order: {falls[0]})"
