"""Splits, audits and norms, as a user calls them."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from pipeline import open_shard
from pipeline.cli import main
from pipeline.splits.folders import read_split

GOLDEN = "golden/sen12landslides"
LD = f"{GOLDEN}/tasks/S12LS-LD/harmonized/s2/patch_locations.geojson"
SMALL = ("--block", "2560", "--buffer", "500", "--seed", "3")


@pytest.fixture
def dataset(demo, tmp_path):
    copy = tmp_path / "dataset"
    shutil.copytree(demo, copy)
    return copy


def printed(capsys, *arguments, code=0):
    capsys.readouterr()
    assert main(list(map(str, arguments))) == code
    return capsys.readouterr()


def complaint(capsys, *arguments, code=2):
    (line,) = printed(capsys, *arguments, code=code).err.splitlines()
    assert line.startswith("sen12: error: ")
    return line


def test_a_dataset_is_split_audited_and_still_valid(dataset, capsys):
    out = printed(capsys, "split", dataset, *SMALL).out
    assert f"lists and map: {dataset}/splits/blocks" in out
    assert (dataset / "splits/blocks/map.png").is_file()
    assert "6 train, 6 val, 7 test, 3 buffer" in out
    assert "an event 0.0%" in out
    rule = json.loads((dataset / "splits/blocks/rule.json").read_text())
    assert rule == {
        "rule": "blocks", "block": 2560.0, "buffer": 500.0, "seed": 3, "val": 0.16, "test": 0.2, "train": 0.64,
    }  # fmt: skip
    stored = json.loads((dataset / "splits/blocks/audit.json").read_text())
    assert stored["patches"] == {"train": 6, "val": 6, "test": 7, "buffer": 3}
    assert (stored["distance"], stored["near_share"]) == (500.0, 0.0)
    for place in ((dataset / "splits/blocks",), (dataset, "--name", "blocks"), (dataset,)):
        assert json.loads(printed(capsys, "audit", *place, "--json").out) == stored
    assert "0 findings" in printed(capsys, "validate", dataset).out


def test_the_published_rule_on_a_dataset(dataset, capsys):
    printed(capsys, "split", dataset, "--rule", "compat", "--name", "published")
    parts = read_split(dataset, "published")
    assert [len(parts[part]) for part in ("train", "val", "test", "buffer")] == [13, 4, 5, 0]
    assert json.loads((dataset / "splits/published/rule.json").read_text()) == {"rule": "compat"}


def test_an_area_smaller_than_a_block_cannot_be_split(dataset, capsys):
    line = complaint(capsys, "split", dataset, code=1)
    assert "none of the 22 patches is in train, nothing is written; smaller --block" in line
    assert not (dataset / "splits").exists()


def test_an_empty_val_is_a_warning(dataset, capsys):
    found = printed(capsys, "split", dataset, *SMALL, "--shares", "0.7", "0", "0.3")
    assert "warning: no patch is in val" in found.err
    assert "0 val" in found.out


def test_the_norm_of_train_patches_is_numpys(dataset, capsys):
    printed(capsys, "split", dataset, *SMALL)
    norm = json.loads(printed(capsys, "norm", dataset).out)
    assert json.loads((dataset / "splits/blocks/norm.json").read_text()) == norm
    train, values = read_split(dataset, "blocks")["train"], []
    for path in sorted((dataset / "all/S2L2A").glob("*.zip")):
        with open_shard(path) as shard:
            values += [shard["bands"].sel(sample=name).values[:, 3] for name in shard["sample"].values if name in train]
    flat = np.concatenate([part[part != -32768] for part in values]).astype(np.float64)
    found = norm["modalities"]["S2L2A"]["B04"]
    assert found["count"] == flat.size
    np.testing.assert_allclose([found["mean"], found["std"]], [flat.mean(), flat.std()], rtol=1e-12)
    clear = json.loads(printed(capsys, "norm", dataset, "--clear").out)
    assert clear["modalities"]["S2L2A"]["B04"]["mean"] < found["mean"]


def test_the_published_norm_comes_back(shared, capsys):
    experiment = shared / GOLDEN / "experiments/exp1/raw/s1dsc"
    table = shared / GOLDEN / "tests/stats/s1dsc_raw_stats.csv"
    found = json.loads(printed(capsys, "norm", "--table", table, "--paths", experiment / "data_paths.json").out)
    expected = json.loads((experiment / "norm_data.json").read_text())
    for name in ("mean", "std"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-8)


def test_tables_are_split_by_blocks(shared, tmp_path, capsys):
    parts = json.loads(printed(capsys, "split", "--table", shared / LD, "--rule", "blocks").out)
    assert {part: len(ids) for part, ids in parts.items()} == {"train": 1828, "val": 917, "test": 672, "buffer": 1571}
    features = json.loads((shared / LD).read_text())["features"]
    rows = [(each["properties"]["patch_id"], *each["geometry"]["coordinates"]) for each in features]
    table = tmp_path / "places.csv"
    pd.DataFrame(rows, columns=["id", "lon", "lat"]).sample(frac=1.0, random_state=1).to_csv(table, index=False)
    assert json.loads(printed(capsys, "split", "--table", table).out) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,lon\na,1\n", "has no column lat"),
        ("id,lon,lat\n", "has no rows"),
        ("id,lon,lat\na,1,2\na,1,3\n", "repeats id a"),
        ("id,lon,lat\na,1,x\n", "lon or lat of a is no number"),
        ("id,lon,lat\na,1,95\n", "lon or lat of a is no number"),
        ("id,lon,lat\na,1,88\n", "outside the UTM zones"),
        ("id,lon,lat\n,1,8\n", "a row without id"),
        ("id,lon,lat\na,1,8,9\n", "more fields than its header"),
    ],
)
def test_wrong_tables(tmp_path, capsys, text, message):
    table = tmp_path / "places.csv"
    table.write_text(text)
    assert message in complaint(capsys, "split", "--table", table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("split",), "name datasets to divide, or a table"),
        (("split", "x", "--table", "y"), "and not both"),
        (("split", "--table", "y", "--name", "z"), "--name is for datasets"),
        (("split", "x", "--rule", "compat", "--block", "5000"), "are for --rule blocks"),
        (("split", "x", "--shares", "0.5", "0.2", "0.2"), "must add up to 1"),
        (("split", "x", "--shares", "nan", "0.2", "0.2"), "must add up to 1"),
        (("split", "x", "--buffer", "-1"), "buffer is -1 m"),
        (("split", "x", "--name", "a/b"), "cannot be called"),
        (("norm",), "name a dataset, or give --table and --paths"),
        (("norm", "--table", "x"), "name a dataset, or give --table and --paths"),
        (("norm", "x", "--rule", "compat", "--clear"), "drop --clear"),
    ],
)
def test_wrong_requests(capsys, arguments, message):
    assert message in complaint(capsys, *arguments)


def test_splits_that_are_not_there(dataset, capsys):
    assert "has no split; make one" in complaint(capsys, "audit", dataset, code=1)
    assert "has no split blocks" in complaint(capsys, "norm", dataset, code=1)
    assert "is not a folder" in complaint(capsys, "split", dataset / "none", code=1)
