"""The window reader against NumPy's index arithmetic, PROJ and rasterio, on files made here and over loopback HTTP."""

import logging
import math
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling as GdalResampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from pipeline.errors import SourceError, TransientSourceError
from pipeline.records import PatchGrid, Resampling
from pipeline.sources.reading import open_reader
from pipeline.sources.window import RasterReader, open_reference, read_measured

LEFT, TOP = 500_000.0, 5_100_000.0
NEAREST: Resampling = "nearest"


@dataclass(frozen=True)
class Direct:
    """A source whose references open as they are; `query` is what a signature would add."""

    query: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def sign(self, href: str) -> str:
        return href + self.query if "://" in href else href

    def gdal_env(self) -> Mapping[str, str]:
        return self.options


OPENERS: list[Any] = [open_reference]


@pytest.fixture(autouse=True, scope="module", params=[open_reference, open_reader], ids=["reference", "fast"])
def _each_reader(request: pytest.FixtureRequest) -> None:
    OPENERS[:] = [request.param]


def opened(source: Any) -> Any:
    """Open the reader that is tested: every test here holds for both."""
    return OPENERS[0](source)


IMPATIENT = {"GDAL_HTTP_MAX_RETRY": "0"}
SIGNED = Direct("?sv=2021&sig=SECRET%2Fq", IMPATIENT)


def patch(*, x: float = 0.0, y: float = 0.0, size: int = 16, epsg: int = 32633, resolution: float = 10.0) -> PatchGrid:
    """A patch whose upper left corner lies `x` east and `y` south [m] of the rasters' usual one."""
    return PatchGrid(epsg=epsg, left=LEFT + x, top=TOP - y, size=size, resolution=resolution)


def pixels(height: int, width: int, dtype: str = "uint16", *, seed: int = 0) -> NDArray[Any]:
    """Numbers from 1 up, each pixel its own where the dtype has room."""
    order = np.random.default_rng(seed).permutation(height * width).reshape(height, width)
    return (order % 250 + 1 if dtype == "uint8" else order + 1).astype(dtype)


def north_up(resolution: float, *, left: float = LEFT, top: float = TOP) -> Affine:
    return Affine(resolution, 0.0, left, 0.0, -resolution, top)


def write(path: Path, values: NDArray[Any], transform: Affine | None, **options: Any) -> str:
    height, width = values.shape
    profile = {"crs": "EPSG:32633", "transform": transform, **options}
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype=values.dtype, **profile
    ) as file:
        file.write(values, 1)
    return str(path)


def read(href: str, grid: PatchGrid, *, resampling: Resampling = NEAREST, source: Direct | None = None) -> NDArray[Any]:
    with opened(source or Direct()) as reader:
        return reader.read(href, grid, resampling=resampling)


def centres_of(grid: PatchGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    steps = (np.arange(grid.size) + 0.5) * grid.resolution
    x, y = np.meshgrid(grid.left + steps, grid.top - steps)
    return x, y


def picked(
    values: NDArray[Any], columns: NDArray[np.float64], rows: NDArray[np.float64], outside: float
) -> NDArray[Any]:
    """The value of the pixel that each position [pixels from the upper left corner] lies in."""
    column, row = np.floor(columns).astype(int), np.floor(rows).astype(int)
    inside = (column >= 0) & (column < values.shape[1]) & (row >= 0) & (row < values.shape[0])
    dtype = np.float32 if values.dtype.kind == "f" else values.dtype
    out = np.full(columns.shape, outside, dtype)
    out[inside] = values[row[inside], column[inside]]
    return out


def expected_on(grid: PatchGrid, values: NDArray[Any], resolution: float, left: float, top: float) -> NDArray[Any]:
    x, y = centres_of(grid)
    outside = math.nan if values.dtype.kind == "f" else 0
    return picked(values, (x - left) / resolution, (top - y) / resolution, outside)


@given(
    resolution=st.sampled_from([10, 20, 60]),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    corner=st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
    size=st.integers(8, 20),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
)
def test_any_patch_on_multiples_of_ten_metres_is_what_index_arithmetic_picks(
    resolution: int, shape: tuple[int, int], corner: tuple[int, int], size: int, dtype: str
) -> None:
    values = pixels(*shape, dtype)
    left, top = LEFT + 10 * corner[0], TOP + 10 * corner[1]
    grid = patch(size=size)
    with MemoryFile() as memory:
        href = write(Path(memory.name), values, north_up(resolution, left=left, top=top))
        got = read(href, grid)
    expected = expected_on(grid, values, resolution, left, top)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
def test_pixels_on_the_grid_are_read_as_they_are_whatever_the_resampling(
    tmp_path: Path, resampling: Resampling
) -> None:
    values = pixels(64, 64, "float32")
    href = write(tmp_path / "a.tif", values, north_up(10), tiled=True, blockxsize=16, blockysize=16)
    got = read(href, patch(x=130, y=270), resampling=resampling)
    np.testing.assert_array_equal(got, values[27:43, 13:29])


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize(("x", "y"), [(-160, 0), (320, 0), (0, -160), (0, 320), (5e6, 0), (-4e5, -9e5)])
def test_a_patch_wholly_outside_holds_no_data(tmp_path: Path, x: float, y: float, resampling: Resampling) -> None:
    for dtype, off_grid in (("uint16", 0), ("float32", 0), ("uint16", 3), ("float32", 3)):
        href = write(tmp_path / f"{dtype}{off_grid}.tif", pixels(32, 32, dtype), north_up(10, left=LEFT + off_grid))
        got = read(href, patch(x=x + 2 * off_grid * (x > 0) - 2 * off_grid * (x < 0), y=y), resampling=resampling)
        assert got.dtype == dtype
        assert np.isnan(got).all() if dtype == "float32" else not got.any()


@pytest.mark.parametrize("resolution", [20, 60])
def test_coarse_bands_are_repeated_on_an_aligned_grid_as_rasterio_does(tmp_path: Path, resolution: int) -> None:
    href = write(tmp_path / "a.tif", pixels(20, 20), north_up(resolution))
    grid = patch(x=120, y=60, size=24)
    with (
        rasterio.open(href) as file,
        WarpedVRT(
            file,
            crs="EPSG:32633",
            transform=grid.geobox.transform,
            width=24,
            height=24,
            resampling=GdalResampling.nearest,
        ) as vrt,
    ):
        np.testing.assert_array_equal(read(href, grid), vrt.read(1))


def test_a_finer_raster_gives_the_pixel_under_each_centre(tmp_path: Path) -> None:
    values = pixels(60, 60)
    href = write(tmp_path / "a.tif", values, north_up(10 / 3))
    np.testing.assert_array_equal(read(href, patch()), values[1:48:3, 1:48:3])


@pytest.mark.parametrize(("shift", "index"), [(5.0, 0), (5.000001, 0), (4.999999, 0), (-5.0, 1), (-4.999999, 1)])
def test_on_a_grid_off_by_half_a_pixel_nearest_takes_the_right_and_lower_pixel(
    tmp_path: Path, shift: float, index: int
) -> None:
    values = pixels(40, 40)
    href = write(tmp_path / "a.tif", values, north_up(10, left=LEFT - 100 + shift, top=TOP + 100 - shift))
    first = 10 + index
    np.testing.assert_array_equal(read(href, patch()), values[first : first + 16, first : first + 16])


@pytest.mark.parametrize(("x", "y"), [(5, 5), (5, 0), (0, 5)])
def test_on_a_grid_off_by_half_a_pixel_bilinear_is_the_mean_of_its_neighbours(tmp_path: Path, x: int, y: int) -> None:
    values = pixels(40, 40, "float32")
    href = write(tmp_path / "a.tif", values, north_up(10, left=LEFT - 100 + x, top=TOP + 100 - y))
    above, before = (1 if y else 0), (1 if x else 0)
    corners = [(10 - row, 10 - column) for row in (0, above) for column in (0, before)]
    mean = np.mean([values[row : row + 16, column : column + 16] for row, column in corners], axis=0)
    np.testing.assert_allclose(read(href, patch(), resampling="bilinear"), mean, rtol=1e-5)


def test_a_shift_that_is_only_rounding_is_no_shift(tmp_path: Path) -> None:
    values = pixels(40, 40, "float32")
    href = write(tmp_path / "a.tif", values, north_up(10, left=LEFT + 1e-7, top=TOP - 1e-7))
    for resampling in ("nearest", "bilinear"):
        np.testing.assert_array_equal(read(href, patch(), resampling=resampling), values[:16, :16])


OTHER_GRIDS = [(32632, 10.0), (32632, 20.0), (32733, 10.0), (3857, 15.0), (4326, 3e-4)]
"""Zones and CRS around 15° E, 46° N whose pixels are about as large as a patch's, or larger."""


def raster_around(path: Path, grid: PatchGrid, epsg: int, resolution: float, **options: Any) -> tuple[str, Affine]:
    """A file of noise from 0 to 1 in another CRS that reaches beyond `grid` on all sides."""
    middle = grid.size / 2 * grid.resolution
    x, y = Transformer.from_crs(grid.epsg, epsg, always_xy=True).transform(grid.left + middle, grid.top - middle)
    side = grid.size + 40
    transform = north_up(resolution, left=x - side / 2 * resolution, top=y + side / 2 * resolution)
    values = np.random.default_rng(3).random((side, side), np.float32)
    return write(path, values, transform, crs=f"EPSG:{epsg}", **options), transform


@pytest.mark.parametrize(("epsg", "resolution"), OTHER_GRIDS)
@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
def test_any_other_crs_is_warped_once_to_the_patch_as_rasterio_does(
    tmp_path: Path, epsg: int, resolution: float, resampling: Resampling
) -> None:
    grid = patch(size=24)
    href, _ = raster_around(tmp_path / "a.tif", grid, epsg, resolution)
    options = {"crs": "EPSG:32633", "transform": grid.geobox.transform, "width": 24, "height": 24}
    with (
        rasterio.open(href) as file,
        WarpedVRT(file, **options, resampling=GdalResampling[resampling], XSCALE=1, YSCALE=1) as vrt,
    ):
        np.testing.assert_allclose(read(href, grid, resampling=resampling), vrt.read(1), atol=1e-6)


@pytest.mark.parametrize(("epsg", "resolution"), OTHER_GRIDS)
@pytest.mark.parametrize("nodata", [None, -1.0])
def test_bilinear_from_another_crs_interpolates_where_proj_points_at(
    tmp_path: Path, epsg: int, resolution: float, nodata: float | None
) -> None:
    grid = patch(size=40)
    href, transform = raster_around(tmp_path / "a.tif", grid, epsg, resolution, nodata=nodata)
    with rasterio.open(href) as file:
        values = file.read(1).astype(np.float64)
    x, y = Transformer.from_crs(32633, epsg, always_xy=True).transform(*centres_of(grid))
    columns, rows = (x - transform.c) / resolution, (transform.f - y) / resolution
    column, row = np.floor(columns - 0.5).astype(int), np.floor(rows - 0.5).astype(int)
    right, down = columns - 0.5 - column, rows - 0.5 - row
    upper = values[row, column] * (1 - right) + values[row, column + 1] * right
    lower = values[row + 1, column] * (1 - right) + values[row + 1, column + 1] * right
    np.testing.assert_allclose(read(href, grid, resampling="bilinear"), upper * (1 - down) + lower * down, atol=2e-3)


@pytest.mark.parametrize("nodata", [None, -1.0])
@pytest.mark.parametrize(("epsg", "resolution"), [*OTHER_GRIDS, (4326, 4e-5), (32632, 3.0)])
def test_the_same_ground_is_the_same_in_patches_that_overlap(
    tmp_path: Path, epsg: int, resolution: float, nodata: float | None
) -> None:
    wide, small = patch(size=120), patch(x=170, y=310, size=48)
    href, _ = raster_around(tmp_path / "a.tif", patch(size=400), epsg, resolution, nodata=nodata)
    in_wide = read(href, wide, resampling="bilinear")[31:79, 17:65]
    np.testing.assert_allclose(read(href, small, resampling="bilinear"), in_wide, atol=5e-3)


@pytest.mark.parametrize(("epsg", "resolution"), [(32632, 10.0), (4326, 1e-4)])
def test_nearest_from_another_crs_picks_the_pixel_that_proj_points_at(
    tmp_path: Path, epsg: int, resolution: float
) -> None:
    values, grid = pixels(60, 60), patch(size=24)
    transformer = Transformer.from_crs(32633, epsg, always_xy=True)
    left, top = transformer.transform(LEFT - 100, TOP + 100)
    href = write(tmp_path / "a.tif", values, north_up(resolution, left=left, top=top), crs=f"EPSG:{epsg}")
    x, y = transformer.transform(*centres_of(grid))
    columns, rows = (x - left) / resolution, (top - y) / resolution
    # GDAL interpolates positions to an eighth of a pixel: nearer to a border either pixel may be the nearest.
    clear = (np.abs(columns - np.round(columns)) > 0.13) & (np.abs(rows - np.round(rows)) > 0.13)
    assert clear.mean() > 0.4
    np.testing.assert_array_equal(read(href, grid)[clear], picked(values, columns, rows, 0)[clear])


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_a_raster_stored_south_up_gives_the_same_pixels(tmp_path: Path, resampling: Resampling) -> None:
    values = pixels(40, 40, "float32")
    turned = Affine(10, 0, LEFT - 100, 0, 10, TOP + 100 - 400)
    href = write(tmp_path / "a.tif", values[::-1], turned)
    np.testing.assert_array_equal(read(href, patch(), resampling=resampling), values[10:26, 10:26])


def test_a_rotated_raster_is_warped(tmp_path: Path) -> None:
    values = pixels(40, 40)
    quarter_turn = Affine(0, 10, LEFT - 100, 10, 0, TOP + 100 - 400)
    href = write(tmp_path / "a.tif", np.ascontiguousarray(values[::-1].T), quarter_turn)
    np.testing.assert_array_equal(read(href, patch()), values[10:26, 10:26])


def test_a_zone_without_an_authority_code_is_the_same_zone(tmp_path: Path) -> None:
    values = pixels(40, 40)
    href = write(tmp_path / "a.tif", values, north_up(10), crs="+proj=utm +zone=33 +datum=WGS84 +units=m")
    np.testing.assert_array_equal(read(href, patch()), values[:16, :16])


SHIFTS = {"on the grid": 0.0, "off the grid": 5.0}


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize("nodata", [0.0, -32768.0, math.nan, None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floating_point_no_data_is_nan_inside_and_outside(
    tmp_path: Path, dtype: str, nodata: float | None, resampling: Resampling, shift: float
) -> None:
    values = pixels(32, 32, dtype)
    values[4:9, 6:12] = -7.0 if nodata is None else nodata
    href = write(tmp_path / "a.tif", values, north_up(10, left=LEFT + shift, top=TOP - shift), nodata=nodata)
    got = read(href, patch(x=-50, y=-50), resampling=resampling)
    assert got.dtype == np.float32
    assert np.isnan(got[:4]).all()
    assert np.isnan(got[:, :4]).all()
    hole = got[10:13, 12:15]
    assert (hole == -7.0).all() if nodata is None else np.isnan(hole).all()
    assert np.isfinite(got[6:8, 6:10]).all()
    assert not (got == -32768.0).any()


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("int16", -32768), ("int16", 0), ("int16", None), ("uint16", 0), ("uint8", 255), ("uint8", None)],
)
def test_integers_keep_their_own_no_data_and_are_zero_outside(
    tmp_path: Path, dtype: str, nodata: int | None, resampling: Resampling, shift: float
) -> None:
    values = pixels(32, 32, dtype)
    values[4:9, 6:12] = 7 if nodata is None else nodata
    href = write(tmp_path / "a.tif", values, north_up(10, left=LEFT + shift, top=TOP - shift), nodata=nodata)
    got = read(href, patch(x=-50, y=-50), resampling=resampling)
    assert got.dtype == dtype
    assert not got[:4].any()
    assert not got[:, :4].any()
    assert (got[10:13, 12:15] == (7 if nodata is None else nodata)).all()
    valid = got[6:8, 6:10]
    assert (valid > 0).all()
    assert (valid <= values.max()).all()


def test_no_data_does_not_bleed_into_its_neighbours(tmp_path: Path) -> None:
    values = np.full((32, 32), 100, np.int16)
    values[:, 16:] = -32768
    href = write(tmp_path / "a.tif", values, north_up(10, left=LEFT + 5), nodata=-32768)
    assert set(np.unique(read(href, patch(x=50, size=24), resampling="bilinear"))) <= {100, -32768, 0}


CORNERS = [GroundControlPoint(0, 0, 15.0, 46.0), GroundControlPoint(0, 9, 15.1, 46.0), GroundControlPoint(9, 0, 15, 45)]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("transform", "options", "problem"),
    [
        (None, {"crs": "EPSG:4326", "gcps": CORNERS}, "has ground control points only"),
        (north_up(10), {"crs": None}, "has no map projection"),
        (north_up(10), {"crs": 'LOCAL_CS["drawing",UNIT["metre",1]]'}, "has no map projection"),
    ],
)
def test_a_file_without_a_map_projection_is_refused_in_one_line(
    tmp_path: Path, transform: Affine | None, options: dict[str, Any], problem: str
) -> None:
    href = write(tmp_path / "a.tif", pixels(16, 16), transform, **options)
    with pytest.raises(SourceError, match=rf"^\S+a\.tif {problem}: it cannot be put on a grid$"):
        read(href, patch())


def large_file(path: Path) -> bytes:
    """A tiled file of noise, some 500 kB: its header alone is not the whole."""
    noise = np.random.default_rng(1).integers(1, 60_000, (512, 512)).astype(np.uint16)
    options = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
    return Path(write(path, noise, north_up(10), **options)).read_bytes()


@pytest.mark.parametrize("off_grid", [0.0, 3.0])
def test_a_truncated_file_is_a_permanent_fault_that_names_its_cause(tmp_path: Path, off_grid: float) -> None:
    whole = large_file(tmp_path / "whole.tif")
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    grid = patch(x=4000 + off_grid, y=4000, size=64)
    with pytest.raises(SourceError, match=r"^\S+cut\.tif cannot be read: .*TIFF.*got 0 bytes") as caught:
        read(str(tmp_path / "cut.tif"), grid, resampling="bilinear")
    assert not isinstance(caught.value, TransientSourceError)
    assert read(str(tmp_path / "cut.tif"), patch()).any()


@pytest.mark.parametrize("content", [b"", b"<html>no such thing</html>" * 100, None])
def test_a_file_that_is_missing_or_no_raster_is_a_permanent_fault(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.tif"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"^\S+a\.tif cannot be read: ") as caught:
        read(str(path), patch())
    assert not isinstance(caught.value, TransientSourceError)
    assert "\n" not in str(caught.value)


def test_a_reader_goes_on_after_a_fault(tmp_path: Path) -> None:
    values = pixels(16, 16)
    good = write(tmp_path / "good.tif", values, north_up(10))
    with opened(Direct()) as reader:
        with pytest.raises(SourceError):
            reader.read(str(tmp_path / "late.tif"), patch(), resampling=NEAREST)
        np.testing.assert_array_equal(reader.read(good, patch(), resampling=NEAREST), values)
        late = write(tmp_path / "late.tif", values, north_up(10))
        np.testing.assert_array_equal(reader.read(late, patch(), resampling=NEAREST), values)


def test_a_reader_keeps_a_bounded_number_of_rasters_open_and_closes_all(tmp_path: Path) -> None:
    hrefs = [write(tmp_path / f"{index}.tif", pixels(16, 16, seed=index), north_up(10)) for index in range(5)]

    def held() -> list[str]:
        links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return [name for link in links if (name := str(link.readlink())).startswith(str(tmp_path))]

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("open files are listed under /proc only on Linux")
    reader = RasterReader(Direct(), capacity=2)
    for index in (0, 1, 2, 3, 4, 0, 3, 3):
        np.testing.assert_array_equal(
            reader.read(hrefs[index], patch(), resampling=NEAREST), pixels(16, 16, seed=index)
        )
        assert len(held()) <= 2
    reader.close()
    assert held() == []


class RangeServer(ThreadingHTTPServer):
    """Serves one file at every path, by byte range; from request number `fails_from` on it answers `status`."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), RangeHandler)
        self.content = content
        self.status = 200
        self.fails_from = 0
        self.fails_until = math.inf
        self.requests = 0
        self.failures = 0
        self.paths: list[str] = []
        self.lock = threading.Lock()

    def heal(self) -> None:
        self.status = 200

    def break_down(self, status: int, *, first: int = 0, count: float = math.inf) -> None:
        """Answer `status` to `count` requests, after `first` more that are answered well."""
        self.status, self.requests, self.fails_from, self.fails_until = status, 0, first, first + count

    def next_status(self) -> int:
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
            is_failing = self.fails_from <= number < self.fails_until
            self.failures += is_failing
        return self.status if is_failing else 200

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class RangeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    server: RangeServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        status, body, headers = self.server.next_status(), self.server.content, {}
        self.server.paths.append(self.path)
        if status != 200:
            body = b"injected"
        elif asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            end = min(int(last or len(body)) + 1, len(body))
            status, headers = 206, {"Content-Range": f"bytes {first}-{end - 1}/{len(body)}"}
            body = body[int(first) : end]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Accept-Ranges": "bytes"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return large_file(tmp_path_factory.mktemp("served") / "a.tif")


@pytest.fixture
def server(content: bytes) -> Iterator[RangeServer]:
    server = RangeServer(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)


@pytest.fixture
def truth(content: bytes) -> Callable[[PatchGrid], NDArray[Any]]:
    with MemoryFile(content) as memory, memory.open() as file:
        values = file.read(1)
    return lambda grid: expected_on(grid, values, 10, LEFT, TOP)


def test_over_http_the_pixels_are_those_of_the_file(
    server: RangeServer, truth: Callable[[PatchGrid], NDArray[Any]]
) -> None:
    grid = patch(x=2000, y=3000, size=64)
    np.testing.assert_array_equal(read(server.url("fine.tif"), grid, source=SIGNED), truth(grid))


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_gone_is_a_permanent_fault(server: RangeServer, status: int) -> None:
    server.break_down(status)
    with pytest.raises(SourceError, match=rf"^\S+gone{status}\.tif cannot be read: .*{status}$") as caught:
        read(server.url(f"gone{status}.tif"), patch(), source=SIGNED)
    assert not isinstance(caught.value, TransientSourceError)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_transient(server: RangeServer, status: int) -> None:
    server.break_down(status)
    with pytest.raises(TransientSourceError, match=rf"^\S+busy{status}\.tif could not be read now: .*{status}$"):
        read(server.url(f"busy{status}.tif"), patch(), source=SIGNED)


@pytest.mark.parametrize("healthy_requests", range(4))
def test_wherever_a_read_breaks_off_a_later_one_in_this_process_succeeds(
    server: RangeServer, truth: Callable[[PatchGrid], NDArray[Any]], healthy_requests: int
) -> None:
    grid, href = patch(size=512), server.url(f"broken{healthy_requests}.tif")
    server.break_down(503, first=healthy_requests)
    assert breaks_off(server, href, grid) or healthy_requests > 1
    server.heal()
    np.testing.assert_array_equal(read(href, grid, source=SIGNED), truth(grid))


def breaks_off(server: RangeServer, href: str, grid: PatchGrid) -> bool:
    """Read, and tell whether that failed as it must when a request does; the fast reader needs two."""
    try:
        read(href, grid, source=SIGNED)
    except TransientSourceError:
        return True
    assert not server.failures
    return False


def test_the_same_reader_goes_on_when_the_server_is_well_again(
    server: RangeServer, truth: Callable[[PatchGrid], NDArray[Any]]
) -> None:
    grid, href = patch(size=512), server.url("same-reader.tif")
    with opened(SIGNED) as reader:
        np.testing.assert_array_equal(reader.read(href, patch(), resampling=NEAREST), truth(patch()))
        server.break_down(503)
        with pytest.raises(TransientSourceError):
            reader.read(href, grid, resampling=NEAREST)
        server.heal()
        np.testing.assert_array_equal(reader.read(href, grid, resampling=NEAREST), truth(grid))


def test_every_request_is_sent_with_the_signature_of_the_moment(
    server: RangeServer, truth: Callable[[PatchGrid], NDArray[Any]]
) -> None:
    class Rolling(Direct):
        number = 0

        def sign(self, href: str) -> str:
            return f"{href}?sig={self.number}"

    source = Rolling(options=IMPATIENT)
    with opened(source) as reader:
        for number, grid in enumerate((patch(), patch(size=512), patch(x=2000, y=3000, size=64))):
            source.number = number
            server.paths.clear()
            np.testing.assert_array_equal(reader.read(server.url("anew.tif"), grid, resampling=NEAREST), truth(grid))
            assert number == 2 or server.paths  # The last one lies in tiles that are here already, for either reader.
            assert set(server.paths) <= {f"/anew.tif?sig={number}"}


def test_a_short_hiccup_is_ridden_out(server: RangeServer, truth: Callable[[PatchGrid], NDArray[Any]]) -> None:
    server.break_down(503, count=2)
    patient = Direct(options={"GDAL_HTTP_RETRY_DELAY": "0.05"})
    np.testing.assert_array_equal(read(server.url("hiccup.tif"), patch(), source=patient), truth(patch()))


def test_a_server_that_does_not_answer_is_transient_whatever_its_port() -> None:
    for port in (9, 404, 410):
        with pytest.raises(TransientSourceError, match="could not be read now"):
            read(f"http://127.0.0.1:{port}/a.tif", patch(), source=SIGNED)


@pytest.mark.parametrize("healthy_requests", [0, 2, 3])
def test_a_number_in_the_path_does_not_make_a_transient_fault_permanent(
    server: RangeServer, healthy_requests: int
) -> None:
    server.break_down(503, first=healthy_requests)
    assert breaks_off(server, server.url(f"404/410/{healthy_requests}.tif"), patch(size=512)) or healthy_requests > 1


@pytest.mark.parametrize("status", [403, 404, 503])
@pytest.mark.parametrize("healthy_requests", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("off_grid", [0.0, 3.0])
def test_a_signature_is_in_no_message_no_traceback_and_no_log(
    server: RangeServer, caplog: pytest.LogCaptureFixture, status: int, healthy_requests: int, off_grid: float
) -> None:
    caplog.set_level(logging.DEBUG)
    server.break_down(status, first=healthy_requests)
    told = ""
    try:
        read(server.url(f"{off_grid}{status}{healthy_requests}.tif"), patch(x=off_grid, size=256), source=SIGNED)
    except SourceError as err:
        told = str(err)
        assert "\n" not in told
        told += "".join(traceback.format_exception(err))
    # The fast reader may need fewer requests than are answered well.
    assert bool(told) == bool(server.failures)
    told += caplog.text
    assert "SECRET" not in told
    assert "sig=" not in told


def test_a_signature_is_not_told_of_a_file_that_is_no_raster_or_has_no_projection(tmp_path: Path) -> None:
    for name, body in {"junk": b"<html>" * 500, "bare": bare_tiff(tmp_path / "bare.tif")}.items():
        server = RangeServer(body)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            with pytest.raises(SourceError) as caught:
                read(server.url(f"{name}.tif"), patch(), source=SIGNED)
        finally:
            server.shutdown()
            server.server_close()
        assert "sig=" not in "".join(traceback.format_exception(caught.value))
        assert f"{name}.tif" in str(caught.value)


def bare_tiff(path: Path) -> bytes:
    return Path(write(path, pixels(16, 16), north_up(10), crs=None)).read_bytes()


@pytest.mark.parametrize("nodata", [-32768, None])
@pytest.mark.parametrize("crs", [32633, 4326])
def test_integers_that_measure_something_come_as_floats_with_gaps(tmp_path: Path, nodata: int | None, crs: int) -> None:
    grid = PatchGrid(epsg=32633, left=500_000.0, top=5_100_000.0, size=32, resolution=10.0)
    heights = np.full((40, 20), 250, np.int16)
    heights[5:9, 3:7] = nodata or 250
    step = 10.0 if crs == 32633 else 0.0002
    corner = (500_000.0, 5_100_050.0) if crs == 32633 else (15.0, 46.0535)
    path = tmp_path / "heights.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=20, height=40, count=1, dtype="int16", nodata=nodata, crs=f"EPSG:{crs}",
        transform=Affine(step, 0.0, corner[0], 0.0, -step, corner[1]),
    ) as raster:  # fmt: skip
        raster.write(heights, 1)
    with rasterio.open(path) as raster:
        measured = read_measured(raster, grid, resampling="nearest")
        with WarpedVRT(
            raster, crs="EPSG:32633", transform=grid.geobox.transform, width=32, height=32, add_alpha=nodata is None
        ) as warped:
            expected = warped.read(1).astype(np.float32)
            gaps = warped.read(2) == 0 if nodata is None else expected == nodata
    expected[gaps] = np.nan
    assert np.isnan(measured).any()
    np.testing.assert_array_equal(measured, expected)
