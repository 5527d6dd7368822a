"""Scenes of the size and texture of Sentinel-2 products, generated once and kept, and windows on them."""

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pystac
import rasterio
import rasterio.warp
from rasterio.transform import from_origin
from scipy import fft

from pipeline.records import PatchGrid

EPSG, LEFT, TOP = 32633, 499_980.0, 5_100_000.0
BANDS: Mapping[str, int] = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20, "B09": 60,
    "B11": 20, "B12": 20,
}  # fmt: skip
"""The bands of level 2A and their pixel size [m]."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Scenes of one place at several dates, each band a file."""

    folder: Path
    side: int
    """Pixels along a side at 10 m."""
    tile: int
    """Pixels along a side of a tile."""
    dates: int
    textures: int = 2
    """Different pictures for each pixel size; bands and dates share them by hard links, under names of their own."""

    @property
    def name(self) -> str:
        return f"{self.side}-{self.tile}-{self.dates}"

    def path(self, date: int, band: str) -> str:
        """Return a file's path below the folder, which is also its path on the server."""
        return f"{self.name}/{date}/{band}.tif"

    def make(self) -> None:
        """Write the files that are not there yet."""
        originals = self.folder / self.name / "textures"
        originals.mkdir(parents=True, exist_ok=True)
        for date in range(self.dates):
            for at, (band, pixel) in enumerate(BANDS.items()):
                seed = (date + at) % self.textures
                original = originals / f"{pixel}-{seed}.tif"
                if not original.exists():
                    _write(original, self, pixel, seed)
                target = self.folder / self.path(date, band)
                target.parent.mkdir(exist_ok=True)
                if not target.exists():
                    os.link(original, target)

    def packing_ratio(self) -> float:
        """Return the size of a 10 m file over that of its pixels."""
        return (self.folder / self.path(0, "B02")).stat().st_size / (2 * self.side**2)

    def windows(self, count: int, size: int, seed: int) -> list[PatchGrid]:
        """Draw places within the scenes, on the lattice of their coarsest pixels."""
        cells = (self.side - size) // 6
        drawn = np.random.default_rng([seed, self.side]).integers(0, cells, (count, 2)) * 60.0
        return [
            PatchGrid(epsg=EPSG, left=LEFT + float(x), top=TOP - float(y), size=size, resolution=10.0) for x, y in drawn
        ]

    def items(self, root: str) -> list[pystac.Item]:
        """Describe the scenes as a catalogue does that states everything odc-stac can use."""
        return [self._item(date, root) for date in range(self.dates)]

    def _item(self, date: int, root: str) -> pystac.Item:
        side = self.side * 10.0
        with rasterio.open(self.folder / self.path(0, "B01")) as file:
            west, south, east, north = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        item = pystac.Item(
            id=f"scene-{date}",
            geometry={"type": "Polygon", "coordinates": [ring]},
            bbox=[west, south, east, north],
            datetime=dt.datetime(2023, 1 + date, 1, 10, tzinfo=dt.UTC),
            properties={"proj:epsg": EPSG, "proj:code": f"EPSG:{EPSG}"},
            stac_extensions=[
                "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
                "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            ],
            collection="sentinel-2-l2a",
        )
        for band, pixel in BANDS.items():
            fields = {
                "proj:shape": [-(-int(side) // pixel)] * 2,
                "proj:transform": [pixel, 0.0, LEFT, 0.0, -pixel, TOP],
                "raster:bands": [{"data_type": "uint16", "nodata": 0, "spatial_resolution": pixel}],
            }
            href = f"{root}/{self.path(date, band)}"
            item.add_asset(
                band, pystac.Asset(href, media_type=pystac.MediaType.COG, roles=["data"], extra_fields=fields)
            )
        return item


def _write(path: Path, collection: Collection, pixel: int, seed: int) -> None:
    side = -(-collection.side * 10 // pixel)
    picture = _texture(seed)
    times = -(-side // picture.shape[0])
    temporary = path.with_suffix(".part")
    with rasterio.open(
        temporary, "w", driver="COG", width=side, height=side, count=1, dtype="uint16", nodata=0, crs=f"EPSG:{EPSG}",
        transform=from_origin(LEFT, TOP, pixel, pixel), compress="deflate", predictor=2, blocksize=collection.tile,
        overviews="NONE", num_threads=2,
    ) as file:  # fmt: skip
        file.write(np.tile(picture, (times, times))[:side, :side], 1)
    temporary.replace(path)


def _texture(seed: int, side: int = 1372) -> np.ndarray:
    """Return a picture correlated over all distances, which continues at its edges; packed it has 0.69 its size."""
    rng = np.random.default_rng(seed)
    distance = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None])
    distance[0, 0] = np.inf
    spectrum = fft.rfft2(rng.standard_normal((side, side), np.float32)) * distance**-1.5
    smooth = fft.irfft2(spectrum, s=(side, side))
    fine = rng.standard_normal((side, side))
    return np.clip(1500 + 400 * smooth / smooth.std() + 45 * fine, 1, 12_000).astype(np.uint16)
