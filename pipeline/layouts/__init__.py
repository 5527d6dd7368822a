"""How things lie on disk: the canonical layout; exports will stand beside it, one file and one line each."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xarray as xr

from pipeline.layouts.encoding import EncodedPixels, PixelEncoder, PixelShape, open_encoder
from pipeline.layouts.ssl4eo import ShardLabels, dump_encoded, open_shard, write_encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one shard file is written and opened."""

    encoder: Callable[[PixelShape], AbstractContextManager[PixelEncoder]]
    """Takes the patches of one file as they come."""
    write: Callable[[Path, ShardLabels, EncodedPixels], tuple[str, int]]
    """Writes one file in one step; returns its SHA-256 and size [bytes]."""
    dump: Callable[[BinaryIO, ShardLabels, EncodedPixels], str]
    """Writes the same bytes to an open file; returns their SHA-256."""
    open: Callable[[str | Path], xr.Dataset]
    """Opens one file lazily."""


LAYOUTS: dict[str, Layout] = {
    "ssl4eo-s12-v1.1": Layout(encoder=open_encoder, write=write_encoded, dump=dump_encoded, open=open_shard),
}
"""Every layout by the name that a recipe gives it."""
