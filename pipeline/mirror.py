"""Tables of a dataset whose home is an object store, in a folder of this machine while they are worked on.

Files of pixels and receipts go straight to the store; what is small enough to be read and written whole lies here,
comes from the store when work begins and goes back to it after every stage.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir

import obstore

from pipeline.errors import PipelineError, RecipeError
from pipeline.folder import MEMBERS, writing
from pipeline.stores import download, explained, folder_name, is_store, listed_at, open_target

AGAIN = "the same command with --resume goes on"

ELSEWHERE = frozenset({"receipts", "all", "train", "val", "test"})
"""Members that lie at the store alone."""
FIRST, LAST = ("provenance.json", "recipe.yaml"), ("plan.parquet", "README.md")
"""What says whose the place is comes before everything; the plan follows what it rests on, the card the rest."""


@dataclass(slots=True, kw_only=True)
class Mirror:
    """A dataset's tables in a folder, and the store that they belong to."""

    folder: Path
    store: str = ""
    """URL; empty where the folder itself is the dataset."""
    _digests: dict[str, str] = field(default_factory=dict)
    """What the store holds, by name."""

    @property
    def name(self) -> str:
        """What the user calls the dataset's place."""
        return self.store or str(self.folder)

    def push(self) -> None:
        """Bring every table that changed to the store, and take away what is no more; nothing for a folder.

        Raises
        ------
        RecipeError, TransientSourceError
            As `explained`.
        """
        if not self.store:
            return
        here = {name: _digest(self.folder / name) for name in _small_files(self.folder)}
        if any(here.get(name) != self._digests.get(name) for name in FIRST):
            self.remove(listed_at(self.store, again=AGAIN))
        self.remove(self._digests.keys() - here.keys())
        changed = [name for name, digest in here.items() if self._digests.get(name) != digest]
        for name in sorted(changed, key=_order):
            with explained(self.store, what=name, again=AGAIN):
                obstore.put(open_target(self.store), name, self.folder / name, use_multipart=False)
            self._digests[name] = here[name]

    def fetch(self, names: Iterable[str]) -> None:
        """Bring files of the store here that are there; nothing for a folder."""
        for name in names if self.store else ():
            with explained(self.store, what=name, again=AGAIN):
                try:
                    with writing(self.folder):
                        download(self.store, name, self.folder / name)
                except FileNotFoundError:
                    continue

    def know(self, names: Iterable[str]) -> None:
        """Take the files that are here for what the store holds."""
        self._digests = {name: _digest(self.folder / name) for name in names}

    def remove(self, names: Iterable[str]) -> None:
        """Remove files from the store, what says whose it is last; nothing for a folder."""
        for name in sorted(names, key=_order, reverse=True) if self.store else ():
            with explained(self.store, what=name, again=AGAIN):
                obstore.delete(open_target(self.store), name)
            self._digests.pop(name, None)


def _order(name: str) -> tuple[bool, bool, str]:
    return (name not in FIRST, name in LAST, name)


@contextmanager
def open_mirror(out: str) -> Iterator[Mirror]:
    """Yield where the dataset `out`, a folder or the URL of an object store, can be worked on.

    Raises
    ------
    RecipeError
        The store holds something else, does not exist or may not be used, or another process of this machine works
        on it.
    TransientSourceError
        It does not answer.
    """
    if not is_store(out):
        yield Mirror(folder=Path(out.removeprefix("file://")))
        return
    url = out.rstrip("/")
    open_target(url)
    with _own_folder(url) as folder:
        mirror = Mirror(folder=folder, store=url)
        _pull(mirror)
        try:
            yield mirror
        except PipelineError as err:
            # Nobody knows the folder: the dataset is the store.
            raise type(err)(str(err).replace(str(folder), url)) from err


@contextmanager
def _own_folder(url: str) -> Iterator[Path]:
    """Yield an empty folder that belongs to the store; what a killed process left in it is removed."""
    place = Path(gettempdir()) / f"sen12-{os.getuid()}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    with writing(place):
        place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.getuid():
        raise RecipeError(f"{place} belongs to somebody else; set TMPDIR to a folder of your own")
    with (place / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise RecipeError(f"{url} is worked on by another process of this machine") from err
        shutil.rmtree(place / "work", ignore_errors=True)
        folder = place / "work" / folder_name(url)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _pull(mirror: Mirror) -> None:
    held = set(listed_at(mirror.store, again=AGAIN))
    strangers = [name for name in held if name.partition("/")[0] not in MEMBERS]
    if strangers or not (set(FIRST) <= held or held <= set(FIRST)):
        what = min(strangers or held)
        problem = f"{mirror.store} is not empty and holds no dataset of this program ({what}); name another place"
        raise RecipeError(problem)
    names = [name for name in held if name.partition("/")[0] not in ELSEWHERE]
    mirror.fetch(names)
    mirror.know(names)


def _small_files(folder: Path) -> list[str]:
    members = (member for member in MEMBERS if member not in ELSEWHERE)
    files = [file for member in members for file in (folder / member, *(folder / member).rglob("*"))]
    return sorted(file.relative_to(folder).as_posix() for file in files if file.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()
