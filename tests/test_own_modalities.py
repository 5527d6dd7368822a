"""Modalities of a recipe's own, end to end from files and from Earth Engine: Landsat as the example."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from support.earth_engine.algorithms import Catalogue
from support.earth_engine.catalogue import catalogue_of
from support.earth_engine.fixtures import Serve
from support.landsat import CLOUD_BIT, SHADOW_BIT, write_landsat

from pipeline import open_shard
from pipeline.archive import Archive
from pipeline.cli import main
from pipeline.recipes import load_recipe

pytest_plugins = ["support.earth_engine.fixtures"]

LANDSAT: dict[str, Any] = {
    "bands": {"SR_B4": 30, "SR_B5": 30},
    "dtype": "uint16",
    "nodata": 0,
    "unit": "2.75e-5",
    "quantity": "surface reflectance of Collection 2 Level 2, plus 0.2",
    "attribution": "Landsat-8 image courtesy of the U.S. Geological Survey",
    "resolution": 30,
    "mask": {"band": "QA_PIXEL", "bits": [CLOUD_BIT, SHADOW_BIT]},
    "time": "frames",
    "max_gap": 20,
}
STAC = {"collection": "landsat-c2-l2", "cloud_property": "eo:cloud_cover"}
EARTH = {"collection": "LANDSAT/LC08/C02/T1_L2", "cloud_property": "CLOUD_COVER"}
SIZE = 22


def write_recipe(path: Path, provider: Mapping[str, str], own: Mapping[str, Mapping[str, Any]]) -> Path:
    described = {name: {**LANDSAT, **provider, "max_cloud": 80, **changes} for name, changes in own.items()}
    tree = {
        "name": "valley", "patch_size": 66, "resolution": 10, "samples_per_shard": 64, "max_cloud": 0.3,
        "series_length": 3, "window": {"before": 40, "after": 40}, "places": {"negatives": 0},
        "modalities": ["S2L2A", *own], "bands": {"S2L2A": ["B04"]}, "own_modalities": described,
    }  # fmt: skip
    path.write_text(json.dumps(tree))
    return path


OWN: dict[str, dict[str, Any]] = {
    "LANDSAT8": {},
    "LANDSAT8_SMOOTH": {"resampling": "bilinear", "mask": None, "dtype": "float32", "nodata": None, "resolution": 10},
    "LANDSAT8_OWN": {"time": "series", "max_gap": None},
    "LANDSAT8_ONCE": {"time": "date", "max_gap": 30},
}


@pytest.fixture(scope="module")
def catalog(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_landsat(tmp_path_factory.mktemp("landsat"), archive.catalog)


@pytest.fixture(scope="module")
def places(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the archive's slides."""
    path = tmp_path_factory.mktemp("places") / "few.geojson"
    inventory = json.loads(archive.inventory.read_text())
    path.write_text(json.dumps({**inventory, "features": inventory["features"][:4]}))
    return path


@pytest.fixture(scope="module")
def landsat_catalogue(earth_catalogue: Catalogue, catalog: Path) -> Catalogue:
    return {**earth_catalogue, **catalogue_of(catalog)}


@pytest.fixture(scope="module")
def from_files(places: Path, catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    recipe, out = write_recipe(folder / "valley.yaml", STAC, OWN), folder / "dataset"
    request = ["--places", str(places), "--source", str(catalog), "--out", str(out)]
    assert main(["build", str(recipe), *request]) == 0
    return out


def opened(root: Path, modality: str) -> xr.Dataset:
    with open_shard(min((root / "all" / modality).glob("*.zip"))) as dataset:
        return dataset.load()


def at_centres(path: Path, dataset: xr.Dataset, sample: int) -> NDArray[Any]:
    """What a file holds at the centres of a patch's pixels, 0 outside: by rasterio's own index."""
    patch = dataset.isel(sample=sample)
    with rasterio.open(path) as raster:
        values, inverse = raster.read(1), ~raster.transform
    x, y = np.meshgrid(patch["x_"].values, patch["y_"].values)
    # A centre on an edge belongs to the pixel right of it, or below.
    columns, rows = (np.floor(part + 1e-6).astype(int) for part in inverse @ (x, y))
    inside = (columns >= 0) & (rows >= 0) & (rows < values.shape[0]) & (columns < values.shape[1])
    return np.where(inside, values[rows.clip(0, values.shape[0] - 1), columns.clip(0, values.shape[1] - 1)], 0)


def expected_frame(catalog: Path, dataset: xr.Dataset, sample: int, names: list[str]) -> NDArray[Any]:
    """Red and near infrared of one pass: of each pixel the first frame with data, nothing under cloud and shadow."""
    out = np.zeros((2, SIZE, SIZE), np.uint16)
    seen = np.zeros((SIZE, SIZE), bool)
    for name in names:
        folder = catalog.parent / "landsat-c2-l2" / name
        bands = np.stack([at_centres(folder / f"{band}.TIF", dataset, sample) for band in ("SR_B4", "SR_B5")])
        quality = at_centres(folder / "QA_PIXEL.TIF", dataset, sample)
        there = ~seen & (quality != 0)
        hidden = (quality & (1 << CLOUD_BIT | 1 << SHADOW_BIT)) != 0
        out[:, there & ~hidden] = bands[:, there & ~hidden]
        seen |= there
    return out


@pytest.mark.parametrize("modality", ["LANDSAT8", "LANDSAT8_OWN", "LANDSAT8_ONCE"])
def test_pixels_are_those_of_the_files_at_their_own_size(from_files: Path, catalog: Path, modality: str) -> None:
    dataset = opened(from_files, modality)
    assert dataset["bands"].dtype == np.uint16
    assert dataset["bands"].shape[-2:] == (SIZE, SIZE)
    frames = pd.read_parquet(from_files / "frames.parquet").query("modality == @modality")
    assert len(frames) >= dataset.sizes["sample"]
    assert any(len(names) > 1 for names in frames.scene_ids)
    for frame in frames.itertuples():
        got = dataset["bands"].values[frame.position, frame.timestep]
        np.testing.assert_array_equal(got, expected_frame(catalog, dataset, frame.position, list(frame.scene_ids)))
    hidden = (dataset["bands"].values == 0) & (dataset["time_"].notnull().values[:, :, None, None, None])
    assert 0 < hidden.mean() < 0.8
    attributes = dataset["bands"].attrs
    assert attributes["quantity"] == LANDSAT["quantity"]
    assert (attributes["nodata"], attributes["units"], attributes["resampling"]) == (0, "2.75e-5", "nearest")
    assert "offset" not in attributes


def test_frames_are_the_nearest_in_time_to_the_optical_ones(from_files: Path) -> None:
    optical, chosen = (opened(from_files, name)["time_"].values for name in ("S2L2A", "LANDSAT8"))
    scenes = gpd.read_parquet(from_files / "scenes.parquet").query("product == 'LANDSAT8'")
    samples = gpd.read_parquet(from_files / "samples.parquet").set_index("id")
    compared = 0
    for index, name in enumerate(opened(from_files, "LANDSAT8")["sample"].values):
        patch = samples.geometry[name]
        passes = scenes[scenes.intersects(patch)].dissolve("acquired", aggfunc={"cloud_cover": "max"})
        usable = passes[(shapely.area(passes.intersection(patch)) > 0.999 * patch.area) & (passes.cloud_cover <= 80)]
        times = usable.index.tz_localize(None).to_numpy().astype("datetime64[ns]")
        for moment, got in zip(optical[index], chosen[index], strict=True):
            if not np.isnat(moment) and not np.isnat(got):
                assert abs(got - moment) == np.abs(times - moment).min() <= np.timedelta64(20, "D")
                compared += 1
    assert compared >= 3


def between_centres(path: Path, dataset: xr.Dataset, sample: int) -> NDArray[Any]:
    """A file linearly between its pixels' centres, NaN where one of the four has no data."""
    patch = dataset.isel(sample=sample)
    with rasterio.open(path) as raster:
        values, inverse = raster.read(1).astype(float), ~raster.transform
    values[values == 0] = np.nan
    x, y = np.meshgrid(patch["x_"].values, patch["y_"].values)
    columns, rows = (part - 0.5 for part in inverse @ (x, y))
    return map_coordinates(values, [rows, columns], order=1, cval=np.nan)


def test_a_modality_of_ones_own_may_lie_on_the_recipes_grid(from_files: Path, catalog: Path) -> None:
    smooth = opened(from_files, "LANDSAT8_SMOOTH")
    assert smooth["bands"].dtype == np.float32
    assert smooth["bands"].shape[-2:] == (66, 66)
    frames = pd.read_parquet(from_files / "frames.parquet").query("modality == 'LANDSAT8_SMOOTH'")
    alone = [frame for frame in frames.itertuples() if len(frame.scene_ids) == 1]
    assert alone
    for frame in alone:
        path = catalog.parent / "landsat-c2-l2" / frame.scene_ids[0] / "SR_B4.TIF"
        expected = between_centres(path, smooth, frame.position)
        got = smooth["bands"].values[frame.position, frame.timestep, 0]
        known = np.isfinite(expected)
        assert known.mean() > 0.9
        # GDAL rounds to the file's own integers.
        np.testing.assert_allclose(got[known], expected[known], atol=0.51)
    assert smooth["bands"].attrs["resampling"] == "bilinear"
    np.testing.assert_array_equal(smooth["x_"].values, opened(from_files, "S2L2A")["x_"].values)


def test_validation_tables_statistics_and_card_know_it(from_files: Path) -> None:
    assert main(["validate", str(from_files)]) == 0
    assert main(["stats", str(from_files), "--split", "all"]) == 0
    statistics = json.loads((from_files / "statistics.json").read_text())
    values = opened(from_files, "LANDSAT8")["bands"].values[:, :, 0]
    assert statistics["LANDSAT8"]["SR_B4"]["count"] == (values != 0).sum()
    assert statistics["LANDSAT8"]["SR_B4"]["mean"] == pytest.approx(values[values != 0].mean(), rel=1e-12)
    card = (from_files / "README.md").read_text()
    assert "- LANDSAT8: uint16, surface reflectance of Collection 2 Level 2, plus 0.2" in card
    assert "collection `landsat-c2-l2`" in card
    assert "LANDSAT8: Landsat-8 image courtesy of the U.S. Geological Survey" in card
    labels = pd.read_parquet(from_files / "labels.parquet")
    assert any("LANDSAT8" in column for column in labels.columns)


def test_earth_engine_gives_the_same(
    from_files: Path, places: Path, landsat_catalogue: Catalogue, serve_earth: Serve, tmp_path: Path
) -> None:
    recipe, out = write_recipe(tmp_path / "valley.yaml", EARTH, OWN), tmp_path / "dataset"
    with serve_earth(landsat_catalogue) as emulator:
        request = ["--places", str(places), "--source", "earth-engine", "--out", str(out)]
        assert main(["build", str(recipe), *request]) == 0
        written = pd.read_parquet(out / "frames.parquet")
        ledger = pd.read_parquet(out / "ledger.parquet")
        asked = ledger[(ledger.state == "written") | (ledger.reason == "empty")]
        # The dates of a patch come together.
        assert emulator.computed["computePixels"] == len(asked[["sample_id", "modality"]].drop_duplicates())
        assert emulator.refused == []
    assert main(["validate", str(out)]) == 0
    assert set(OWN) <= set(written.modality)
    for modality in ("S2L2A", *OWN):
        theirs, ours = opened(from_files, modality), opened(out, modality)
        np.testing.assert_array_equal(ours["bands"].values, theirs["bands"].values, err_msg=modality)
        np.testing.assert_array_equal(ours["time_"].values, theirs["time_"].values, err_msg=modality)


def test_a_number_that_does_not_fit_stops_the_build(
    places: Path, catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = {"LANDSAT8": {"dtype": "uint8", "time": "date", "max_gap": 30}}
    recipe = write_recipe(tmp_path / "valley.yaml", STAC, narrow)
    request = ["--places", str(places), "--source", str(catalog), "--out", str(tmp_path / "dataset")]
    assert main(["build", str(recipe), *request]) == 2
    assert "own_modalities.LANDSAT8 holds " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"collection": "landsat-c3"}, "landsat-c3"),
        ({"bands": {"SR_B9": 30}}, "SR_B9"),
        ({"mask": {"band": "QA_CLOUD", "bits": [1]}}, "QA_CLOUD"),
    ],
)
def test_what_a_source_does_not_have_is_refused_at_plan(
    places: Path, catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: Any, message: str
) -> None:
    recipe = write_recipe(tmp_path / "valley.yaml", STAC, {"LANDSAT8": changes})
    request = ["--places", str(places), "--source", str(catalog), "--out", str(tmp_path / "dataset")]
    assert main(["plan", str(recipe), *request]) != 0
    printed = capsys.readouterr().err.strip()
    assert message in printed
    assert "\n" not in printed


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "collection": ({"collection": ""}, r"collection: string should have at least 1 character"),
    "bands": ({"bands": {}}, r"bands: dictionary should have at least 1 item"),
    "band sizes": ({"bands": {"SR_B4": 0}}, r"bands\.SR_B4: input should be greater than or equal to 1"),
    "dtype": ({"dtype": "float16"}, r"dtype: input should be 'uint8', 'int16'"),
    "nodata missing": ({"nodata": None}, r"nodata of uint16 must be given, a number from 0 to 65535"),
    "nodata too large": ({"nodata": 70_000}, r"nodata of uint16 must be given, a number from 0 to 65535"),
    "nodata of floats": ({"dtype": "float32"}, r"no data of float32 is NaN: leave nodata out"),
    "resolution": ({"resolution": 25}, r"a patch of 660 m is no whole number of pixels of 25 m"),
    "resampling": ({"resampling": "linear"}, r"resampling: input should be 'nearest'"),
    "time": ({"time": "always"}, r"time: input should be 'date', 'frames' or 'series'"),
    "frames without gap": ({"max_gap": None}, r"time frames needs max_gap"),
    "series with gap": ({"time": "series"}, r"max_gap is for time date or frames"),
    "joined": ({"joined": "all"}, r"joined all is for time date without max_gap"),
    "bits": ({"mask": {"band": "QA", "bits": [16]}}, r"mask\.bits\.0: input should be less than or equal to 15"),
    "mask": ({"mask": {"band": "SR_B4", "bits": [1]}}, r"SR_B4 is a band and hides pixels"),
    "cloud": ({"cloud_property": None}, r"give cloud_property and max_cloud both, or neither"),
    "unknown": ({"resampled": "nearest"}, r"unknown key own_modalities\.LANDSAT8\.resampled; did you mean resampling"),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS)
def test_a_wrong_description_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_recipe(tmp_path / "valley.yaml", STAC, {"LANDSAT8": changes})
    with pytest.raises(ValueError, match=message) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "message"), [("DEM", "DEM has a meaning already"), ("landsat", "match pattern")])
def test_a_wrong_name_is_refused(tmp_path: Path, name: str, message: str) -> None:
    path = write_recipe(tmp_path / "valley.yaml", STAC, {name: {}})
    with pytest.raises(ValueError, match=message):
        load_recipe(str(path))


def test_the_frames_that_are_followed_must_be_there(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "valley.yaml", STAC, {"LANDSAT8": {}})
    with pytest.raises(ValueError, match="time frames follows S2L2A"):
        load_recipe(str(path), ["modalities=[LANDSAT8]"])
    assert load_recipe(str(path), ["modalities=[S2L2A]"]).own_modalities["LANDSAT8"].max_gap == 20
