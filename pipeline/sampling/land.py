"""Where land is: the 1 km raster of the package global-land-mask (GLOBE), or a user's polygons."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.grid import Floats, Geometries, Integers, cut_at_antimeridian, patches_around, to_lonlat
from pipeline.records import PatchGrid, Recipe
from pipeline.sampling.tables import open_places, refusal, to_lonlat_frame

Flags = NDArray[np.bool_]

_PER_DEGREE = 120
"""Cells of GLOBE along a degree: 30 arc seconds (Hastings and Dunbar 1999, GLOBE 1.0)."""

_BAND = 600
"""Rows unpacked at a time, which bounds memory to 26 MB."""

_SPOTS = 8
"""Spots along each side of a patch that its share of land is counted at."""


class Land(Protocol):
    """What tells land from sea."""

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        ...

    def holds(self, *, lon: Floats, lat: Floats) -> Flags:
        """Tell which places [degrees, longitude -180 to below 180] are on land."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LandRaster:
    """Cells of 30 arc seconds, row by row from the north pole, each row from -180° eastwards."""

    sea: NDArray[np.uint8]
    """Eight cells to a byte, the first in the highest bit; 1 is sea. uint8 (21600, 5400)."""
    source: str

    def holds(self, *, lon: Floats, lat: Floats) -> Flags:
        """Tell which places are on land; lakes are."""
        rows, columns = self.sea.shape[0], self.sea.shape[1] * 8
        row = np.clip(np.floor((90.0 - lat) * _PER_DEGREE), 0, rows - 1).astype(np.int64)
        column = np.clip(np.floor((lon + 180.0) * _PER_DEGREE), 0, columns - 1).astype(np.int64)
        bits = self.sea[row, column >> 3] >> (7 - (column & 7)).astype(np.uint8)
        return np.asarray(bits & 1 == 0, np.bool_)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LandPolygons:
    """Polygons of land in lon/lat, cut at the antimeridian."""

    polygons: Geometries
    source: str

    def holds(self, *, lon: Floats, lat: Floats) -> Flags:
        """Tell which places are in a polygon or on its border."""
        on_land = np.zeros(len(lon), np.bool_)
        on_land[inside(self.polygons, lon=lon, lat=lat)[1]] = True
        return on_land


def inside(polygons: Geometries, *, lon: Floats, lat: Floats) -> tuple[Integers, Integers]:
    """Return the pairs of a polygon and a place [degrees] in it or on its border, as two arrays of indices."""
    places: Geometries = np.asarray(shapely.points(np.stack([lon, lat], axis=-1)), np.object_)
    polygon, place = shapely.STRtree(places).query(polygons, predicate="intersects")
    return np.asarray(polygon, np.int64), np.asarray(place, np.int64)


def open_land(path: str | Path | None = None) -> Land:
    """Return the land of a vector file of polygons, by default that of global-land-mask.

    Raises
    ------
    RecipeError
        The file cannot be read, says no CRS, or holds something else than polygons.
    """
    if path is None:
        return _globe()
    return LandPolygons(polygons=shapely.get_parts(read_polygons(path).geometry.array), source=Path(path).name)


def read_polygons(path: str | Path) -> gpd.GeoDataFrame:
    """Return the rows of a vector file of polygons in lon/lat, mended and cut at the antimeridian.

    Raises
    ------
    RecipeError
        As `open_land` does.
    """
    frame = open_places(path)
    if not isinstance(frame, gpd.GeoDataFrame) or not set(frame.geom_type.dropna()) <= {"Polygon", "MultiPolygon"}:
        raise refusal(f"{path} does not hold polygons alone: give a vector file of areas")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if frame.empty:
        raise refusal(f"{path} holds no polygon: give a vector file of areas")
    frame = to_lonlat_frame(frame, path=path)
    mended = shapely.make_valid(np.asarray(frame.geometry.array, np.object_))
    return frame.set_geometry(gpd.GeoSeries(cut_at_antimeridian(mended), index=frame.index, crs=4326))


@cache
def _globe() -> LandRaster:
    # Importing the package would unpack its mask to a byte a cell: 933 MB.
    spec = find_spec("global_land_mask")
    if spec is None or not spec.submodule_search_locations:
        raise refusal("the package global-land-mask is not installed: install it, or give a file of land polygons")
    archive = Path(spec.submodule_search_locations[0]) / "globe_combined_mask_compressed.npz"
    with zipfile.ZipFile(archive) as members, members.open("mask.npy") as packed:
        np.lib.format.read_magic(packed)
        (rows, columns), _, _ = np.lib.format.read_array_header_1_0(packed)
        sea = np.empty((rows, columns // 8), np.uint8)
        for row in range(0, rows, _BAND):
            band = np.frombuffer(packed.read(_BAND * columns), np.uint8).reshape(-1, columns)
            sea[row : row + _BAND] = np.packbits(band, axis=1)
    return LandRaster(sea=sea, source=f"GLOBE 1 km in global-land-mask {version('global-land-mask')}")


def land_shares(land: Land, *, lon: Floats, lat: Floats, recipe: Recipe) -> Floats:
    """Return the share [1] of land in the patch around each place [degrees], counted at 64 spots of it."""
    return land_shares_of(land, patches_around(lon=lon, lat=lat, recipe=recipe), recipe)


def land_shares_of(land: Land, grids: Sequence[PatchGrid], recipe: Recipe) -> Floats:
    """Return the share [1] of land in each patch, counted at 64 spots of it."""
    across = (np.arange(_SPOTS) + 0.5) / _SPOTS * recipe.step
    epsgs = np.array([grid.epsg for grid in grids], np.int64)
    corners = np.array([grid.bounds[:2] for grid in grids], np.float64).reshape(-1, 2)
    shares = np.empty(len(grids))
    for epsg in np.unique(epsgs).tolist():
        here = np.flatnonzero(epsgs == epsg)
        easting = corners[here, 0, None, None] + across[None, None, :]
        northing = corners[here, 1, None, None] + across[None, :, None]
        eastings, northings = np.broadcast_arrays(easting, northing)
        spot_lon, spot_lat = to_lonlat(easting=eastings.ravel(), northing=northings.ravel(), epsg=epsg)
        is_land = land.holds(lon=spot_lon, lat=spot_lat)
        shares[here] = is_land.reshape(len(here), -1).mean(axis=1)
    return shares


_: tuple[type[Land], ...] = (LandRaster, LandPolygons)
