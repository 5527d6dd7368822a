"""Pixels of Earth Engine against those that the raster readers find in the same archive's files."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely.geometry import box
from support.earth_engine.algorithms import ALGORITHMS
from support.earth_engine.fixtures import Serve
from support.earth_engine.objects import Band, Grid, Image
from support.earth_engine.server import Emulator

from pipeline.archive import Archive
from pipeline.errors import RecipeError, SourceError
from pipeline.records import AssetRef, PatchGrid, Scene
from pipeline.records.recipe import Collections
from pipeline.sources import Query, Source, open_source
from pipeline.sources.earth_engine.collections import parse_href
from pipeline.sources.earth_engine.pixels import request_bytes
from pipeline.sources.reading import WindowReader, open_reader
from pipeline.sources.window import Wanted

pytest_plugins = ["support.earth_engine.fixtures"]

AREA = box(14.97, 37.93, 15.11, 37.98)
START, END = datetime(2021, 12, 1, tzinfo=UTC), datetime(2022, 3, 1, tzinfo=UTC)
GRID = PatchGrid(epsg=32633, left=499_200.0, top=4_202_240.0, size=64, resolution=10.0)
SEAM = PatchGrid(epsg=32633, left=502_900.0, top=4_201_000.0, size=64, resolution=10.0)
"""A patch across the western edge of the eastern tile, which begins at 503160."""


def scenes_of(source: Source, product: Any) -> dict[tuple[str, str], Scene]:
    times = (None, None) if product == "DEM" else (START, END)
    found = source.search(Query(product=product, footprint=AREA, start=times[0], end=times[1]))
    return {(scene.acquisition, scene.tile or scene.file_id[:60]): scene for scene in found}


@contextmanager
def opened() -> Iterator[WindowReader]:
    # The environment must lead to the server before the source is opened.
    with open_reader(open_source("earth-engine", Collections())) as reader:
        yield reader


@pytest.fixture
def reader(earth: Emulator) -> Iterator[WindowReader]:
    with opened() as reader:
        yield reader


def test_bands_of_all_sizes_are_those_of_the_files(earth: Emulator, archive: Archive, reader: WindowReader) -> None:
    files = open_source(str(archive.catalog), Collections())
    theirs, ours = scenes_of(files, "S2L2A"), scenes_of(open_source("earth-engine", Collections()), "S2L2A")
    names = ["B01", "B02", "B05", "B8A", "SCL"]
    with open_reader(files) as raster:
        for key, scene in list(ours.items())[:: max(1, len(ours) // 6)]:
            read = reader.read_bands([Wanted(scene.hrefs[name], "nearest") for name in names], GRID)
            expected = raster.read_bands([Wanted(theirs[key].hrefs[name], "nearest") for name in names], GRID)
            offset = theirs[key].offset
            for name, got, raw in zip(names, read, expected, strict=True):
                if name == "SCL":
                    assert got.dtype == np.uint8
                    np.testing.assert_array_equal(got, raw)
                    continue
                assert got.dtype == np.uint16
                np.testing.assert_array_equal(np.ma.getmaskarray(got), raw == 0)
                np.testing.assert_array_equal(np.ma.getdata(got)[raw != 0], raw[raw != 0].astype(int) + offset)


def test_all_bands_come_in_one_request_on_the_exact_grid(earth: Emulator, reader: WindowReader) -> None:
    scene = next(iter(scenes_of(open_source("earth-engine", Collections()), "S2L2A").values()))
    reader.read_bands([Wanted(href, "nearest") for href in scene.hrefs.values()], GRID)
    assert earth.computed["computePixels"] == 1
    body = earth.bodies[-1]
    assert body["workloadTag"] == "sen12-build"
    assert body["grid"]["crsCode"] == "EPSG:32633"
    assert {name: float(body["grid"]["affineTransform"][name]) for name in ("translateX", "translateY", "scaleX")} == {
        "translateX": GRID.left, "translateY": GRID.top, "scaleX": 10.0,
    }  # fmt: skip


def synthetic(values: NDArray[Any], valid: NDArray[np.bool_]) -> Band:
    def pixels(grid: Grid) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        return values[: grid.height, : grid.width], valid[: grid.height, : grid.width]

    return Band(pixels)


@pytest.mark.parametrize("seed", range(3))
def test_masked_pixels_are_told_from_zeros(serve_earth: Serve, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 4, (64, 64)).astype(np.uint16)
    valid = generator.random((64, 64)) < 0.5
    collection = "COPERNICUS/S2_SR_HARMONIZED"
    bands = {"B2": synthetic(values, valid), "B3": synthetic(values, ~valid)}
    with serve_earth({collection: [Image(bands, id=f"{collection}/x")]}), opened() as reader:
        wanted = [Wanted(f"ee://{collection}/x#{band}", "nearest") for band in bands]
        read = reader.read_bands(wanted, GRID)
    for got, there in zip(read, (valid, ~valid), strict=True):
        np.testing.assert_array_equal(np.ma.getmaskarray(got), ~there)
        np.testing.assert_array_equal(np.ma.getdata(got)[there], values[there])


def test_of_two_scenes_the_first_with_data_wins_in_one_request(serve_earth: Serve) -> None:
    generator = np.random.default_rng(5)
    collection = "COPERNICUS/S2_SR_HARMONIZED"
    classes = [generator.integers(0, 3, (64, 64)).astype(np.uint8) for _ in range(2)]
    numbers = [generator.integers(1, 9000, (64, 64)).astype(np.uint16) for _ in range(2)]
    full = np.ones((64, 64), bool)
    images = [
        Image({"SCL": synthetic(c, c != 0), "B2": synthetic(n, full)}, id=f"{collection}/{name}")
        for name, c, n in zip("ab", classes, numbers, strict=True)
    ]
    refs = [
        AssetRef(scene_id=i, hrefs=(f"ee://{collection}/{i}#B2",), mask_href=f"ee://{collection}/{i}#SCL") for i in "ab"
    ]
    with serve_earth({collection: images}) as emulator, opened() as reader:
        (joined,) = reader.joined(refs)
        wanted = [Wanted(joined.mask_href, "nearest"), Wanted(joined.hrefs[0], "nearest")]
        mask, band = reader.read_bands(wanted, GRID)
        assert emulator.computed["computePixels"] == 1
    np.testing.assert_array_equal(mask, np.where(classes[0] != 0, classes[0], classes[1]))
    seen = mask != 0
    np.testing.assert_array_equal(np.ma.getdata(band)[seen], np.where(classes[0] != 0, *numbers)[seen])


@pytest.mark.parametrize("collection", ["COPERNICUS/S1_GRD", "COPERNICUS/S1_GRD_FLOAT"])
def test_radar_is_decibels_or_power_as_the_collection_says(
    earth: Emulator, archive: Archive, reader: WindowReader, collection: str
) -> None:
    files = open_source(str(archive.catalog), Collections())
    theirs, ours = scenes_of(files, "S1"), scenes_of(open_source("earth-engine", Collections(S1=collection)), "S1")
    assert len(theirs) == len(ours) == 24
    for key in sorted(ours)[:4]:
        scene = ours[key]
        assert reader.is_decibel(scene.hrefs["vv"]) == (collection == "COPERNICUS/S1_GRD")
        got = reader.read_measured_bands([Wanted(scene.hrefs[name], "bilinear") for name in ("vv", "vh")], SEAM)
        with open_reader(files) as raster:
            power = [raster.read(theirs[key].hrefs[name], SEAM, resampling="bilinear") for name in ("vv", "vh")]
        for mine, linear in zip(got, power, strict=True):
            assert mine.dtype == np.float32
            expected = linear
            if collection == "COPERNICUS/S1_GRD":
                expected = (10 * np.log10(linear.astype(np.float64))).astype(np.float32)
            np.testing.assert_array_equal(mine, expected)


def test_bilinear_is_asked_for_by_name(earth: Emulator, archive: Archive, reader: WindowReader) -> None:
    files = open_source(str(archive.catalog), Collections())
    theirs, ours = scenes_of(files, "DEM"), scenes_of(open_source("earth-engine", Collections()), "DEM")
    for key, scene in ours.items():
        other = next(item for item in theirs.values() if item.id == scene.id)
        got = reader.read_measured(scene.hrefs["DEM"], GRID, resampling="bilinear")
        with open_reader(files) as raster:
            expected = raster.read(other.hrefs["DEM"], GRID, resampling="bilinear")
        np.testing.assert_array_equal(got, expected, err_msg=str(key))
        assert '"bilinear"' in str(earth.bodies[-1]).replace("'", '"')


def test_average_is_refused_in_words(earth: Emulator, reader: WindowReader) -> None:
    with pytest.raises(RecipeError, match="nearest, bilinear or cubic, not average"):
        reader.read("ee://COPERNICUS/DEM/GLO30/x#DEM", GRID, resampling="average")


def test_a_patch_too_large_for_one_request_is_refused_before_it_is_sent(earth: Emulator, reader: WindowReader) -> None:
    large = PatchGrid(epsg=32633, left=0.0, top=0.0, size=4096, resolution=10.0)
    with pytest.raises(RecipeError, match="take fewer bands or a smaller patch_size"):
        reader.read_bands([Wanted("ee://COPERNICUS/S2_HARMONIZED/x#B2", "nearest")], large)
    assert not earth.computed


def test_an_image_that_is_gone_is_a_source_error(earth: Emulator, reader: WindowReader) -> None:
    with pytest.raises(SourceError, match=r"Image asset 'COPERNICUS/DEM/GLO30/x' not found"):
        reader.read("ee://COPERNICUS/DEM/GLO30/x#DEM", GRID, resampling="nearest")


def test_an_algorithm_that_the_emulator_lacks_is_named(
    earth: Emulator, reader: WindowReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ALGORITHMS, "Image.mask")
    image = earth.catalogue["COPERNICUS/DEM/GLO30"][0]
    with pytest.raises(SourceError, match=r"Image\.mask is not implemented"):
        reader.read(f"ee://{image.id}#DEM", GRID, resampling="nearest")


@pytest.mark.parametrize("href", ["/a/b.tif", "https://x/y.tif", "ee://", "ee://a/b", "ee://#B2"])
def test_a_reference_of_another_source_is_refused(href: str) -> None:
    with pytest.raises(RecipeError, match="plan again"):
        parse_href(href)


def test_sizes_are_counted_as_the_server_counts_them(earth: Emulator, reader: WindowReader) -> None:
    bands = [parse_href(f"ee://COPERNICUS/S2_SR_HARMONIZED/x#{band}") for band in ("B2", "B3", "SCL")]
    # Three bands and the band that says where they are valid, and a byte of mask for each of the four.
    assert request_bytes(bands, GRID) == 64 * 64 * (2 + 2 + 1 + 2 + 4)
