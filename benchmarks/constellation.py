"""A world of scenes that nobody has to download: Sentinel-1 and -2 over any place, as orbits and tiles have them.

Orbits are strips of the satellites' swaths (290 km and 250 km) that lean as ground tracks do, at the real number of
tracks; Sentinel-2 scenes are MGRS tiles cut by their strip, every 5 days, Level-1C beside Level-2A; Sentinel-1 frames
are 185 km long, every 12 days in both directions. Shares of cloud come from a hash. Nothing here is observed.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline import grid
from pipeline.pixels.classification import ClassShares
from pipeline.records import MODALITIES, Scene
from pipeline.sources.contract import Query, ScoreWindow

EPOCH = datetime(2015, 1, 1, tzinfo=UTC)
TILE, SQUARE = 109_800.0, 100_000.0
BANDS_OF_LATITUDE = "CDEFGHJKLMNPQRSTUVWX"
COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
ROWS = "ABCDEFGHJKLMNPQRSTUV"
KILOMETRES_PER_DEGREE = 111.32


@dataclass(frozen=True, slots=True)
class Track:
    """One relative orbit and direction: a strip of longitudes that moves with latitude."""

    number: int
    count: int
    """Tracks around the equator."""
    swath: float
    """Width [km]."""
    lean: float
    """Degrees of longitude for each degree of latitude."""
    revisit: int
    """Days between passes."""

    def strip(self, south: float, north: float) -> BaseGeometry:
        """Return the swath between two latitudes."""
        ring = []
        for side, latitudes in ((-0.5, (south, north)), (0.5, (north, south))):
            for lat in latitudes:
                width = self.swath / (KILOMETRES_PER_DEGREE * math.cos(math.radians(min(abs(lat), 83.0))))
                ring.append((self.number * 360.0 / self.count - 180.0 + self.lean * lat + side * width, lat))
        return shapely.Polygon(ring)

    def passes(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield when the satellite comes by in [start, end)."""
        first = EPOCH + timedelta(days=self.number % self.revisit, hours=10, seconds=37 * self.number)
        turn = timedelta(days=self.revisit)
        moment = first + math.ceil((start - first) / turn) * turn
        while moment < end:
            yield moment
            moment += turn


def tracks(count: int, swath: float, lean: float, revisit: int) -> tuple[Track, ...]:
    return tuple(Track(number, count, swath, lean, revisit) for number in range(count))


OPTICAL = tracks(143, 290.0, 0.22, 5)
RADAR = {"descending": tracks(175, 250.0, 0.22, 12), "ascending": tracks(175, 250.0, -0.22, 12)}


def tiles_of(area: BaseGeometry) -> Iterator[tuple[str, int, float, float]]:
    """Yield name, EPSG, left and bottom [m] of every 100 km square of the grid that may touch an area."""
    west, south, east, north = area.bounds
    for zone in range(int((west + 180.0) // 6.0), int((east + 180.0) // 6.0) + 1):
        left, right = max(west, zone * 6.0 - 180.0), min(east, zone * 6.0 - 174.0)
        for below, above, base in ((max(south, 0.0), north, 32601), (south, min(north, -1e-9), 32701)):
            if left <= right and below <= above:
                yield from _squares(base + zone, shapely.box(left, below, right, above))


def _squares(epsg: int, area: BaseGeometry) -> Iterator[tuple[str, int, float, float]]:
    left, bottom, right, top = shapely.bounds(grid.project(shapely.segmentize(area, 0.2), epsg))
    for column in range(int((left - TILE) // SQUARE) + 1, int(right // SQUARE) + 1):
        for row in range(int((bottom - SQUARE) // SQUARE) + 1, int((top + TILE - SQUARE) // SQUARE) + 1):
            if 1 <= column <= 8:
                yield tile_name(epsg, column, row), epsg, column * SQUARE, row * SQUARE


@lru_cache(maxsize=100_000)
def tile_name(epsg: int, column: int, row: int) -> str:
    """Return the name of a 100 km square: latitude band by its middle, letters by easting and northing."""
    zone = epsg % 100
    _, lat = grid.to_lonlat(easting=(column + 0.5) * SQUARE, northing=(row + 0.5) * SQUARE, epsg=epsg)
    band = BANDS_OF_LATITUDE[min(int((float(lat) + 80.0) // 8.0), 19)]
    letter = ROWS[(row + (5 if zone % 2 == 0 else 0)) % 20]
    return f"T{zone:02d}{band}{COLUMNS[(zone - 1) % 3][column - 1]}{letter}"


@lru_cache(maxsize=100_000)
def tile_strips(epsg: int, left: float, bottom: float) -> tuple[tuple[Track, bytes, BaseGeometry], ...]:
    """Return for each track the part of a tile that it sees."""
    easting = np.array([left, left + TILE, left + TILE, left])
    northing = np.array([bottom + SQUARE, bottom + SQUARE, bottom + SQUARE - TILE, bottom + SQUARE - TILE])
    outline = shapely.Polygon(np.column_stack(grid.to_lonlat(easting=easting, northing=northing, epsg=epsg)))
    _, south, _, north = outline.bounds
    seen = []
    for track in OPTICAL:
        part = shapely.intersection(outline, track.strip(south, north))
        if not part.is_empty and part.area > 0.01 * outline.area:
            seen.append((track, shapely.to_wkb(part), part))
    return tuple(seen)


@lru_cache(maxsize=100_000)
def frames(direction: str, index: int) -> tuple[tuple[Track, bytes, BaseGeometry], ...]:
    """Return the radar frames of one belt of latitude."""
    south, north = index * 1.66, (index + 1) * 1.66
    made = [(track, track.strip(south, north)) for track in RADAR[direction]]
    return tuple((track, shapely.to_wkb(strip), strip) for track, strip in made)


@dataclass(frozen=True, kw_only=True)
class Constellation:
    """A source of scenes that scores clouds itself."""

    name: str = "constellation"
    windows_at_once: int = 1024
    root: str = "https://archive.example.org/collections"
    counts: dict[str, int] = field(default_factory=dict)

    def search(self, query: Query) -> list[Scene]:
        """See `Source.search`."""
        if query.start is None or query.end is None:
            raise ValueError("the constellation has no static product")
        found = self._radar(query) if query.product == "S1" else self._optical(query)
        scenes = sorted(found, key=lambda scene: (scene.acquired, scene.id))
        self.counts[query.product] = self.counts.get(query.product, 0) + len(scenes)
        return scenes

    def _optical(self, query: Query) -> Iterator[Scene]:
        level = query.product.removeprefix("S2")
        bands = [*MODALITIES[query.product].band_names, *(["SCL"] if level == "L2A" else [])]
        for tile, epsg, left, bottom in tiles_of(query.footprint):
            for track, wkb, part in tile_strips(epsg, left, bottom):
                if not shapely.intersects(part, query.footprint):
                    continue
                for moment in track.passes(query.start, query.end):
                    day = f"{moment:%Y%m%dT%H%M%S}"
                    name = f"S2A_MSI{level}_{day}_R{track.number:03d}_{tile}_{day}"
                    folder = f"{self.root}/sentinel-2-{level.lower()}/{moment:%Y/%m/%d}/{name}.SAFE/GRANULE/IMG_DATA"
                    yield Scene(
                        id=name, product=query.product, collection=f"sentinel-2-{level.lower()}", acquired=moment,
                        footprint=wkb, acquisition=f"S2_A_{day}", file_id=f"{day}_{day}_{tile}",
                        hrefs={band: f"{folder}/{tile}_{day}_{band}.tif" for band in bands}, epsg=epsg, tile=tile,
                        platform="sentinel-2a", relative_orbit=track.number, baseline="05.00", offset=-1000,
                        offset_rule="baseline", cloud_cover=20.0, extras={"generated": day},
                    )  # fmt: skip

    def _radar(self, query: Query) -> Iterator[Scene]:
        _, south, _, north = query.footprint.bounds
        for direction in RADAR:
            for belt in range(int(south // 1.66), int(north // 1.66) + 1):
                for track, wkb, part in frames(direction, belt):
                    if not shapely.intersects(part, query.footprint):
                        continue
                    for moment in track.passes(query.start, query.end):
                        day = f"{moment:%Y%m%dT%H%M%S}"
                        name = f"S1A_IW_GRDH_1SDV_{day}_{belt:+04d}_{direction[0].upper()}{track.number:03d}_rtc"
                        folder = f"{self.root}/sentinel-1-rtc/{moment:%Y/%m/%d}/{name}"
                        yield Scene(
                            id=name, product="S1", collection="sentinel-1-rtc", acquired=moment, footprint=wkb,
                            acquisition=f"S1_A_{day}_{direction}", file_id=name.removesuffix("_rtc"),
                            hrefs={band: f"{folder}/measurement/iw-{band}.rtc.tiff" for band in ("vv", "vh")},
                            platform="sentinel-1a", orbit_state=direction, relative_orbit=track.number,
                        )  # fmt: skip

    def sign(self, href: str) -> str:
        """See `Source.sign`."""
        return href

    def gdal_env(self) -> Mapping[str, str]:
        """See `Source.gdal_env`."""
        return {}

    def class_shares(self, windows: Sequence[ScoreWindow]) -> list[ClassShares]:
        """Return cloud shares by a hash of scene and place: half of the images are clear."""
        shares = []
        for window in windows:
            key = f"{window.hrefs[0]}|{window.grid.left:.0f}|{window.grid.top:.0f}".encode()
            drawn = int.from_bytes(blake2b(key, digest_size=8).digest(), "little") / 2.0**64
            shares.append(ClassShares(nodata=0.0, cloud=max(0.0, 2.0 * drawn - 1.0), shadow=0.0, snow=0.0, dark=0.0))
        return shares
