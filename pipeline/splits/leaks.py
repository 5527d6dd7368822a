"""How far a split of a dataset leaks: what its test patches share with its train patches.

Patches may lie on any lattice or on none and be of any size: neighbours are patches whose footprints touch.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyproj import Transformer
from scipy.spatial import cKDTree

from pipeline.errors import RecipeError
from pipeline.splits.audit import Audit, check_distance
from pipeline.splits.folders import PARTS

Floats = NDArray[np.float64]

EARTH_RADIUS = 6_371_000.0
"""Metres; turns chords into arcs, which differ by less than 1e-6 below 10 km."""

_GEOCENTRIC = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Patches:
    """What the audit of a dataset's split goes by; `patch` is a row number of `table`."""

    table: pd.DataFrame
    """`id`, `split` (train, val, test or buffer), `epsg`, `easting` and `northing` of the centre [m], `side` and
    `resolution` [m], `lon` and `lat` of the centre [degrees]; one row per patch, numbered from 0."""
    events: pd.DataFrame | None = None
    """`patch`, `event` and `trigger` (region and day): one row per event of a patch; None where there are none."""
    acquisitions: pd.DataFrame | None = None
    """`patch` and `acquisition`: one row per Sentinel-2 acquisition of a patch; None where there are none."""


def audit_patches(patches: Patches, *, distance: float = 6400.0) -> Audit:
    """Measure what the test patches of a dataset share with its train patches.

    Patches of one zone are neighbours where their squares touch to within a pixel. Those of two zones lie at an angle:
    they count as edge to edge where the centres are at most half their sides' sum apart, as neighbours where at most
    √2 times that. Distances are straight lines between centres on WGS 84, as arcs.

    Raises
    ------
    RecipeError
        There are no train or no test patches, or `distance` is not a positive number.
    """
    check_distance(distance)
    split = patches.table["split"].to_numpy()
    test, train = patches.table[split == "test"], patches.table[split == "train"]
    for name, part in (("train", train), ("test", test)):
        if part.empty:
            raise RecipeError(f"the split has no {name} patches: there is nothing to audit")
    nearest, _ = cKDTree(_geocentric(train)).query(_geocentric(test))
    metres = 2.0 * EARTH_RADIUS * np.arcsin(np.minimum(nearest / (2.0 * EARTH_RADIUS), 1.0))
    edge, neighbour = _touching(test, train)
    events, passes = patches.events, patches.acquisitions
    return Audit(
        test_patches=len(test),
        edge_share=float(edge.mean()),
        neighbour_share=float(neighbour.mean()),
        near_share=float(np.mean(metres < distance)),
        distance=float(distance),
        smallest_distance=float(metres.min()),
        same_event_share=_shared(split, events, "event"),
        same_trigger_share=_shared(split, events, "trigger"),
        same_acquisition_share=_shared(split, passes, "acquisition"),
        patches={name: int(np.count_nonzero(split == name)) for name in PARTS},
    )


def _shared(split: NDArray[np.object_], held: pd.DataFrame | None, key: str) -> float | None:
    """Return the share of test patches that have a key which a train patch has, too."""
    if held is None:
        return None
    owner = split[held["patch"].to_numpy(np.int64)]
    in_train = held[key].isin(held[key][owner == "train"])
    hit = held["patch"][(owner == "test") & in_train]
    return float(hit.nunique() / np.count_nonzero(split == "test"))


def _geocentric(patches: pd.DataFrame) -> Floats:
    zero = np.zeros(len(patches))
    return np.column_stack(_GEOCENTRIC.transform(patches["lon"].to_numpy(), patches["lat"].to_numpy(), zero))


def _touching(test: pd.DataFrame, train: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which test patches touch a train patch along an edge, and which touch one at all."""
    edge, neighbour = np.zeros(len(test), np.bool_), np.zeros(len(test), np.bool_)
    widest = float(max(test["side"].max(), train["side"].max()))
    slack = float(max(test["resolution"].max(), train["resolution"].max()))
    # Metres of a UTM zone are shorter than those on the ground by at most 0.04 % and longer by less than 10 %.
    near = cKDTree(_geocentric(train)).query_ball_point(_geocentric(test), math.sqrt(2.0) * (widest + slack) * 1.01)
    rows = np.repeat(np.arange(len(test)), [len(found) for found in near])
    if not rows.size:
        return edge, neighbour
    first, second = test.iloc[rows], train.iloc[np.concatenate([found for found in near if found]).astype(np.int64)]
    gaps = _gaps(first, second)
    touch = gaps.max(axis=1) <= 0.0
    slack_of_pair = np.maximum(first["resolution"].to_numpy(), second["resolution"].to_numpy())
    neighbour[rows[touch]] = True
    edge[rows[touch & (gaps.min(axis=1) < -2.0 * slack_of_pair)]] = True
    return edge, neighbour


def _gaps(first: pd.DataFrame, second: pd.DataFrame) -> Floats:
    """Return how far each pair's squares are from touching along x and y [m], less a pixel; negative where they do."""
    reach = (first["side"].to_numpy() + second["side"].to_numpy()) / 2.0
    slack = np.maximum(first["resolution"].to_numpy(), second["resolution"].to_numpy())
    apart = [np.abs(first[axis].to_numpy() - second[axis].to_numpy()) for axis in ("easting", "northing")]
    chord = np.linalg.norm(_geocentric(first) - _geocentric(second), axis=1)
    same = first["epsg"].to_numpy() == second["epsg"].to_numpy()
    # Of another zone: touching along y always, along x by the circle that stands for the square.
    across = np.where(chord <= reach, 0.0, np.where(chord <= math.sqrt(2.0) * reach, reach, np.inf))
    x, y = np.where(same, apart[0], across), np.where(same, apart[1], across)
    return np.stack([x - reach - slack, y - reach - slack], axis=1)
