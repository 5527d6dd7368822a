"""The two catalogues of real pixels, built from the command line and compared with plain rasterio, pixel by pixel."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import from_bounds

from pipeline import open_shard
from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.validate import validate


def _box(lon, lat, half):
    ring = [[lon - half, lat - half], [lon + half, lat - half], [lon + half, lat + half], [lon - half, lat + half]]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def _inventory(path, polygons, date):
    features = [{"type": "Feature", "properties": {"event_date": date}, "geometry": polygon} for polygon in polygons]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def _build(folder, source, inventory, *overrides):
    sets = [part for override in overrides for part in ("--set", override)]
    out = folder / "dataset"
    code = main(["build", "landslides", "--source", str(source), "--places", inventory, "--out", str(out), *sets])
    assert code == 0
    return out


@pytest.fixture(scope="module")
def mol(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mol")
    inventory = _inventory(folder / "mol.geojson", [_box(5.0575, 51.2193, 0.0003)], "2023-04-10")
    source = shared / "real/mol-10m/catalog.json"
    return _build(folder, source, inventory, "patch_size=32", "bands.S2L2A=[B01,B04,B08,B11]", "series_length=4")


@pytest.fixture(scope="module")
def slovenia(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("slovenia")
    polygons = [_box(15.61, 46.205, 0.005), _box(15.50, 46.005, 0.004), _box(15.9, 45.97, 0.004)]
    inventory = _inventory(folder / "slovenia.geojson", polygons, "2023-08-14")
    return _build(
        folder, shared / "real/slovenia-120m/catalog.json", inventory,
        "modalities=[S2L2A,SCL]", "bands.S2L2A=[B02,B03,B04,B08]", "patch_size=32", "resolution=120", "anchor=60",
        "series_length=4", "max_cloud=0.9", "places.margin=2",
    )  # fmt: skip


@pytest.fixture(scope="module")
def tile_edge(shared, tmp_path_factory):
    """One cell of 19.2 km: taller than the 9.8 km that the two tiles share."""
    folder = tmp_path_factory.mktemp("edge")
    inventory = _inventory(folder / "edge.geojson", [_box(15.60, 46.02, 0.005)], "2023-08-14")
    return _build(
        folder, shared / "real/slovenia-120m/catalog.json", inventory,
        "modalities=[S2L2A,SCL]", "bands.S2L2A=[B02,B03,B04,B08]", "patch_size=160", "resolution=120", "anchor=60",
        "series_length=3", "places.margin=0",
    )  # fmt: skip


def _window(href, grid):
    with rasterio.open(href) as raster:
        window = from_bounds(*grid.bounds, transform=raster.transform)
        return raster.read(1, window=window, boundless=True, fill_value=0)


def _written(root, modality):
    decided = read_decided(root)
    samples = {sample.id: sample for sample in decided.samples}
    shards = {path.name: open_shard(path) for path in sorted((root / "all" / modality).glob("*.zarr.zip"))}
    for row in decided.rows:
        if row.modality == modality and row.choice is not None:
            place = decided.places[row.sample_id]
            shard = shards[f"{place.shard}.zarr.zip"]
            yield row, samples[row.sample_id].grid, shard.isel(sample=place.position, time=row.timestep)


def _mosaic(row, grid, index):
    classes = np.zeros((grid.size, grid.size), np.uint8)
    values = np.zeros(classes.shape, np.int64)
    for asset in row.choice.assets:
        found = _window(asset.mask_href, grid)
        take = (classes == 0) & (found != 0)
        classes[take] = found[take]
        values[take] = _window(asset.hrefs[index], grid)[take]
    return values, classes


@pytest.mark.parametrize("site", ["mol", "slovenia", "tile_edge"])
def test_every_optical_pixel_is_the_file_s_own(site, request):
    root = request.getfixturevalue(site)
    seen = 0
    for row, grid, frame in _written(root, "S2L2A"):
        for index in range(frame.sizes["band"]):
            values, classes = _mosaic(row, grid, index)
            assert (classes != 0).all()
            np.testing.assert_array_equal(frame["bands"].values[index], values)
            seen += 1
    assert seen >= 12


@pytest.mark.parametrize("site", ["mol", "slovenia"])
def test_every_class_is_the_file_s_own(site, request):
    for row, grid, frame in _written(request.getfixturevalue(site), "SCL"):
        np.testing.assert_array_equal(frame["bands"].values[0], _mosaic(row, grid, 0)[1])


def test_a_patch_across_both_tiles_is_a_mosaic_of_one_acquisition(tile_edge):
    rows = [row for row, _, _ in _written(tile_edge, "S2L2A")]
    assert len(rows) == 3
    for row in rows:
        tiles = [asset.scene_id.split("_")[1] for asset in row.choice.assets]
        assert sorted(tiles) == ["33TWL", "33TWM"]
        assert len({asset.scene_id.split("_")[2] for asset in row.choice.assets}) == 1


def test_radar_is_the_decibel_of_the_file_s_power(mol):
    seen = 0
    for row, grid, frame in _written(mol, "S1RTC"):
        for index, href in enumerate(row.choice.assets[0].hrefs):
            with np.errstate(divide="ignore", invalid="ignore"):
                decibel = 10.0 * np.log10(_window(href, grid).astype(np.float64))
            np.testing.assert_allclose(frame["bands"].values[index], decibel, rtol=2e-7, atol=1e-6)
            seen += 1
    assert seen >= 8


def test_elevation_is_what_a_warp_to_the_patch_gives(mol):
    seen = 0
    for row, grid, frame in _written(mol, "DEM"):
        with (
            rasterio.open(row.choice.assets[0].hrefs[0]) as raster,
            WarpedVRT(
                raster, crs=f"EPSG:{grid.epsg}", transform=grid.geobox.transform, width=grid.size, height=grid.size,
                resampling=Resampling.bilinear,
            ) as warped,
        ):  # fmt: skip
            np.testing.assert_array_equal(frame["bands"].values[0], warped.read(1))
        seen += 1
    assert seen == 2


def test_cloudy_dates_are_not_chosen_where_clear_ones_exist(mol, slovenia):
    dates = {str(frame["time_"].values)[:10] for _, _, frame in _written(mol, "S2L2A")}
    assert dates == {"2023-04-05", "2023-04-15"}
    for row, _, _ in _written(slovenia, "S2L2A"):
        better = [choice.bad for choice in row.alternates]
        assert all(row.choice.bad <= bad for bad in better)


@pytest.mark.parametrize(("site", "rule"), [("mol", "raster"), ("slovenia", "applied")])
def test_offset_free_products_are_not_shifted(site, rule, request):
    decided = read_decided(request.getfixturevalue(site))
    optical = [scene for scene in decided.scenes if scene.product == "S2L2A"]
    assert {scene.offset for scene in optical} == {0}
    assert all(rule in scene.offset_rule for scene in optical)


@pytest.mark.parametrize("site", ["mol", "slovenia", "tile_edge"])
def test_the_dataset_has_no_findings(site, request):
    assert validate(request.getfixturevalue(site)) == []


def test_the_annotated_cell_s_mask_holds_the_polygon(mol):
    masks = [frame["bands"].values[0].sum() for _, _, frame in _written(mol, "MASK")]
    assert sorted(mask > 0 for mask in masks) == [False, True]


def test_the_lattice_is_anchored_where_the_recipe_says(slovenia):
    for sample in read_decided(slovenia).samples:
        assert (sample.grid.left - 60) % (32 * 120) == 0
        assert (sample.grid.top - 60) % (32 * 120) == 0
