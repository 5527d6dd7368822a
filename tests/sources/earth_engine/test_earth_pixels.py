"""Pixels of Earth Engine against those that the raster readers find in the same archive's files."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.geometry import box
from support.earth_engine.algorithms import ALGORITHMS
from support.earth_engine.catalogue import in_decibel
from support.earth_engine.fixtures import Serve
from support.earth_engine.objects import Band, Grid, Image, raster_band
from support.earth_engine.server import Emulator

from pipeline.archive import Archive
from pipeline.errors import RecipeError, SourceError
from pipeline.folder import Request
from pipeline.recipes import load_recipe
from pipeline.records import AssetRef, PatchGrid, Scene
from pipeline.records.recipe import Collections
from pipeline.sources import Query, Source, open_source
from pipeline.sources.contract import ScoreWindow, ScoringSource
from pipeline.sources.earth_engine import packing, recent
from pipeline.sources.earth_engine.collections import parse_href
from pipeline.sources.earth_engine.packing import request_bytes, tiles_of
from pipeline.sources.reading import WindowReader, open_reader
from pipeline.sources.window import Wanted
from pipeline.stages import connect
from pipeline.survey import missing_radar_share

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


@pytest.mark.parametrize("limit", [64 * 64 * 8, 64 * 64 * 8 - 1, 20 * 20 * 8, 8])
def test_a_patch_too_large_for_one_request_is_asked_for_in_parts(
    earth: Emulator, reader: WindowReader, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    scene = next(iter(scenes_of(open_source("earth-engine", Collections()), "DEM").values()))
    wanted = [Wanted(scene.hrefs["DEM"], "nearest")]
    href = parse_href(scene.hrefs["DEM"])
    small = replace(GRID, size=8) if limit == 8 else GRID
    (whole,) = reader.read_bands(wanted, small)
    monkeypatch.setattr(packing, "LARGEST_REQUEST", limit)
    before = earth.computed["computePixels"]
    (parts,) = reader.read_bands(wanted, small)
    np.testing.assert_array_equal(parts, whole)
    asked = earth.computed["computePixels"] - before
    assert asked == len(tiles_of([href], small)) == {64 * 64 * 8: 1, 20 * 20 * 8: 16, 8: 64}.get(limit, 4)


@given(size=st.integers(8, 4096), count=st.integers(1, 16))
def test_parts_cover_a_patch_and_are_small_enough(size: int, count: int) -> None:
    bands = [parse_href(f"ee://COPERNICUS/S2_HARMONIZED/x#B{band}") for band in range(count)]
    grid = replace(GRID, size=size)
    tiles = tiles_of(bands, grid)
    seen = np.zeros((size, size), bool)
    for rows, columns, tile in tiles:
        seen[rows, columns] = True
        assert request_bytes(bands, tile) <= packing.LARGEST_REQUEST
        assert (rows.stop - rows.start, columns.stop - columns.start) == (tile.size, tile.size)
        corner = (GRID.left + 10.0 * columns.start, GRID.top - 10.0 * rows.start)
        assert (tile.left, tile.top) == corner
    assert seen.all()
    fewer = math.isqrt(len(tiles)) - 1
    assert fewer == 0 or request_bytes(bands, replace(GRID, size=math.ceil(size / fewer))) > packing.LARGEST_REQUEST


def test_more_bands_than_one_request_holds_are_refused(earth: Emulator, reader: WindowReader) -> None:
    wanted = [Wanted(f"ee://COPERNICUS/S2_HARMONIZED/x#C{band}", "nearest") for band in range(17)]
    with pytest.raises(RecipeError, match="take fewer bands"):
        reader.read_bands(wanted, GRID)
    assert not earth.computed


def many(count: int, rule: str) -> list[str]:
    bands = ", ".join(f"B{number}: 10" for number in range(count))
    described = f"{{collection: A/B, dtype: float32, time: date, resampling: {rule}, bands: {{{bands}}}}}"
    return [f"own_modalities.MANY={described}", "modalities=[S2L2A,MANY]"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["resampling.DEM=average"], r"^Earth Engine has no average resampling: set resampling\.DEM to one of nearest"),
        (many(17, "nearest"), "^MANY has 17 bands with its quality band, of 16 at most"),
        (many(2, "average"), r"own_modalities\.MANY\.resampling to one of nearest, bilinear, cubic$"),
    ],
)
def test_what_earth_engine_cannot_do_is_refused_when_it_is_planned(
    earth: Emulator, tmp_path: Path, overrides: list[str], message: str
) -> None:
    recipe = load_recipe("landslides", overrides)
    with pytest.raises(RecipeError, match=message) as caught:
        connect(Request(recipe=recipe, places="places.csv", source="earth-engine", out=tmp_path))
    assert "\n" not in str(caught.value)
    assert not earth.requests


@pytest.mark.parametrize("collection", ["COPERNICUS/S1_GRD", "COPERNICUS/S1_GRD_FLOAT"])
@pytest.mark.parametrize("rule", ["nearest", "bilinear"])
def test_radar_is_measured_on_the_server_as_from_its_pixels(
    serve_earth: Serve, tmp_path: Path, collection: str, rule: Any
) -> None:
    generator = np.random.default_rng(11)
    images = []
    for name in "ab":
        power = generator.uniform(0.01, 0.3, (60, 60)).astype(np.float32)
        power[generator.random((60, 60)) < 0.4] = -32768.0
        power[20:30, 20:30] = 0.0
        path = tmp_path / f"{name}.tif"
        # Half a pixel off the patch: bilinear sees neighbours.
        transform = Affine(10, 0, GRID.left + 45, 0, -10, GRID.top - 45)
        profile = {"driver": "GTiff", "width": 60, "height": 60, "count": 1, "dtype": "float32", "nodata": -32768.0}
        with rasterio.open(path, "w", **profile, crs="EPSG:32633", transform=transform) as dataset:
            dataset.write(power, 1)
        change = in_decibel if collection == "COPERNICUS/S1_GRD" else None
        images.append(Image({"VV": raster_band(path, nodata=-32768.0, change=change)}, id=f"{collection}/{name}"))
    hrefs = tuple(f"ee://{image.id}#VV" for image in images)
    with serve_earth({collection: images}) as emulator:
        source = open_source("earth-engine", Collections())
        assert isinstance(source, ScoringSource)
        windows = [ScoreWindow(GRID, held, rule) for held in (hrefs[:1], hrefs[1:], hrefs)]
        shares = source.class_shares(windows)
        assert emulator.computed == {"computeFeatures": 1}
        with open_reader(source) as reader:
            expected = [missing_radar_share(w.hrefs, GRID, reader, resampling=rule) for w in windows]
    assert [share.nodata for share in shares] == expected
    assert 0.1 < expected[2] < min(expected[:2]) < 0.9
    assert all((share.cloud, share.shadow, share.snow, share.dark) == (0, 0, 0, 0) for share in shares)


def test_the_classification_is_not_asked_for_again(earth: Emulator, reader: WindowReader) -> None:
    scene = next(iter(scenes_of(open_source("earth-engine", Collections()), "S2L2A").values()))
    classes = Wanted(scene.hrefs["SCL"], "nearest")
    (first, _) = reader.read_bands([classes, Wanted(scene.hrefs["B02"], "nearest")], GRID)
    (again,) = reader.read_bands([classes], GRID)
    np.testing.assert_array_equal(again, first)
    assert earth.computed["computePixels"] == 1
    reader.read_bands([classes], SEAM)
    assert earth.computed["computePixels"] == 2


def test_what_is_kept_is_bounded_and_the_oldest_use_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    recent.forget()
    monkeypatch.setattr(recent, "MOST_BYTES", 3000)
    for number in range(3):
        recent.keep(number, np.full(1000, number, np.uint8))
    assert recent.recall(0) is not None
    recent.keep(3, np.zeros(1000, np.uint8))
    assert recent.recall(1) is None
    assert [recent.recall(number) is not None for number in (0, 2, 3)] == [True] * 3
    recent.forget()
    assert recent.recall(0) is None


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
