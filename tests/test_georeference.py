"""Where the patches lie: the store's coordinates against rioxarray's transform and pyproj's degrees."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from pyproj import Transformer

from pipeline import open_shard

MODALITIES = ("S2L2A", "DEM", "MASK", "MASK_FRACTION", "MASK_SERIES")


def patches(demo: Path, modality: str, *, annotated: bool) -> Iterator[tuple[Any, xr.Dataset]]:
    samples = pd.read_parquet(demo / "samples.parquet")
    chosen = samples[(samples.is_annotated == annotated) & (samples.shard != "")]
    assert len(chosen) > 3
    for sample in chosen.itertuples():
        with open_shard(demo / "all" / modality / f"{sample.shard}.zarr.zip") as shard:
            yield sample, shard.isel(sample=sample.position).load()


@pytest.mark.parametrize("annotated", [True, False])
@pytest.mark.parametrize("modality", MODALITIES)
def test_coordinates_are_the_centres_of_pixels_as_rioxarray_understands_them(demo, modality, annotated):
    for sample, patch in patches(demo, modality, annotated=annotated):
        bands = patch.bands.drop_vars(["x", "y"]).assign_coords(x=patch.x_.values, y=patch.y_.values)
        raster = bands.rio.write_crs(int(patch.crs))
        grid = sample.grid
        assert raster.rio.crs.to_epsg() == grid["epsg"]
        assert tuple(raster.rio.transform())[:6] == (10.0, 0.0, grid["left"], 0.0, -10.0, grid["top"])
        assert raster.rio.bounds() == (grid["left"], grid["top"] - 1280, grid["left"] + 1280, grid["top"])
        assert grid["left"] % 1280 == grid["top"] % 1280 == 0


@pytest.mark.parametrize("annotated", [True, False])
def test_centres_are_true_degrees(demo, annotated):
    for sample, patch in patches(demo, "S2L2A", annotated=annotated):
        to_degrees = Transformer.from_crs(int(patch.crs), 4326, always_xy=True)
        expected = to_degrees.transform(float(patch.x_.mean()), float(patch.y_.mean()))
        np.testing.assert_allclose((patch.center_lon, patch.center_lat), expected, rtol=0, atol=1e-9)
        assert (sample.lon, sample.lat) == (float(patch.center_lon), float(patch.center_lat))
        assert 14 < patch.center_lon < 16
        assert 37 < patch.center_lat < 39
