"""A dataset to be read, wherever it lies: its tables and receipts as files of this machine, its pixels file by file.

What an object store holds of pixels is lent, one file at a time; until then a stand-in of the same size and date,
without a byte of it, shows that it is there.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from obstore.exceptions import NotFoundError

from pipeline.errors import LayoutError, PipelineError, TargetError
from pipeline.folder import MEMBERS
from pipeline.mirror import Mirror
from pipeline.stores import download, explained, folder_name, is_store, listed_at, open_target

if TYPE_CHECKING:
    from obstore import ObjectMeta

AGAIN = "give the same command again"
FETCHES = 16
"""Small files that are fetched at the same time."""
PIXELS = ("all", "train", "val", "test")
"""Members that hold files of pixels."""

Lend = Callable[[Path], AbstractContextManager[Path]]
"""Makes a file of pixels readable at its path for as long as the context lasts."""


@contextmanager
def in_place(path: Path) -> Iterator[Path]:
    """Lend a file of this machine: it is there already, or whoever opens it says that it is not."""
    yield path


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A dataset's folder, or what stands for an object store."""

    folder: Path
    store: str = ""
    """URL; empty where the folder itself is the dataset."""

    @property
    def name(self) -> str:
        """What the user calls the dataset's place."""
        return self.store or str(self.folder)

    @contextmanager
    def lend(self, path: Path) -> Iterator[Path]:
        """See `Lend`.

        Raises
        ------
        LayoutError
            The store holds the file no more.
        TargetError
            There is no room for it on this machine.
        RecipeError, TransientSourceError
            As `explained`.
        """
        if not self.store or not path.is_file():
            yield path
            return
        known = path.stat()
        if shutil.disk_usage(self.folder).free < known.st_size:
            problem = f"{path} takes {known.st_size / 1e6:.1f} MB while it is read, and there is no room"
            raise TargetError(f"{problem} in the folder of temporary files; free some, or set TMPDIR")
        try:
            with explained(self.store, what=path.name, again=AGAIN):
                _fetch(self.store, path.relative_to(self.folder).as_posix(), path)
            yield path
        finally:
            _stand_in(path, known.st_size, known.st_mtime)


def lender(copies: Iterable[Copy]) -> Lend:
    """Return what lends the files of several datasets."""
    held = tuple(copies)

    def lend(path: Path) -> AbstractContextManager[Path]:
        owner = next((copy for copy in held if copy.folder in path.parents), None)
        return owner.lend(path) if owner else in_place(path)

    return lend


@contextmanager
def open_copy(place: str) -> Iterator[Copy]:
    """Yield what can be read of the dataset at `place`, a folder or the URL of an object store.

    Nothing is written there; it may be built meanwhile, here or elsewhere.

    Raises
    ------
    RecipeError
        The store does not exist, may not be read, or names what is no path.
    TransientSourceError
        It does not answer.
    """
    if not is_store(place):
        yield Copy(folder=Path(place.removeprefix("file://")))
        return
    url = place.rstrip("/")
    open_target(url)
    with TemporaryDirectory(prefix="sen12-") as temporary:
        copy = Copy(folder=Path(temporary) / folder_name(url), store=url)
        copy.folder.mkdir()
        try:
            held = listed_at(url, again=AGAIN)
            _fetch_all(copy, [name for name in held if _member(name) in MEMBERS and _member(name) not in PIXELS], held)
            _place(copy, held)
            yield copy
        except PipelineError as err:
            # Nobody knows the folder: the dataset is the store.
            raise type(err)(str(err).replace(str(copy.folder), url)) from err


def whole_copy(mirror: Mirror) -> Copy:
    """Return the dataset whose tables a mirror holds, its files of pixels ready to be lent; raises as `open_copy`."""
    copy = Copy(folder=mirror.folder, store=mirror.store)
    if copy.store:
        _place(copy, listed_at(copy.store, again=AGAIN))
    return copy


def fetch_receipts(mirror: Mirror) -> list[str]:
    """Bring the receipts of a store to its mirror, and return their names; raises as `open_copy`."""
    if not mirror.store:
        return []
    held = listed_at(mirror.store, again=AGAIN)
    names = sorted(name for name in held if _member(name) == "receipts")
    _fetch_all(Copy(folder=mirror.folder, store=mirror.store), names, held)
    return names


def _member(name: str) -> str:
    return name.partition("/")[0]


def _place(copy: Copy, held: "dict[str, ObjectMeta]") -> None:
    for name, found in held.items():
        if _member(name) in PIXELS:
            path = copy.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _stand_in(path, found["size"], found["last_modified"].timestamp())


def _stand_in(path: Path, size: int, modified: float) -> None:
    with path.open("wb") as file:
        file.truncate(size)
    os.utime(path, (modified, modified))


def _fetch_all(copy: Copy, names: Iterable[str], held: "dict[str, ObjectMeta]") -> None:
    def fetch(name: str) -> None:
        path, modified = copy.folder / name, held[name]["last_modified"].timestamp()
        with explained(copy.store, what=name, again=AGAIN):
            try:
                _fetch(copy.store, name, path)
            except LayoutError:
                # A build took its note away meanwhile.
                return
        os.utime(path, (modified, modified))

    with ThreadPoolExecutor(FETCHES) as pool:
        list(pool.map(fetch, names))


def _fetch(url: str, name: str, path: Path) -> None:
    try:
        download(url, name, path)
    except (FileNotFoundError, NotFoundError) as err:
        raise LayoutError(f"{path} is not there any more") from err
