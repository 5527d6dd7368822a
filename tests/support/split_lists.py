"""Lists of patch ids as `sen12 split` writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def write_lists(root: Path, name: str, splits: Mapping[str, Sequence[str]]) -> None:
    folder = root / "splits" / name
    folder.mkdir(parents=True)
    for split in ("train", "val", "test"):
        (folder / f"{split}.txt").write_text("".join(f"{id_}\n" for id_ in splits.get(split, ())))
