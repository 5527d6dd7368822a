"""Places to draw from, and two judges of overlap that share nothing with the package's own."""

from functools import cache
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from pyproj import Geod, Transformer

from pipeline.grid import footprints, patches_around
from pipeline.recipes import load_recipe
from pipeline.records import PatchGrid, Recipe, Sample

RECIPE: Recipe = load_recipe("landslides", ["patch_size=264", "anchor=0"])
"""Patches of 264 × 10 m, as in SSL4EO-S12."""

GEOD = Geod(ellps="WGS84")

SPECK = 1.0
"""Shared ground [m²] that the judges call an overlap: outlines in lon/lat bend by millimetres."""


def write_land(folder: Path, *areas: shapely.Geometry, **columns: list[str]) -> Path:
    path = folder / "land.gpkg"
    gpd.GeoDataFrame(columns, geometry=list(areas), crs=4326).to_file(path)
    return path


def write_cities(folder: Path, *rows: str, header: str = "city_ascii,lat,lng,population") -> Path:
    path = folder / "towns.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def samples_at(places, recipe: Recipe = RECIPE) -> tuple[Sample, ...]:
    """The samples that a table of places becomes when it is read."""
    grids = patches_around(lon=places["lon"], lat=places["lat"], recipe=recipe)
    rows = zip(places["id"], places["lon"], places["lat"], grids, strict=True)
    return tuple(
        Sample(id=name, region="there", grid=patch, lon=lon, lat=lat, date=None, is_annotated=False)
        for name, lon, lat, patch in rows
    )


@cache
def _to_lonlat(epsg: int) -> Transformer:
    return Transformer.from_crs(f"EPSG:{epsg}", "EPSG:4326", always_xy=True)


def shared_ground(one: PatchGrid, other: PatchGrid) -> float:
    """Area [m²] that two patches share, seen by azimuth and distance from the first one's corner."""
    outlines = []
    for patch in (one, other):
        left, bottom, right, top = patch.bounds
        ring = shapely.get_coordinates(shapely.segmentize(shapely.box(left, bottom, right, top), 100.0))
        outlines.append(_to_lonlat(patch.epsg).transform(ring[:, 0], ring[:, 1]))
    areas = []
    for lon, lat in outlines:
        corner = np.full_like(lon, outlines[0][0][0]), np.full_like(lon, outlines[0][1][0])
        azimuth, _, distance = GEOD.inv(*corner, lon, lat)
        x, y = distance * np.sin(np.radians(azimuth)), distance * np.cos(np.radians(azimuth))
        areas.append(shapely.Polygon(np.stack([x, y], axis=-1)))
    return float(shapely.area(shapely.intersection(*areas)))


def overlapping_pairs(places, recipe: Recipe = RECIPE) -> set[tuple[int, int]]:
    """Pairs of rows whose patches share ground: near ones by a tree of outlines in lon/lat, then `shared_ground`."""
    grids = patches_around(lon=places["lon"], lat=places["lat"], recipe=recipe)
    pieces, row = shapely.get_parts(footprints(grids), return_index=True)
    # A second copy beyond the antimeridian, where outlines are cut.
    pieces = np.concatenate([pieces, shapely.transform(pieces, lambda xy: xy + np.array([360.0, 0.0]))])
    row = np.concatenate([row, row])
    one, other = shapely.STRtree(pieces).query(pieces, predicate="intersects")
    near = {(int(row[a]), int(row[b])) for a, b in zip(one, other, strict=True) if row[a] < row[b]}
    return {(a, b) for a, b in near if shared_ground(grids[a], grids[b]) > SPECK}
