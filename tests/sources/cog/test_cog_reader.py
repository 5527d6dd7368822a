"""The fast reader gives the bits of the reference reader."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from pipeline.errors import SourceError
from pipeline.records import PatchGrid
from pipeline.sources.cog import CogReader, blocks
from pipeline.sources.window import RasterReader, open_reference

LEFT, TOP = 500_000.0, 5_100_000.0


class Plain:
    """Files as they are."""

    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> Mapping[str, str]:
        return {}


def both(href: str, grid: PatchGrid, resampling: Any = "nearest") -> tuple[Any, Any, CogReader]:
    with open_reference(Plain()) as reference:
        fast = CogReader(Plain(), RasterReader(Plain()))
        expected = reference.read(href, grid, resampling=resampling)
        found = fast.read(href, grid, resampling=resampling)
        fast.close()
    return expected, found, fast


@st.composite
def rasters(draw: st.DrawFn) -> dict[str, Any]:
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "uint32", "int32", "float32"]))
    predictor = draw(st.sampled_from([1, 3] if dtype == "float32" else [1, 2]))
    compress = draw(st.sampled_from(["deflate", "zstd", "lzw", "none"]))
    return {
        "dtype": dtype,
        "predictor": 1 if compress == "none" else predictor,
        "compress": compress,
        "blockxsize": draw(st.sampled_from([16, 32, 64, 128])),
        "blockysize": draw(st.sampled_from([16, 32, 64])),
        "width": draw(st.integers(1, 150)),
        "height": draw(st.integers(1, 150)),
        "nodata": draw(st.sampled_from([None, 0, 7])),
        "sparse_ok": draw(st.booleans()),
        "ENDIANNESS": draw(st.sampled_from(["LITTLE", "BIG"])),
        "BIGTIFF": draw(st.sampled_from(["YES", "NO"])),
        "pixel": draw(st.sampled_from([10.0, 20.0, 60.0])),
        "overviews": draw(st.booleans()),
    }


def write(path: Path, profile: Mapping[str, Any], seed: int) -> None:
    options = dict(profile)
    pixel, overviews = options.pop("pixel"), options.pop("overviews")
    rng = np.random.default_rng(seed)
    shape = (options["height"], options["width"])
    values = np.cumsum(rng.integers(-3, 4, shape), axis=1) + rng.integers(0, 200, shape)
    data = values.astype(np.float64).clip(0, 250).astype(options["dtype"])
    if options["dtype"] == "float32":
        data = (data / 7 - 5).astype("float32")
    data[: shape[0] // 2] = 0
    with rasterio.open(
        path, "w", driver="GTiff", count=1, crs="EPSG:32633", tiled=True,
        transform=from_origin(LEFT, TOP, pixel, pixel), **options,
    ) as file:  # fmt: skip
        file.write(data, 1)
        if overviews:
            file.build_overviews([2])


@settings(max_examples=150, deadline=None)
@given(profile=rasters(), seed=st.integers(0, 9), across=st.integers(-400, 1600), down=st.integers(-400, 1600), size=st.integers(1, 90))  # fmt: skip  # noqa: E501
def test_generated_files_give_the_same_bits(profile, seed, across, down, size):
    grid = PatchGrid(epsg=32633, left=LEFT + across, top=TOP - down, size=size, resolution=10.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "band.tif"
        write(path, profile, seed)
        expected, found, fast = both(str(path), grid)
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()
    assert bool(fast.left_to_reference) == (profile["compress"] == "lzw")


def test_a_warp_is_left_to_the_reference(tmp_path):
    profile = {
        "dtype": "uint16", "predictor": 2, "compress": "deflate", "blockxsize": 64, "blockysize": 64, "width": 150,
        "height": 150, "nodata": 0, "pixel": 20.0, "overviews": False,
    }  # fmt: skip
    write(tmp_path / "band.tif", profile, 1)
    grid = PatchGrid(epsg=32633, left=LEFT, top=TOP, size=64, resolution=10.0)
    expected, found, fast = both(str(tmp_path / "band.tif"), grid, "bilinear")
    np.testing.assert_array_equal(found, expected)
    assert dict(fast.left_to_reference) == {"warp": 1}
    elsewhere = PatchGrid(epsg=32634, left=40_000.0, top=TOP, size=64, resolution=10.0)
    _, _, fast = both(str(tmp_path / "band.tif"), elsewhere)
    assert dict(fast.left_to_reference) == {"warp": 1}


@pytest.mark.parametrize("cut", [0, 7, 300, 3000])
def test_a_damaged_file_ends_as_with_the_reference(tmp_path, cut):
    profile = {
        "dtype": "uint16", "predictor": 2, "compress": "deflate", "blockxsize": 64, "blockysize": 64, "width": 150,
        "height": 150, "nodata": 0, "pixel": 10.0, "overviews": False,
    }  # fmt: skip
    write(tmp_path / "band.tif", profile, 1)
    path = tmp_path / "cut.tif"
    path.write_bytes((tmp_path / "band.tif").read_bytes()[:cut])
    grid = PatchGrid(epsg=32633, left=LEFT, top=TOP - 800, size=64, resolution=10.0)
    outcomes = []
    with open_reference(Plain()) as reference:
        for reader in (reference, CogReader(Plain(), RasterReader(Plain()))):
            try:
                outcomes.append(reader.read(str(path), grid, resampling="nearest").tobytes())
            except SourceError as err:
                outcomes.append((type(err), str(err)))
    assert outcomes[0] == outcomes[1]


PLAIN_FILE = {
    "dtype": "uint16", "predictor": 1, "compress": "none", "blockxsize": 64, "blockysize": 64, "width": 150,
    "height": 150, "nodata": 0, "pixel": 10.0, "overviews": False,
}  # fmt: skip
WRONG = {
    "plain tiles of other lengths": (259, 1, {"compress": "deflate"}),
    "plain tiles with a predictor": (259, 1, {"compress": "deflate", "predictor": 2}),
    "lengths that do not fit plain tiles": (325, (1000, 2000) * 4 + (1000,), {}),
    "pixels without an area": (33550, (1e-200, 1e-200, 0.0), {}),
    "pixels of a picometre": (33550, (1e-12, 10.0, 0.0), {}),
}


@pytest.mark.parametrize(("code", "value", "made"), WRONG.values(), ids=WRONG)
def test_what_a_header_says_wrongly_is_judged_by_the_reference(tmp_path, code, value, made):
    path = tmp_path / "band.tif"
    write(path, PLAIN_FILE | made, 1)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[code].overwrite(value)
    # Of the upper tiles only the first rows: those are there, whatever the lengths say.
    grid = PatchGrid(epsg=32633, left=LEFT, top=TOP + 600, size=64, resolution=10.0)
    with open_reference(Plain()) as reference:
        fast = CogReader(Plain(), RasterReader(Plain()))
        results = [_bits(reader, str(path), grid) for reader in (reference, fast)]
        fast.close()
    assert results[0] == results[1]
    assert fast.windows == 0


@pytest.mark.parametrize("compress", ["deflate", "lzw"])
def test_a_file_that_lists_other_tiles_than_its_size_has_is_refused(tmp_path, compress):
    path = tmp_path / "band.tif"
    write(path, PLAIN_FILE | {"compress": compress}, 1)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[322].overwrite(32)
    grid = PatchGrid(epsg=32633, left=LEFT, top=TOP, size=64, resolution=10.0)
    fast = CogReader(Plain(), RasterReader(Plain()))
    for read in (fast.read, fast.read_measured):
        with pytest.raises(SourceError, match=r"band\.tif cannot be read: its index has 9 tiles, its size 15"):
            read(str(path), grid, resampling="nearest")
    fast.close()


@pytest.mark.parametrize("tiled", [True, False])
def test_a_file_of_more_bands_than_any_image_is_refused(tmp_path, tiled):
    path = tmp_path / "band.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=16, height=16, count=1025, dtype="uint8", interleave="pixel", tiled=tiled,
        blockxsize=16, blockysize=16, crs="EPSG:32633", transform=from_origin(LEFT, TOP, 10.0, 10.0),
    ):  # fmt: skip
        pass
    grid = PatchGrid(epsg=32633, left=LEFT, top=TOP, size=16, resolution=10.0)
    with open_reference(Plain()) as reference:
        fast = CogReader(Plain(), RasterReader(Plain()))
        assert {_bits(reader, str(path), grid) for reader in (reference, fast)} == {
            f"{path} cannot be read: it has 1025 bands"
        }
        fast.close()


def test_a_projection_whose_name_is_no_text_is_a_fault_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "band.tif"
    write(path, PLAIN_FILE, 1)

    def undecodable(*_: Any, **__: Any) -> None:
        b"\xb6".decode()

    monkeypatch.setattr(rasterio, "open", undecodable)
    grid = PatchGrid(epsg=32633, left=LEFT, top=TOP, size=64, resolution=10.0)
    with open_reference(Plain()) as reference:
        assert _bits(reference, str(path), grid) == f"{path} cannot be read: its projection is no text"


def _bits(reader: Any, href: str, grid: PatchGrid) -> bytes | str:
    try:
        return reader.read(href, grid, resampling="nearest").tobytes()
    except SourceError as err:
        return str(err)


def test_real_files_give_the_same_bits(shared):
    files = sorted((shared / "real").rglob("*.tif"))
    assert len(files) > 50
    read_here = 0
    for file in files:
        with rasterio.open(file) as dataset:
            epsg, bounds, pixel = dataset.crs.to_epsg(), dataset.bounds, dataset.transform.a
        if not epsg or not 32601 <= epsg <= 32760:
            continue
        for shift in (0.0, 37 * pixel):
            grid = PatchGrid(epsg=epsg, left=bounds.left + shift, top=bounds.top - shift, size=96, resolution=pixel)
            expected, found, fast = both(str(file), grid)
            assert found.tobytes() == expected.tobytes(), file
            read_here += fast.windows
    assert read_here > 50


PLAIN_PROFILE = {
    "dtype": "uint16", "predictor": 2, "compress": "deflate", "blockxsize": 64, "blockysize": 64, "width": 150,
    "height": 150, "nodata": 0, "pixel": 10.0, "overviews": False,
}  # fmt: skip


def test_a_tile_that_is_not_at_hand_is_never_taken_for_one_that_the_file_leaves_out(tmp_path, monkeypatch):
    write(tmp_path / "band.tif", PLAIN_PROFILE, 1)
    monkeypatch.setattr(blocks._TileRead, "unpack", lambda _: True)
    grid = PatchGrid(epsg=32633, left=LEFT, top=TOP - 500, size=64, resolution=10.0)
    expected, found, fast = both(str(tmp_path / "band.tif"), grid)
    assert expected.any()
    np.testing.assert_array_equal(found, expected)
    assert dict(fast.left_to_reference) == {"DamagedTileError": 1}


@pytest.mark.parametrize("capacity", [1, 64])
def test_no_tile_outlives_the_file_that_it_was_read_from(tmp_path, capacity):
    path, other = tmp_path / "band.tif", tmp_path / "other.tif"
    write(path, PLAIN_PROFILE, 1)
    write(other, PLAIN_PROFILE, 3)
    grid = PatchGrid(epsg=32633, left=LEFT, top=TOP - 500, size=64, resolution=10.0)
    with open_reference(Plain()) as reference:
        fast = CogReader(Plain(), reference, capacity=capacity)
        before = fast.read(str(path), grid, resampling="nearest")
        if capacity == 1:
            fast.read(str(other), grid, resampling="nearest")
        else:
            fast._forget(str(path))
        write(path, PLAIN_PROFILE, 2)
        after = fast.read(str(path), grid, resampling="nearest")
        fast.close()
    with open_reference(Plain()) as reference:
        expected = reference.read(str(path), grid, resampling="nearest")
    assert (before != expected).any()
    np.testing.assert_array_equal(after, expected)
