"""Receipts: what makes a shard done. A file that merely exists proves nothing.

Until then a note beside the receipt tells how often building the shard was begun, and what ended it each time.
"""

import dataclasses
import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from pipeline.errors import LayoutError
from pipeline.layouts.ssl4eo import file_digest
from pipeline.records import Recipe, Shard, ShardReport
from pipeline.sources.watching import NONE_FAILED, FailedRequests, added

_REPORT = TypeAdapter(ShardReport)

STOPPED = "stopped before it came to an end"
"""What a killed attempt leaves: nobody was there to say more."""
_FAULTS_KEPT = 20
"""A note names this many of the latest attempts; it counts all."""


def plan_digest(shard: Shard, recipe: Recipe) -> str:
    """Return the SHA-256 of everything that decides the shard's bytes, hexadecimal."""
    decided = {"shard": shard, "recipe": recipe.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(decided, sort_keys=True, default=_as_json).encode()).hexdigest()


_UNDECIDING = frozenset({"checksums", "source"})
"""Fields that say what the assets must be, and who is asked for them, not which they are."""


@cache
def _fields_of(record: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(record))


def _as_json(value: Any) -> Any:
    """Return what JSON has for a record (its fields, as they are), for bytes and for times."""
    if dataclasses.is_dataclass(value):
        kind: Any = type(value)
        return {name: getattr(value, name) for name in _fields_of(kind) if name not in _UNDECIDING}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value)}")


def find_receipt(root: Path, shard: Shard, digest: str) -> ShardReport | None:
    """Return the receipt if the shard is done: plan and checksum match the file; otherwise None."""
    receipt, file = root / shard.receipt_path, root / shard.path
    if not receipt.is_file() or not file.is_file():
        return None
    try:
        report = load_receipt(receipt)
    except LayoutError:
        return None
    matches = report.plan_digest == digest and report.state == "done" and report.sha256 == file_digest(file)
    return report if matches and tells_every_band(report, shard) else None


def tells_every_band(report: ShardReport, shard: Shard) -> bool:
    """Tell whether a receipt has possible statistics of every band, which one of a finished file has."""
    is_possible = all(moments.is_possible for moments in report.moments)
    return report.state != "done" or (is_possible and len(report.moments) == len(shard.bands))


def load_receipt(path: Path) -> ShardReport:
    """Read one receipt; raises LayoutError when it is damaged."""
    return parse_receipt(path.read_bytes(), str(path))


def parse_receipt(text: bytes, where: str) -> ShardReport:
    """Return the receipt that JSON holds; raises LayoutError when it is damaged."""
    try:
        return _REPORT.validate_json(text)
    except ValueError as err:
        raise LayoutError(f"receipt {where} is damaged; build again with --resume") from err


def save_receipt(path: Path, report: ShardReport) -> None:
    """Write one receipt in one step."""
    write_whole(path, receipt_text(report))


def receipt_text(report: ShardReport) -> bytes:
    """Return a receipt as JSON."""
    # The bounds of a band without a valid pixel are infinite, which JSON has no number for.
    return to_json(report, indent=1, inf_nan_mode="strings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How often building one shard was begun without coming to an end."""

    plan_digest: str = ""
    """Plan that the attempts were for."""
    count: int = 0
    faults: tuple[str, ...] = ()
    """What ended the latest of them, oldest first."""
    failed_requests: FailedRequests = dataclasses.field(default_factory=dict)
    """Requests of all of them that came to nothing; those of an attempt that was killed are not known."""

    def ended(self, fault: str, failed: FailedRequests = NONE_FAILED) -> "Attempts":
        """Return these attempts and one more, in which the requests `failed`."""
        faults = (*self.faults, fault)[-_FAULTS_KEPT:]
        requests = added(self.failed_requests, failed)
        return dataclasses.replace(self, count=self.count + 1, faults=faults, failed_requests=requests)

    def explained(self, fault: str) -> "Attempts":
        """Return these attempts with what ended the last one, which could not say so itself."""
        return dataclasses.replace(self, faults=(*self.faults[:-1], fault))


_ATTEMPTS = TypeAdapter(Attempts)


def load_attempts(path: Path) -> Attempts:
    """Read the note of one shard; none, or one that is damaged, tells of no attempt."""
    try:
        return parse_attempts(path.read_bytes())
    except OSError:
        return Attempts()


def parse_attempts(text: bytes) -> Attempts:
    """Return the note that JSON holds; one that is damaged tells of no attempt."""
    try:
        return _ATTEMPTS.validate_json(text)
    except ValueError:
        return Attempts()


def attempts_text(attempts: Attempts) -> bytes:
    """Return a note as JSON."""
    return to_json(attempts)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
