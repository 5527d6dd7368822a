"""A tiny static STAC catalogue of COGs with seeded pixels, told as Planetary Computer tells it.

Nothing in it looks like the ground: every pixel of every band is drawn on its own, so that a pixel which lands in a
wrong place, band or date cannot go unnoticed.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform as warp_points

EVENT = datetime(2022, 1, 24, tzinfo=UTC)
"""The day before processing baseline 04.00, with its offset of +1000, began."""

RESOLUTIONS = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20, "B09": 60,
    "B11": 20, "B12": 20,
}  # fmt: skip
RADAR_NODATA = -32768.0
DEM_NODATA = -9999.0
CELL = 320.0
"""Step of the lattice for patches of 32 px at 10 m [m]."""


@dataclass(frozen=True, kw_only=True)
class Area:
    """A raster's place: north-up in any CRS, edges in its unit."""

    epsg: int
    left: float
    top: float
    width: int
    height: int
    resolution: float

    @property
    def transform(self) -> Affine:
        return Affine(self.resolution, 0.0, self.left, 0.0, -self.resolution, self.top)

    @property
    def right(self) -> float:
        return self.left + self.width * self.resolution

    @property
    def bottom(self) -> float:
        return self.top - self.height * self.resolution

    def at(self, resolution: int) -> "Area":
        """The same ground in pixels of another size."""
        factor = resolution / self.resolution
        return replace(
            self, resolution=resolution, width=round(self.width / factor), height=round(self.height / factor)
        )

    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Eastings (1, x) and northings (y, 1) of the pixel centres."""
        columns = self.left + (np.arange(self.width) + 0.5) * self.resolution
        rows = self.top - (np.arange(self.height) + 0.5) * self.resolution
        return columns[None, :], rows[:, None]

    def ring(self) -> list[list[float]]:
        """Outline in lon/lat; one that crosses the antimeridian jumps from 180 to -180, as providers write it."""
        xs = [self.left, self.right, self.right, self.left, self.left]
        ys = [self.bottom, self.bottom, self.top, self.top, self.bottom]
        lons, lats = warp_points(f"EPSG:{self.epsg}", "EPSG:4326", xs, ys)
        return [[(lon + 180.0) % 360.0 - 180.0, lat] for lon, lat in zip(lons, lats, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Overpass:
    """One Sentinel-2 acquisition of all tiles."""

    day: int
    """Days after the event."""
    sky: str = "clear"
    """clear; west: cloud and shadow over the western half; overcast; cirrus; swath: no data beyond two edges."""
    baseline: str = "03.01"

    @property
    def start(self) -> datetime:
        return EVENT + timedelta(days=self.day, hours=10, seconds=31)

    @property
    def offset(self) -> int:
        return -1000 if self.baseline >= "04.00" else 0


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One Sentinel-1 pass: a northern and a southern frame that overlap a little at `seam`."""

    day: int
    state: str = "ascending"
    seam: float = 0.55
    """Where the frames meet, as a share of the area from its top."""
    shift: float = 0.0
    """How far the frames lie off the 10 m grid [m]."""
    is_blank_in_the_east: bool = False
    is_broken_in_the_north: bool = False

    @property
    def start(self) -> datetime:
        hour = 17 if self.state == "ascending" else 5
        return EVENT + timedelta(days=self.day, hours=hour, microseconds=250_000)

    @property
    def orbit(self) -> int:
        return 41_000 + self.day * 15 + (7 if self.state == "ascending" else 0)


@dataclass(frozen=True, kw_only=True)
class Site:
    """Everything that decides a catalogue."""

    epsg: int = 32633
    left: float = 399_960.0
    top: float = 5_100_000.0
    """Upper left corner of the first Sentinel-2 tile, a multiple of 60 m as real ones."""
    size: int = 192
    """Width and height of a tile [px of 10 m]."""
    tiles: tuple[str, ...] = ("T33TVM", "T33TWM")
    """Names from west to east; neighbours share 12 columns, less than a patch, so that patches span both."""
    overpasses: tuple[Overpass, ...] = ()
    passes: tuple[Pass, ...] = ()
    has_elevation: bool = True
    cloudy_cell: tuple[int, int] | None = None
    """Lattice cell that every overpass sees clouds over."""

    def tile_area(self, index: int) -> Area:
        left = self.left + index * (self.size - 12) * 10.0
        return Area(epsg=self.epsg, left=left, top=self.top, width=self.size, height=self.size, resolution=10)

    @property
    def right(self) -> float:
        return self.tile_area(len(self.tiles) - 1).right

    def frames(self, radar: Pass) -> tuple[Area, Area]:
        """The northern and the southern frame; they reach 1.6 km west of the tiles, and 280 m less far east."""
        left, top = self.left - 1_560.0 + radar.shift, self.top + 400.0 - radar.shift
        height = self.size + 80
        upper = round(height * radar.seam)
        whole = Area(epsg=self.epsg, left=left, top=top, width=0, height=height, resolution=10)
        whole = replace(whole, width=round((self.right - 280.0 - left) / 10))
        south = replace(whole, top=top - (upper - 6) * 10.0, height=height - upper + 6)
        return replace(whole, height=upper), south

    def elevation(self) -> tuple[Area, ...]:
        """Two tiles in lon/lat that meet over the site, or at the antimeridian when the site lies on it."""
        margin = 0.004
        bottom = self.top - self.size * 10.0
        xs, ys = [self.left, self.right, self.left, self.right], [self.top, self.top, bottom, bottom]
        lons, lats = warp_points(f"EPSG:{self.epsg}", "EPSG:4326", xs, ys)
        degrees = np.unwrap(lons, period=360.0)
        west, east, north = degrees.min() - margin, degrees.max() + margin, max(lats) + margin
        seam = 180.0 if west < 180.0 < east else west + round((east - west) * 0.49 * 3600) / 3600
        height = round((north - min(lats) + margin) * 3600)
        edges = [(seam - round((seam - west) * 3600) / 3600, seam), (seam, east)]
        return tuple(
            Area(
                epsg=4326, left=(first + 180.0) % 360.0 - 180.0, top=north, height=height, resolution=1 / 3600,
                width=round((last - first) * 3600),
            )
            for first, last in edges
        )  # fmt: skip


MAIN = Site(
    overpasses=(
        Overpass(day=-33),
        Overpass(day=-23, sky="swath"),
        Overpass(day=-13, sky="west"),
        Overpass(day=-3, sky="overcast"),
        Overpass(day=7, sky="cirrus", baseline="04.00"),
        Overpass(day=12, baseline="04.00"),
        Overpass(day=22, sky="west", baseline="04.00"),
        Overpass(day=32, sky="swath", baseline="04.00"),
    ),
    passes=(
        Pass(day=-28),
        Pass(day=-16, is_blank_in_the_east=True),
        Pass(day=-4, seam=0.4),
        Pass(day=8),
        Pass(day=20),
        Pass(day=-20, state="descending", shift=4.0),
        Pass(day=-8, state="descending", is_broken_in_the_north=True),
    ),
    cloudy_cell=(1250, 15936),
)
"""Two tiles, eight overpasses around the event, five ascending and two descending passes, both before the event."""


def tiny(epsg: int, easting: float, northing: float, tile: str = "T33TVM") -> Site:
    """A site of one tile of 128 px around a place, with two clear overpasses and one pass."""
    return Site(
        epsg=epsg,
        left=round((easting - 640.0) / 60.0) * 60.0,
        top=round((northing + 640.0) / 60.0) * 60.0,
        size=126,
        tiles=(tile,),
        overpasses=(Overpass(day=-10), Overpass(day=10, baseline="04.00")),
        passes=(Pass(day=-5),),
    )


def write_catalogue(folder: Path, site: Site = MAIN) -> Path:
    """Write the catalogue and return its root document."""
    items: dict[str, list[dict[str, Any]]] = {
        "sentinel-2-l2a": [
            _optical_item(folder / "sentinel-2-l2a", site, overpass, index)
            for overpass in site.overpasses
            for index in range(len(site.tiles))
        ],
        "sentinel-1-rtc": [
            _radar_item(folder / "sentinel-1-rtc", site, radar, frame) for radar in site.passes for frame in (0, 1)
        ],
        "cop-dem-glo-30": [
            _elevation_item(folder / "cop-dem-glo-30", area, index)
            for index, area in enumerate(site.elevation() if site.has_elevation else ())
        ],
    }
    for collection, members in items.items():
        _write_collection(folder / collection, collection, members)
    links = [{"rel": "child", "href": f"./{collection}/collection.json"} for collection in items]
    return write_json(
        folder / "catalog.json",
        {"type": "Catalog", "id": "tiny", "stac_version": "1.0.0", "description": "made by a test", "links": links},
    )


def optical_file(root: Path, tile: str, overpass: Overpass, band: str) -> Path:
    return root.parent / "sentinel-2-l2a" / _optical_id(tile, overpass) / f"{band}.tif"


def radar_file(root: Path, radar: Pass, frame: int, polarisation: str) -> Path:
    return root.parent / "sentinel-1-rtc" / _radar_id(radar, frame) / f"{polarisation}.tif"


def elevation_file(root: Path, index: int) -> Path:
    return root.parent / "cop-dem-glo-30" / f"DEM_{index}" / "data.tif"


def optical_file_id(tile: str, overpass: Overpass) -> str:
    """Earth Engine's name of the granule."""
    return f"{_stamp(overpass.start)}_{_stamp(_sensed(overpass))}_{tile}"


def radar_file_id(radar: Pass, frame: int) -> str:
    return _radar_id(radar, frame).removesuffix("_rtc")


def radar_start(radar: Pass, frame: int) -> datetime:
    """Start of a frame: the southern one is 25 s away, later on the way south and earlier on the way north."""
    later = frame == (0 if radar.state == "ascending" else 1)
    return radar.start + timedelta(seconds=25 if later else 0)


def write_inventory(
    path: Path, rings: Sequence[Sequence[tuple[float, float]]], *, epsg: int | None, dates: Sequence[str] | None
) -> Path:
    """Write polygons, one ring each, as GeoJSON that names its CRS; `dates` None leaves the column out."""
    features = [
        {
            "type": "Feature",
            "properties": {"slide": f"slide-{index}", **({"event_date": dates[index]} if dates else {})},
            "geometry": {"type": "Polygon", "coordinates": [[*map(list, ring), list(ring[0])]]},
        }
        for index, ring in enumerate(rings)
    ]
    crs = {"crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}} if epsg else {}
    return write_json(path, {"type": "FeatureCollection", **crs, "features": features})


def blob(easting: float, northing: float, radius: float = 60.0) -> list[tuple[float, float]]:
    """A lopsided polygon around a place, no vertex of it on an edge between pixels."""
    angles = np.radians([3.0, 71.0, 128.0, 199.0, 251.0, 318.0])
    radii = radius * np.array([1.0, 0.62, 0.91, 0.55, 0.83, 0.7])
    return [
        (round(easting + float(r * np.cos(a)) + 0.37, 2), round(northing + float(r * np.sin(a)) + 0.41, 2))
        for a, r in zip(angles, radii, strict=True)
    ]


def cell_centre(ix: int, iy: int) -> tuple[float, float]:
    return (ix + 0.5) * CELL, (iy + 0.5) * CELL


def write_json(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path


def _rng(*names: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("/".join(map(str, names)).encode()))


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%S}"


def _sensed(overpass: Overpass) -> datetime:
    return overpass.start + timedelta(minutes=4, seconds=41)


def write_raster(path: Path, area: Area, values: NDArray[Any], nodata: float | None = None) -> None:
    """Write one band as a Cloud-Optimised GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="COG", width=area.width, height=area.height, count=1, dtype=values.dtype, nodata=nodata,
        crs=f"EPSG:{area.epsg}", transform=area.transform, COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=128, LEVEL=1,
        OVERVIEWS="NONE",
    ) as raster:  # fmt: skip
        raster.write(values, 1)


def _write_collection(folder: Path, collection: str, items: Sequence[dict[str, Any]]) -> None:
    for item in items:
        write_json(folder / item["id"] / f"{item['id']}.json", {**item, "collection": collection})
    document = {
        "type": "Collection", "id": collection, "stac_version": "1.0.0", "description": "made by a test",
        "license": "proprietary",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [{"rel": "item", "href": f"./{item['id']}/{item['id']}.json"} for item in items],
    }  # fmt: skip
    write_json(folder / "collection.json", document)


def _item(name: str, area: Area, properties: dict[str, Any], assets: Sequence[str]) -> dict[str, Any]:
    ring = area.ring()
    lons, lats = zip(*ring, strict=True)
    crosses = max(lons) - min(lons) > 180.0
    west, east = (max(lons), min(lons)) if crosses else (min(lons), max(lons))
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "bbox": [west, min(lats), east, max(lats)],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"proj:epsg": area.epsg, **properties},
        "links": [],
        "assets": {
            key: {
                "href": f"./{key}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
            }
            for key in assets
        },
    }


def _optical_id(tile: str, overpass: Overpass) -> str:
    generated = _stamp(overpass.start + timedelta(hours=5))
    return f"S2A_MSIL2A_{_stamp(overpass.start)}_R122_{tile}_{generated}"


def _optical_item(folder: Path, site: Site, overpass: Overpass, index: int) -> dict[str, Any]:
    tile, area = site.tiles[index], site.tile_area(index)
    name, baseline = _optical_id(tile, overpass), overpass.baseline
    classes = _classes(site, overpass, index)
    write_raster(folder / name / "SCL.tif", area.at(20), classes, nodata=0)
    for band, resolution in RESOLUTIONS.items():
        numbers = _numbers(classes, resolution, _rng(name, band))
        write_raster(folder / name / f"{band}.tif", area.at(resolution), numbers, nodata=0)
    code = baseline.replace(".", "")
    properties = {
        "datetime": f"{_sensed(overpass):%Y-%m-%dT%H:%M:%SZ}",
        "platform": "Sentinel-2A",
        "s2:mgrs_tile": tile[1:],
        "s2:processing_baseline": baseline,
        "s2:datatake_id": f"GS2A_{_stamp(overpass.start)}_034000_N{baseline}",
        "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_VGS2_20220303T030303_S{_stamp(_sensed(overpass))}_N{baseline}",
        "s2:product_uri": f"{name.replace('_R122', f'_N{code}_R122')}.SAFE",
        "sat:relative_orbit": 122,
        "sat:orbit_state": "descending",
        "eo:cloud_cover": 50.0,
    }
    return _item(name, area, properties, [*RESOLUTIONS, "SCL"])


def _classes(site: Site, overpass: Overpass, index: int) -> NDArray[np.uint8]:
    """Scene classification at 20 m: every class occurs, even two that do not exist."""
    area, rng = site.tile_area(index).at(20), _rng("SCL", overpass.day, index)
    shares = [0.005, 0.02, 0.05, 0.03, 0.5, 0.2, 0.1, 0.04, 0.01, 0.02, 0.02, 0.0, 0.005]
    classes = rng.choice(13, (area.height, area.width), p=shares).astype(np.uint8)
    classes[rng.random(classes.shape) < 0.03] = 11
    columns, rows = area.centres()
    covered = np.zeros(classes.shape, np.bool_)
    if overpass.sky in {"overcast", "cirrus"}:
        covered = rng.random(classes.shape) < 0.95
    if overpass.sky == "west":
        covered = (columns < site.left + 1_500.0) & (rows < site.top)
        classes[(columns >= site.left + 1_500.0) & (columns < site.left + 1_560.0) & (rows < site.top)] = 3
    classes[covered] = 10 if overpass.sky == "cirrus" else rng.choice([8, 9], int(covered.sum()))
    if site.cloudy_cell is not None:
        east, north = cell_centre(*site.cloudy_cell)
        classes[(abs(columns - east) <= CELL / 2) & (abs(rows - north) <= CELL / 2)] = 9
    if overpass.sky == "swath":
        classes[_beyond_swath(site, index, columns, rows)] = 0
    return classes


def _beyond_swath(site: Site, index: int, columns: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A slanting eastern edge through the last tile, and a gap in the first that the second fills."""
    if index == 0:
        return (columns > site.tile_area(0).right - 90.0) & (rows < site.top)
    return columns - 0.2 * (rows - site.top) > site.right - 200.0


def _numbers(classes: NDArray[np.uint8], resolution: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Digital numbers from nearly 0 to beyond int16, no data where the whole pixel lies beyond the swath."""
    if resolution <= 20:
        seen = np.kron(classes != 0, np.ones((20 // resolution,) * 2, np.bool_))
    else:
        step = resolution // 20
        height, width = (size // step for size in classes.shape)
        seen = (classes != 0).reshape(height, step, width, step).any(axis=(1, 3))
    numbers = rng.integers(1, 12_000, seen.shape).astype(np.uint16)
    odd = rng.random(seen.shape)
    numbers[odd < 0.01] = 0
    numbers[odd > 0.995] = rng.integers(32_000, 65_535, int((odd > 0.995).sum()))
    numbers[~seen] = 0
    return numbers


def _radar_id(radar: Pass, frame: int) -> str:
    start = radar_start(radar, frame)
    stop = start + timedelta(seconds=25)
    return f"S1A_IW_GRDH_1SDV_{_stamp(start)}_{_stamp(stop)}_{radar.orbit:06d}_04EC{frame}F_rtc"


def _radar_item(folder: Path, site: Site, radar: Pass, frame: int) -> dict[str, Any]:
    area, name = site.frames(radar)[frame], _radar_id(radar, frame)
    for polarisation in ("vv", "vh"):
        path = folder / name / f"{polarisation}.tif"
        power = _power(site, radar, area, _rng(name, polarisation))
        write_raster(path, area, power, nodata=RADAR_NODATA)
        if radar.is_broken_in_the_north and frame == 0 and polarisation == "vh":
            path.write_bytes(path.read_bytes()[:400])
    properties = {
        "datetime": f"{radar_start(radar, frame) + timedelta(seconds=12):%Y-%m-%dT%H:%M:%S.%fZ}",
        "start_datetime": f"{radar_start(radar, frame)}",
        "end_datetime": f"{radar_start(radar, frame) + timedelta(seconds=25)}",
        "platform": "SENTINEL-1A",
        "sar:product_type": "RTC",
        "sat:orbit_state": radar.state,
        "sat:relative_orbit": 44,
        "sat:absolute_orbit": radar.orbit,
    }
    return _item(name, area, properties, ["vv", "vh"])


def _power(site: Site, radar: Pass, area: Area, rng: np.random.Generator) -> NDArray[np.float32]:
    """Linear power with speckle, some holes, and some numbers that have no logarithm."""
    power = rng.gamma(4.0, 0.02, (area.height, area.width)).astype(np.float32)
    odd = rng.random(power.shape)
    power[odd < 0.004] = RADAR_NODATA
    power[odd > 0.998] = 0.0
    # Zeros near the upper and lower edges, where the other frame of the pass has power.
    power[[4, -4], 1::5] = 0.0
    columns, rows = area.centres()
    if radar.is_blank_in_the_east:
        power[(columns > site.left + 1_400.0) & (rows < area.top)] = RADAR_NODATA
    return power


def _elevation_item(folder: Path, area: Area, index: int) -> dict[str, Any]:
    name = f"DEM_{index}"
    rng = _rng(name, area.left)
    heights = rng.uniform(-20.0, 2_900.0, (area.height, area.width)).astype(np.float32)
    nodata = DEM_NODATA if index else None
    if index:
        heights[40:46, 22:28] = heights[42:45, :4] = DEM_NODATA
    write_raster(folder / name / "data.tif", area, heights, nodata=nodata)
    properties = {"datetime": "2021-04-22T00:00:00Z", "platform": "TanDEM-X", "gsd": 30}
    return _item(name, area, properties, ["data"])
