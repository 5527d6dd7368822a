"""How things lie on disk: the canonical layout; exports will stand beside it, one file and one line each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xarray as xr

from pipeline.layouts.ssl4eo import ShardContent, dump_shard, open_shard, write_shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one shard file is written and opened."""

    write: Callable[[Path, ShardContent], tuple[str, int]]
    """Writes one file in one step; returns its SHA-256 and size [bytes]."""
    dump: Callable[[BinaryIO, ShardContent], None]
    """Writes the same bytes to an open file."""
    open: Callable[[str | Path], xr.Dataset]
    """Opens one file lazily."""


LAYOUTS: dict[str, Layout] = {
    "ssl4eo-s12-v1.1": Layout(write=write_shard, dump=dump_shard, open=open_shard),
}
"""Every layout by the name that a recipe gives it."""
