"""Publishing: a finished dataset copied to its home, every file checked after the copy, the manifest written last."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError
from obstore.store import ObjectStore

from pipeline import published
from pipeline.cluster import Runner
from pipeline.copies import Lend, in_place
from pipeline.errors import LayoutError, RecipeError
from pipeline.folder import MEMBERS, read_recipe
from pipeline.layouts.ssl4eo import file_digest
from pipeline.stores import digest_at, explained, is_store, open_target
from pipeline.validate import Finding, validate

MANIFEST = "MANIFEST"
"""Checksum and path of every file, as `sha256sum --check` reads them; where it is, the dataset is whole."""
THREADS = 8
"""Files copied at the same time."""
AGAIN = "publish again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """One file at the target; its checksum was read back from there."""

    path: str
    sha256: str
    bytes: int
    was_there: bool
    """True when the target held it already, from a copy that was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A dataset at its home."""

    target: str
    files: int
    bytes: int
    copied: int
    """Files that were not there before."""

    def __str__(self) -> str:
        there = f" ({self.files - self.copied} were there already)" if self.copied < self.files else ""
        return f"{self.target}: {self.files} files, {self.bytes} bytes, every checksum matches{there}"


def findings_of(root: Path, *, lend: Lend = in_place) -> list[Finding]:
    """Check a dataset against its plan; a folder without a recipe, or a seasonal one, against the published layout."""
    if not (root / "recipe.yaml").is_file() and not (root / "plan.parquet").is_file() and root.is_dir():
        return published.check_folder(root, lend=lend)
    findings = validate(root, lend=lend)
    recipe = read_recipe(root)
    if findings or recipe.seasons is None:
        return findings
    return published.check_folder(root, spacing=recipe.resolution, lend=lend)


def require_whole(root: Path) -> str:
    """Refuse a dataset that is not fit to be published; returns its recipe's name.

    Raises
    ------
    LayoutError
        `root` is no dataset, or the check of it finds something.
    """
    name = read_recipe(root).name
    findings = findings_of(root)
    if findings:
        raise LayoutError(
            f"{root} is not published: {len(findings)} findings (first: {findings[0]}); "
            "`sen12 validate` lists them, a build with resume mends what is missing or damaged"
        )
    return name


def publish(root: Path, target: str, runner: Runner, progress: Callable[[int, int], None]) -> Publication:
    """Copy the dataset in `root`, which was checked, to `target`; a copy that was stopped goes on.

    Every file is read back and its SHA-256 compared; then MANIFEST is written, in one step. What is at the target
    already with the right checksum is not copied again; a published dataset is never changed.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    target : str
        A folder, or an object store's URL as s3://bucket/prefix; credentials come from the environment.
    runner : Runner
        Where the copying runs.
    progress : callable
        Called with how many files are at the target, and how many there are.

    Raises
    ------
    RecipeError
        The target is taken by something else, does not exist, or may not be written.
    LayoutError
        A file at the target is not what was copied.
    TransientSourceError
        The target does not answer.
    """
    names = _names(root)
    _require_apart(root, target)
    held = _read_manifest(target)
    if held is None:
        _require_no_strangers(target, {*names, MANIFEST})
    elif held != {name: file_digest(root / name) for name in names}:
        raise RecipeError(f"{target} holds another published dataset, which is never changed; name another target")
    progress(0, len(names))
    copied: dict[str, Copied] = {}
    for copy in runner.run(partial(copy_file, root=root, target=target), names, threads=THREADS):
        copied[copy.path] = copy
        progress(len(copied), len(names))
    if held is None:
        _write_manifest(target, {name: copied[name].sha256 for name in names})
    return Publication(
        target=target,
        files=len(names),
        bytes=sum(copy.bytes for copy in copied.values()),
        copied=sum(not copy.was_there for copy in copied.values()),
    )


def copy_file(name: str, root: Path, target: str) -> Copied:
    """Copy one file unless the target has it, and check what the target then holds; raises as `publish` does."""
    store, file = open_target(target), root / name
    digest, size = file_digest(file), file.stat().st_size
    with explained(target, again=AGAIN, what=name):
        was_there = _size_of(store, name) == size and digest_at(store, name) == digest
        if not was_there:
            obstore.put(store, name, file)
            if digest_at(store, name) != digest:
                raise LayoutError(f"{target}: {name} is not what was copied; publish again to copy it once more")
    return Copied(path=name, sha256=digest, bytes=size, was_there=was_there)


def _names(root: Path) -> list[str]:
    files = [file for member in MEMBERS for file in (root / member, *(root / member).rglob("*"))]
    return sorted(file.relative_to(root).as_posix() for file in files if file.is_file())


def _require_apart(root: Path, target: str) -> None:
    if is_store(target):
        return
    home, dataset = Path(target.removeprefix("file://")).resolve(), root.resolve()
    if home == dataset or dataset in home.parents or home in dataset.parents:
        raise RecipeError(f"target {target} and dataset {root} lie in each other; name another folder")
    if home.exists() and not home.is_dir():
        raise RecipeError(f"target {target} is a file; name a folder")


def _require_no_strangers(target: str, expected: set[str]) -> None:
    with explained(target, again=AGAIN, what="listing"):
        for batch in open_target(target).list():
            for found in batch:
                if found["path"] not in expected:
                    problem = f"{target} holds something else ({found['path']}); name a target of its own"
                    raise RecipeError(problem)


def _read_manifest(target: str) -> dict[str, str] | None:
    with explained(target, again=AGAIN, what=MANIFEST):
        try:
            text = bytes(obstore.get(open_target(target), MANIFEST).bytes()).decode()
        except (FileNotFoundError, NotFoundError):
            return None
    try:
        return {name: digest for digest, name in (line.split("  ", maxsplit=1) for line in text.splitlines())}
    except ValueError as err:
        raise RecipeError(f"{target} holds a {MANIFEST} that is not of this program; name another target") from err


def _write_manifest(target: str, digests: Mapping[str, str]) -> None:
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    with explained(target, again=AGAIN, what=MANIFEST):
        try:
            obstore.put(open_target(target), MANIFEST, text.encode(), mode="create")
        except AlreadyExistsError as err:
            raise RecipeError(f"{target} was published by another run meanwhile; publish again to compare") from err


def _size_of(store: ObjectStore, name: str) -> int | None:
    try:
        return obstore.head(store, name)["size"]
    except (FileNotFoundError, NotFoundError):
        return None
