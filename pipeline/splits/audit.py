"""How far a split leaks: the share of test patches with a train patch beside them or near."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline import grid
from pipeline.errors import RecipeError

COLUMNS = ("patch_id", "split", "crs_original", "lon", "lat")
SPLITS = ("train", "val", "test")

STEP = 1280.0
"""Metres between the centres of neighbouring patches; edges lie on its multiples in UTM (patch_module.py)."""

TOLERANCE = 10.0
"""Metres along an axis, one pixel, that a centre may lie off the lattice."""

_CRS84 = ("urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:OGC::CRS84", "EPSG:4326", "urn:ogc:def:crs:EPSG::4326")


@dataclass(frozen=True)
class Audit:
    """Leakage of a split.

    Attributes
    ----------
    test_patches : int
        Number of test patches.
    edge_share, neighbour_share : float
        Share [1] of test patches with a train patch that shares an edge, or an edge or a corner; one at the same
        place counts as both.
    near_share : float
        Share [1] of test patches whose centre lies less than `distance` from the centre of a train patch.
    distance : float
        Distance [m] of `near_share`.
    smallest_distance : float, optional
        Smallest distance [m] between the centres of a test and a train patch.
    same_event_share, same_trigger_share, same_acquisition_share : float, optional
        Share [1] of test patches that share an event, a day of events in one region, or a Sentinel-2 acquisition with
        a train patch; None where the table does not say.
    patches : dict, optional
        Number of patches in each split, the buffer included.
    """

    test_patches: int
    edge_share: float
    neighbour_share: float
    near_share: float
    distance: float
    smallest_distance: float | None = None
    same_event_share: float | None = None
    same_trigger_share: float | None = None
    same_acquisition_share: float | None = None
    patches: dict[str, int] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name, fit for JSON; those that the table does not tell are left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def read_locations(path: Path) -> pd.DataFrame:
    """Read a published `patch_locations.geojson`.

    Returns
    -------
    pandas.DataFrame
        `patch_id` (property `patch_id` or `id`), `split`, `crs_original` as `EPSG:326zz`, `lon` and `lat` of the
        points on WGS 84 [degrees], in the order of the file.

    Raises
    ------
    RecipeError
        The file cannot be read, is no collection of points on WGS 84, or a feature lacks a property, has an
        unknown split, a CRS that is no UTM zone or a repeated patch_id.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise RecipeError(f"{path} cannot be read as GeoJSON: {' '.join(str(err).split())}") from err
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list) or content.get("type") != "FeatureCollection":
        raise RecipeError(f"{path} is not a GeoJSON FeatureCollection")
    crs = _member(_member(content, "crs"), "properties").get("name", _CRS84[0])
    if crs not in _CRS84:
        raise RecipeError(f"{path} must be in longitude and latitude (CRS84), got {crs!r}")
    rows = [_row(feature, f"{path}, feature {number}") for number, feature in enumerate(features)]
    return _checked(pd.DataFrame(rows, columns=list(COLUMNS)), str(path))


def audit(locations: pd.DataFrame, *, distance: float = 6400.0) -> Audit:
    """Measure how close the test patches of a split lie to its train patches.

    Centres are projected to each patch's own UTM zone and snapped to the lattice. Neighbours are those of the same
    zone; distances to patches of other zones are measured in the zone of the test patch.

    Parameters
    ----------
    locations : pandas.DataFrame
        As `read_locations` returns it.
    distance : float
        Distance between centres [m] below which a train patch is near.

    Raises
    ------
    RecipeError
        The table is wrong, has no test or no train patches, a centre lies more than `TOLERANCE` off the lattice, or
        `distance` is not a positive number.
    """
    check_distance(distance)
    patches = _checked(locations, "the table of locations")
    for name in ("train", "test"):
        if not (patches["split"] == name).any():
            raise RecipeError(f"the table of locations has no {name} patches")
    train = patches[patches["split"] == "train"]
    found = [_nearest(zone, train) for _, zone in patches.groupby("crs_original")]
    steps, metres = (np.concatenate(part) for part in zip(*found, strict=True))
    # In steps the nearest patches lie at 0, 1, √2 and 2.
    edge, neighbour, near = (float(np.mean(hit)) for hit in (steps <= 1.0, steps < 1.5, metres < distance))
    return Audit(len(steps), edge, neighbour, near, float(distance))


def check_distance(distance: float) -> None:
    """Raise RecipeError unless `distance` is a positive number of metres."""
    if not (math.isfinite(distance) and distance > 0):
        raise RecipeError(f"distance must be a positive number of metres, got {distance}")


def _nearest(zone: pd.DataFrame, train: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    crs = str(zone["crs_original"].iloc[0])
    epsg = grid.epsg_of(crs)
    cells = _cells(zone, epsg)
    test = cells[zone["split"] == "test"]
    own = cells[zone["split"] == "train"]
    others = train[(train["crs_original"] != crs) & ~grid.is_far(train["lon"].to_numpy(), epsg=epsg)]
    foreign = _centres(others, epsg) / STEP - 0.5
    steps, _ = cKDTree(own).query(test)
    across, _ = cKDTree(foreign).query(test)
    return steps, np.minimum(steps, across) * STEP


def _cells(patches: pd.DataFrame, epsg: int) -> NDArray[np.float64]:
    if grid.is_far(patches["lon"].to_numpy(), epsg=epsg).any():
        raise RecipeError(f"EPSG:{epsg} has a patch more than {grid.FARTHEST:g}° from its central meridian")
    centres = _centres(patches, epsg)
    cells: NDArray[np.float64] = np.round(centres / STEP - 0.5)
    off = np.abs(centres - (cells + 0.5) * STEP).max(axis=1)
    if not (off <= TOLERANCE).all():
        worst = int(np.argmax(off))
        name = patches["patch_id"].iloc[worst]
        raise RecipeError(f"patch {name} lies {off[worst]:.1f} m off the lattice of {STEP:g} m in EPSG:{epsg}")
    return cells


def _centres(patches: pd.DataFrame, epsg: int) -> NDArray[np.float64]:
    return np.column_stack(grid.to_utm(lon=patches["lon"].to_numpy(), lat=patches["lat"].to_numpy(), epsg=epsg))


def _member(owner: Any, name: str) -> Mapping[str, Any]:
    value = owner.get(name) if isinstance(owner, dict) else None
    return value if isinstance(value, dict) else {}


def _row(feature: Any, where: str) -> tuple[Any, ...]:
    properties, geometry = _member(feature, "properties"), _member(feature, "geometry")
    point = geometry.get("coordinates")
    numbers = isinstance(point, list) and len(point) >= 2 and all(type(value) in {int, float} for value in point[:2])
    if geometry.get("type") != "Point" or not numbers or not isinstance(point, list):
        raise RecipeError(f"{where} is not a Point")
    values = (properties.get("patch_id", properties.get("id")), properties.get("split"), properties.get("crs_original"))
    for name, value in zip(COLUMNS, values, strict=False):
        if not (isinstance(value, str) and value):
            raise RecipeError(f"{where} has no property {name}")
    return (*values, float(point[0]), float(point[1]))


def _checked(locations: pd.DataFrame, where: str) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in locations.columns]
    if missing:
        raise RecipeError(f"{where} has no column {', '.join(missing)}")
    if locations.empty:
        raise RecipeError(f"{where} has no patches")
    for name in locations["split"][~locations["split"].isin(SPLITS)]:
        raise RecipeError(f"{where} has split {name!r}, expected {', '.join(SPLITS)}")
    for name in locations["patch_id"][locations["patch_id"].duplicated()]:
        raise RecipeError(f"{where} repeats patch_id {name}")
    for crs in locations["crs_original"].drop_duplicates():
        try:
            grid.epsg_of(str(crs))
        except RecipeError as err:
            raise RecipeError(f"{where} has crs_original {crs!r}, expected a UTM zone as EPSG:32633") from err
    inside = locations["lon"].between(-180.0, 180.0) & locations["lat"].between(grid.SOUTH, grid.NORTH)
    for name in locations["patch_id"][~inside]:
        raise RecipeError(f"{where}: patch {name} lies outside the UTM zones (80° S to 84° N)")
    return locations[list(COLUMNS)].reset_index(drop=True)
