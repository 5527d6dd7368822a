"""Windows that are read together have the bits of windows read one by one, and ask for each byte once."""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from pipeline.errors import SourceError, TransientSourceError
from pipeline.records import PatchGrid
from pipeline.sources.cog import CogReader
from pipeline.sources.cog.kept import KEPT
from pipeline.sources.ranges import LocalBytes
from pipeline.sources.window import RasterReader, Wanted, open_reference

LEFT, TOP, SIDE = 500_000.0, 5_100_000.0, 200
DTYPES = {"uint8": [1, 2], "int16": [1, 2], "uint16": [2], "float32": [1, 3]}


class Plain:
    """Files as they are; a server that refuses is not asked again."""

    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> Mapping[str, str]:
        return {"GDAL_HTTP_MAX_RETRY": "0"}


def write(path: Path, values: np.ndarray, **options: Any) -> str:
    profile = {"compress": "deflate", "predictor": 2, "blockxsize": 64, "blockysize": 64} | options
    pixel = profile.pop("pixel", 10.0)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, dtype=values.dtype, height=values.shape[0], width=values.shape[1],
        tiled=True, crs="EPSG:32633", transform=from_origin(LEFT, TOP, pixel, pixel), **profile,
    ) as file:  # fmt: skip
        file.write(values, 1)
    return str(path)


def picture(seed: int, dtype: str = "uint16") -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.integers(-3, 4, (SIDE, SIDE)), axis=1).clip(-90, 90).astype(np.int16).astype(dtype)


def at(across: int, down: int, size: int = 48) -> PatchGrid:
    return PatchGrid(epsg=32633, left=LEFT + across * 10, top=TOP - down * 10, size=size, resolution=10.0)


def fresh() -> CogReader:
    return CogReader(Plain(), RasterReader(Plain()))


places = st.tuples(st.integers(-60, 210), st.integers(-60, 210), st.integers(1, 90))


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    compress = draw(st.sampled_from(["deflate", "zstd", "lzw", "none"]))
    return {
        "dtype": dtype,
        "compress": compress,
        "predictor": 1 if compress == "none" else draw(st.sampled_from(DTYPES[dtype])),
        "blockysize": draw(st.sampled_from([16, 64, 256])),
        "nodata": draw(st.sampled_from([None, 0, 7])),
        "sparse_ok": draw(st.booleans()),
        "ENDIANNESS": draw(st.sampled_from(["LITTLE", "BIG"])),
        "pixel": draw(st.sampled_from([10.0, 20.0])),
    }


@settings(max_examples=40, deadline=None)
@given(profiles=st.lists(files(), min_size=1, max_size=3), corners=st.lists(places, min_size=1, max_size=6))
def test_together_and_one_by_one_and_by_the_reference_are_the_same_bits(profiles, corners):
    grids = [at(*corner) for corner in corners]
    with tempfile.TemporaryDirectory() as folder, open_reference(Plain()) as reference:
        wanted = []
        for number, profile in enumerate(profiles):
            values = picture(number, profile.pop("dtype"))
            values[: SIDE // 3] = 0
            wanted.append(Wanted(write(Path(folder) / f"{number}.tif", values, **profile), "nearest"))
        together, single = CogReader(Plain(), reference), CogReader(Plain(), reference)
        together.read_ahead((wanted, grid) for grid in grids)
        for grid in [*grids, grids[0]]:
            found = together.read_bands(wanted, grid)
            for one, read, alone in zip(wanted, found, single.read_bands(wanted, grid), strict=True):
                expected = reference.read(one.href, grid, resampling="nearest")
                assert read.dtype == expected.dtype
                assert read.tobytes() == alone.tobytes() == expected.tobytes()
        assert set(together.left_to_reference) <= {"compression 5"}
        assert set(single.left_to_reference) <= {"compression 5"}
        together.close()
        single.close()


def test_every_tile_is_fetched_once_for_all_windows(tmp_path, monkeypatch):
    path = write(tmp_path / "band.tif", picture(1))
    reader, wanted = fresh(), [Wanted(path, "nearest")]
    grids = [at(across, down) for across in range(0, 150, 25) for down in range(0, 150, 25)]
    reader.read(path, at(0, 0, 1), resampling="nearest")
    reader.tiles.drop(path)
    asked, read = [], LocalBytes.read

    def counted(self: LocalBytes, first: int, count: int) -> Any:
        asked.append((first, count))
        return read(self, first, count)

    monkeypatch.setattr(LocalBytes, "read", counted)
    reader.read_ahead((wanted, grid) for grid in grids)
    for grid in grids:
        reader.read_bands(wanted, grid)
    reader.close()
    asked.sort()
    assert asked
    assert all(first + count <= following for (first, count), (following, _) in pairwise(asked))
    assert sum(count for _, count in asked) <= Path(path).stat().st_size


@pytest.mark.parametrize("rows", [1, 100, 128, 129, 160, 200])
def test_rows_that_take_more_bytes_than_estimated_are_fetched_after_all(tmp_path, rows):
    values = np.zeros((256, 256), np.uint16)
    # All of the tile's bytes are in its first rows.
    values[:128] = np.random.default_rng(3).integers(0, 60_000, (128, 256))
    path = write(tmp_path / "band.tif", values, blockxsize=256, blockysize=256, predictor=1)
    reader = fresh()
    grids = [at(0, rows - 16, 16), at(30, 0, 16)]
    reader.read_ahead(([Wanted(path, "nearest")], grid) for grid in grids[:1])
    for grid in grids:
        with open_reference(Plain()) as reference:
            expected = reference.read(path, grid, resampling="nearest")
        np.testing.assert_array_equal(reader.read(path, grid, resampling="nearest"), expected)
    assert not reader.left_to_reference
    reader.close()


def test_a_tile_of_few_bytes_gives_its_rows_a_few_at_a_time(tmp_path):
    values = np.repeat(np.arange(256, dtype=np.uint16), 256).reshape(256, 256)
    path, reader = write(tmp_path / "band.tif", values, blockxsize=256, blockysize=256), fresh()
    for down in range(0, 240, 16):
        found = reader.read(path, at(0, down, 16), resampling="nearest")
        np.testing.assert_array_equal(found, values[down : down + 16, :16])
    assert not reader.left_to_reference
    reader.close()


def test_a_file_that_is_gone_is_said_when_it_is_asked_for(tmp_path):
    there, gone = write(tmp_path / "there.tif", picture(1)), str(tmp_path / "gone.tif")
    reader = fresh()
    reader.read_ahead([([Wanted(there, "nearest")], at(0, 0)), ([Wanted(gone, "nearest")], at(0, 0))])
    np.testing.assert_array_equal(reader.read(there, at(0, 0), resampling="nearest"), picture(1)[:48, :48])
    with pytest.raises(SourceError, match=r"gone\.tif"):
        reader.read(gone, at(0, 0), resampling="nearest")
    reader.close()


class Store(BaseHTTPRequestHandler):
    """One file by ranges, with a version or without, which may or may not mind `If-Match`."""

    protocol_version = "HTTP/1.1"
    body: bytes
    version: str
    is_strict = True
    status = 206
    asked: list[tuple[int, int]]

    def do_GET(self) -> None:
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        wanted = self.headers.get("If-Match", self.version)
        status = 412 if self.is_strict and wanted != self.version else self.status
        part = self.body[first : last + 1] if status == 206 else b""
        self.asked.append((first, last))
        self.send_response(status)
        self.send_header("Content-Length", str(len(part)))
        if self.version:
            self.send_header("ETag", self.version)
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> type[Store]:
    KEPT.clear()
    body = Path(write(tmp_path / "one.tif", picture(1))).read_bytes()
    return type("OneStore", (Store,), {"body": body, "version": '"1"', "asked": []})


def read(href: str, down: int = 100) -> np.ndarray:
    with open_reference(Plain()) as reference:
        reader = CogReader(Plain(), reference)
        try:
            return reader.read(href, at(0, down), resampling="nearest")
        finally:
            reader.close()


def test_a_header_is_asked_for_once_in_a_process(store, serve: Callable[[Any], str]):
    href = serve(store) + "/band.tif"
    read(href)
    first = Counter(store.asked)
    np.testing.assert_array_equal(read(href), picture(1)[100:148, :48])
    assert first[0, (32 << 10) - 1] == 1
    assert Counter(store.asked) - first == first - Counter([(0, (32 << 10) - 1)])


def test_without_a_version_no_header_is_kept(store, serve: Callable[[Any], str]):
    store.version = ""
    href = serve(store) + "/band.tif"
    read(href)
    once = len(store.asked)
    read(href)
    assert len(store.asked) == 2 * once


@pytest.mark.parametrize("is_strict", [True, False])
def test_a_file_that_was_replaced_is_never_read_by_its_old_header(store, serve, tmp_path, is_strict):
    href = serve(store) + "/band.tif"
    read(href)
    store.body = Path(write(tmp_path / "two.tif", picture(2), blockxsize=32)).read_bytes()
    store.version, store.is_strict = '"2"', is_strict
    with pytest.raises(TransientSourceError, match="was replaced while it was read"):
        read(href)
    np.testing.assert_array_equal(read(href), picture(2)[100:148, :48])


def test_what_is_out_of_reach_stops_reading_ahead(store, serve):
    href = serve(store) + "/band.tif"
    store.status = 503
    with open_reference(Plain()) as reference:
        reader = CogReader(Plain(), reference)
        with pytest.raises(TransientSourceError, match="could not be read now"):
            reader.read_ahead([([Wanted(href, "nearest")], at(0, 0))])
        store.status = 206
        np.testing.assert_array_equal(reader.read(href, at(0, 0), resampling="nearest"), picture(1)[:48, :48])
        reader.close()
