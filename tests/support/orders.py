"""What a dataset of the main catalogue is asked for with: its slides, its recipe, its command line; and digests."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from support.catalogue import EVENT, blob, cell_centre, write_inventory

from pipeline.cli import main

LATER = "2022-02-10"

SLIDES = (
    ((1252, 15934), f"{EVENT:%Y-%m-%d}"),
    ((1252, 15934), LATER),
    ((1255, 15934), f"{EVENT:%Y-%m-%d}"),
    ((1250, 15936), f"{EVENT:%Y-%m-%d}"),
    ((1246, 15934), f"{EVENT:%Y-%m-%d}"),
    ((1225, 15934), f"{EVENT:%Y-%m-%d}"),
    ((1260, 15933), f"{EVENT:%Y-%m-%d}"),
    ((1259, 15932), f"{EVENT:%Y-%m-%d}"),
)
"""Lattice cell and date of each slide: an ordinary one that slid twice, one across two tiles and two frames, one that
is always under cloud, one that only radar sees, one that nothing sees, one that radar frames do not reach whole, and
one on the edge of the swath."""

CORNER = (1258 * 320.0, 15935 * 320.0)
"""Where four cells meet; one more slide lies on it."""

RECIPE = (
    "patch_size=32",
    "series_length=5",
    "window.before=40",
    "window.after=40",
    "max_cloud=0.25",
    "samples_per_shard=5",
    "places.columns.id=slide",
    "places.margin=1",
    "places.negatives=0.5",
)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a dataset is asked for with."""

    catalogue: Path
    places: Path
    overrides: tuple[str, ...] = RECIPE

    def arguments(self, out: Path, *more: str, command: str = "build") -> list[str]:
        """The command line after `sen12`."""
        sets = [part for override in self.overrides for part in ("--set", override)]
        request = ["--places", str(self.places), "--source", str(self.catalogue), "--out", str(out)]
        return [command, "landslides", *request, *sets, *more]

    def with_overrides(self, *more: str) -> "Order":
        return replace(self, overrides=(*self.overrides, *more))

    def build(self, out: Path, *more: str) -> Path:
        assert main(self.arguments(out, *more)) == 0
        return out


def slide_rings() -> list[list[tuple[float, float]]]:
    """Outlines of all slides in EPSG:32633."""
    rings = [blob(*cell_centre(*cell), radius=40.0 + 9.0 * index) for index, (cell, _) in enumerate(SLIDES)]
    return [*rings, blob(*CORNER, radius=130.0)]


def shard_digests(root: Path) -> dict[str, str]:
    """SHA-256 of every shard by its path in the dataset."""
    shards = sorted(root.rglob("*.zarr.zip"))
    return {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in shards}


def tree_digest(root: Path) -> dict[str, tuple[str, int]]:
    """SHA-256 and time of every file below `root`: equal before and after when nothing was touched."""
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return {
        str(file.relative_to(root)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in files
    }


def place_slides(path: Path, chosen: Sequence[int] = range(len(SLIDES) + 1)) -> Path:
    """Write an inventory of the chosen slides."""
    rings, days = slide_rings(), [*(date for _, date in SLIDES), f"{EVENT:%Y-%m-%d}"]
    return write_inventory(path, [rings[i] for i in chosen], epsg=32633, dates=[days[i] for i in chosen])
