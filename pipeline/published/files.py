"""One file name: its file in every modality, from the container to the pixels, then against each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.errors import LayoutError
from pipeline.published.agreement import check_agreement
from pipeline.published.arrays import (
    Labels,
    array_problems,
    index_problems,
    iter_chunks,
    name_problems,
    opened,
    read_labels,
)
from pipeline.published.folder import path_of
from pipeline.published.images import grid_problems, time_problems, zone_problems
from pipeline.published.standard import is_sentinel1, is_sentinel2
from pipeline.published.zips import zip_problems
from pipeline.validate.findings import Finding
from pipeline.validate.listing import LARGEST_CLOUD_CLASS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checked:
    """What a check of one file name leaves: the findings, and the labels of the files that could be read."""

    findings: tuple[Finding, ...]
    labels: tuple[Labels, ...]

    @property
    def reference(self) -> Labels | None:
        """The Sentinel-2 labels that zones and tables are compared with, if there are any."""
        optical = [labels for labels in self.labels if is_sentinel2(labels.modality)]
        return optical[0] if optical else None


def check_files(root: Path, split: str, name: str, modalities: Sequence[str], spacing: float) -> Checked:
    """Check the files called `name` in each of `modalities`: one open, and one chunk in memory, at a time."""
    findings: list[Finding] = []
    readable: list[Labels] = []
    for modality in modalities:
        where = path_of(split, modality, name)
        found, labels = _check_file(root, where, modality, spacing)
        findings += found
        readable += [labels] if labels is not None else []
    checked = Checked(findings=(*findings, *check_agreement(readable)), labels=tuple(readable))
    reference = checked.reference
    if reference is None:
        return checked
    zones = (Finding(reference.where, what) for what in zone_problems(reference))
    return Checked(findings=(*checked.findings, *zones), labels=checked.labels)


def _check_file(root: Path, where: str, modality: str, spacing: float) -> tuple[list[Finding], Labels | None]:
    """Return the findings of one file, and its labels if it is sound enough: a broken layer hides those above it."""
    findings: list[Finding] = []
    for what, is_fatal in zip_problems(root / where):
        findings.append(Finding(where, what))
        if is_fatal:
            return findings, None
    labels = None
    try:
        with opened(root / where) as dataset:
            problems = list(array_problems(dataset, modality))
            findings += [Finding(where, what) for what, _ in problems]
            if not any(is_fatal for _, is_fatal in problems):
                labels = read_labels(dataset, where, modality)
                findings += [Finding(where, what) for what in _content_problems(dataset, labels, spacing)]
    except LayoutError as err:
        findings.append(Finding(where, str(err).removeprefix(f"{root / where} ")))
    return findings, labels


def _content_problems(dataset: xr.Dataset, labels: Labels, spacing: float) -> Iterator[str]:
    yield from index_problems(dataset)
    yield from name_problems(labels)
    yield from time_problems(labels)
    yield from grid_problems(labels, spacing)
    yield from _band_problems(dataset["bands"], labels)
    if "cloud_mask" in dataset.variables:
        yield from _mask_problems(dataset["cloud_mask"], labels)


def _band_problems(bands: xr.DataArray, labels: Labels) -> Iterator[str]:
    """Read every chunk, which is also how damaged ones are found."""
    infinite: set[str] = set()
    for first, values in iter_chunks(bands):
        if is_sentinel1(labels.modality):
            frames = np.isinf(values).any(axis=(2, 3, 4))
            infinite |= _named(labels, first, frames)
    if infinite:
        yield f"bands holds infinite values in {len(infinite)} images (first: {min(infinite)})"


def _mask_problems(mask: xr.DataArray, labels: Labels) -> Iterator[str]:
    unknown: set[str] = set()
    for first, values in iter_chunks(mask):
        unknown |= _named(labels, first, (values > LARGEST_CLOUD_CLASS).any(axis=(2, 3)))
    if unknown:
        yield (
            f"cloud_mask holds classes other than 0 to {LARGEST_CLOUD_CLASS} "
            f"in {len(unknown)} images (first: {min(unknown)})"
        )


def _named(labels: Labels, first: tuple[int, ...], frames: Any) -> set[str]:
    """Return the ids of the images of a chunk that begins at `first` which `frames`, bool (sample, time), marks."""
    return {str(labels.images[first[0] + sample, first[1] + step]) for sample, step in np.argwhere(frames)}
