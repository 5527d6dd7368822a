"""The recipe ssl4eo-s12 on the seasonal archive and on real pixels, with the published loaders' contract."""

import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.windows import from_bounds

from pipeline import open_shard, published
from pipeline.catalog import read_decided
from pipeline.catalog.metadata import metadata_frame, metadata_table
from pipeline.cli import main
from pipeline.validate import validate

MODALITIES = ("S2L1C", "S2L2A", "S1GRD", "S2RGB")


@pytest.fixture(scope="module")
def built(seasonal_archive, tmp_path_factory):
    archive = seasonal_archive
    out = tmp_path_factory.mktemp("seasonal") / "dataset"
    request = ["--source", str(archive.catalog), "--places", str(archive.places), "--out", str(out)]
    sets = ["--set", "samples_per_shard=4", "--set", "split={val: 0.3}"]
    assert main(["build", "ssl4eo-s12", *request, *sets]) == 0
    return out


def _shards(root, modality):
    for path in sorted(root.glob(f"*/{modality}/*.zarr.zip")):
        with open_shard(path) as shard:
            yield path, shard.load()


def test_the_dataset_is_sound_by_both_checks(built):
    assert validate(built) == []
    assert published.check_folder(built) == []


@pytest.mark.parametrize(
    ("modality", "dtype", "bands"),
    [("S2L1C", "int16", 13), ("S2L2A", "int16", 12), ("S1GRD", "float16", 2), ("S2RGB", "uint8", 3)],
)
def test_every_modality_has_the_published_shape(built, modality, dtype, bands):
    shards = list(_shards(built, modality))
    assert len(shards) == 3
    for _, shard in shards:
        assert shard["bands"].dtype == dtype
        assert shard["bands"].dims == ("sample", "time", "band", "y", "x")
        assert shard["bands"].shape[1:] == (4, bands, 264, 264)
        assert shard["sample"].dtype == "<U7"
        assert ("cloud_mask" in shard) == (modality != "S1GRD")


def test_files_and_samples_are_the_same_in_every_modality(built):
    listed = {name: [(path.name, list(s["sample"].values)) for path, s in _shards(built, name)] for name in MODALITIES}
    assert all(listed[name] == listed["S2L2A"] for name in MODALITIES)
    names = {split: (built / "splits" / f"ssl4eos12_{split}.txt").read_text().split() for split in ("train", "val")}
    assert {name for held in names.values() for name in held} == {name for name, _ in listed["S2L2A"]}


def test_level_1c_is_of_the_same_datatake_and_tile(built):
    for (_, optical), (_, top) in zip(_shards(built, "S2L2A"), _shards(built, "S2L1C"), strict=True):
        np.testing.assert_array_equal(optical["time_"], top["time_"])
        for mine, partner in zip(optical["file_id"].values.ravel(), top["file_id"].values.ravel(), strict=True):
            assert mine[:15] == partner[:15]
            assert mine[-6:] == partner[-6:]


def test_arrays_ids_and_times_agree_and_optical_times_ascend(built):
    for modality in MODALITIES:
        for _, shard in _shards(built, modality):
            stamps = shard["file_id"].str.slice(17, 32) if modality == "S1GRD" else shard["file_id"].str.slice(0, 15)
            said = pd.to_datetime(stamps.values.ravel(), format="%Y%m%dT%H%M%S")
            np.testing.assert_array_equal(said.values, shard["time_"].values.astype("datetime64[s]").ravel())
            if modality != "S1GRD":
                assert (np.diff(shard["time_"].values, axis=1) > np.timedelta64(0)).all()


def test_radar_is_the_nearest_in_time_of_all_passes_that_hold_the_patch(built):
    decided = read_decided(built)
    optical = {(row.sample_id, row.timestep): row.choice for row in decided.rows if row.modality == "S2L2A"}
    checked = 0
    for row in decided.rows:
        if row.modality == "S1GRD" and row.choice is not None:
            moment = optical[row.sample_id, row.timestep].acquired
            gap = abs(row.choice.acquired - moment)
            assert gap.days <= 30
            assert all(gap <= abs(other.acquired - moment) for other in row.alternates)
            checked += 1
    assert checked == 32


def _first_scene(row, grid, index):
    asset = row.choice.assets[0]
    with rasterio.open(asset.hrefs[index]) as raster:
        if raster.res != (10.0, 10.0):
            return None
        return raster.read(1, window=from_bounds(*grid.bounds, transform=raster.transform), boundless=True).astype(int)


@pytest.mark.parametrize("modality", ["S2L1C", "S2L2A"])
def test_numbers_are_the_files_own_without_their_offset_plus_1000(built, modality):
    decided = read_decided(built)
    grids = {sample.id: sample.grid for sample in decided.samples}
    shards = {path.stem: shard for path, shard in _shards(built, modality)}
    checked = 0
    for row in decided.rows:
        if row.modality != modality or row.choice is None or len(row.choice.assets) > 1:
            continue
        place = decided.places[row.sample_id]
        frame = shards[f"{place.shard}.zarr"].isel(sample=place.position, time=row.timestep)
        for index in range(frame.sizes["band"]):
            read = _first_scene(row, grids[row.sample_id], index)
            if read is not None and (read > 0).all():
                np.testing.assert_array_equal(frame["bands"].values[index], read + row.choice.assets[0].offset + 1000)
                checked += 1
    assert checked >= 40


def test_every_optical_array_says_its_offset(built):
    for modality in ("S2L1C", "S2L2A"):
        assert all(shard["bands"].attrs["offset"] == 1000 for _, shard in _shards(built, modality))


def test_pictures_are_the_stretch_that_the_metadata_says(built):
    metadata = pd.concat([pd.read_parquet(path) for path in sorted((built / "metadata").glob("*.parquet"))])
    for (_, picture), (_, optical) in zip(_shards(built, "S2RGB"), _shards(built, "S2L2A"), strict=True):
        reflectance = optical["bands"].sel(band=["B04", "B03", "B02"]).values.astype(float) - 1000
        for index, name in enumerate(picture["sample"].values):
            for step in range(4):
                row = metadata.loc[f"{name}_{step}"]
                if row["filled"]:
                    continue
                low, high = row["rgb_low"], row["rgb_high"]
                expected = np.clip(np.rint((reflectance[index, step] - low) * 255 / (high - low)), 1, 255)
                assert np.abs(picture["bands"].values[index, step] - expected).max() <= 1


def test_the_store_is_complete_whatever_was_missing(built):
    for modality in MODALITIES:
        for _, shard in _shards(built, modality):
            if modality != "S1GRD":
                assert (shard["bands"].values != -32768).all()
            else:
                assert np.isfinite(shard["bands"].values).all()


def test_the_published_store_holds_the_same_numbers(seasonal_archive, built, tmp_path):
    archive = seasonal_archive.catalog.parent
    out = tmp_path / "published"
    request = ["--source", str(archive / "catalog.json"), "--places", str(archive / "places.csv"), "--out", str(out)]
    sets = ["samples_per_shard=4", "split={val: 0.3}", "store=published"]
    assert main(["build", "ssl4eo-s12", *request, *[part for text in sets for part in ("--set", text)]]) == 0
    assert validate(out) == []
    for modality in MODALITIES:
        for (_, mine), (_, theirs) in zip(_shards(built, modality), _shards(out, modality), strict=True):
            assert theirs["bands"].encoding["chunks"][0] == theirs.sizes["sample"]
            np.testing.assert_array_equal(mine["bands"], theirs["bands"])


def test_our_metadata_has_the_golden_schema(built, shared):
    golden = pq.read_schema(shared / "golden/ssl4eo-s12/val_metadata.parquet")
    for path in sorted((built / "metadata").glob("*.parquet")):
        ours = pq.read_schema(path)
        names = [name for name in golden.names if name != "idx"]
        assert ours.names[: len(names)] == names
        assert ours.names[-1] == "idx"
        for name in golden.names:
            assert ours.field(name).type == golden.field(name).type
        frame, wanted = gpd.read_parquet(path), gpd.read_parquet(shared / "golden/ssl4eo-s12/val_metadata.parquet")
        assert frame.index.name == wanted.index.name
        assert frame.crs == wanted.crs
        assert frame.index.is_monotonic_increasing


def test_golden_rows_come_back_equal_through_our_writer(shared, tmp_path):
    golden = gpd.read_parquet(shared / "golden/ssl4eo-s12/val_metadata.parquet")
    rows = golden.reset_index().sample(frac=1.0, random_state=1).to_dict("records")
    pq.write_table(metadata_table(metadata_frame(rows)), tmp_path / "again.parquet")
    again = gpd.read_parquet(tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(golden), check_column_type=False)
    assert again.crs == golden.crs


def test_a_shard_whose_modalities_disagree_is_found(built, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(built, broken)
    first, second = sorted((broken / "train/S1GRD").glob("*.zarr.zip"))[:2]
    shutil.copy(second, first)
    assert any("train" in str(finding) for finding in published.check_folder(broken))


@pytest.mark.parametrize("preset", ["two-years"])
def test_the_later_windows_build_too(seasonal_archive, built, tmp_path, preset):
    archive, out = seasonal_archive.catalog.parent, tmp_path / "later"
    request = ["--source", str(archive / "catalog.json"), "--places", str(archive / "places.csv"), "--out", str(out)]
    sets = ["--set", f"seasons={preset}", "--set", "modalities=[S2L1C, S2L2A]"]
    assert main(["build", "ssl4eo-s12", *request, *sets]) == 0
    assert validate(out) == []
    states = pd.read_parquet(out / "ledger.parquet").state
    assert (states == "written").all()


def test_real_pixels_build_with_fewer_modalities_bands_and_pixels(shared, tmp_path):
    places = tmp_path / "places.csv"
    places.write_text("id,lon,lat\n0000001,5.0560,51.2172\n0000002,5.0560,51.2201\n")
    out = tmp_path / "mol"
    sets = [
        "patch_size=24", "modalities=[S2L2A,S1GRD]", "bands.S2L2A=[B01,B04,B08,B11]", "series_length=2",
        "seasons={dates: [2023-04-05, 2023-04-15], half_width: 4}",
    ]  # fmt: skip
    overrides = [part for text in sets for part in ("--set", text)]
    request = ["--source", str(shared / "real/mol-10m/catalog.json"), "--places", str(places), "--out", str(out)]
    assert main(["build", "ssl4eo-s12", *request, *overrides]) == 0
    assert validate(out) == []
    (_, shard) = next(iter(_shards(out, "S2L2A")))
    assert shard["sample"].values.tolist() == ["0000002", "0000001"]
    assert shard["bands"].values.min() > 1000
