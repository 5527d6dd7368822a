"""Divide datasets into train, val, test and buffer: the same rule for all of them, lists and audit into each."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.copies import Lend, in_place
from pipeline.errors import LayoutError, PipelineError
from pipeline.report.split_map import write_split_map
from pipeline.splits.audit import Audit
from pipeline.splits.blocks import SPLITS, BlockRule, block_splits
from pipeline.splits.compat import compat_split
from pipeline.splits.folders import PARTS, read_split, write_split
from pipeline.splits.grouping import keep_together
from pipeline.splits.leaks import Patches, audit_patches
from pipeline.training.tables import PatchTables, count_annotated

MAP = "map.png"
"""A picture of the split, beside its lists."""

Names = NDArray[np.object_]
"""(patch) train, val, test or buffer."""


def divide_by_blocks(tables: PatchTables, rule: BlockRule) -> Names:
    """Return the split of each patch: by its place, then events and one patch in several datasets kept together.

    Raises
    ------
    RecipeError
        A patch lies outside the UTM zones.
    PipelineError
        No patch is left for train or for test.
    """
    table = tables.table
    codes = block_splits(lon=table["lon"].to_numpy(), lat=table["lat"].to_numpy(), rule=rule)
    places = table[["id", "lon", "lat"]].itertuples(index=False)
    keys = [f"event|{event}" for event in tables.events["event"]]
    keys += [f"patch|{name}|{lon!r}|{lat!r}" for name, lon, lat in places]
    patches = np.concatenate([tables.events["patch"].to_numpy(np.int64), np.arange(len(table))])
    return checked_names(np.array(SPLITS, object)[keep_together(codes, patches=patches, keys=keys)])


def divide_as_published(tables: PatchTables, *, lend: Lend = in_place) -> Names:
    """Return the split of each patch after the published rule; the counts are those of the masks, which `lend` lends.

    Raises
    ------
    RecipeError
        Two datasets have patches of one name, or there are too few patches for the rule.
    LayoutError
        A mask is missing or damaged.
    """
    split = compat_split(count_annotated(tables, lend=lend))
    of_id = {name: part for part, names in split.items() for name in names}
    return np.array([of_id[name] for name in tables.table["id"]], object)


def checked_names(names: Names) -> Names:
    """Return `names`; raises PipelineError when train or test is empty."""
    for part in ("train", "test"):
        if not (names == part).any():
            raise PipelineError(
                f"none of the {len(names)} patches is in {part}, nothing is written; smaller --block and --buffer "
                "(blocks must be smaller than the area), another --seed or more places help"
            )
    return names


def write_division(tables: PatchTables, names: Names, name: str, rule: Mapping[str, Any], distance: float) -> Audit:
    """Audit the split of all datasets together; write lists, rule.json, audit.json and a map into each of them.

    Returns
    -------
    Audit
        Of all datasets together.
    """
    found = audit_division(tables, names, distance=distance)
    described = dict(rule)
    if len(tables.roots) > 1:
        described["datasets"] = [root.resolve().name for root in tables.roots]
    documents = {"rule": described, "audit": found.as_dict()}
    for number, root in enumerate(tables.roots):
        own = (tables.table["dataset"] == number).to_numpy()
        ids = tables.table["id"].to_numpy(object)
        parts = {part: ids[own & (names == part)].tolist() for part in PARTS}
        folder = write_split(root, name, parts, documents)
        write_split_map(folder / MAP, tables.table.assign(split=names)[own])
    return found


def audit_division(tables: PatchTables, names: Names, *, distance: float) -> Audit:
    """Measure what test and train patches of the datasets share; see `leaks.audit_patches`."""
    has_events, has_passes = len(tables.events) > 0, len(tables.acquisitions) > 0
    patches = Patches(
        table=tables.table.assign(split=names),
        events=tables.events if has_events else None,
        acquisitions=tables.acquisitions if has_passes else None,
    )
    return audit_patches(patches, distance=distance)


def audit_split(tables: PatchTables, name: str, *, distance: float) -> Audit:
    """Audit a split that is on disk; patches that it does not name are left out.

    Raises
    ------
    LayoutError
        The split is not there, or names a patch that the dataset does not hold.
    """
    names = np.full(len(tables.table), "", object)
    for number, root in enumerate(tables.roots):
        own = tables.table.index[tables.table["dataset"] == number]
        names[own] = _held(root, name, tables.table["id"].loc[own])
    return audit_division(tables, names, distance=distance)


def _held(root: Path, name: str, ids: "pd.Series[str]") -> Names:
    of_id = {sample: part for part, samples in read_split(root, name).items() for sample in samples}
    strangers = sorted(set(of_id) - set(ids))
    if strangers:
        raise LayoutError(f"split {name} of {root} names patch {strangers[0]}, which is in no file; split again")
    return np.array([of_id.get(sample, "") for sample in ids], object)


def describe(rule: BlockRule) -> dict[str, Any]:
    """Return the parameters of a split by blocks, fit for JSON."""
    return {"rule": "blocks", **asdict(rule), "train": round(1.0 - rule.val - rule.test, 12)}
