"""The NetCDF-4 file of one patch and sensor: contiguous, not compressed, the same content always the same bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import netCDF4
import numpy as np
import pyproj
import rasterio.crs
from numpy.typing import NDArray

from pipeline.exports.request import Dims
from pipeline.records import PatchGrid

GRID_MAPPING = "spatial_ref"

_DIMS: Mapping[Dims, tuple[str, str, str]] = {"txy": ("time", "x", "y"), "tyx": ("time", "y", "x")}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchFile:
    """Everything that one file holds."""

    variables: Mapping[str, NDArray[Any]]
    """Name to (time, y, x), in the order of the file."""
    days: NDArray[np.datetime64]
    """datetime64[D] (time), rising."""
    grid: PatchGrid
    attributes: Mapping[str, Any]


def write_patch(path: Path, content: PatchFile, *, dims: Dims) -> None:
    """Write a file as released.

    Parameters
    ----------
    path : Path
        File in a folder that exists; an older one is replaced.
    content : PatchFile
    dims : txy or tyx
        `txy` as released: values really are transposed to (time, x, y). Coordinates x and y are upper left corners.
    """
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.set_fill_off()
        for name, size in zip(_DIMS[dims], (len(content.days), content.grid.size, content.grid.size), strict=True):
            file.createDimension(name, size)
        variables = _variables(content, dims)
        # All are defined before the first value: a dimension without its variable would leave traces in the file.
        for name, variable in variables.items():
            _define(file, name, variable)
        file.setncatts(dict(content.attributes))
        for name, variable in variables.items():
            file[name][...] = variable.values


class _Variable(NamedTuple):
    dims: tuple[str, ...]
    values: NDArray[Any]
    attributes: Mapping[str, Any]


def _variables(content: PatchFile, dims: Dims) -> dict[str, _Variable]:
    grid, days = content.grid, content.days
    steps = np.arange(grid.size) * grid.resolution
    mapped = {"grid_mapping": GRID_MAPPING}
    cubes = {
        name: _Variable(_DIMS[dims], np.swapaxes(values, 1, 2) if dims == "txy" else values, mapped)
        for name, values in content.variables.items()
    }
    time = {"units": f"days since {days[0]} 00:00:00", "calendar": "proleptic_gregorian"}
    return {
        **cubes,
        GRID_MAPPING: _Variable((), np.array(0, np.int64), _grid_mapping(grid)),
        "time": _Variable(("time",), (days - days[0]).astype(np.int64), time),
        "x": _Variable(("x",), grid.left + steps, {}),
        "y": _Variable(("y",), grid.top - steps, {}),
    }


def _define(file: netCDF4.Dataset, name: str, variable: _Variable) -> None:
    dtype = variable.values.dtype
    fill = np.nan if dtype.kind == "f" else None
    file.createVariable(name, dtype, variable.dims, fill_value=fill, contiguous=True).setncatts(
        dict(variable.attributes)
    )


def _grid_mapping(grid: PatchGrid) -> dict[str, Any]:
    transform = (grid.left, grid.resolution, 0.0, grid.top, 0.0, -grid.resolution)
    return {**_crs_attributes(grid.epsg), "GeoTransform": " ".join(str(float(item)) for item in transform)}


@cache
def _crs_attributes(epsg: int) -> dict[str, Any]:
    # The text is what GDAL and rioxarray write: WKT 1.
    wkt = rasterio.crs.CRS.from_epsg(epsg).to_wkt()
    return {**pyproj.CRS.from_epsg(epsg).to_cf(), "crs_wkt": wkt, "spatial_ref": wkt}
