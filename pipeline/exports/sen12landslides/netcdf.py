"""The NetCDF-4 file of one patch and sensor: contiguous, not compressed, the same content always the same bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

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
    grid = content.grid
    steps = np.arange(grid.size) * grid.resolution
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.set_fill_off()
        for name, size in zip(_DIMS[dims], (len(content.days), grid.size, grid.size), strict=True):
            file.createDimension(name, size)
        for name, values in content.variables.items():
            _write_variable(file, name, np.swapaxes(values, 1, 2) if dims == "txy" else values, _DIMS[dims])
        mapping = file.createVariable(GRID_MAPPING, np.int64, (), contiguous=True)
        mapping.setncatts(_grid_mapping(grid))
        mapping[...] = 0
        _write_time(file, content.days)
        for name, values in (("x", grid.left + steps), ("y", grid.top - steps)):
            axis = file.createVariable(name, np.float64, (name,), fill_value=np.nan, contiguous=True)
            axis.setncatts(_AXES[name])
            axis[:] = values
        file.setncatts(dict(content.attributes))


_AXES = {
    name: {"axis": name.upper(), "standard_name": f"projection_{name}_coordinate", "units": "metre"} for name in "xy"
}


def _write_variable(file: netCDF4.Dataset, name: str, values: NDArray[Any], dims: tuple[str, ...]) -> None:
    fill = np.nan if values.dtype.kind == "f" else None
    variable = file.createVariable(name, values.dtype, dims, fill_value=fill, contiguous=True)
    variable.setncattr("grid_mapping", GRID_MAPPING)
    variable[...] = values


def _write_time(file: netCDF4.Dataset, days: NDArray[np.datetime64]) -> None:
    time = file.createVariable("time", np.int64, ("time",), contiguous=True)
    time.setncatts({"units": f"days since {days[0]} 00:00:00", "calendar": "proleptic_gregorian"})
    time[:] = (days - days[0]).astype(np.int64)


def _grid_mapping(grid: PatchGrid) -> dict[str, Any]:
    transform = (grid.left, grid.resolution, 0.0, grid.top, 0.0, -grid.resolution)
    return {**_crs_attributes(grid.epsg), "GeoTransform": " ".join(str(float(item)) for item in transform)}


@cache
def _crs_attributes(epsg: int) -> dict[str, Any]:
    # The text is what GDAL and rioxarray write: WKT 1.
    wkt = rasterio.crs.CRS.from_epsg(epsg).to_wkt()
    return {**pyproj.CRS.from_epsg(epsg).to_cf(), "crs_wkt": wkt, "spatial_ref": wkt}
