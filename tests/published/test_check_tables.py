"""Every way to break the lists and tables of a folder is named in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from support.broken_files import FIRST, LIST, SECOND, TABLE, Break, lines, matches, put

from pipeline.published.folder import Folder
from pipeline.published.tables import open_table


def rows(change: Callable[[gpd.GeoDataFrame], gpd.GeoDataFrame | None]) -> Break:
    def break_it(root: Path) -> None:
        frame = gpd.read_parquet(root / TABLE)
        changed = change(frame)
        (frame if changed is None else changed).to_parquet(root / TABLE)

    return break_it


def text(change: Callable[[str], str]) -> Break:
    def break_it(root: Path) -> None:
        (root / LIST).write_bytes(change((root / LIST).read_text()).encode())

    return break_it


def cell(idx: str, column: str, value: Any) -> Break:
    return rows(lambda frame: put((idx, column), value)(frame.loc) and None)


CATALOGUE_FAULTS: dict[str, tuple[Break, str]] = {
    "no line break": (text(str.rstrip), f"{LIST}: does not end with a line break"),
    "carriage returns": (
        text(lambda held: held.replace("\n", "\r\n")),
        f"{LIST}: has empty lines, blanks or carriage returns",
    ),
    "folders": (
        text(lambda held: held.replace(FIRST, f"train/{FIRST}")),
        f"{LIST}: names 1 files with a folder, expected bare names (first: train/{FIRST})",
    ),
    "descending": (
        text(lambda _: f"{SECOND}\n{FIRST}\n"),
        f"{LIST}: is not in ascending order (first out of order: {FIRST})",
    ),
    "twice": (text(lambda held: held + f"{SECOND}\n"), f"{LIST}: names 1 files twice (first: {SECOND})"),
    "too many": (
        text(lambda held: held + "z.zarr.zip\n"),
        f"{LIST}: names 1 files that are not in train/ (first: z.zarr.zip)",
    ),
    "too few": (
        text(lambda _: f"{FIRST}\n"),
        f"{LIST}: does not name 1 files of train/ (first: {SECOND})",
    ),
    "no text": (lambda root: (root / LIST).write_bytes(b"\xff\n"), f"{LIST}: cannot be read: *"),
    "no list": (lambda root: (root / LIST).unlink(), "splits: has no list of train, as splits/ssl4eos12_train.txt"),
    "no table": (
        lambda root: (root / TABLE).unlink(),
        "metadata: has no table of train, as metadata/train_metadata.parquet",
    ),
    "torn table": (lambda root: (root / TABLE).write_bytes(b"PAR1"), f"{TABLE}: is not a whole parquet file: *"),
    "no column": (rows(lambda frame: frame.drop(columns="tile_id")), f"{TABLE}: has no column tile_id"),
    "column order": (
        rows(lambda frame: frame[["time_id", "sample_id", *frame.columns[2:]]]),
        f"{TABLE}: columns begin time_id, sample_id, *, expected sample_id, time_id, *",
    ),
    "column type": (
        rows(lambda frame: frame.astype({"time_id": "int32"})),
        f"{TABLE}: column time_id is int32, expected int64",
    ),
    "empty cell": (cell("0000173_1", "tile_id", None), f"{TABLE}: has rows without tile_id"),
    "index": (
        rows(lambda frame: frame.set_index(frame.index.str.replace("0000173_3", "0000173_4"))),
        f"{TABLE}: idx is not {{sample_id}}_{{time_id}} in 1 rows (first: 0000173_4)",
    ),
    "row order": (rows(lambda frame: frame.iloc[::-1]), f"{TABLE}: rows are not in ascending order of idx"),
    "row twice": (
        rows(lambda frame: frame.iloc[[0, *range(len(frame))]]),
        f"{TABLE}: holds 1 images twice (first: 0000173_0)",
    ),
    "zone of tile": (
        cell("0000173_1", "tile_crs", 32632),
        f"{TABLE}: tile_crs is not the zone of tile_id in 1 rows (first: 0000173_1: T33SWC)",
    ),
    "file": (
        rows(lambda frame: frame.replace({"file": {SECOND: "other.zarr.zip"}})),
        f"{TABLE}: names 1 files that are not in train/ (first: other.zarr.zip)",
    ),
    "too few rows": (
        rows(lambda frame: frame.drop(index="0000173_3")),
        f"{TABLE}: {FIRST}: has no rows for 1 of its images (first: 0000173_3)",
    ),
    "other file": (
        rows(lambda frame: frame.assign(file=frame["file"].where(frame["sample_id"] != "0000173", SECOND))),
        f"{TABLE}: {SECOND}: has 4 rows for images that it does not hold (first: 0000173_0)",
    ),
    "time": (
        cell("0000173_1", "time", np.datetime64("2020-04-20T00:00:00", "ns")),
        f"{TABLE}: {FIRST}: time differs from S2L2A in 1 rows "
        "(first: 0000173_1: 2020-04-20 00:00:00, there 2020-04-19 09:40:31)",
    ),
    "tile": (
        cell("0000173_1", "tile_id", "T33SWD"),
        f"{TABLE}: {FIRST}: tile_id differs from S2L2A in 1 rows (first: 0000173_1: T33SWD, there T33SWC)",
    ),
    "geometry": (
        rows(lambda frame: frame.set_geometry(frame.geometry.where(frame["sample_id"] != "0000173",
                                                                   frame.geometry.translate(1e-5)))),
        f"{TABLE}: {FIRST}: geometry is not the outline of x_ and y_ for 1 samples (first: 0000173)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", CATALOGUE_FAULTS)
def test_every_fault_of_lists_and_tables_is_named_in_one_line(folder, fault):
    break_it, expected = CATALOGUE_FAULTS[fault]
    break_it(folder)
    found = lines(folder)
    assert [line for line in found if matches(line, expected)], found
    assert all("\n" not in line for line in found)


def test_the_published_table_has_no_fault_of_its_own(shared):
    golden = shared / "golden" / "ssl4eo-s12"
    table, findings = open_table(Folder(root=golden, files={}), golden / "val_metadata.parquet")
    assert findings == []
    assert table is not None
    assert len(table.rows("ssl4eos12_val_seasonal_data_000022.zarr.zip")) == 256
