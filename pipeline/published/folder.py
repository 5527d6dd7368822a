"""A folder of v1.1 chunk files: which files, lists and tables it holds; nothing of it is opened here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import LayoutError
from pipeline.published.standard import SPLITS, SUFFIX

REFERENCES = ("S2L2A", "S2L1C", "S2RGB", "S1GRD")
"""What the other modalities of a file are compared with: the first of these that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What lies where."""

    root: Path
    files: dict[str, dict[str, tuple[str, ...]]]
    """Split to modality to file names, ascending; the reference modality comes first."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that have a folder, in the order of `SPLITS`."""
        return tuple(self.files)

    def names(self, split: str) -> list[str]:
        """Return every file name of a split, ascending, whatever modality has it."""
        return sorted({name for names in self.files[split].values() for name in names})

    def iter_files(self, split: str) -> Iterator[tuple[str, list[str]]]:
        """Yield each file name of a split with the modalities that have it."""
        held = {modality: frozenset(names) for modality, names in self.files[split].items()}
        for name in self.names(split):
            yield name, [modality for modality in held if name in held[modality]]

    def lists(self, split: str) -> list[Path]:
        """Return the lists of a split: `splits/*train*.txt`."""
        return [path for path in sorted(self.root.glob("splits/*.txt")) if split in path.stem.split("_")]

    def tables(self, split: str) -> list[Path]:
        """Return the metadata tables of a split: `*train*metadata*.parquet` under splits/ or metadata/."""
        found = (path for place in ("splits", "metadata") for path in sorted((self.root / place).glob("*.parquet")))
        return [path for path in found if {split, "metadata"} <= set(path.stem.split("_"))]

    def inside(self, path: Path) -> str:
        """Return a path as findings name it."""
        return path.relative_to(self.root).as_posix()


def open_folder(root: Path) -> Folder:
    """List what is in `root`.

    Raises
    ------
    LayoutError
        `root` is not a folder, or holds no chunk file under {train,val,test,all}/{modality}/.
    """
    if not root.is_dir():
        raise LayoutError(f"{root} is not a folder")
    files = {split: _modalities(root / split) for split in SPLITS}
    held = {split: modalities for split, modalities in files.items() if modalities}
    if not held:
        raise LayoutError(f"{root} holds no SSL4EO-S12 v1.1 dataset: no {{train,val}}/{{modality}}/*{SUFFIX}")
    return Folder(root=root, files=held)


def path_of(split: str, modality: str, name: str) -> str:
    """Return the path of a chunk file inside the folder."""
    return f"{split}/{modality}/{name}"


def _modalities(split: Path) -> dict[str, tuple[str, ...]]:
    if not split.is_dir():
        return {}
    found = {
        modality.name: tuple(sorted(file.name for file in modality.iterdir() if _is_chunk_file(file)))
        for modality in split.iterdir()
        if modality.is_dir()
    }
    return {name: found[name] for name in sorted(found, key=_rank) if found[name]}


def _is_chunk_file(file: Path) -> bool:
    return file.name.endswith(SUFFIX) and not file.name.startswith(".")


def _rank(modality: str) -> tuple[int, str]:
    return REFERENCES.index(modality) if modality in REFERENCES else len(REFERENCES), modality
