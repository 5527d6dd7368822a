"""Mean and standard deviation of the train patches of a split, exact whatever the order of files and images.

Each band of each image is reduced to its moments, and these are added without rounding. By default pixels count that
have data; the rule of Sen12Landslides (create_splits.py) counts every pixel of every image, gaps filled from the
nearest valid pixel and images that pad a series once more.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.catalog.built import CLASS_MODALITIES
from pipeline.catalog.codec import read_table
from pipeline.copies import Lend, in_place
from pipeline.errors import LayoutError, RecipeError
from pipeline.pixels.gaps import fill_nearest
from pipeline.pixels.moments import moments_of
from pipeline.pixels.totals import ExactTotal
from pipeline.published.arrays import opened
from pipeline.records import MODALITIES, store_order
from pipeline.splits.folders import read_split

FIRST_HIDDEN_CLASS = 3
"""From this class on the cloud mask says that the ground is hidden: thin and thick cloud, cloud shadow, no data."""

Totals = dict[str, dict[str, ExactTotal]]
"""Modality to band to sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NormRule:
    """Which pixels count.

    Raises
    ------
    RecipeError
        The two contradict each other.
    """

    rule: Literal["valid", "compat"] = "valid"
    clear: bool = False
    """Leave out Sentinel-2 pixels under cloud or cloud shadow."""

    def __post_init__(self) -> None:
        if self.clear and self.rule == "compat":
            raise RecipeError("the compat rule counts every pixel: it cannot leave out clouds; drop --clear")


def split_norm(root: Path, split: str, rule: NormRule, *, lend: Lend = in_place) -> dict[str, Any]:
    """Return the statistics of every band over the train patches of a split.

    Parameters
    ----------
    root : Path
        Folder of a dataset that is built.
    split : str
        Name of a split in it.
    lend
        Makes a file of pixels readable while it is counted.

    Returns
    -------
    dict
        `split`, `rule`, `clear`, number of train `patches`, and `modalities`: modality to band to count, mean, std
        (population), min, max in the unit of the stored numbers, in storage order; None where no pixel counts.

    Raises
    ------
    LayoutError
        The split names a patch that is not in the dataset, images are unfinished, or a file is damaged.
    RecipeError
        The split has no train patches.
    """
    ids = read_split(root, split)["train"]
    if not ids:
        raise RecipeError(f"split {split} of {root} has no train patches: there is nothing to count")
    frames = _frames(root, ids, rule)
    totals: Totals = {}
    for (modality, shard), held in frames.groupby(["modality", "shard"], sort=True):
        with lend(root / str(shard)) as path:
            _add_file(totals.setdefault(str(modality), {}), path, held, rule)
    modalities = {name: totals[name] for name in sorted(totals, key=store_order)}
    return {
        "split": split,
        "rule": rule.rule,
        "clear": rule.clear,
        "patches": len(ids),
        "modalities": {
            name: {band: _summary(total) for band, total in bands.items()} for name, bands in modalities.items()
        },
    }


def _frames(root: Path, ids: tuple[str, ...], rule: NormRule) -> pd.DataFrame:
    """Return `sample_id`, `modality`, `timestep` and `shard` of every image that counts."""
    columns = ("sample_id", "modality", "timestep", "state", "shard")
    frames = read_table(root / "ledger.parquet", columns).to_pandas()
    known = set(frames["sample_id"][frames["shard"] != ""])
    for name in ids:
        if name not in known:
            raise LayoutError(f"{root} holds no patch {name}, which the split names; split again")
    labels = [name for name, modality in MODALITIES.items() if modality.product == "LABELS"]
    wanted = frames["sample_id"].isin(ids) & ~frames["modality"].isin([*CLASS_MODALITIES, *labels])
    frames = frames[wanted]
    unfinished = int((frames["state"] == "unfinished").sum())
    if unfinished:
        raise LayoutError(f"{root}: {unfinished} images of train patches are unfinished; build with --resume first")
    frames = frames[frames["state"] == "written"]
    return frames if rule.rule == "compat" else _without_padding(root, frames)


def _without_padding(root: Path, frames: pd.DataFrame) -> pd.DataFrame:
    keys = ["sample_id", "modality", "timestep"]
    rows = read_table(root / "plan.parquet", [*keys, "is_padding"]).to_pandas()
    padding = pd.MultiIndex.from_frame(rows[rows["is_padding"]][keys])
    return frames[~pd.MultiIndex.from_frame(frames[keys]).isin(padding)]


def _add_file(totals: dict[str, ExactTotal], path: Path, frames: pd.DataFrame, rule: NormRule) -> None:
    with opened(path) as dataset:
        names = tuple(map(str, dataset["band"].values))
        if totals and tuple(totals) != names:
            raise LayoutError(f"{path} has bands {', '.join(names)}, other files {', '.join(totals)}")
        totals.update({name: totals.get(name, ExactTotal()) for name in names})
        nodata = float(dataset["bands"].attrs.get("nodata", math.nan))
        for image in _iter_images(dataset, path, frames, rule):
            for name, values in zip(names, image, strict=True):
                _add_band(totals[name], values, nodata, (path, rule))


def _iter_images(dataset: xr.Dataset, path: Path, frames: pd.DataFrame, rule: NormRule) -> Iterator[NDArray[Any]]:
    """Yield each image (band, y, x); the images of one time are in memory at once."""
    positions: Mapping[str, int] = {str(name): index for index, name in enumerate(dataset["sample"].values)}
    nodata = dataset["bands"].attrs.get("nodata")
    hides = rule.clear and "cloud_mask" in dataset.variables
    if hides and nodata is None:
        raise LayoutError(f"{path} has a cloud mask, but its bands declare no value for no data")
    for step, held in frames.groupby("timestep", sort=True):
        lost = [name for name in held["sample_id"] if name not in positions]
        if lost:
            raise LayoutError(f"{path} holds no patch {lost[0]}, which the ledger names")
        place = {"sample": sorted(positions[name] for name in held["sample_id"]), "time": step}
        images = dataset["bands"].isel(place).values
        if hides:
            hidden = dataset["cloud_mask"].isel(place).values >= FIRST_HIDDEN_CLASS
            images = np.where(hidden[:, np.newaxis], images.dtype.type(nodata), images)
        yield from images


def _add_band(total: ExactTotal, values: NDArray[Any], nodata: float, where: tuple[Path, NormRule]) -> None:
    path, rule = where
    if rule.rule == "compat":
        valid = np.isfinite(values) & (values != nodata)
        if not valid.any():
            return
        values, nodata = fill_nearest(values, valid), math.nan
    moments = moments_of(values, nodata=nodata)
    if not math.isfinite(moments.mean):
        raise LayoutError(f"{path} holds infinite values; their mean means nothing")
    total.add(moments)


def _summary(total: ExactTotal) -> dict[str, Any]:
    has_any = total.count > 0
    return {
        "count": total.count,
        "mean": total.mean,
        "std": total.std,
        "min": total.minimum if has_any else None,
        "max": total.maximum if has_any else None,
    }
