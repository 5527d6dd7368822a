"""Where the files of a dataset go: a folder, or an object store that gets each file by one whole put.

Either way a file is there whole or not at all, and its receipt comes after it.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryFile, gettempdir
from typing import Protocol

import numpy as np
import obstore
from obstore.exceptions import NotFoundError

from pipeline.errors import LayoutError, TargetError
from pipeline.folder import writing
from pipeline.layouts import LAYOUTS
from pipeline.layouts.encoding import EncodedPixels
from pipeline.layouts.ssl4eo import ShardLabels
from pipeline.receipts import (
    Attempts,
    attempts_text,
    find_receipt,
    load_attempts,
    parse_attempts,
    parse_receipt,
    receipt_text,
    save_receipt,
    write_whole,
)
from pipeline.records import Recipe, Shard, ShardReport
from pipeline.stores import digest_at, explained, open_target

LEAST_SHARE = 0.05
"""Of the size of arrays; no real image is packed smaller."""

logger = logging.getLogger(__name__)

AGAIN = "the same command with --resume goes on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One file at its target."""

    sha256: str
    """Hexadecimal."""
    bytes: int
    etag: str = ""
    """What an object store calls this version."""


class Target(Protocol):
    """Where files and receipts go; small enough to be made anew for every file."""

    def find(self, shard: Shard, digest: str) -> ShardReport | None:
        """Return the receipt if the file is done: plan and file match it; otherwise None."""

    def write(self, shard: Shard, layout: str, labels: ShardLabels, pixels: EncodedPixels) -> Stored:
        """Write one file in one step: nothing is there until it is whole."""

    def accept(self, shard: Shard, report: ShardReport) -> None:
        """Write the receipt of a file that is there."""

    def attempts(self, shard: Shard) -> Attempts:
        """Return the attempts at the file that came to nothing."""

    def note(self, shard: Shard, attempts: Attempts) -> None:
        """Write down the attempts at a file that is not there yet."""

    def forget(self, shard: Shard) -> None:
        """Remove that note: the receipt tells the rest."""


def patch_bytes(recipe: Recipe, name: str) -> int:
    """Return the size of one patch's arrays in a file of a modality, with one byte a pixel for its cloud mask."""
    pixel = np.dtype(recipe.modality(name).dtype).itemsize * len(recipe.bands_of(name)) + 1
    return recipe.timesteps_of(name) * recipe.size_of(name) ** 2 * pixel


def require_room(root: Path, store: str, shards: Iterable[Shard], recipe: Recipe) -> None:
    """Refuse to build where the files that are to come cannot fit, and warn where they may not.

    Of a folder, all of them; before an object store, one, in this machine's folder of temporary files.

    Raises
    ------
    TargetError
        There is no room even for arrays that are packed to `LEAST_SHARE`.
    """
    arrays = (
        patch_bytes(recipe, shard.modality) * len(shard.samples)
        for shard in shards
        if store or not (root / shard.path).exists()
    )
    needed = max(arrays, default=0) if store else sum(arrays)
    place = Path(gettempdir()) if store else root
    free = disk_usage(place).free
    what = "a file on its way to the store" if store else "the files to come"
    line = f"{place} has {free / 1e9:.2f} GB free, and {what} may take up to {needed / 1e9:.2f} GB"
    if free < LEAST_SHARE * needed:
        raise TargetError(f"{line}, which cannot fit: make room, or {'set TMPDIR' if store else 'name another place'}")
    if free < needed:
        logger.warning("%s before they are compressed", line)


def target_of(root: Path, store: str) -> Target:
    """Return the object store at the URL `store`, or the folder `root` where that is empty."""
    return StoreTarget(store) if store else FolderTarget(root)


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """A folder of this machine, or one that all workers share."""

    root: Path

    def find(self, shard: Shard, digest: str) -> ShardReport | None:
        """See `Target.find`: the file is read, and its SHA-256 compared."""
        return find_receipt(self.root, shard, digest)

    def write(self, shard: Shard, layout: str, labels: ShardLabels, pixels: EncodedPixels) -> Stored:
        """See `Target.write`; raises TargetError when the folder cannot be written."""
        with writing(self.root):
            sha256, size = LAYOUTS[layout].write(self.root / shard.path, labels, pixels)
        return Stored(sha256=sha256, bytes=size)

    def accept(self, shard: Shard, report: ShardReport) -> None:
        """See `Target.accept`; raises TargetError when the folder cannot be written."""
        with writing(self.root):
            save_receipt(self.root / shard.receipt_path, report)

    def attempts(self, shard: Shard) -> Attempts:
        """See `Target.attempts`."""
        return load_attempts(self.root / shard.attempts_path)

    def note(self, shard: Shard, attempts: Attempts) -> None:
        """See `Target.note`; raises TargetError when the folder cannot be written."""
        with writing(self.root):
            write_whole(self.root / shard.attempts_path, attempts_text(attempts))

    def forget(self, shard: Shard) -> None:
        """See `Target.forget`; raises TargetError when the folder cannot be written."""
        with writing(self.root):
            (self.root / shard.attempts_path).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class StoreTarget:
    """An object store; workers need no folder in common."""

    url: str

    def find(self, shard: Shard, digest: str) -> ShardReport | None:
        """See `Target.find`: the store's size and tag of the file are compared, it is not read.

        Raises
        ------
        RecipeError, TransientSourceError
            As `explained`.
        """
        store = open_target(self.url)
        with explained(self.url, what=shard.path, again=AGAIN):
            try:
                report = parse_receipt(bytes(obstore.get(store, shard.receipt_path).bytes()), shard.receipt_path)
                there = obstore.head(store, shard.path)
                is_same = there["size"] == report.bytes and (
                    there["e_tag"] == report.etag if report.etag else digest_at(store, shard.path) == report.sha256
                )
            except (FileNotFoundError, NotFoundError, LayoutError):
                return None
        return report if is_same and report.state == "done" and report.plan_digest == digest else None

    def write(self, shard: Shard, layout: str, labels: ShardLabels, pixels: EncodedPixels) -> Stored:
        """See `Target.write`; raises as `find`.

        The file is made in a nameless temporary file: whoever is killed leaves nothing behind, here or there.
        """
        with TemporaryFile(prefix="sen12-") as raw:
            with writing(Path(gettempdir())):
                sha256 = LAYOUTS[layout].dump(raw, labels, pixels)
                size = raw.tell()
            raw.seek(0)
            with explained(self.url, what=shard.path, again=AGAIN):
                put = obstore.put(open_target(self.url), shard.path, raw, use_multipart=False)
        return Stored(sha256=sha256, bytes=size, etag=put["e_tag"] or "")

    def accept(self, shard: Shard, report: ShardReport) -> None:
        """See `Target.accept`; raises as `find`."""
        with explained(self.url, what=shard.receipt_path, again=AGAIN):
            obstore.put(open_target(self.url), shard.receipt_path, receipt_text(report))

    def attempts(self, shard: Shard) -> Attempts:
        """See `Target.attempts`; raises as `find`."""
        with explained(self.url, what=shard.attempts_path, again=AGAIN):
            try:
                text = bytes(obstore.get(open_target(self.url), shard.attempts_path).bytes())
            except (FileNotFoundError, NotFoundError):
                return Attempts()
        return parse_attempts(text)

    def note(self, shard: Shard, attempts: Attempts) -> None:
        """See `Target.note`; raises as `find`."""
        with explained(self.url, what=shard.attempts_path, again=AGAIN):
            obstore.put(open_target(self.url), shard.attempts_path, attempts_text(attempts))

    def forget(self, shard: Shard) -> None:
        """See `Target.forget`; raises as `find`."""
        # Some stores name a missing object, others do not care.
        with explained(self.url, what=shard.attempts_path, again=AGAIN), suppress(FileNotFoundError, NotFoundError):
            obstore.delete(open_target(self.url), shard.attempts_path)


_: tuple[type[Target], ...] = (FolderTarget, StoreTarget)
