import json

import pandas as pd
import pytest

from pipeline.errors import RecipeError
from pipeline.splits.compat import COLUMNS, compat_split, read_split_table

GOLDEN = [
    ("S12LS-LD/harmonized/s2/splits.json", (3192, 798, 998)),
    ("S12LS-LD/harmonized/splits_aligned.json", (2810, 703, 879)),
    ("S12LS-AD/raw/s1dsc/splits.json", (8077, 2020, 2525)),
]


def published(shared, name):
    splits = json.loads((shared / "golden/sen12landslides/tasks" / name).read_text())
    table = pd.DataFrame([entry for entries in splits.values() for entry in entries])[list(COLUMNS)]
    return table, {split: [entry["id"] for entry in entries] for split, entries in splits.items()}


def regions(*names, count=40):
    return pd.DataFrame([(f"{name}_{i}", i, name) for name in names for i in range(count)], columns=list(COLUMNS))


@pytest.mark.parametrize(("name", "counts"), GOLDEN)
def test_published_splits_come_back(shared, name, counts):
    table, expected = published(shared, name)
    assert compat_split(table.sample(frac=1, random_state=1)) == expected
    assert tuple(map(len, expected.values())) == counts


@pytest.mark.parametrize(("name", "_counts"), GOLDEN)
def test_published_inventory_is_the_first_token(shared, name, _counts):
    table, _ = published(shared, name)
    assert (table.inventory == table.id.str.split("_").str[0]).all()


def test_published_split_comes_back_from_csv(shared, tmp_path):
    table, expected = published(shared, GOLDEN[0][0])
    table.assign(extra=1).to_csv(tmp_path / "table.csv", index=False)
    read = read_split_table(tmp_path / "table.csv")
    assert list(read.columns) == list(COLUMNS)
    assert read.pixel_annotated.dtype == "int64"
    assert compat_split(read) == expected


def test_every_patch_is_in_one_split_and_a_lone_stratum_trains():
    table = pd.concat([regions("a", "b"), pd.DataFrame([("c_1", 9, "c")], columns=list(COLUMNS))])
    split = compat_split(table)
    assert sorted(name for part in split.values() for name in part) == sorted(table.id)
    assert "c_1" in split["train"]
    assert len(split["test"]) == 16
    assert len(split["val"]) == 13


def test_table_is_left_as_it_was():
    table = regions("b", "a")
    before = table.copy()
    compat_split(table)
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("table", [regions("a", count=3), regions("a", "b", count=4)])
def test_too_few_patches(table):
    with pytest.raises(RecipeError, match=r"cannot be split as published: [^\n]+$"):
        compat_split(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as CSV"),
        ("id,pixel_annotated,inventory\n", "has no rows"),
        ("id,inventory\na_1,a\n", "has no column pixel_annotated"),
        ("id,pixel_annotated,inventory\na_1,1,a\na_1,2,a\n", "repeats id a_1"),
        ("id,pixel_annotated,inventory\na_1,many,a\n", "pixel_annotated of a_1 must be .* got 'many'"),
        ("id,pixel_annotated,inventory\na_1,,a\n", "got ''"),
        ("id,pixel_annotated,inventory\na_1,inf,a\n", "got 'inf'"),
        ("id,pixel_annotated,inventory\na_1,1.5,a\n", "got '1.5'"),
        ("id,pixel_annotated,inventory\na_1,-1,a\n", "got '-1'"),
        ("id,pixel_annotated,inventory\na_1,16385,a\n", "from 0 to 16384"),
        ("id,pixel_annotated,inventory\n,1,a\n", "row without id"),
        ("id,pixel_annotated,inventory\na_1,1\n", "row without inventory"),
        ("id,pixel_annotated,inventory\na_1,1,a,b\n", "more fields than its header"),
        ("id,pixel_annotated,inventory\na_1,1,a\na_2,1,a,b\n", "cannot be read as CSV"),
    ],
)
def test_wrong_tables(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        read_split_table(path)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    for path in (tmp_path / "none.csv", tmp_path, tmp_path / "binary.csv"):
        with pytest.raises(RecipeError, match=r"cannot be read as CSV: [^\n]+$"):
            read_split_table(path)
