"""Object stores by URL, as s3://bucket/prefix, and what went wrong with one in the package's own words."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore, from_url

from pipeline.errors import PipelineError, RecipeError, TargetError, TransientSourceError

if TYPE_CHECKING:
    from obstore import ObjectMeta

SCHEMES = ("s3", "gs", "az", "abfs", "abfss", "file")
RETRY_SECONDS = 60
"""How long an object store that does not answer is asked again for one file."""

_DISK = re.compile(r"([A-Z][A-Za-z -]+) \(os error (27|28|30|122)\)")
"""A target that is a folder, and full or read-only."""
_SECRET = re.compile(r"\?[^\s'\",)]*|(?<=//)[^\s/@]+@")
"""Queries, where signatures are, and credentials."""
_REFUSED = re.compile(r"status code: (40[0-7] [A-Za-z ]+)")


def is_store(target: str) -> bool:
    """Tell whether a target is the URL of an object store, not a folder."""
    return "://" in target and not target.startswith("file://")


def folder_name(url: str) -> str:
    """Return what a folder that stands for a store is called: as the last part of its URL."""
    name = url.rstrip("/").rpartition("/")[2]
    return name if name.strip(".") else "dataset"


@cache
def open_target(target: str) -> ObjectStore:
    """Return the store behind a folder or a URL; makes the folder.

    Raises
    ------
    RecipeError
        The target is of no known kind, or carries credentials.
    """
    if "://" not in target:
        return LocalStore(Path(target).absolute(), mkdir=True)
    try:
        parts = urlsplit(target)
    except ValueError as err:
        raise RecipeError(f"target begins like a URL, but is none: {err}") from err
    if parts.scheme not in SCHEMES:
        raise RecipeError(f"target is a folder or a URL of {', '.join(SCHEMES)}, not {parts.scheme}://")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise RecipeError("target carries credentials or a query: give them in the environment, as AWS_ACCESS_KEY_ID")
    if parts.scheme == "file":
        return LocalStore(Path(parts.path), mkdir=True)
    try:
        retry_timeout = timedelta(seconds=RETRY_SECONDS)
        return from_url(target, retry_config={"max_retries": 8, "retry_timeout": retry_timeout})
    except (BaseError, ValueError) as err:
        raise RecipeError(f"target {target} cannot be opened: {_first_line(err)}") from err


@contextmanager
def explained(target: str, *, what: str, again: str) -> Iterator[None]:
    """Turn what a store raises while `what` is read or written into one line; `again` says what to do later.

    Raises
    ------
    RecipeError
        The target does not exist, or may not be used.
    TargetError
        It is a folder that is full or read-only.
    TransientSourceError
        It does not answer.
    """
    try:
        yield
    except PipelineError:
        raise
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as err:
        raise RecipeError(f"{target} may not be read and written ({what}); check the credentials") from err
    except (NotFoundError, FileNotFoundError) as err:
        raise RecipeError(f"{target} does not exist ({what}): {_first_line(err)}; make the bucket first") from err
    except BaseError as err:
        disk = _DISK.search(_first_line(err))
        if disk:
            problem = f"{target} cannot be written ({what}): {disk[1]}"
            raise TargetError(f"{problem}; make room or name another place") from err
        # Listings come back as a general error, whatever the status.
        refused = _REFUSED.search(_first_line(err))
        if refused:
            problem = f"{target} does not exist or may not be used ({what}: {refused[1]})"
            raise RecipeError(f"{problem}; make the bucket first, or check the credentials") from err
        raise TransientSourceError(f"{target} does not answer ({what}): {_first_line(err)}; {again}") from err


def listed_at(target: str, *, again: str) -> "dict[str, ObjectMeta]":
    """Return what a store holds, by path below `target`; raises as `explained`, or RecipeError for a strange path."""
    with explained(target, what="listing", again=again):
        held = {found["path"]: found for batch in open_target(target).list() for found in batch}
    for name in held:
        # Names become paths of this machine.
        if {"", ".", ".."} & set(name.split("/")):
            raise RecipeError(f"{target} holds {name!r}, which is no path inside a dataset")
    return held


def download(target: str, name: str, path: Path) -> None:
    """Write what a store holds under `name` to a file; raises what the store and the disk raise."""
    stream = obstore.get(open_target(target), name).stream()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw:
        for part in stream:
            raw.write(bytes(part))


def digest_at(store: ObjectStore, name: str) -> str:
    """Return the SHA-256 of what a store holds under `name`, read back whole, hexadecimal."""
    digest = hashlib.sha256()
    for part in obstore.get(store, name).stream():
        digest.update(bytes(part))
    return digest.hexdigest()


def _first_line(problem: object) -> str:
    # The library appends its own source's debug text.
    return _SECRET.sub("", " ".join(str(problem).partition("\n\n")[0].partition("<?xml")[0].split()))
