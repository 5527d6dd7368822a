import json

import pytest

from pipeline.errors import LayoutError, RecipeError
from pipeline.splits.folders import read_split, split_folder, split_names, write_split


def test_what_is_written_is_read(tmp_path):
    parts = {"train": ["b_10", "b_9", "a_1"], "test": ["c"], "buffer": ["d"]}
    folder = write_split(tmp_path, "blocks", parts, {"rule": {"rule": "blocks"}})
    assert folder == tmp_path / "splits" / "blocks"
    assert (folder / "train.txt").read_text() == "a_1\nb_10\nb_9\n"
    assert (folder / "val.txt").read_text() == ""
    assert json.loads((folder / "rule.json").read_text()) == {"rule": "blocks"}
    assert read_split(tmp_path, "blocks") == {
        "train": ("a_1", "b_10", "b_9"), "val": (), "test": ("c",), "buffer": ("d",),
    }  # fmt: skip
    assert split_names(tmp_path) == ["blocks"]
    assert not list(folder.glob(".*"))


def test_a_new_split_drops_the_norm_of_the_old_one(tmp_path):
    folder = write_split(tmp_path, "mine", {"train": ["a"]}, {})
    (folder / "norm.json").write_text("{}")
    write_split(tmp_path, "mine", {"train": ["b"]}, {})
    assert not (folder / "norm.json").exists()


def test_absent_splits_and_lists(tmp_path):
    with pytest.raises(LayoutError, match=r"has no split blocks \(it has none\)"):
        read_split(tmp_path, "blocks")
    write_split(tmp_path, "mine", {"train": ["a"]}, {})
    with pytest.raises(LayoutError, match=r"has no split blocks \(it has mine\)"):
        read_split(tmp_path, "blocks")
    (tmp_path / "splits/mine/val.txt").unlink()
    with pytest.raises(LayoutError, match=r"val\.txt is not there"):
        read_split(tmp_path, "mine")


def test_a_patch_is_in_one_list(tmp_path):
    write_split(tmp_path, "mine", {"train": ["a", "b"], "test": ["b"]}, {})
    with pytest.raises(LayoutError, match="names patch b twice"):
        read_split(tmp_path, "mine")


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b"])
def test_names_that_are_no_folder(tmp_path, name):
    with pytest.raises(RecipeError, match="cannot be called"):
        split_folder(tmp_path, name)
