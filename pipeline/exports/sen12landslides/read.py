"""Patch files back as a reader wants them, ours or a released one, whatever the order of their axes."""

from pathlib import Path

import numpy as np
import xarray as xr
from rasterio.crs import CRS
from rasterio.errors import CRSError

from pipeline import grid as grids
from pipeline.errors import LayoutError
from pipeline.exports.sen12landslides.netcdf import GRID_MAPPING


def open_patch(path: str | Path) -> xr.Dataset:
    """Read one Sen12Landslides file into memory.

    Returns
    -------
    xarray.Dataset
        Variables (time, y, x) with the dtypes of the file; `x` and `y` are pixel centres [m] that agree with the
        GeoTransform of coordinate `spatial_ref`; scalar coordinates `lon` and `lat` are the patch's middle on WGS 84
        [degrees]. The attributes center_lat and center_lon, which hold metres, are left out.

    Raises
    ------
    LayoutError
        The file is absent, no NetCDF file, or says nothing usable about where it lies.
    """
    if not Path(path).is_file():
        raise LayoutError(f"{path} does not exist")
    try:
        with xr.open_dataset(path, engine="netcdf4") as file:
            dataset = file.load()
    except (OSError, ValueError) as err:
        raise LayoutError(f"{path} is not a NetCDF file: {' '.join(str(err).split())}") from err
    try:
        return _normalised(dataset)
    except (KeyError, ValueError, CRSError) as err:
        raise LayoutError(f"{path} is not a Sen12Landslides patch: {' '.join(str(err).split())}") from err


def _normalised(dataset: xr.Dataset) -> xr.Dataset:
    dataset = dataset.set_coords(GRID_MAPPING).transpose("time", "y", "x")
    mapping = dataset[GRID_MAPPING].attrs
    left, width, _, top, _, height = map(float, str(mapping["GeoTransform"]).split())
    epsg = CRS.from_wkt(mapping["crs_wkt"]).to_epsg()
    if epsg is None:
        raise ValueError("spatial_ref has no EPSG code")
    columns, rows = dataset.sizes["x"], dataset.sizes["y"]
    lon, lat = grids.to_lonlat(easting=left + columns * width / 2.0, northing=top + rows * height / 2.0, epsg=epsg)
    centred = dataset.assign_coords(
        x=("x", left + (np.arange(columns) + 0.5) * width, dataset["x"].attrs),
        y=("y", top + (np.arange(rows) + 0.5) * height, dataset["y"].attrs),
        lon=float(lon),
        lat=float(lat),
    )
    centred.attrs = {name: value for name, value in dataset.attrs.items() if not name.startswith("center_")}
    return centred
