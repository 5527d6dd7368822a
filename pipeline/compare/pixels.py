"""How the pixels of two datasets differ, place by place, wherever in its files a place lies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.catalog import Decided
from pipeline.copies import Lend, in_place
from pipeline.layouts.ssl4eo import file_digest, open_shard
from pipeline.plan.packing import Place
from pipeline.records import store_order


class Compared(NamedTuple):
    """One of the two datasets."""

    root: Path
    decided: Decided
    lend: Lend = in_place
    """Makes a file of pixels readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelDifference:
    """How one modality differs between A and B."""

    files: int
    """Files that both have."""
    identical_files: int
    """Of these, byte for byte the same."""
    only_in_a: int = 0
    """Files that only A has."""
    only_in_b: int = 0
    patches: int = 0
    """Images (a place at a time) that both hold."""
    differing_patches: int = 0
    max_difference: float = 0.0
    """Largest absolute difference of values that both have, in the modality's unit."""
    differing_share: float = 0.0
    """Share of the values of differing images that differ, no data against data among them [1]."""
    note: str = ""
    """What could not be compared: bands or sizes that only one has."""

    @property
    def is_same(self) -> bool:
        """True when both have the same files, byte for byte: attributes and masks count, too."""
        return not (self.only_in_a or self.only_in_b) and self.identical_files == self.files

    def __str__(self) -> str:
        parts = [f"{self.identical_files} of {self.files} files identical"]
        parts += [f"{count} files only in {name}" for name, count in self._single() if count]
        if self.differing_patches:
            most = f"by at most {self.max_difference:g}" if self.max_difference else "between data and no data"
            parts.append(
                f"{self.differing_patches} of {self.patches} images differ, {most}, in {self.differing_share:.2%} of "
                "their values"
            )
        elif not self.is_same and self.patches:
            parts.append(f"all {self.patches} images that both have are the same: masks, names or packing differ")
        return "; ".join([*parts, *([self.note] if self.note else [])])

    def _single(self) -> Sequence[tuple[str, int]]:
        return (("A", self.only_in_a), ("B", self.only_in_b))


class _Tally:
    """Counts what is compared of one modality."""

    def __init__(self) -> None:
        self.patches = self.differing = 0
        self.values = self.differing_values = 0
        self.largest = 0.0
        self.notes: set[str] = set()

    def add(self, a: NDArray[Any], b: NDArray[Any], nodata: float | None) -> None:
        """Compare the images of one time, (place, band, y, x)."""
        unlike = (a != b) & ~(np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else a != b
        touched = unlike.any(axis=(1, 2, 3))
        self.patches += touched.size
        if not touched.any():
            return
        self.differing += int(touched.sum())
        self.values += int(unlike[touched].size)
        self.differing_values += int(unlike.sum())
        left, right = a[unlike].astype(np.float64), b[unlike].astype(np.float64)
        both = np.isfinite(left) & np.isfinite(right)
        if nodata is not None and np.isfinite(nodata):
            both &= (left != nodata) & (right != nodata)
        if both.any():
            self.largest = max(self.largest, float(np.abs(left - right)[both].max()))


def compare_pixels(a: Compared, b: Compared) -> dict[str, PixelDifference]:
    """Compare every modality that either dataset has files of; one that neither has yet is left out."""
    held = [_files(dataset.root) for dataset in (a, b)]
    names = sorted({name for files in held for name in files}, key=store_order)
    return {name: _compare_modality(name, a, b, [files.get(name, set()) for files in held]) for name in names}


def _files(root: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for split in ("all", "train", "val", "test"):
        for file in (root / split).glob("*/*.zarr.zip"):
            found.setdefault(file.parent.name, set()).add(f"{split}/{file.parent.name}/{file.name}")
    return found


def _compare_modality(name: str, a: Compared, b: Compared, files: Sequence[set[str]]) -> PixelDifference:
    both = files[0] & files[1]
    tally = _Tally()
    identical = 0
    for path in sorted(files[0]):
        with a.lend(a.root / path) as file, open_shard(file) as one:
            if path in both and _same_bytes(file, b.root / path, b.lend):
                identical += 1
                tally.patches += one.sizes["sample"] * one.sizes["time"]
            else:
                _compare_file(name, one, b, tally)
    share = tally.differing_values / tally.values if tally.values else 0.0
    return PixelDifference(
        files=len(both),
        identical_files=identical,
        only_in_a=len(files[0] - files[1]),
        only_in_b=len(files[1] - files[0]),
        patches=tally.patches,
        differing_patches=tally.differing,
        max_difference=tally.largest,
        differing_share=share,
        note="; ".join(sorted(tally.notes)),
    )


def _same_bytes(a: Path, b: Path, lend: Lend) -> bool:
    if a.stat().st_size != b.stat().st_size:
        return False
    with lend(b) as other:
        return file_digest(a) == file_digest(other)


def _compare_file(name: str, one: xr.Dataset, b: Compared, tally: _Tally) -> None:
    ids = [str(value) for value in one["sample"].values]
    for path, pairs in _partners(name, ids, b):
        with b.lend(b.root / path) as file, open_shard(file) as other:
            _compare_images(one, other, pairs, tally, _nodata(one))


def _nodata(dataset: xr.Dataset) -> float | None:
    """Return what marks no data, as a file says it itself; None where every value is valid."""
    value = dataset["bands"].attrs.get("nodata")
    return None if value is None else float(value)


def _partners(name: str, ids: Sequence[str], b: Compared) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield the files of B that hold some of the places, with pairs of positions in A's file and in B's."""
    pairs: dict[str, list[tuple[int, int]]] = {}
    for position, sample in enumerate(ids):
        place: Place | None = b.decided.places.get(sample)
        if place is not None and place.shard:
            pairs.setdefault(f"{place.split}/{name}/{place.shard}.zarr.zip", []).append((position, place.position))
    yield from ((path, held) for path, held in sorted(pairs.items()) if (b.root / path).is_file())


def _compare_images(
    one: xr.Dataset, other: xr.Dataset, pairs: Sequence[tuple[int, int]], tally: _Tally, nodata: float | None
) -> None:
    bands = [str(band) for band in one["band"].values if band in other["band"].values]
    if {*map(str, one["band"].values)} != {*map(str, other["band"].values)}:
        tally.notes.add(f"bands differ, {len(bands)} compared")
    if one.sizes["y"] != other.sizes["y"]:
        tally.notes.add(f"patches of {one.sizes['y']} and {other.sizes['y']} px are not compared")
        return
    if one.sizes["time"] != other.sizes["time"]:
        tally.notes.add(f"series of {one.sizes['time']} and {other.sizes['time']} images, compared as far as both go")
    left, right = (list(positions) for positions in zip(*pairs, strict=True))
    for step in range(min(one.sizes["time"], other.sizes["time"])):
        images = (_images(one, left, step, bands), _images(other, right, step, bands))
        tally.add(*images, nodata)


def _images(dataset: xr.Dataset, positions: Sequence[int], step: int, bands: Sequence[str]) -> NDArray[Any]:
    order = [list(map(str, dataset["band"].values)).index(band) for band in bands]
    # One time is read whole: in the published layout it is one chunk.
    whole: NDArray[Any] = dataset["bands"].isel(time=step).values
    return whole[list(positions)][:, order]
