"""The assertions of the release's own tests/patches.py and its Dataset class, restated, on exported files."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rasterio.crs import CRS

BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
ATTRIBUTES = (
    "center_lat", "center_lon", "annotated", "satellite", "event_date", "ann_id", "ann_bbox", "date_confidence",
    "pre_post_dates",
)  # fmt: skip
STEPS = 6
TREES = [(radiometry, sensor) for radiometry in ("raw", "harmonized") for sensor in ("s1asc", "s1dsc", "s2")]


def files(exported, radiometry, sensor):
    found = sorted((exported / "data" / f"data_{radiometry}" / sensor).glob("*.nc"))
    assert len(found) == 22
    return found


def check_variables(file, sensor):
    names = (
        [*BANDS, "SCL", "MASK", "DEM", "spatial_ref"] if sensor == "s2" else ["VH", "VV", "MASK", "DEM", "spatial_ref"]
    )
    assert list(file.data_vars) == names
    assert file[names[0]].shape == (STEPS, 128, 128)
    assert file[names[0]].dims == ("time", "x", "y")
    kinds = dict.fromkeys([*BANDS, "SCL", "DEM"], "int16") | {"VH": "float32", "VV": "float32", "MASK": "uint8"}
    assert all(file[name].dtype == kinds[name] for name in names[:-1])
    assert file["spatial_ref"].dtype == np.int64
    assert all(file[name].attrs["grid_mapping"] == "spatial_ref" for name in names[:-1])


def check_values(file, sensor, radiometry):
    spectral = BANDS if sensor == "s2" else ["VH", "VV"]
    lowest, highest = (0, 10_000) if sensor == "s2" else (0, 1) if radiometry == "raw" else (-50, 10)
    for name in [*spectral, "MASK", "DEM"]:
        values = file[name].values
        assert not np.isnan(values).any()
        assert not (values == -9999).any()
    for name in spectral:
        values = file[name].values
        assert values.min() >= lowest
        assert values.max() <= highest
        assert all(np.ptp(frame) > 0 for frame in values)
    assert set(np.unique(file["MASK"])) <= {0, 1}
    assert (file["MASK"] == file["MASK"][0]).all()
    assert (file["DEM"] == file["DEM"][0]).all()
    assert ((file["DEM"] >= 0) & (file["DEM"] <= 10_000)).all()
    if sensor == "s2":
        assert ((file["SCL"] >= 1) & (file["SCL"] <= 11)).all()


def check_attributes(file, sensor):
    attributes = file.attrs
    assert all(name in attributes for name in ATTRIBUTES)
    assert attributes["satellite"] == {"s1asc": "s1-asc", "s1dsc": "s1-dsc", "s2": "s2"}[sensor]
    assert attributes["annotated"] in {"True", "False"}
    for name in ("event_date", "ann_id", "ann_bbox", "date_confidence", "pre_post_dates"):
        assert bool(attributes[name]) == (attributes["annotated"] == "True"), name
    texts = {name: value for name, value in attributes.items() if name not in {"center_lat", "center_lon"}}
    assert all(isinstance(value, str) for value in texts.values())
    assert isinstance(attributes["center_lat"], np.float64)
    assert CRS.from_wkt(file["spatial_ref"].attrs["crs_wkt"]) == CRS.from_string(attributes["crs"])


@pytest.mark.parametrize(("radiometry", "sensor"), TREES)
def test_every_file_passes_the_published_checks(exported, radiometry, sensor):
    annotated = []
    for path in files(exported, radiometry, sensor):
        with xr.open_dataset(path) as file:
            check_variables(file, sensor)
            check_values(file, sensor, radiometry)
            check_attributes(file, sensor)
            annotated.append(file.attrs["annotated"] == "True")
    assert 0 < sum(annotated) < len(annotated)


def load_as_published(root: Path, task: str, version: str, modality: str, split: str, *, dem: bool):
    """What the published Dataset class makes of the entries of a split: img, dates, msk."""
    entries = json.loads((root / "tasks" / task / version / modality / "splits.json").read_text())[split]
    for entry in entries:
        file = xr.open_dataset(root / "data" / f"data_{version}" / entry[modality]).load()
        file = file.transpose("time", "y", "x").sortby("time")
        mask = (file["MASK"].isel(time=0).values > 0).astype(np.int64)
        elevation = file["DEM"].values.astype(np.float32)
        file = file.drop_vars(["MASK", "DEM", "SCL", "spatial_ref"], errors="ignore")
        image = np.stack([file[name].values.astype(np.float32) for name in file.data_vars], axis=1)
        if dem:
            image = np.concatenate([image, elevation[:, None]], axis=1)
        days = (file["time"].values - np.datetime64("2015-12-03")) / np.timedelta64(1, "D")
        yield entry, image, days.astype(np.float32), mask


@pytest.mark.parametrize(("radiometry", "sensor"), TREES)
@pytest.mark.parametrize("dem", [False, True])
def test_the_published_loader_gets_what_it_expects(exported, radiometry, sensor, dem):
    norm = json.loads((exported / "tasks/S12LS-AD" / radiometry / sensor / "norm.json").read_text())[sensor]
    channels = (10 if sensor == "s2" else 2) + dem
    seen = 0
    for entry, image, days, mask in load_as_published(exported, "S12LS-AD", radiometry, sensor, "train", dem=dem):
        assert image.shape == (STEPS, channels, 128, 128)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert days.shape == (STEPS,)
        assert (np.diff(days) >= 0).all()
        assert (days > 2_000).all()
        assert mask.shape == (128, 128)
        assert int(mask.sum()) == entry["pixel_annotated"]
        mean, std = (np.array(list(norm[name].values()))[:channels, None, None] for name in ("mean", "std"))
        assert np.isfinite((image - mean) / std).all()
        seen += 1
    assert seen == 11
    assert list(norm["mean"]) == ([*BANDS, "DEM"] if sensor == "s2" else ["VH", "VV", "DEM"])
