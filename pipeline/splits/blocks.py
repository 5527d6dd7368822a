"""Split by spatial blocks with a buffer between them: where a patch lies decides alone.

The globe is cut into rows of constant latitude, and each row into equal columns, so that every block is nearly a square
of the same side; a hash of seed, row and column gives each block to train, val or test. A patch that lies too near a
block of a stronger split goes to the buffer, which nobody trains on or scores. Whether that block holds a patch does
not matter, so that more patches, regions or datasets never move an earlier one.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod

from pipeline import grid
from pipeline.errors import RecipeError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Codes = NDArray[np.int8]

SPLITS = ("buffer", "train", "val", "test")
"""Splits from the weakest to the strongest; a patch's code is its split's index."""
BUFFER, TRAIN, VAL, TEST = range(4)

DEGREE = 111_320.0
"""Metres in a degree of longitude on the equator; blocks take the globe for a sphere of this circumference."""

SHORTEST_DEGREE = 110_570.0
"""Metres in the shortest degree of latitude on WGS 84, at the equator."""

MARGIN = 1.005
"""Buffers are kept wider by this factor: metres of a UTM zone are not quite metres on the ground."""

SMALLEST_BLOCK, LARGEST_BLOCK = 100.0, 1_000_000.0
LARGEST_BUFFER = 100_000.0

_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRule:
    """What a split by blocks follows.

    Raises
    ------
    RecipeError
        A number is out of range.
    """

    block: float = 25_600.0
    """Side of a block [m], 100 to 1,000,000."""
    buffer: float = 6_400.0
    """Distance [m] kept between train and val or test, and between val and test; at most 100 km and two blocks."""
    seed: int = 42
    val: float = 0.16
    """Share of blocks in val [1]."""
    test: float = 0.20
    """Share of blocks in test [1]."""

    def __post_init__(self) -> None:
        if not SMALLEST_BLOCK <= self.block <= LARGEST_BLOCK:
            raise RecipeError(f"block is {self.block:g} m; it must be from {SMALLEST_BLOCK:g} to {LARGEST_BLOCK:g} m")
        widest = min(LARGEST_BUFFER, 2.0 * self.block)
        if not 0.0 <= self.buffer <= widest:
            raise RecipeError(f"buffer is {self.buffer:g} m; with blocks of {self.block:g} m it is 0 to {widest:g} m")
        if not (0.0 <= self.val < 1.0 and 0.0 < self.test < 1.0 and self.val + self.test < 1.0):
            raise RecipeError(f"shares of val ({self.val:g}) and test ({self.test:g}) must leave some for train")

    @property
    def height(self) -> float:
        """Height of a row of blocks [degrees]."""
        return self.block / DEGREE


def block_splits(*, lon: ArrayLike, lat: ArrayLike, rule: BlockRule) -> Codes:
    """Return the split of each place, as an index into `SPLITS`; each place is decided for itself.

    Parameters
    ----------
    lon, lat : float, one-dimensional
        Centres of patches on WGS 84 [degrees]; latitudes from -80 to 84.

    Returns
    -------
    int8, shape of `lon`
        No train place lies within the rule's buffer of a val or test place, and no val place within it of a test
        place, however the places are drawn.

    Raises
    ------
    RecipeError
        A place is no number, or lies outside the UTM zones; names the first one.
    """
    lons, lats = grid.wrap_longitude(lon), np.asarray(lat, np.float64)
    inside = np.isfinite(lons) & (lats >= grid.SOUTH) & (lats <= grid.NORTH)
    for place in np.flatnonzero(~inside)[:1]:
        raise RecipeError(
            f"lon {lons[place]:.6g}, lat {lats[place]:.6g} lies outside the UTM zones (80° S to 84° N): no block there"
        )
    rows, columns = _blocks(lons, lats, rule)
    codes = _draw(rows, columns, rule)
    near = _strongest_near(lons, lats, codes, rule) if rule.buffer else codes
    return np.where((codes < TEST) & (near > codes), BUFFER, codes).astype(np.int8)


def _blocks(lon: Floats, lat: Floats, rule: BlockRule) -> tuple[Integers, Integers]:
    rows = np.floor(lat / rule.height).astype(np.int64)
    counts = _column_counts(rows, rule)
    columns = np.floor((lon + 180.0) / 360.0 * counts).astype(np.int64)
    return rows, np.minimum(columns, counts - 1)


def _edges(rows: Integers, rule: BlockRule) -> tuple[Floats, Floats]:
    """Return the southern and northern edge of each row [degrees]."""
    return np.maximum(rows * rule.height, -90.0), np.minimum((rows + 1) * rule.height, 90.0)


def _column_counts(rows: Integers, rule: BlockRule) -> Integers:
    south, north = _edges(rows, rule)
    around = 360.0 * DEGREE * np.cos(np.radians((south + north) / 2.0))
    return np.maximum(np.rint(around / rule.block).astype(np.int64), 1)


def _draw(rows: Integers, columns: Integers, rule: BlockRule) -> Codes:
    """Return what each block is drawn for: train, val or test."""
    blocks, where = np.unique(np.stack([rows, columns], axis=1), axis=0, return_inverse=True)
    drawn = np.array([_fraction(rule.seed, row, column) for row, column in blocks.tolist()], np.float64)
    codes = np.where(drawn < rule.test, TEST, np.where(drawn < rule.test + rule.val, VAL, TRAIN))
    return codes.astype(np.int8)[where.reshape(-1)]


def _fraction(seed: int, row: int, column: int) -> float:
    """Return a number from 0 to below 1; 53 bits, as a double holds them without rounding."""
    digest = blake2b(f"{seed}|block|{row}|{column}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def _strongest_near(lon: Floats, lat: Floats, codes: Codes, rule: BlockRule) -> Codes:
    """Return the strongest split of all blocks within the buffer of each place."""
    strongest = codes.copy()
    own_rows = np.floor(lat / rule.height).astype(np.int64)
    reach = rule.buffer * MARGIN
    reach_lat = reach / SHORTEST_DEGREE
    # On the sphere a circle of angle d around latitude φ spans ±asin(sin d / cos φ) of longitude.
    reach_lon = np.degrees(np.arcsin(np.sin(np.radians(1.01 * reach_lat)) / np.cos(np.radians(lat))))
    around = int(np.ceil(reach_lat / rule.height))
    for step in range(-around, around + 1):
        rows = own_rows + step
        south, north = _edges(rows, rule)
        places = np.flatnonzero((south < north) & (south - reach_lat <= lat) & (lat <= north + reach_lat))
        _raise_row(strongest, places, (rows, reach_lon), (lon, lat), rule)
    return strongest


def _raise_row(
    strongest: Codes, places: Integers, row: tuple[Integers, Floats], centres: tuple[Floats, Floats], rule: BlockRule
) -> None:
    """Raise `strongest`, in place, to what the blocks of one row near each of `places` are drawn for."""
    rows, reach = row[0][places], row[1][places]
    lon, lat = centres[0][places], centres[1][places]
    counts = _column_counts(rows, rule)
    first = np.floor((lon - reach + 180.0) / 360.0 * counts).astype(np.int64)
    last = np.floor((lon + reach + 180.0) / 360.0 * counts).astype(np.int64)
    last = np.minimum(last, first + counts - 1)
    for step in range(int((last - first).max(initial=-1)) + 1):
        here = np.flatnonzero(first + step <= last)
        columns = first[here] + step
        codes = _draw(rows[here], columns % counts[here], rule)
        here, columns, codes = _stronger(strongest[places], here, columns, codes)
        near = _distances(lon[here], lat[here], rows[here], columns, rule) <= rule.buffer * MARGIN
        strongest[places[here[near]]] = codes[near]


def _stronger(held: Codes, here: Integers, columns: Integers, codes: Codes) -> tuple[Integers, Integers, Codes]:
    """Keep the blocks that would raise what is held: train blocks never do, and most others need no distance."""
    higher = codes > held[here]
    return here[higher], columns[higher], codes[higher]


def _distances(lon: Floats, lat: Floats, rows: Integers, columns: Integers, rule: BlockRule) -> Floats:
    """Return the geodesic distance [m] of each place to the nearest point of a block.

    The block's columns may be counted past a full turn. Beside the block the nearest point lies on its nearer meridian,
    at the foot of the perpendicular (tan φ₀ = tan φ / cos Δλ) or the corner nearest to it; above and below it lies on
    the place's own meridian.
    """
    south, north = _edges(rows, rule)
    width = 360.0 / _column_counts(rows, rule)
    middle = (columns + 0.5) * width - 180.0
    offset = grid.wrap_longitude(lon - middle)
    beside = np.maximum(np.abs(offset) - width / 2.0, 0.0)
    foot = np.degrees(np.arctan2(np.sin(np.radians(lat)), np.cos(np.radians(lat)) * np.cos(np.radians(beside))))
    _, _, metres = _GEOD.inv(lon, lat, lon + beside, np.clip(foot, south, north))
    return np.asarray(metres, np.float64)
