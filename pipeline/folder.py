"""The dataset's folder: whose it is, whether it may be written, and what it was made from."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from pipeline import __version__
from pipeline.errors import LayoutError, RecipeError, TargetError
from pipeline.recipes import load_recipe, recipe_to_yaml
from pipeline.records import Recipe

Existing = Literal["refuse", "resume", "overwrite"]
"""What to do with a folder that holds a dataset already."""

_PROVENANCE = TypeAdapter(dict[str, str])
_MIRRORS = TypeAdapter(tuple[str, ...])
MIRRORS = "mirrors.json"
"""Mirrors of the source, named as it is. What a dataset was made from stays as it is; mirrors may be added to it."""

MEMBERS = (
    "provenance.json", "recipe.yaml", "mirrors.json", "samples.parquet", "events.parquet", "rejected.parquet",
    "scenes.parquet", "survey.parquet", "plan.parquet", "unreadable.parquet", "copies.parquet", "ledger.parquet",
    "frames.parquet", "labels.parquet", "statistics.json", "README.md", "preview.png", "lock.zip",
    "all", "train", "val", "test", "receipts", "metadata", "splits", ".planning",
)  # fmt: skip
"""Everything that a dataset's folder holds; nothing else in it is ever removed. What says whose it is comes first."""


_UNWRITABLE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of the quota",
    errno.EFBIG: "the file system takes no such file: lower samples_per_shard",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "ask for leave to write there",
    errno.EPERM: "ask for leave to write there",
}
"""What to do where a dataset cannot be written, by the system's reason."""


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Say in one line that the dataset in `root` cannot be written, and why.

    Raises
    ------
    TargetError
        Disk or quota are full, or it may not be written; every other error passes.
    """
    try:
        yield
    except OSError as err:
        if err.errno not in _UNWRITABLE:
            raise
        advice = _UNWRITABLE[err.errno]
        raise TargetError(
            f"{root} cannot be written: {os.strerror(err.errno)}; {advice}; what is built is kept: the same command "
            "with --resume goes on"
        ) from err


PLANNING = ".planning"
"""Folder beside the dataset's members where a plan is being made; it holds nothing that a dataset needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks for."""

    recipe: Recipe
    places: str
    """Path of the inventory or points file."""
    source: str
    """Provider name, or path or URL of a STAC catalogue."""
    out: Path
    """Folder of the dataset."""
    mirrors: tuple[str, ...] = ()
    """Named as sources are, in the order in which they are asked for what the source has no more."""

    @property
    def provenance(self) -> dict[str, str]:
        """What the plan rests on besides the recipe, as provenance.json holds it."""
        return {
            "sen12_pipeline": __version__,
            "source": _resolved(self.source),
            "places": Path(self.places).name,
            "places_sha256": _places_digest(Path(self.places)),
        }


def check_folder(request: Request, existing: Existing) -> bool:
    """Return True when the folder holds a finished plan of the same request, to go on from.

    Raises
    ------
    RecipeError
        The folder is taken: by something else, or by another request, or no leave was given to go on.
    """
    out = request.out
    if out.exists() and not out.is_dir():
        raise RecipeError(f"{out} is a file; name a folder for the dataset")
    if not out.is_dir() or all(member.name == PLANNING for member in out.iterdir()) or _is_barely_started(out):
        return False
    if not (out / "recipe.yaml").is_file() or not (out / "provenance.json").is_file():
        raise RecipeError(f"{out} is not empty and holds no dataset of this program; name another folder")
    if existing == "overwrite":
        return False
    difference = _difference(request)
    if difference:
        raise RecipeError(f"{out} was made from another request ({difference}); overwrite it or name another folder")
    if existing == "refuse":
        raise RecipeError(f"{out} holds this dataset already; resume it to go on, or overwrite it")
    return (out / "plan.parquet").is_file()


@contextmanager
def planning_folder(out: Path) -> Iterator[Path]:
    """Yield the empty folder that a plan is made in; what fails inside removes it, and `out` where that is empty."""
    folder, is_new = out / PLANNING, not out.exists()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        end_planning(out)
        if is_new:
            out.rmdir()
        raise


def end_planning(out: Path) -> None:
    """Remove the folder that a plan was made in."""
    shutil.rmtree(out / PLANNING, ignore_errors=True)


def start_folder(request: Request) -> None:
    """Make the folder the request's own: what an earlier dataset left in it is removed, but not a plan being made."""
    clear_folder(request.out, kept=(PLANNING,))
    request.out.mkdir(parents=True, exist_ok=True)
    provenance = json.dumps(request.provenance, indent=1, sort_keys=True) + "\n"
    parts = {"provenance.json": provenance, "recipe.yaml": recipe_to_yaml(request.recipe)}
    temporary = {name: request.out / f".{name}.tmp" for name in parts}
    try:
        # Both are whole before either shows: on a full disk the folder is not half somebody's.
        for name, text in parts.items():
            temporary[name].write_text(text, encoding="utf-8")
        for name, file in temporary.items():
            file.replace(request.out / name)
    finally:
        for file in temporary.values():
            file.unlink(missing_ok=True)
    add_mirrors(request.out, request.mirrors)


def _is_barely_started(out: Path) -> bool:
    """Tell whether a run was killed in `out` while it made the folder its own, or gave it up."""
    held = {file.name for file in out.iterdir()} & {*MEMBERS}
    leftovers = [file for file in out.iterdir() if file.name in (".provenance.json.tmp", ".recipe.yaml.tmp")]
    if held != {"provenance.json"}:
        return bool(leftovers) and len(leftovers) == len(list(out.iterdir()))
    try:
        return "sen12_pipeline" in read_provenance(out)
    except LayoutError:
        return False


def clear_folder(out: Path, *, kept: Collection[str] = ()) -> None:
    """Remove the members of a dataset from `out`, and nothing else; what says whose it is goes last."""
    for name in reversed(MEMBERS):
        member = out / name
        if name in kept:
            continue
        if member.is_dir() and not member.is_symlink():
            shutil.rmtree(member)
        else:
            member.unlink(missing_ok=True)


def clear_leftovers(root: Path) -> None:
    """Remove what a killed build left half written; only for who is about to build, and alone."""
    for name in ("all", "train", "val", "test", "receipts", "metadata"):
        for file in (root / name).rglob("*.tmp"):
            file.unlink(missing_ok=True)
    for file in root.glob(".*.tmp"):
        file.unlink(missing_ok=True)


def read_recipe(root: Path) -> Recipe:
    """Return the recipe that the dataset in `root` was made from; raises LayoutError if it is no dataset."""
    if not (root / "recipe.yaml").is_file():
        raise LayoutError(f"{root} holds no dataset: recipe.yaml is not there")
    return load_recipe(str(root / "recipe.yaml"))


def read_provenance(root: Path) -> dict[str, str]:
    """Return provenance.json; raises LayoutError when it is absent or damaged."""
    try:
        return _PROVENANCE.validate_json((root / "provenance.json").read_bytes())
    except (OSError, ValueError) as err:
        raise LayoutError(f"{root / 'provenance.json'} cannot be read") from err


def read_mirrors(root: Path) -> tuple[str, ...]:
    """Return the mirrors of the dataset in `root`, in the order in which they are asked; none where it names none.

    Raises
    ------
    LayoutError
        mirrors.json is damaged.
    """
    path = root / MIRRORS
    try:
        return _MIRRORS.validate_json(path.read_bytes()) if path.exists() else ()
    except (OSError, ValueError) as err:
        raise LayoutError(f"{path} cannot be read") from err


def mirror_names(source: str, mirrors: Sequence[str]) -> tuple[str, ...]:
    """Return mirrors by the names that the dataset has for them; raises RecipeError where one is its own source."""
    names = tuple(dict.fromkeys(map(_resolved, mirrors)))
    if _resolved(source) in names:
        raise RecipeError(f"--mirror {_resolved(source)} is the dataset's own source; name another provider")
    return names


def add_mirrors(root: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Add mirrors to those of the dataset in `root`, after them, and return all; they are the dataset's from now on.

    Raises
    ------
    RecipeError
        One of them is the dataset's own source.
    """
    held = read_mirrors(root)
    if not names:
        return held
    mirrors = mirror_names(read_provenance(root).get("source", ""), (*held, *names))
    if mirrors != held:
        temporary = root / f".{MIRRORS}.tmp"
        temporary.write_bytes(_MIRRORS.dump_json(mirrors, indent=1) + b"\n")
        temporary.replace(root / MIRRORS)
    return mirrors


def _difference(request: Request) -> str:
    before = flat(read_recipe(request.out).model_dump(mode="json"))
    now = flat(request.recipe.model_dump(mode="json"))
    held, asked = read_provenance(request.out), request.provenance
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    changed += [key for key in ("source", "places_sha256") if held.get(key) != asked[key]]
    return f"{', '.join(changed[:3])}{' and more' if len(changed) > 3 else ''} differ" if changed else ""


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping by dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def _resolved(source: str) -> str:
    if "://" in source:
        # A query may hold a token, and what stands before the host a password.
        return re.sub(r"(?<=://)[^/@]+@", "", source.partition("?")[0])
    return str(Path(source).resolve()) if Path(source).exists() else source


def _places_digest(path: Path) -> str:
    try:
        return hashlib.sha256(b"".join(part.read_bytes() for part in (path, *_sidecars(path)))).hexdigest()
    except OSError as err:
        raise RecipeError(f"places file {path} cannot be read; check --places") from err


def _sidecars(path: Path) -> list[Path]:
    """Return what else makes up a shapefile: its dates are not in the .shp."""
    if path.suffix.lower() != ".shp":
        return []
    siblings = (path.with_suffix(suffix) for suffix in (".dbf", ".prj", ".cpg"))
    return [sibling for sibling in siblings if sibling.is_file()]
