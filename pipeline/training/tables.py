"""What a dataset's tables say of its patches, as a split and its audit need it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog.codec import read_table
from pipeline.copies import Lend, in_place
from pipeline.errors import LayoutError, RecipeError
from pipeline.published.arrays import opened

_SAMPLE_COLUMNS = (
    "id", "region", "grid", "lon", "lat", "is_annotated", "event_ids", "event_dates", "split", "shard",
)  # fmt: skip

OPTICAL = "S2L2A"
"""Modality whose acquisitions the audit compares."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchTables:
    """The patches of one or several datasets; `patch` is a row number of `table`."""

    roots: tuple[Path, ...]
    table: pd.DataFrame
    """`dataset` (index into `roots`), `id`, `region`, `is_annotated`, `epsg`, `easting` and `northing` of the centre
    [m], `side` and `resolution` [m], `lon` and `lat` of the centre [degrees], `folder` and `shard`; one row per patch
    that has a place in a file."""
    events: pd.DataFrame
    """`patch`, `event` (region, id and day) and `trigger` (region and day); one row per event of a patch."""
    acquisitions: pd.DataFrame
    """`patch` and `acquisition`; one row per Sentinel-2 acquisition in the plan of a patch."""


def read_patches(roots: Sequence[Path]) -> PatchTables:
    """Read the patches of datasets that are split together.

    Raises
    ------
    LayoutError
        A folder holds no dataset, or a table of it is damaged.
    RecipeError
        A folder is named twice.
    """
    resolved = [root.resolve() for root in roots]
    if len(set(resolved)) < len(resolved):
        raise RecipeError("a dataset is named twice; name each once")
    parts = [_read(root, number) for number, root in enumerate(roots)]
    starts = np.cumsum([0, *(len(table) for table, _, _ in parts)])
    shifted = [
        (table, events.assign(patch=events["patch"] + start), passes.assign(patch=passes["patch"] + start))
        for (table, events, passes), start in zip(parts, starts.tolist(), strict=False)
    ]
    tables, events, passes = (pd.concat(frames, ignore_index=True) for frames in zip(*shifted, strict=True))
    return PatchTables(roots=tuple(roots), table=tables, events=events, acquisitions=passes)


def _read(root: Path, number: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    if not root.is_dir():
        raise LayoutError(f"{root} is not a folder")
    samples = read_table(root / "samples.parquet", _SAMPLE_COLUMNS)
    samples = samples.filter(pc.not_equal(samples["shard"], ""))
    table = samples.drop_columns(["grid", "event_ids", "event_dates"]).to_pandas().rename(columns={"split": "folder"})
    events = _events(samples)
    grid = pd.DataFrame(samples["grid"].to_pylist(), columns=["epsg", "left", "top", "size", "resolution"])
    side = grid["size"] * grid["resolution"]
    table = table.assign(
        dataset=number,
        epsg=grid["epsg"],
        easting=grid["left"] + side / 2.0,
        northing=grid["top"] - side / 2.0,
        side=side,
        resolution=grid["resolution"],
    )
    return table, events, _acquisitions(root, table)


def _events(samples: pa.Table) -> pd.DataFrame:
    rows = zip(*(samples[name].to_pylist() for name in ("region", "event_ids", "event_dates")), strict=True)
    held = [
        (patch, f"{region}|{event}|{day:%Y-%m-%d}", f"{region}|{day:%Y-%m-%d}")
        for patch, (region, events, days) in enumerate(rows)
        for event, day in zip(events, days, strict=True)
    ]
    return pd.DataFrame(held, columns=["patch", "event", "trigger"])


def _acquisitions(root: Path, table: pd.DataFrame) -> pd.DataFrame:
    plan = read_table(root / "plan.parquet", ("sample_id", "modality", "choice.acquisition"))
    plan = plan.filter(pc.and_(pc.equal(plan["modality"], OPTICAL), pc.is_valid(plan["choice"])))
    names = pc.struct_field(plan["choice"], "acquisition").to_pylist()
    held = pd.DataFrame({"id": plan["sample_id"].to_pylist(), "acquisition": names}, dtype=object)
    patches = pd.DataFrame({"id": table["id"].astype(object), "patch": np.arange(len(table))})
    return held.drop_duplicates().merge(patches, on="id")[["patch", "acquisition"]]


def count_annotated(tables: PatchTables, *, lend: Lend = in_place) -> pd.DataFrame:
    """Return `id`, `pixel_annotated` (pixels of the mask that are 1) and `inventory` (region) of every patch.

    `lend` makes a file of masks readable while it is counted.

    Raises
    ------
    LayoutError
        A patch's mask is not there, or its file is damaged.
    """
    table = tables.table
    counts = np.full(len(table), -1, np.int64)
    for (number, folder, shard), held in table.groupby(["dataset", "folder", "shard"], sort=True):
        path = tables.roots[int(str(number))] / str(folder) / "MASK" / f"{shard}.zarr.zip"
        if not path.is_file():
            raise LayoutError(f"{path} is not there: the compat rule goes by the pixels of the mask; use --rule blocks")
        with lend(path):
            found = _mask_counts(path)
        lost = held["id"][~held["id"].isin(found.index)]
        if len(lost):
            raise LayoutError(f"{path} holds no patch {lost.iloc[0]}")
        counts[held.index.to_numpy()] = found[held["id"]].to_numpy()
    return pd.DataFrame({"id": table["id"], "pixel_annotated": counts, "inventory": table["region"]})


def _mask_counts(path: Path) -> "pd.Series[int]":
    with opened(path) as dataset:
        names = dataset["sample"].values.astype(str)
        counts = [int(np.count_nonzero(dataset["bands"][index].values == 1)) for index in range(len(names))]
    return pd.Series(counts, index=names, dtype=np.int64)
