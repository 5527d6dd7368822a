"""Exported files against the store that they were made from, and their size, georeference and axes."""

import netCDF4
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from support.records import make_grid
from support.small_datasets import make_site

from pipeline import grid as grids
from pipeline import open_shard
from pipeline.catalog import read_decided
from pipeline.errors import LayoutError
from pipeline.exports.sen12landslides import open_patch
from pipeline.exports.sen12landslides.attributes import patch_attributes
from pipeline.exports.sen12landslides.netcdf import PatchFile, write_patch
from pipeline.exports.sen12landslides.sensors import SENSORS

S2 = list(SENSORS["s2"].bands)


def stored(root, modality, sample, decided):
    """Values (time, band, y, x) and times of one sample of a dataset."""
    place = decided.places[sample.id]
    with open_shard(root / place.split / modality / f"{place.shard}.zarr.zip") as shard:
        one = shard.sel(sample=sample.id)
        return one["bands"].load(), one["time_"].values


def patch_of(exported, radiometry, sensor, sample_id):
    name = SENSORS[sensor].file_name(sample_id)
    return open_patch(exported / "data" / f"data_{radiometry}" / sensor / name)


def samples(root):
    decided = read_decided(root)
    return [(sample, decided) for sample in decided.samples]


def test_optical_numbers_classes_mask_and_elevation_come_back(listed_demo, exported):
    compared = 0
    for sample, decided in samples(listed_demo):
        patch = patch_of(exported, "harmonized", "s2", sample.id)
        bands, times = stored(listed_demo, "S2L2A", sample, decided)
        classes, _ = stored(listed_demo, "SCL", sample, decided)
        kept = np.flatnonzero(~np.isnat(times))
        held = bands.sel(band=S2).values[kept]
        found = np.stack([patch[name].values for name in S2], axis=1)
        inside = (held >= 0) & (held <= 10_000)
        np.testing.assert_array_equal(found[: len(kept)][inside], held[inside])
        assert (found[: len(kept)][held > 10_000] == 10_000).all()
        np.testing.assert_array_equal(patch["SCL"].values[: len(kept)], classes.values[kept, 0])
        np.testing.assert_array_equal(patch["time"].values[: len(kept)], times[kept].astype("datetime64[D]"))
        padded = patch.attrs["padded_frames"]
        assert padded == ",".join(map(str, range(len(kept), 6)))
        np.testing.assert_array_equal(found[len(kept) :], np.repeat(found[[len(kept) - 1]], 6 - len(kept), axis=0))
        mask, _ = stored(listed_demo, "MASK", sample, decided)
        height, _ = stored(listed_demo, "DEM", sample, decided)
        for step in range(6):
            np.testing.assert_array_equal(patch["MASK"].values[step], mask.values[0, 0])
            np.testing.assert_array_equal(patch["DEM"].values[step], np.trunc(height.values[0, 0]).astype(int))
        compared += int(inside.sum())
    assert compared > 10_000_000


def test_raw_optical_numbers_have_the_offset_of_their_product_again(listed_demo, exported):
    seen = set()
    for sample, decided in samples(listed_demo):
        raw, free = (patch_of(exported, tree, "s2", sample.id) for tree in ("raw", "harmonized"))
        rows = {row.timestep: row for row in decided.rows if (row.sample_id, row.modality) == (sample.id, "S2L2A")}
        kept = [row.choice for _, row in sorted(rows.items()) if row.choice is not None]
        for step, choice in enumerate(kept):
            added = choice.assets[0].offset
            seen.add((choice.baseline, added))
            for name in S2:
                harmonized, number = free[name].values[step], raw[name].values[step]
                exact = (harmonized > 0) & (harmonized < 9_000)
                np.testing.assert_array_equal(number[exact], harmonized[exact] - added)
    assert seen == {("03.01", 0), ("04.00", -1000)}


@pytest.mark.parametrize("sensor", ["s1asc", "s1dsc"])
def test_backscatter_comes_back(listed_demo, exported, sensor):
    for sample, decided in samples(listed_demo):
        decibel, times = stored(listed_demo, SENSORS[sensor].modality, sample, decided)
        assert not np.isnat(times).any()
        raw, free = (patch_of(exported, tree, sensor, sample.id) for tree in ("raw", "harmonized"))
        for name in ("VH", "VV"):
            held = decibel.sel(band=name.lower()).values
            power = np.clip(10.0 ** (held.astype(np.float64) / 10.0), 0.0, 1.0)
            np.testing.assert_allclose(raw[name].values, power, rtol=1e-6)
            np.testing.assert_array_equal(free[name].values, np.clip(held, -50.0, 10.0))


def test_only_coordinates_of_the_file_are_off_by_half_a_pixel(listed_demo, exported):
    for sample, _ in samples(listed_demo):
        for sensor in SENSORS:
            path = exported / "data/data_raw" / sensor / SENSORS[sensor].file_name(sample.id)
            with xr.open_dataset(path) as file:
                transform = Affine.from_gdal(*map(float, file["spatial_ref"].attrs["GeoTransform"].split()))
                assert transform == sample.grid.geobox.affine
                assert (file["x"][0], file["y"][0]) == (sample.grid.left, sample.grid.top)
                assert (np.diff(file["y"]) == -10.0).all()
                assert (np.diff(file["x"]) == 10.0).all()
                # The reader's rule for coordinates, pixel centres, puts the patch 5 m to the north-west.
                assert float(file["x"][0]) - 5.0 == sample.grid.left - 5.0
                # ... so that the corner in the middle is the patch's true middle.
                assert (file.attrs["center_lon"], file.attrs["center_lat"]) == (file["x"][64], file["y"][64])
                middle = grids.to_lonlat(
                    easting=file.attrs["center_lon"], northing=file.attrs["center_lat"], epsg=sample.grid.epsg
                )
                assert np.allclose(middle, (sample.lon, sample.lat), atol=1e-9, rtol=0)


def test_what_is_read_lies_where_the_store_says(listed_demo, exported):
    sample, decided = samples(listed_demo)[1]
    patch = patch_of(exported, "raw", "s2", sample.id)
    place = decided.places[sample.id]
    with open_shard(listed_demo / "all/S2L2A" / f"{place.shard}.zarr.zip") as shard:
        one = shard.sel(sample=sample.id)
        np.testing.assert_array_equal(patch["x"], one["x_"])
        np.testing.assert_array_equal(patch["y"], one["y_"])
    assert patch["B02"].dims == ("time", "y", "x")
    assert np.allclose([patch["lon"], patch["lat"]], [sample.lon, sample.lat], atol=1e-9, rtol=0)
    assert "center_lat" not in patch.attrs


def test_a_file_has_the_size_of_a_released_one_and_the_store_is_much_smaller(tmp_path, listed_demo, exported):
    days = np.datetime64("2023-01-01", "D") + np.arange(15)
    cube = np.zeros((15, 128, 128), np.int16)
    grid = make_grid(size=128)
    told = patch_attributes([], days, sensor=SENSORS["s2"], grid=grid, annotated=False)
    ground = {"MASK": cube.astype(np.uint8), "DEM": cube}
    optical = dict.fromkeys((*S2, "SCL"), cube)
    radar = {name: cube.astype(np.float32) for name in ("VH", "VV")}
    for name, variables, size in (("s2", optical, 6_171_993), ("s1", radar, 2_722_367)):
        content = PatchFile(variables={**variables, **ground}, days=days, grid=grid, attributes=told)
        write_patch(tmp_path / f"{name}.nc", content, dims="txy")
        assert (tmp_path / f"{name}.nc").stat().st_size == pytest.approx(size, rel=1e-3)
    store = sum(file.stat().st_size for file in (listed_demo / "all").rglob("*.zarr.zip"))
    files = sum(file.stat().st_size for file in (exported / "data/data_harmonized").rglob("*.nc"))
    assert store < files / 2


def test_values_lie_in_one_piece_and_are_not_compressed(exported):
    path = min((exported / "data/data_harmonized/s1asc").glob("*.nc"))
    with netCDF4.Dataset(path) as file:
        assert list(file.variables) == ["VH", "VV", "MASK", "DEM", "spatial_ref", "time", "x", "y"]
        assert all(variable.chunking() in {"contiguous", None} for variable in file.variables.values())
        assert not any((variable.filters() or {}).get("zlib") for variable in file.variables.values())
        assert all(np.isnan(file[name].getncattr("_FillValue")) for name in ("VH", "VV"))
        assert "_FillValue" not in file["MASK"].ncattrs()
        assert file["time"].units.startswith("days since 2021-")
        assert file["time"].units.endswith(" 00:00:00")
        assert (file["time"].calendar, file["time"].dtype, file["time"][0]) == ("proleptic_gregorian", np.int64, 0)


def test_the_order_of_axes_changes_no_value(tmp_path, export_of):
    root = make_site(2).write(tmp_path / "site")
    options = ("--split", "compat", "--radiometry", "raw")
    released = export_of(root, out=tmp_path / "txy", options=options)
    plain = export_of(root, out=tmp_path / "tyx", options=(*options, "--dims", "tyx"))
    names = [file.relative_to(released) for file in sorted(released.rglob("*.nc"))]
    assert len(names) == 6
    for name in names:
        with xr.open_dataset(released / name) as first, xr.open_dataset(plain / name) as second:
            variable = next(iter(first.data_vars))
            assert (first[variable].dims, second[variable].dims) == (("time", "x", "y"), ("time", "y", "x"))
            np.testing.assert_array_equal(first[variable].values, second[variable].values.swapaxes(1, 2))
        xr.testing.assert_identical(open_patch(released / name), open_patch(plain / name))


def test_what_is_no_patch_is_refused(tmp_path):
    with pytest.raises(LayoutError, match="does not exist"):
        open_patch(tmp_path / "a.nc")
    (tmp_path / "a.nc").write_text("hello")
    with pytest.raises(LayoutError, match="not a NetCDF file"):
        open_patch(tmp_path / "a.nc")
    xr.Dataset({"a": ("b", [1])}).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(LayoutError, match="not a Sen12Landslides patch"):
        open_patch(tmp_path / "b.nc")
