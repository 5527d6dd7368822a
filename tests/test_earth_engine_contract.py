"""What the emulator assumes of Earth Engine, asked of the real one: run with EE_PROJECT and credentials, else skipped.

    EE_PROJECT=my-project pytest -m contract tests/test_earth_engine_contract.py

A dozen small requests; no other test needs them.
"""

import io
import os
from typing import Any

import ee
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.records import PatchGrid
from pipeline.sources.contract import ScoreWindow
from pipeline.sources.earth_engine import usage
from pipeline.sources.earth_engine.expressions import pixel_grid
from pipeline.sources.earth_engine.pixels import TAG, EarthEngineReader
from pipeline.sources.earth_engine.scoring import shares_on_server
from pipeline.sources.earth_engine.session import HIGH_VOLUME, Session, find_credentials
from pipeline.sources.earth_engine.source import EarthEngineSource
from pipeline.sources.window import Wanted

pytestmark = pytest.mark.contract

SURFACE = "COPERNICUS/S2_SR_HARMONIZED"
ELEVATION = "COPERNICUS/DEM/GLO30"
GRID = PatchGrid(epsg=32633, left=499_980.0, top=4_200_000.0, size=64, resolution=10.0)


@pytest.fixture(scope="module")
def source() -> EarthEngineSource:
    project = os.environ.get("EE_PROJECT", "")
    if not project:
        pytest.skip("EE_PROJECT is not set: nothing is asked of the real Earth Engine")
    try:
        find_credentials()
    except PipelineError as err:
        pytest.skip(str(err))
    source = EarthEngineSource(session=Session(project=project, endpoint=HIGH_VOLUME), collections={})
    source.session.connect()
    return source


@pytest.fixture(scope="module")
def scene(source: EarthEngineSource) -> str:
    """An image of January 2022 over the grid."""
    place = ee.Geometry.Rectangle(list(GRID.bounds), "EPSG:32633", False)
    images = (
        ee.ImageCollection("COPERNICUS/S2_SR_HARMONIZED").filterBounds(place).filterDate("2022-01-01", "2022-02-28")
    )
    return f"COPERNICUS/S2_SR_HARMONIZED/{images.first().get('system:index').getInfo()}"


def fetch(image: Any, grid: PatchGrid = GRID) -> NDArray[Any]:
    data = ee.data.computePixels({"expression": image, "fileFormat": "NPY", "grid": pixel_grid(grid)})
    return np.asarray(np.load(io.BytesIO(data)))


def requests_so_far() -> int:
    tally = usage.tallies().get(TAG)
    return tally.requests if tally else 0


def test_masked_values_come_as_zero_and_the_mask_tells_them(source: EarthEngineSource) -> None:
    ones = ee.Image.constant(7).toUint16().rename(["b0"])
    answer = fetch(ones.updateMask(0))
    assert (answer["b0"] == 0).all()
    assert (fetch(ones.updateMask(0).mask().gt(0).toUint8())["b0"] == 0).all()
    assert (fetch(ones.updateMask(0).unmask(9, False))["b0"] == 9).all()


def test_nearest_takes_the_pixel_that_a_centre_lies_in(source: EarthEngineSource, scene: str) -> None:
    band = ee.Image(scene).select(["SCL"], ["b0"])
    fine = fetch(band)["b0"]
    coarse = fetch(band, PatchGrid(epsg=GRID.epsg, left=GRID.left, top=GRID.top, size=32, resolution=20.0))["b0"]
    np.testing.assert_array_equal(fine, coarse.repeat(2, axis=0).repeat(2, axis=1))


def test_dtypes_are_those_asked_for(source: EarthEngineSource, scene: str) -> None:
    with source.open_reader() as reader:
        bands = [Wanted(f"ee://{scene}#{band}", "nearest") for band in ("B2", "SCL")]
        numbers, classes = reader.read_bands(bands, GRID)
    assert (numbers.dtype, classes.dtype) == (np.uint16, np.uint8)


def test_dates_in_one_request_are_those_of_requests_of_their_own(source: EarthEngineSource) -> None:
    place = ee.Geometry.Rectangle(list(GRID.bounds), "EPSG:32633", False)
    found = ee.ImageCollection(SURFACE).filterBounds(place).filterDate("2022-01-01", "2022-02-28").limit(4)
    # Of neighbouring tiles, so that one image may end where another goes on.
    reads = [
        ([Wanted(f"ee://{SURFACE}/{index}#{band}", "nearest") for band in ("B2", "B11")], GRID)
        for index in found.aggregate_array("system:index").getInfo()
    ]
    before = requests_so_far()
    with source.open_reader() as reader:
        reader.read_ahead(reads)
        together = [reader.read_bands(*read) for read in reads]
    assert requests_so_far() == before + 1
    with source.open_reader() as reader:
        alone = [reader.read_bands(*read) for read in reads]
    for got, expected in zip(together, alone, strict=True):
        for band, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(np.ma.getmaskarray(band), np.ma.getmaskarray(other))
            np.testing.assert_array_equal(np.ma.getdata(band), np.ma.getdata(other))


def test_shares_on_the_server_are_those_of_the_pixels(source: EarthEngineSource, scene: str) -> None:
    href = f"ee://{scene}#SCL"
    classes = EarthEngineReader(source.governor).read(href, GRID, resampling="nearest")
    (shares,) = shares_on_server(source.governor, [ScoreWindow(GRID, (href,))], None)
    assert shares.cloud == np.isin(classes, [8, 9, 10]).mean()
    assert shares.nodata == np.mean((classes == 0) | (classes > 11))
    assert (shares.shadow, shares.snow) == ((classes == 3).mean(), (classes == 11).mean())


def test_bilinear_elevation_is_that_of_a_linear_interpolation(source: EarthEngineSource) -> None:
    tiles = ee.ImageCollection(ELEVATION).filterBounds(ee.Geometry.Rectangle(list(GRID.bounds), "EPSG:32633", False))
    tile = f"{ELEVATION}/{tiles.first().get('system:index').getInfo()}"
    with source.open_reader() as reader:
        smooth = reader.read_measured(f"ee://{tile}#DEM", GRID, resampling="bilinear")
        steps = reader.read_measured(f"ee://{tile}#DEM", GRID, resampling="nearest")
    valid = np.isfinite(smooth) & np.isfinite(steps)
    assert valid.any()
    assert len(np.unique(smooth[valid])) > 2 * len(np.unique(steps[valid]))
    assert abs(smooth[valid] - steps[valid]).mean() < 20.0


def test_refusals_carry_the_status_that_is_looked_for(source: EarthEngineSource) -> None:
    with pytest.raises(ee.EEException, match=r"not found|does not exist") as caught:
        fetch(ee.Image("COPERNICUS/S2_SR_HARMONIZED/none").select([0]))
    assert usage.status_of(caught.value) in (400, 404)
    large = PatchGrid(epsg=32633, left=0.0, top=0.0, size=6000, resolution=10.0)
    with pytest.raises(ee.EEException, match=r"must be less than or equal to") as refused:
        fetch(ee.Image.constant(1.0).toDouble(), large)
    assert usage.status_of(refused.value) == 400
