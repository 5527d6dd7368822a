"""What a run of build-dataset left behind."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The first run of build-dataset/landslides."""

    run: CompletedProcess[str]
    flow_run: dict[str, Any]
    archive: Path
    dataset: Path
    digests: dict[str, str]


def digests_of(dataset: Path) -> dict[str, str]:
    files = sorted(dataset.rglob("*.zarr.zip"))
    return {str(file.relative_to(dataset)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
