"""`sen12 export` as a user calls it: what is left out and why, what is refused, and the same bytes every time."""

import hashlib
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from datetime import UTC, datetime

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from support.small_datasets import make_site, polygon_of
from support.split_lists import write_lists

from pipeline.cli import main
from pipeline.errors import RecipeError
from pipeline.exports.sen12landslides import open_patch
from pipeline.exports.sen12landslides.attributes import parse_attributes
from pipeline.exports.sen12landslides.sensors import SENSORS, check_ids, patch_key


def digests(root):
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main(["export", *map(str, arguments), "--layout", "sen12landslides"]) in {1, 2}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sen12: error: ")
    return line


def ledger(out):
    return pd.read_parquet(out / "export.parquet").set_index(["id", "sensor"])


def test_what_has_no_file_is_named_with_its_reason(tmp_path, export_of, capsys):
    site = make_site(6, length=15)
    site.lost |= {(0, "S2L2A", step) for step in range(4)}
    site.lost |= {(1, "S2L2A", step) for step in range(5)}
    site.lost |= {(2, "DEM", 0)}
    site.lost |= {(3, "SCL", step) for step in (0, 3, 7, 9, 11)}
    site.arrays["S1ASC"][4, :5, 0] = -12.0
    site.unplaced.add(5)
    out = export_of(site.write(tmp_path / "site"), out=tmp_path / "out", options=("--split", "compat"))
    rows = ledger(out)
    assert len(rows) == 18
    assert rows.loc[("site_100", "s2")].to_dict() == {
        "state": "written", "reason": "", "detail": "", "file": "s2/site_s2_100.nc", "frames": 11, "padded": 4,
    }  # fmt: skip
    assert rows.loc[("site_101", "s2"), "detail"] == "10 of 15 frames are usable, 11 are needed"
    assert rows.loc[("site_101", "s1asc"), "state"] == "written"
    assert rows.loc["site_102", "reason"].unique().tolist() == ["too_cloudy"]
    assert rows.loc["site_102", "detail"].unique().tolist() == ["no DEM"]
    assert rows.loc[("site_103", "s2"), ["reason", "frames"]].tolist() == ["series_short", 10]
    assert rows.loc[("site_104", "s1asc"), ["reason", "frames"]].tolist() == ["series_short", 10]
    assert rows.loc["site_105", "detail"].unique().tolist() == ["the patch is in no file of the dataset"]
    written = rows[rows.state == "written"]
    files = {f"{file.parent.name}/{file.name}" for file in (out / "data/data_raw").rglob("*.nc")}
    assert files == set(written.file)
    printed = capsys.readouterr().out
    assert "4 s1dsc" in printed
    assert "left out: s2 2 × series_short" in printed
    patch = open_patch(out / "data/data_raw/s2/site_s2_100.nc")
    assert patch.attrs["padded_frames"] == "11,12,13,14"
    assert patch.sizes == {"time": 15, "y": 32, "x": 32}


def test_frames_stand_by_time_and_earlier_padding_is_not_taken_for_an_image(tmp_path, export_of):
    site = make_site(2)
    site.padding |= {(0, "S1ASC", 5)}
    site.arrays["S1ASC"][0, 5] = 0.0
    out = export_of(site.write(tmp_path / "site"), out=tmp_path / "out")
    patch = open_patch(out / "data/data_harmonized/s1asc/site_s1asc_100.nc")
    assert patch.attrs["padded_frames"] == "5"
    np.testing.assert_array_equal(patch["VV"].values[5], site.arrays["S1ASC"][0, 4, 0].clip(-50, 10))
    assert (np.diff(patch["time"].values).astype(int) >= 0).all()


def test_an_image_of_scenes_with_different_offsets_is_not_used(tmp_path, export_of):
    site = make_site(2)
    site.mixed.add(3)
    out = export_of(site.write(tmp_path / "site"), out=tmp_path / "out")
    assert ledger(out).frames.to_dict() == {
        (f"site_{number}", sensor): 5 if sensor == "s2" else 6 for number in (100, 101) for sensor in SENSORS
    }


def test_an_offset_of_the_store_is_taken_off(tmp_path, export_of):
    site = make_site(2, overrides={"offset": 1000})
    out = export_of(site.write(tmp_path / "site"), out=tmp_path / "out")
    held = site.arrays["S2L2A"][0, :, 1].astype(int) - 1000
    added = np.array([site.offset(step) for step in range(6)])[:, None, None]
    for radiometry, expected in (("harmonized", held), ("raw", held - added)):
        patch = open_patch(out / "data" / f"data_{radiometry}" / "s2/site_s2_100.nc")
        np.testing.assert_array_equal(patch["B02"], expected.clip(0, 10_000))


def test_landslides_are_told_as_the_inventory_has_them(tmp_path, export_of):
    site = make_site(4)
    day = datetime(2021, 12, 20, tzinfo=UTC)
    site.events[1] = replace(site.events[1], confidence=0.25, date=day, date_from=datetime(2021, 12, 1, tzinfo=UTC))
    site.samples[0] = replace(site.samples[0], event_ids=("1", "3"))
    out = export_of(site.write(tmp_path / "site"), out=tmp_path / "out")
    parsed = parse_attributes(open_patch(out / "data/data_raw/s2/site_s2_102.nc").attrs)
    assert (parsed.ids, parsed.confidences, parsed.event_dates) == ((3,), (0.25,), (day.date(),))
    patch = site.samples[2].grid
    part = polygon_of(site.events[1], patch.epsg)
    np.testing.assert_allclose(parsed.boxes[0], part.bounds, atol=1e-3)
    # Days 10, 20, ... after 1 November: the fifth image is of 21 December.
    assert parsed.pre_post == ((4, 5),)
    both = open_patch(out / "data/data_raw/s2/site_s2_100.nc").attrs
    assert both["ann_id"] == "3,1"
    assert both["date_confidence"] == "0.25,1.0"
    frame = gpd.read_file(out / "data/data_harmonized/inventories.shp.zip")
    assert frame.columns.tolist() == [
        "id", "location", "author", "type", "event_type", "area(m²)", "pre_date", "event_date", "post_date", "pre_dt2",
        "event_dt2", "post_dt2", "event_conf", "source_id", "geometry",
    ]  # fmt: skip
    assert frame[["id", "location", "event_date", "event_conf"]].to_numpy().tolist() == [
        [1, "site", "2022-01-10", 1.0],
        [3, "site", "2021-12-20", 0.25],
    ]
    assert frame.pre_date.tolist()[1] == "2021-12-01"
    assert frame["area(m²)"].tolist() == pytest.approx([event_area(event) for event in site.events], rel=1e-3)


def event_area(event):
    # The scale of the projection is 0.9996 on the central meridian.
    return polygon_of(event, 32633).area / 0.9996**2


def test_ids_that_are_no_numbers_or_not_unique_are_numbered(tmp_path, export_of):
    first, second = make_site(2, region="north"), make_site(4, region="south")
    out = export_of(first.write(tmp_path / "a"), second.write(tmp_path / "b"), out=tmp_path / "out")
    frame = gpd.read_file(out / "data/data_raw/inventories.shp.zip")
    assert frame[["id", "location", "source_id"]].to_numpy().tolist() == [
        [1, "north", "1"],
        [2, "south", "1"],
        [3, "south", "3"],
    ]
    assert open_patch(out / "data/data_raw/s2/south_s2_102.nc").attrs["ann_id"] == "3"
    assert {row.id for row in ledger(out).reset_index().itertuples()} == {
        *("north_100", "north_101"), *("south_100", "south_101", "south_102", "south_103"),
    }  # fmt: skip


def test_two_patches_of_one_name_are_refused_before_anything_is_written(tmp_path, capsys):
    roots = [make_site(2).write(tmp_path / name) for name in "ab"]
    line = refused(capsys, *roots, "--out", tmp_path / "out", "--split", "compat")
    assert "patch site_100 is in two of the datasets" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_datasets_of_different_length_are_refused(tmp_path, capsys):
    roots = [make_site(2, region=f"r{n}", length=n).write(tmp_path / f"r{n}") for n in (5, 6)]
    line = refused(capsys, *roots, "--out", tmp_path / "out", "--split", "compat")
    assert "different series_length" in line


def test_a_missing_split_says_what_to_do(tmp_path, capsys):
    root = make_site(2).write(tmp_path / "site")
    assert f"`sen12 split {root}`, or give --split compat" in refused(capsys, root, "--out", tmp_path / "out")
    write_lists(root, "mine", {"train": ["site_100"], "val": ["site_100"]})
    line = refused(capsys, root, "--out", tmp_path / "out", "--split", "mine")
    assert "site_100 is in train and in val" in line
    assert "a split is not called '../all'" in refused(capsys, root, "--out", tmp_path / "out", "--split", "../all")
    (root / "splits/mine/val.txt").unlink()
    assert "val.txt cannot be read" in refused(capsys, root, "--out", tmp_path / "out", "--split", "mine")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"modalities": ["S2L2A", "S1ASC", "S1DSC", "DEM", "MASK"]}, "has no SCL, which s2 files hold"),
        ({"bands.S2L2A": ["B02", "B03"]}, "has no S2L2A band B04"),
    ],
)
def test_a_dataset_that_lacks_what_files_hold_is_refused(tmp_path, capsys, overrides, text):
    site = make_site(2)
    site.recipe = make_site(2, overrides=overrides).recipe
    site.arrays = {name: array for name, array in site.arrays.items() if name in site.recipe.modalities}
    site.arrays["S2L2A"] = site.arrays["S2L2A"][:, :, : len(site.recipe.bands_of("S2L2A"))]
    root = site.write(tmp_path / "site")
    assert text in refused(capsys, root, "--out", tmp_path / "out", "--split", "compat")


def test_no_dataset_and_a_taken_folder_are_refused(tmp_path, capsys):
    assert "holds no dataset" in refused(capsys, tmp_path, "--out", tmp_path / "out", "--split", "compat")
    root = make_site(2).write(tmp_path / "site")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    assert "is not empty" in refused(capsys, root, "--out", tmp_path / "out", "--split", "compat")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_damaged_store_leaves_nothing_behind(tmp_path, capsys):
    root = make_site(2).write(tmp_path / "site")
    (root / "all/MASK/site_1.zarr.zip").write_bytes(b"zip")
    assert "not a whole .zarr.zip" in refused(capsys, root, "--out", tmp_path / "out", "--split", "compat")
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_dataset_that_is_not_whole_is_refused(tmp_path, capsys):
    root = make_site(2).write(tmp_path / "site")
    table = pd.read_parquet(root / "ledger.parquet")
    table.loc[[0, 5], "state"] = "unfinished"
    table.to_parquet(root / "ledger.parquet")
    line = refused(capsys, root, "--out", tmp_path / "out", "--split", "compat")
    assert "2 frames are unfinished; build it again with --resume first" in line


def test_one_radiometry_and_an_empty_folder_will_do(tmp_path, export_of):
    root = make_site(2).write(tmp_path / "site")
    (tmp_path / "out").mkdir()
    out = export_of(root, out=tmp_path / "out", options=("--split", "compat", "--radiometry", "harmonized"))
    assert [path.name for path in (out / "data").iterdir()] == ["data_harmonized"]


def test_parts_hold_consecutive_files(tmp_path, export_of, capsys):
    root = make_site(5).write(tmp_path / "site")
    options = ("--split", "compat", "--radiometry", "raw", "--tar", "2")
    out = export_of(root, out=tmp_path / "out", options=options)
    parts = sorted((out / "data/data_raw").glob("s2_part*.tar.gz"))
    assert [part.name for part in parts] == ["s2_part01.tar.gz", "s2_part02.tar.gz", "s2_part03.tar.gz"]
    names = []
    for part in parts:
        with tarfile.open(part) as archive:
            assert {member.mtime for member in archive} == {0}
            names.append(archive.getnames())
            archive.extractall(tmp_path / "unpacked", filter="data")
    assert [len(held) for held in names] == [2, 2, 1]
    assert [*names[0], *names[1], *names[2]] == [f"s2/site_s2_{number}.nc" for number in range(100, 105)]
    assert digests(tmp_path / "unpacked/s2") == digests(out / "data/data_raw/s2")
    line = refused(capsys, root, "--out", tmp_path / "none", "--split", "compat", "--tar", "0")
    assert "--tar 0 is not a number of files" in line


def test_the_same_dataset_gives_the_same_bytes_under_any_hash_seed(tmp_path, export_of):
    site = make_site(4)
    site.samples[0] = replace(site.samples[0], event_ids=("1", "3"))
    site.events[1] = replace(site.events[1], confidence=0.43, date=datetime(2022, 1, 11, tzinfo=UTC))
    root = site.write(tmp_path / "site")
    write_lists(root, "blocks", {"train": ["site_100", "site_101"], "val": ["site_102"], "test": ["site_103"]})
    here = digests(export_of(root, out=tmp_path / "here", options=("--tar", "3")))
    assert len(here) > 40
    command = "import sys; from pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["export", str(root), "--layout", "sen12landslides", "--out", str(tmp_path / "there"), "--tar", "3"]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", command, *arguments], check=True, env=environment)
    assert digests(tmp_path / "there") == here


@pytest.mark.parametrize("id_", ["italy_6982", "usa_puertorico_1045", "alps-32632_7", "lone", "a_b"])
def test_readers_find_the_id_in_the_name(id_):
    for sensor in SENSORS.values():
        assert patch_key(sensor.file_name(id_)) == id_


@pytest.mark.parametrize("id_", ["a_s2_5", "site_s1asc_1", "a/b_1"])
def test_a_name_that_readers_would_garble_is_refused(id_):
    with pytest.raises(RecipeError, match=f"patch {id_} cannot be a file name"):
        check_ids(["site_1", id_])
