"""What a user asks an export for, and what comes back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.copies import Lend, in_place

Radiometry = Literal["raw", "harmonized"]
"""Numbers as the product has them, or comparable between dates and sensors."""

Dims = Literal["txy", "tyx"]
"""Order of a variable's axes."""

NormRule = Literal["valid", "compat"]
"""Statistics over measured pixels, each once; or over every pixel of every frame, as published."""

Progress = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What to write, and where."""

    roots: tuple[Path, ...]
    """Folders of finished datasets."""
    out: Path
    """Folder to make; it is not there yet, or empty."""
    split: str | None = None
    """Folder below `splits`, or compat for the published splitter; None takes blocks."""
    radiometries: tuple[Radiometry, ...] = ("raw", "harmonized")
    dims: Dims = "txy"
    norm: NormRule = "valid"
    part_size: int | None = None
    """Files in each .tar.gz; None makes none."""
    lend: Lend = in_place
    """Makes a file of the datasets' pixels readable while its patches are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary:
    """What an export wrote and what it left out."""

    written: dict[str, int]
    """Patches by sensor."""
    skipped: dict[tuple[str, str], int]
    """Patches that were not written, by sensor and reason code."""
    notes: tuple[str, ...]
    """What could not be made of the written patches, and what to do; a line each."""
