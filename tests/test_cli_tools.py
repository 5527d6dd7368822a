"""The commands beside building, as a user calls them."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from pipeline import open_shard
from pipeline.cli import main
from pipeline.grid import to_lonlat
from pipeline.layouts.ssl4eo import ShardContent, write_shard


def _line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sen12: error: ")
    return line


def test_drawn_places_are_written_with_what_was_rejected_and_can_be_built_from(tmp_path, capsys):
    out = tmp_path / "places.csv"
    assert main(["sample", "ssl4eo-s12", "--count", "300", "--cities", "50", "--out", str(out)]) == 0
    places = pd.read_csv(out, dtype={"id": str})
    assert len(places) == 300
    assert places.id.tolist() == [f"{number:07d}" for number in range(300)]
    assert (tmp_path / "places_rejected.csv").is_file()
    assert json.loads((tmp_path / "places.json").read_text())
    assert "300 places" in capsys.readouterr().out


def test_a_drawing_never_overwrites(tmp_path, capsys):
    out = tmp_path / "places.csv"
    out.write_text("mine")
    assert main(["sample", "ssl4eo-s12", "--count", "10", "--out", str(out)]) == 2
    assert "is there already" in _line(capsys)
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("0000001,15.0,46.0\n0000001,16.0,46.0\n", "0000001"),
        ("0000001,46.0,115.0\n", "swapped"),
    ],
)
def test_wrong_coordinates_are_named(tmp_path, capsys, rows, text):
    given, out = tmp_path / "given.csv", tmp_path / "places.csv"
    given.write_text(f"id,lon,lat\n{rows}")
    assert main(["sample", "ssl4eo-s12", "--match", str(given), "--out", str(out)]) == 2
    assert text in _line(capsys)
    assert not out.exists()


def _published(root, times_of_radar):
    """Write a folder of one file in two modalities, as the published set has it."""
    optical = np.array([["2020-01-20T09:40:31", "2020-04-19T09:40:31"]], "datetime64[ns]")
    ids = [f"2020{day}T094031_2020{day}T094029_T33TWM" for day in ("0120", "0419")]
    radar_ids = [f"S1{unit}_IW_GRDH_1SDV_{day}_{day}_024469_02E87B_7A8F" for unit, day in RADAR]
    _write(root, "S2L2A", np.array([ids]), optical)
    _write(root, "S1GRD", np.array([radar_ids]), np.array([times_of_radar], "datetime64[ns]"))


RADAR = (("A", "20200420T050000"), ("B", "20200118T050000"))
RIGHT, SORTED = ("2020-04-20T05:00:00", "2020-01-18T05:00:00"), ("2020-01-18T05:00:00", "2020-04-20T05:00:00")


def _write(root, modality, file_ids, times):
    optical = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    bands = ("vv", "vh") if modality == "S1GRD" else optical
    dtype, steps = (np.float16 if modality == "S1GRD" else np.int16), np.arange(264) * 10.0 + 5.0
    values = np.zeros((1, 2, len(bands), 264, 264), dtype)
    values[:, 1] = 1
    lon, lat = to_lonlat(easting=[501_320.0], northing=[5_098_680.0], epsg=32633)
    content = ShardContent(
        bands=values, band_names=bands, sample_ids=("0000001",), file_ids=file_ids, times=times,
        epsg=np.array([32633]), lon=lon, lat=lat,
        eastings=(500_000.0 + steps)[np.newaxis], northings=(5_100_000.0 - steps)[np.newaxis],
        cloud_mask=None if modality == "S1GRD" else np.zeros((1, 2, 264, 264), np.uint8),
    )  # fmt: skip
    write_shard(root / "train" / modality / "ssl4eos12_train_seasonal_data_000001.zarr.zip", content)


def test_the_published_fault_is_found_and_repaired(tmp_path, capsys):
    root, out = tmp_path / "published", tmp_path / "repaired"
    _published(root, SORTED)
    assert main(["validate", str(root)]) == 1
    assert "time_" in capsys.readouterr().out
    assert main(["repair", str(root), "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["validate", str(out)]) == 0, capsys.readouterr().out
    with open_shard(out / "train/S1GRD/ssl4eos12_train_seasonal_data_000001.zarr.zip") as shard:
        assert [str(name)[17:32] for name in shard["file_id"].values[0]] == [day for _, day in reversed(RADAR)]
        assert shard["bands"].values[0, :, 0, 0, 0].tolist() == [1.0, 0.0]


def test_a_sound_folder_has_no_findings_and_statistics(tmp_path, capsys):
    root = tmp_path / "published"
    _published(root, RIGHT)
    capsys.readouterr()
    assert main(["stats", str(root)]) == 0
    statistics = json.loads(capsys.readouterr().out)
    assert statistics["S2L2A"]["mean"] == [0.5] * 12
    assert statistics["S1GRD"]["std"] == [0.5, 0.5]


def test_a_truncated_file_is_one_line_and_nothing_is_written(tmp_path, capsys):
    root, out = tmp_path / "published", tmp_path / "repaired"
    _published(root, SORTED)
    file = next(root.glob("train/S1GRD/*.zip"))
    file.write_bytes(file.read_bytes()[:2000])
    assert main(["repair", str(root), "--out", str(out)]) == 1
    _line(capsys)
    assert not out.exists()
    assert main(["validate", str(root)]) == 1


def test_a_dataset_that_lost_its_recipe_is_checked_as_any_folder(demo, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    assert main(["validate", str(copy)]) == 0


def test_the_published_split_comes_back_from_a_table(shared, tmp_path, capsys):
    golden = json.loads((shared / "golden/sen12landslides/tasks/S12LS-LD/harmonized/s2/splits.json").read_text())
    rows = [entry for entries in golden.values() for entry in entries]
    table = tmp_path / "table.csv"
    pd.DataFrame(rows)[["id", "pixel_annotated", "inventory"]].sample(frac=1.0, random_state=3).to_csv(
        table, index=False
    )
    assert main(["split", "--rule", "compat", "--table", str(table)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {name: [entry["id"] for entry in entries] for name, entries in golden.items()}


def test_the_audit_of_the_published_split_shows_its_leaks(shared, capsys):
    locations = shared / "golden/sen12landslides/tasks/S12LS-LD/harmonized/s2/patch_locations.geojson"
    assert main(["audit", str(locations), "--json"]) == 0
    shares = json.loads(capsys.readouterr().out)
    assert shares["test_patches"] == 998
    assert [round(100 * shares[key], 1) for key in ("edge_share", "neighbour_share", "near_share")] == [
        82.5,
        92.4,
        99.6,
    ]
    assert main(["audit", str(locations)]) == 0
    assert "998 test patches" in capsys.readouterr().out
