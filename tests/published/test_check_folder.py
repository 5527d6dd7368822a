"""A sound folder has no findings and is not touched; the published fault is found where it is."""

import shutil
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
from support.broken_files import SECOND, TABLE, at, lines, put, swap_first_two
from support.chunk_files import (
    FILES,
    change_array,
    content,
    edited,
    tree_bytes,
    with_published_fault,
    write_folder,
)

from pipeline.errors import LayoutError
from pipeline.layouts.ssl4eo import write_shard
from pipeline.published import check_folder


def test_a_sound_folder_has_no_findings_and_is_not_touched(sound):
    before = tree_bytes(sound)
    assert lines(sound) == []
    assert tree_bytes(sound) == before


def test_lists_and_tables_are_optional(folder):
    shutil.rmtree(folder / "splits")
    assert lines(folder) == []


def test_tables_may_lie_under_metadata(folder):
    (folder / "metadata").mkdir()
    (folder / TABLE).rename(folder / "metadata" / "train_metadata.parquet")
    assert lines(folder) == []


def test_the_first_published_name_of_tile_crs_is_accepted(folder):
    frame = gpd.read_parquet(folder / TABLE).rename(columns={"tile_crs": "crs"})
    frame.to_parquet(folder / TABLE)
    assert lines(folder) == []


@pytest.mark.parametrize("store", ["chunked", "published"])
def test_the_published_fault_is_found_in_exactly_the_files_that_have_it(tmp_path, store):
    root = write_folder(tmp_path / "dataset", store=store, faulty=["000002"])
    assert lines(root) == [
        f"train/S1GRD/{SECOND}: time_ is in another order than bands and file_id in 2 of 2 samples (first: 0179869); "
        "`sen12 repair` puts it right"
    ]


def test_samples_of_one_satellite_do_not_have_the_published_fault(folder):
    right = content("S1GRD", FILES["000001"])
    one = replace(right, file_ids=np.char.replace(right.file_ids, "S1B", "S1A"))
    write_shard(folder / at("S1GRD"), with_published_fault(one))
    assert lines(folder) == []


def test_a_whole_file_chunk_that_is_absent_is_found(folder):
    with edited(folder / at("S1GRD")) as entries:
        absent = [name for name in entries if name.startswith("bands/0.")]
        assert absent == [f"bands/0.{step}.0.0.0" for step in range(4)]
        del entries["bands/0.3.0.0.0"]
    assert lines(folder) == [f"{at('S1GRD')}: lacks 1 chunks (first: bands/0.3.0.0.0): readers make up their values"]


def test_pixels_of_another_size_are_expected_when_said(folder):
    assert len(lines(folder, spacing=20.0)) == 16


def test_radar_that_follows_its_optical_partners_need_not_ascend(folder):
    swap_first_two(folder / at("S1GRD"))
    assert lines(folder) == []


def test_a_missing_image_has_neither_name_nor_time(folder):
    change_array(folder / at("S1GRD"), "file_id", put((0, 1), ""))
    change_array(folder / at("S1GRD"), "time_", put((0, 1), np.iinfo("int64").min))
    assert lines(folder) == []


def test_modalities_beside_those_of_the_layout_follow_its_conventions(folder):
    shutil.copytree(folder / "train" / "S2RGB", folder / "train" / "EXTRA")
    change_array(folder / at("EXTRA"), "file_id", lambda values: np.char.replace(values, "T33", "of "))
    assert lines(folder) == []


@pytest.mark.parametrize("root", ["absent", "empty", "file"])
def test_what_is_no_dataset_is_said_in_one_line(tmp_path, root):
    (tmp_path / "empty" / "train" / "S2L2A").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(LayoutError, match=f"{root} (is not a folder|holds no SSL4EO-S12 v1.1 dataset)") as raised:
        check_folder(tmp_path / root)
    assert "\n" not in str(raised.value)


def test_the_injected_fault_is_the_published_one():
    broken = with_published_fault(content("S1GRD", ["0000173"]))
    assert [name[:3] for name in broken.file_ids[0]] == ["S1A", "S1A", "S1B", "S1B"]
    assert (np.diff(broken.times[0]) > np.timedelta64(0)).all()
