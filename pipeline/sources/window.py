"""Reading windows of rasters straight onto a patch's grid: the reference reader, on rasterio.

One rule for resampling: pixels that lie on the patch's grid are read as they are; with `nearest`, any raster of the
same UTM zone is sampled at the pixel centres, which is exact; everything else is warped once, straight to the patch.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from pipeline.errors import SourceError, TransientSourceError
from pipeline.records import PatchGrid, Resampling
from pipeline.sources.access import Signer, compared, is_vouched, note_failure, permits_of, public, renew
from pipeline.sources.checking import compare_local
from pipeline.sources.gdal_files import GovernedFile
from pipeline.sources.governor import AgainError, Governor
from pipeline.sources.ranges import NoRangesError, RemoteBytes, remote_bytes
from pipeline.sources.reaching import hide_queries, settled

GDAL_OPTIONS: Mapping[str, Any] = {
    # Without this GDAL probes a dozen sidecar files for every remote open.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": 7,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
    "GDAL_HTTP_TIMEOUT": 120,
    # GDAL otherwise remembers a failed block by URL, and a second attempt fails on a healthy server.
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/http:/vsis3/",
    "GDAL_NUM_THREADS": 1,
}

_JPEG2000 = (".jp2", ".j2k", ".jpx")

LARGEST_BLOCK = 1 << 29
"""Bytes that a tile or strip may take, unpacked: GDAL unpacks it whole. A band of 10 m in one strip takes 241 MB."""
MOST_BANDS = 1024
"""Of a file; GDAL takes some 10 kB of memory for each, and unpacks all of those that lie pixel by pixel."""
LARGEST_WINDOW = 1 << 28
"""Pixels of a file that one patch may be taken from; a tile at 10 m has 1.2e8."""

SMALLEST_PIXEL = 1e-9
"""Edge of a pixel, metres or degrees; of one that is said to be smaller, positions overflow."""

_ON_GRID_TOLERANCE = 1e-6
_OPENER = re.compile(r"/vsiriopener_\w+/")
_GDAL_ATTEMPTS = 2
"""How often a read that GDAL gave up is begun anew; single requests it repeats by itself."""
_NOT_NOW = " could not be read now"
_STATUS = re.compile(r"HTTP response code: (\d{3})\b")
_REFUSED = re.compile(r"HTTP response code: (401|403)\b")
_GONE = re.compile(r"HTTP response code: (404|410)\b|does not exist in the file system|No such file")


class Wanted(NamedTuple):
    """One file to read, and how its pixels come onto a grid that they do not lie on."""

    href: str
    resampling: Resampling


class _Held(NamedTuple):
    """An open raster."""

    dataset: DatasetReader
    file: GovernedFile | None
    """What GDAL reads it by; None where it asks by itself."""
    signed: str
    """What it was opened as."""


@dataclass(slots=True)
class RasterReader:
    """Reads windows, keeping the last few rasters open; used by one thread at a time."""

    source: Signer
    capacity: int = 32
    """Rasters kept open."""
    _open: "OrderedDict[str, _Held]" = field(default_factory=OrderedDict)
    _without_ranges: set[str] = field(default_factory=set)
    """Files of servers that send whole files only."""

    def read(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[Any]:
        """Read the first band of `href` on `grid`.

        Returns
        -------
        (size, size) in the file's dtype; floating point comes as float32 with NaN for no data. Integers keep
        the file's own no-data value. Pixels outside the file are NaN, or 0 for integers.

        Raises
        ------
        TransientSourceError
            The provider is unreachable or throttles, or a remote read broke off, in every attempt.
        SourceError
            The file is gone, cannot be decoded, or has no map projection.
        """
        return self._read(href, lambda dataset: read_patch(dataset, grid, resampling=resampling))

    def read_measured(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[np.float32]:
        """Read a physical quantity: as `read`, but float32 with NaN for no data whatever the file's dtype is."""
        return self._read(href, lambda dataset: read_measured(dataset, grid, resampling=resampling))

    def placement(self, href: str) -> "tuple[int, Placement]":
        """Return a file's EPSG code (0: none) and where its pixels lie; errors as `read`."""

        def told(dataset: DatasetReader) -> NDArray[np.float64]:
            return np.array([(dataset.crs and dataset.crs.to_epsg()) or 0, *_placement(dataset)], np.float64)

        epsg, *lies = self._read(href, told).tolist()
        return int(epsg), Placement(*lies)

    def close(self) -> None:
        """Close every raster."""
        while self._open:
            self._open.popitem()[1].dataset.close()

    def _read(self, href: str, read: Callable[[DatasetReader], NDArray[Any]]) -> NDArray[Any]:
        if not _is_remote(href):
            if is_vouched(self.source, href):
                compare_local(self.source.sign(href), partial(compared, self.source, href))
            return self._once(href, read)
        remote = self._remote(href)
        if remote is None:
            return self._by_gdal(href, read)
        try:
            return self._once(href, read, remote)
        except NoRangesError:
            self._without_ranges.add(href)
            return self._by_gdal(href, read)
        except TransientSourceError:
            raise
        except SourceError:
            # What cannot be decoded may have been damaged on its way.
            return self._once(href, read, self._remote(href))

    def _by_gdal(self, href: str, read: Callable[[DatasetReader], NDArray[Any]]) -> NDArray[Any]:
        if is_vouched(self.source, href):
            raise TransientSourceError(
                f"{public(href)}{_NOT_NOW}: only GDAL can read it here, and cannot compare it with its checksum; build "
                "without --verify full"
            )
        options = self._options()
        patience = 1 + min(_GDAL_ATTEMPTS, int(options["GDAL_HTTP_MAX_RETRY"]))
        wait = float(options["GDAL_HTTP_RETRY_DELAY"])
        governor = Governor(permits=permits_of(self.source), attempts=patience, first_wait=wait)

        def attempt() -> NDArray[Any]:
            try:
                return self._once(href, read)
            except TransientSourceError as err:
                problem = str(err).partition(f"{_NOT_NOW}: ")[2]
                status = _STATUS.search(problem)
                note_failure(self.source, f"HTTP {status[1]}" if status else "GDAL could not read")
                if _REFUSED.search(problem):
                    renew(self.source, href, self.source.sign(href))
                raise AgainError(problem) from None

        return governor.send(attempt, public(href) + _NOT_NOW)

    def _once(
        self, href: str, read: Callable[[DatasetReader], NDArray[Any]], remote: RemoteBytes | None = None
    ) -> NDArray[Any]:
        held: _Held | None = None
        try:
            held = self._hold(href, remote)
            values = read(held.dataset)
        except (RasterioError, OSError) as err:
            self._forget(href)
            if held is not None and held.file is not None and held.file.problem is not None:
                raise held.file.problem from None
            # GDAL's own errors name the signed URL, and a traceback prints causes.
            raise _source_error(href, err, is_asked_by_gdal=remote is None) from None
        except (SourceError, NoRangesError):
            self._forget(href)
            raise
        if held.file is not None and held.file.problem is not None:
            self._forget(href)
            raise held.file.problem
        return values

    def _hold(self, href: str, remote: RemoteBytes | None) -> _Held:
        signed = "" if remote else self.source.sign(href)
        if href in self._open and self._open[href].signed != signed:
            # GDAL goes on asking with the signature that it was given.
            self._forget(href)
        if href not in self._open:
            self._open[href] = _open_governed(remote) if remote else self._open_by_gdal(href, signed)
        self._open.move_to_end(href)
        if len(self._open) > self.capacity:
            self._open.popitem(last=False)[1].dataset.close()
        return self._open[href]

    def _open_by_gdal(self, href: str, signed: str) -> _Held:
        # GDAL follows whatever redirect it meets.
        return _Held(_opened(href, settled(href, signed, self.source)), None, signed)

    def _remote(self, href: str) -> RemoteBytes | None:
        if href in self._without_ranges:
            return None
        return remote_bytes(self.source, href, self._options(), GDAL_OPTIONS)

    def _options(self) -> Mapping[str, Any]:
        return {**GDAL_OPTIONS, **self.source.gdal_env()}

    def _forget(self, href: str) -> None:
        held = self._open.pop(href, None)
        if held is not None:
            held.dataset.close()


def _open_governed(remote: RemoteBytes) -> _Held:
    file = GovernedFile(remote)
    try:
        name = PurePosixPath(remote.name).name
        return _Held(_dataset(remote.name, name, opener=file, driver=_driver_of(name)), file, "")
    except RasterioError:
        if file.problem is not None:
            raise file.problem from None
        raise


def _opened(href: str, signed: str) -> DatasetReader:
    if not _is_remote(href) and not href.startswith("/vsi") and not Path(href).is_file():
        raise SourceError(f"{public(href)} cannot be read: No such file")
    return _dataset(href, signed, driver=_driver_of(href))


def _dataset(href: str, name: str, **options: Any) -> DatasetReader:
    """Open what `href` names; raises SourceError as `_usable`, and where text in it is no UTF-8."""
    try:
        return _usable(rasterio.open(name, **options), href)
    except UnicodeDecodeError:
        raise SourceError(f"{public(href)} cannot be read: its projection is no text") from None


def _driver_of(href: str) -> str:
    """Return what a file is read as. GDAL knows formats that name other files, servers and code to run, such as VRT."""
    return "JP2OpenJPEG" if href.partition("?")[0].lower().endswith(_JPEG2000) else "GTiff"


def _usable(dataset: DatasetReader, href: str) -> DatasetReader:
    """Return `dataset`; raises SourceError where GDAL would take more memory for a block than any file needs."""
    rows, columns = dataset.block_shapes[0]
    size = rows * columns * np.dtype(dataset.dtypes[0]).itemsize
    if size > LARGEST_BLOCK:
        dataset.close()
        raise SourceError(f"{public(href)} cannot be read: a block of it would take {size} bytes")
    if dataset.count > MOST_BANDS:
        dataset.close()
        raise SourceError(f"{public(href)} cannot be read: it has {dataset.count} bands")
    return dataset


@contextmanager
def open_reference(source: Signer) -> Iterator[RasterReader]:
    """Yield the reference reader for one thread, under the GDAL options that remote rasters need."""
    hide_queries()
    reader = RasterReader(source)
    with rasterio.Env(**{**GDAL_OPTIONS, **source.gdal_env()}):
        try:
            yield reader
        finally:
            reader.close()


def read_patch(dataset: DatasetReader, grid: PatchGrid, *, resampling: Resampling) -> NDArray[Any]:
    """Read the first band of an open raster on `grid`; see `RasterReader.read` for what comes back."""
    if dataset.crs is None or not (dataset.crs.is_projected or dataset.crs.is_geographic):
        kind = "has ground control points only" if dataset.gcps[0] else "has no map projection"
        raise SourceError(f"{_OPENER.sub('', public(dataset.name))} {kind}: it cannot be put on a grid")
    if not _is_placed(dataset):
        # GDAL reads some pixels or other.
        raise SourceError(
            f"{_OPENER.sub('', public(dataset.name))} has no place on the ground: it cannot be put on a grid"
        )
    if dataset.crs.to_epsg() == grid.epsg and _is_north_up(dataset):
        columns, rows = pixel_positions(_placement(dataset), grid)
        if resampling == "nearest" or (is_on_grid(columns) and is_on_grid(rows)):
            return _gather(dataset, pixel_indices(rows), pixel_indices(columns))
    return _warp(dataset, grid, resampling)


def read_measured(dataset: DatasetReader, grid: PatchGrid, *, resampling: Resampling) -> NDArray[np.float32]:
    """Read the first band of an open raster on `grid`, float32 (size, size), NaN for no data and outside the file."""
    values = read_patch(dataset, grid, resampling=resampling)
    if values.dtype.kind == "f":
        return values
    measured = values.astype(np.float32)
    if dataset.nodata is not None:
        measured[values == dataset.nodata] = np.nan
    options = {**_warp_options(dataset, grid, "nearest"), "src_nodata": None, "nodata": None, "add_alpha": True}
    with WarpedVRT(dataset, **options) as vrt:
        measured[vrt.read(vrt.count) == 0] = np.nan
    return measured


def _is_placed(dataset: DatasetReader) -> bool:
    transform = dataset.transform
    if not all(map(math.isfinite, transform)) or transform.is_degenerate:
        return False
    sizes = math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)
    return min(sizes) >= SMALLEST_PIXEL


def _is_north_up(dataset: DatasetReader) -> bool:
    transform = dataset.transform
    return bool(transform.b == 0 and transform.d == 0 and transform.a > 0 and transform.e < 0)


class Placement(NamedTuple):
    """Where the pixels of a north-up raster lie."""

    left: float
    """Easting of the left edge [m]."""
    top: float
    """Northing of the upper edge [m]."""
    pixel_width: float
    """[m], positive."""
    pixel_height: float
    """[m], negative."""


def _placement(dataset: DatasetReader) -> Placement:
    transform = dataset.transform
    return Placement(transform.c, transform.f, transform.a, transform.e)


def pixel_positions(placement: Placement, grid: PatchGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return column and row of the patch's pixel centres in the raster, in pixels from its upper left corner."""
    centres = (np.arange(grid.size, dtype=np.float64) + 0.5) * grid.resolution
    return (
        (grid.left + centres - placement.left) / placement.pixel_width,
        (grid.top - centres - placement.top) / placement.pixel_height,
    )


def is_on_grid(positions: NDArray[np.float64]) -> bool:
    """Tell whether the centres of the patch's pixels are those of neighbouring pixels of the raster."""
    expected = positions[0] + np.arange(positions.size)
    centred = abs(positions[0] % 1.0 - 0.5) < _ON_GRID_TOLERANCE
    return bool(centred and np.allclose(positions, expected, rtol=0, atol=_ON_GRID_TOLERANCE))


def pixel_indices(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pixel that each position lies in."""
    # A centre on the border of two source pixels takes the right or lower one, whatever the rounding.
    return np.floor(positions + _ON_GRID_TOLERANCE).astype(np.int64)


def _gather(dataset: DatasetReader, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[Any]:
    out = empty_patch(np.dtype(dataset.dtypes[0]), (rows.size, columns.size))
    inside_rows = np.flatnonzero((rows >= 0) & (rows < dataset.height))
    inside_columns = np.flatnonzero((columns >= 0) & (columns < dataset.width))
    if not inside_rows.size or not inside_columns.size:
        return out
    rows, columns = rows[inside_rows], columns[inside_columns]
    require_window(int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)
    window = Window(int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1)
    block = without_nodata(dataset.read(1, window=window), dataset.nodata)
    out[np.ix_(inside_rows, inside_columns)] = block[np.ix_(rows - rows[0], columns - columns[0])]
    return out


def require_window(rows: int, columns: int) -> None:
    """Refuse a window of a file that no patch needs; raises SourceError."""
    if rows * columns > LARGEST_WINDOW:
        raise SourceError(f"a patch would be taken from {rows} x {columns} pixels of the file: its pixel size is wrong")


def _warp_options(dataset: DatasetReader, grid: PatchGrid, resampling: Resampling) -> dict[str, Any]:
    return {
        "crs": f"EPSG:{grid.epsg}",
        "transform": grid.geobox.transform,
        "width": grid.size,
        "height": grid.size,
        "resampling": rasterio.enums.Resampling[resampling],
        **_scale_options(dataset, grid),
    }


def _warp(dataset: DatasetReader, grid: PatchGrid, resampling: Resampling) -> NDArray[Any]:
    options = _warp_options(dataset, grid, resampling)
    if dataset.nodata is None:
        options["add_alpha"] = True
    with WarpedVRT(dataset, **options) as vrt:
        values = without_nodata(vrt.read(1), dataset.nodata)
        if dataset.nodata is None:
            values[vrt.read(vrt.count) == 0] = np.nan if values.dtype.kind == "f" else 0
    if dataset.nodata and values.dtype.kind != "f":
        # Here GDAL fills with the file's own no-data value what lies outside the file.
        with WarpedVRT(dataset, **options, src_nodata=None, nodata=None, add_alpha=True) as vrt:
            values[vrt.read(vrt.count) == 0] = 0
    return values


def _scale_options(dataset: DatasetReader, grid: PatchGrid) -> dict[str, float]:
    """Return how many pixels of the patch go to one of the file, along the file's columns and rows.

    GDAL would guess it from the sizes of the windows, and smooth one and the same pixel differently in every patch.
    """
    x, y = grid.left + grid.size / 2 * grid.resolution, grid.top - grid.size / 2 * grid.resolution
    corner = [x, x + grid.resolution, x], [y, y, y - grid.resolution]
    inverse = ~dataset.transform
    with np.errstate(invalid="ignore"):
        places = np.array(_transformer(grid.epsg, dataset.crs.to_wkt()).transform(*corner))
        east, north = places[:, 1:] - places[:, :1]
        columns = np.hypot(*(inverse.a * east + inverse.b * north))
        rows = np.hypot(*(inverse.d * east + inverse.e * north))
    return {"XSCALE": 1.0 / columns, "YSCALE": 1.0 / rows} if np.isfinite([columns, rows]).all() else {}


@cache
def _transformer(epsg: int, wkt: str) -> Transformer:
    return Transformer.from_crs(epsg, wkt, always_xy=True)


def empty_patch(dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Return a patch of which nothing is known: NaN, or 0 for integers."""
    return np.full(shape, np.nan, np.float32) if dtype.kind == "f" else np.zeros(shape, dtype)


def without_nodata(values: NDArray[Any], nodata: float | None) -> NDArray[Any]:
    """Return floating point as float32 with NaN for no data, and integers as they are."""
    if values.dtype.kind != "f":
        return values
    floats = values.astype(np.float32, copy=False)
    if nodata is not None and not np.isnan(nodata):
        floats[floats == np.float32(nodata)] = np.nan
    return floats


def _source_error(href: str, err: Exception, *, is_asked_by_gdal: bool) -> SourceError:
    problem = _OPENER.sub("", public(" ".join(str(_root_cause(err)).split())))
    if not is_asked_by_gdal or not _is_remote(href) or _GONE.search(problem):
        return SourceError(f"{public(href)} cannot be read: {problem}")
    return TransientSourceError(f"{public(href)}{_NOT_NOW}: {problem}")


def _root_cause(err: BaseException) -> BaseException:
    """Return what GDAL met first: rasterio's own text for a failed read says only that there was something."""
    return err if err.__cause__ is None else _root_cause(err.__cause__)


def _is_remote(href: str) -> bool:
    return "://" in href or href.startswith(("/vsicurl", "/vsis3"))
