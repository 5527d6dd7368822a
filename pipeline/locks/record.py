"""A lock: what it holds, and its file, a plain zip of JSON, the assets' identities and the decided tables.

Entries are stored as they are: whoever reads a lock of others gets no more bytes than the file has.
"""

import io
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from pipeline.catalog.codec import from_table, to_table
from pipeline.errors import LayoutError
from pipeline.layouts.stored_zip import ZIP_EPOCH
from pipeline.sources.identity import AssetIdentity

FORMAT = 1
"""Changes when an elder release could not read the file any more."""

OPTIONAL = frozenset({"unreadable.parquet", "copies.parquet", "mirrors.json"})
"""Files that not every dataset has."""
MEMBERS = (
    "recipe.yaml", "provenance.json", *sorted(OPTIONAL), "samples.parquet", "events.parquet", "rejected.parquet",
    "scenes.parquet", "survey.parquet", "plan.parquet",
)  # fmt: skip
"""Files of a dataset that are in its lock: with them alone it can be built again; the plan comes last."""

_DOCUMENT, _ASSETS = "lock.json", "assets.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedShard:
    """One file of pixels."""

    path: str
    """Inside the dataset."""
    plan_digest: str
    """SHA-256 of everything that decides its bytes, besides the assets' own."""
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What a dataset's bytes rest on; the recipe itself and the tables lie beside it in the file."""

    format: int
    recipe: str
    """Its name."""
    provenance: Mapping[str, str]
    """As provenance.json: the source, and digests of the places."""
    plan_sha256: str
    """Of path and plan digest of every file of pixels: equal where recipe and plan are."""
    seed: int
    grid: Mapping[str, float | Sequence[float] | Sequence[str]]
    """resolution and anchor [m], patch_size [px], and the coordinate systems that patches lie in."""
    packages: Mapping[str, str]
    """Version of whatever had a hand in the bytes."""
    shards: tuple[LockedShard, ...]
    assets: tuple[AssetIdentity, ...] = field(default=())
    """By reference."""


_LOCK = TypeAdapter(Lock)


def write_lock(path: Path, lock: Lock, root: Path) -> None:
    """Write the lock of the dataset in `root` to `path` in one step; equal locks are equal files."""
    document = _LOCK.dump_json(lock, indent=1, exclude={"assets"}) + b"\n"
    assets = io.BytesIO()
    pq.write_table(to_table(lock.assets, AssetIdentity), assets, compression="zstd")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.writestr(_entry(_DOCUMENT), document)
            archive.writestr(_entry(_ASSETS), assets.getvalue())
            for name in (name for name in MEMBERS if (root / name).is_file()):
                with (root / name).open("rb") as raw, archive.open(_entry(name), "w", force_zip64=True) as entry:
                    shutil.copyfileobj(raw, entry)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, ZIP_EPOCH)
    info.external_attr = 0o644 << 16
    info.create_system = 3
    return info


def read_lock(path: Path) -> Lock:
    """Read what a lock says; raises LayoutError when it is absent, damaged, or none."""
    try:
        with _opened(path) as archive:
            lock = _LOCK.validate_json(_member(archive, _DOCUMENT, path))
            table = pq.read_table(io.BytesIO(_member(archive, _ASSETS, path)))
    except (OSError, ValueError, pa.ArrowException) as err:
        if isinstance(err, LayoutError):
            raise
        raise LayoutError(f"{path} is not a whole lock: {' '.join(str(err).split())[:200]}") from err
    if lock.format != FORMAT:
        raise LayoutError(f"{path} has format {lock.format}, not {FORMAT}: read it with the release that wrote it")
    return Lock(
        **{name: getattr(lock, name) for name in Lock.__slots__ if name != "assets"},
        assets=tuple(from_table(table, AssetIdentity, path)),
    )


def unpack_lock(path: Path, root: Path) -> None:
    """Write the dataset's decided files out of a lock into `root`, the plan last, each in one step."""
    root.mkdir(parents=True, exist_ok=True)
    with _opened(path) as archive:
        held = set(archive.namelist())
        for name in (name for name in MEMBERS if name in held or name not in OPTIONAL):
            temporary = root / f".{name}.tmp"
            try:
                with archive.open(_stored(archive, name, path)) as entry, temporary.open("wb") as raw:
                    shutil.copyfileobj(entry, raw)
                temporary.replace(root / name)
            finally:
                temporary.unlink(missing_ok=True)


def is_unpacked(path: Path, root: Path) -> bool:
    """Tell whether `root` was started from this lock: places, recipe and provenance are the same bytes."""
    with _opened(path) as archive:
        return all(
            (root / name).is_file() and (root / name).read_bytes() == _member(archive, name, path)
            for name in ("recipe.yaml", "provenance.json", "samples.parquet")
        )


def _opened(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise LayoutError(f"lock {path} does not exist")
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as err:
        raise LayoutError(f"{path} is not a whole lock: {err}") from err


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    return archive.read(_stored(archive, name, path))


def _stored(archive: zipfile.ZipFile, name: str, path: Path) -> zipfile.ZipInfo:
    try:
        info = archive.getinfo(name)
    except KeyError as err:
        raise LayoutError(f"{path} is not a whole lock: {name} is not in it") from err
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > path.stat().st_size:
        raise LayoutError(f"{path} is no lock of this program: {name} is compressed")
    return info
