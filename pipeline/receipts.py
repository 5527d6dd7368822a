"""Receipts: what makes a shard done. A file that merely exists proves nothing."""

import dataclasses
import hashlib
import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from pipeline.errors import LayoutError
from pipeline.layouts.ssl4eo import file_digest
from pipeline.records import Recipe, Shard, ShardReport

_REPORT = TypeAdapter(ShardReport)


def plan_digest(shard: Shard, recipe: Recipe) -> str:
    """Return the SHA-256 of everything that decides the shard's bytes, hexadecimal."""
    decided = {"shard": shard, "recipe": recipe.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(decided, sort_keys=True, default=_as_json).encode()).hexdigest()


@cache
def _fields_of(record: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(record))


def _as_json(value: Any) -> Any:
    """Return what JSON has for a record (its fields, as they are), for bytes and for times."""
    if dataclasses.is_dataclass(value):
        kind: Any = type(value)
        return {name: getattr(value, name) for name in _fields_of(kind)}
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
    return report if matches else None


def load_receipt(path: Path) -> ShardReport:
    """Read one receipt; raises LayoutError when it is damaged."""
    try:
        return _REPORT.validate_json(path.read_bytes())
    except ValueError as err:
        raise LayoutError(f"receipt {path} is damaged; build again with --resume") from err


def save_receipt(path: Path, report: ShardReport) -> None:
    """Write one receipt in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    # The bounds of a band without a valid pixel are infinite, which JSON has no number for.
    temporary.write_bytes(to_json(report, indent=1, inf_nan_mode="strings"))
    temporary.replace(path)
