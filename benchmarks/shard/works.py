"""One shard of each modality, over scenes of the size of Sentinel-2's: what it is built from, and its plan."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.transform import from_origin
from scipy.ndimage import zoom

from benchmarks.reading.scenes import EPSG, LEFT, TOP, Collection
from pipeline.grid import to_lonlat
from pipeline.recipes import load_recipe
from pipeline.records import MODALITIES, AssetRef, Choice, Event, PlanRow, Recipe, Shard, ShardSample

START = datetime(2023, 6, 1, tzinfo=UTC)
_ARCSECOND = 1 / 3600


class Files:
    """Files as they are."""

    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> Mapping[str, str]:
        return {}


@dataclass(frozen=True, kw_only=True)
class Work:
    """One file of a dataset to build."""

    scenes: Collection
    modality: str
    patches: int
    patch: int
    """Pixels along a side."""

    @property
    def recipe(self) -> Recipe:
        return load_recipe("landslides", {"patch_size": self.patch, "series_length": self.scenes.dates})

    @property
    def timesteps(self) -> int:
        return self.scenes.dates if MODALITIES[self.modality].is_series else 1

    def make(self) -> None:
        """Write the files that are not there yet."""
        self.scenes.make()
        folder = self.scenes.folder / self.scenes.name
        writers = {"SCL": _write_classes, "vv": _write_power, "vh": _write_power, "DEM": _write_heights}
        for name, write in writers.items():
            original = folder / "textures" / f"{name}.tif"
            if not original.exists():
                write(original.with_suffix(".part"), self.scenes)
                original.with_suffix(".part").replace(original)
            for date in range(self.scenes.dates):
                target = self.scenes.folder / self.scenes.path(date, name)
                if not target.exists():
                    os.link(original, target)

    def shard(self, root: str, seed: int) -> Shard:
        """Return the plan of the file; `root` is the scenes' folder or URL, `seed` decides where its patches lie."""
        kind = MODALITIES[self.modality]
        grids = self.scenes.windows(self.patches, self.patch, seed)
        samples = []
        for number, grid in enumerate(grids):
            lon, lat = to_lonlat(easting=grid.left, northing=grid.top, epsg=grid.epsg)
            samples.append(
                ShardSample(
                    id=f"{number:07d}", grid=grid, lon=float(lon), lat=float(lat), date=START,
                    events=_slides(number, float(lon), float(lat)),
                )
            )  # fmt: skip
        choices = [self._choice(root, date) for date in range(self.timesteps)]
        rows = [
            PlanRow(sample_id=sample.id, modality=self.modality, timestep=date, choice=choice)
            for sample in samples
            for date, choice in enumerate(choices)
        ]
        return Shard(
            name="bench", split="all", modality=self.modality, bands=kind.band_names, samples=tuple(samples),
            rows=tuple(rows), timesteps=self.timesteps,
        )  # fmt: skip

    def _choice(self, root: str, date: int) -> Choice:
        kind = MODALITIES[self.modality]
        assets: tuple[AssetRef, ...] = ()
        if kind.product != "LABELS":
            hrefs = tuple(f"{root}/{self.scenes.path(date, band)}" for band in kind.band_names)
            mask = f"{root}/{self.scenes.path(date, 'SCL')}" if kind.product == "S2L2A" else ""
            assets = (AssetRef(scene_id=str(date), hrefs=hrefs, mask_href=mask, offset=-1000 if mask else 0),)
        return Choice(
            acquisition=str(date), acquired=START + timedelta(days=5 * date), file_id=f"{date:038d}", assets=assets
        )


def _slides(number: int, lon: float, lat: float) -> tuple[Event, ...]:
    """Return two slides of some 200 m in the upper left part of a patch."""
    slides = []
    for place in (0.004, 0.012):
        outline = shapely.Point(lon + place, lat - place).buffer(0.001)
        slides.append(Event(id=f"{number}-{place}", wkb=shapely.to_wkb(outline), date=START + timedelta(days=7)))
    return tuple(slides)


def _write_classes(path: Path, scenes: Collection) -> None:
    """Write a scene classification: connected areas of all classes."""
    rng = np.random.default_rng(5)
    side = scenes.side // 2
    coarse = rng.choice(np.array([3, 4, 4, 4, 5, 5, 6, 8, 9, 10, 11], np.uint8), (side // 16 + 1,) * 2)
    _write(path, zoom(coarse, 16, order=0)[:side, :side], 20, scenes.tile, predictor=2)


def _write_power(path: Path, scenes: Collection) -> None:
    """Write linear power with the speckle of four looks."""
    rng = np.random.default_rng(len(path.name))
    picture = rng.gamma(4.0, 0.25 * 0.08, (1372, 1372)).astype(np.float32)
    times = -(-scenes.side // picture.shape[0])
    values = np.tile(picture, (times, times))[: scenes.side, : scenes.side]
    _write(path, values, 10, scenes.tile, predictor=3, nodata=-32768.0)


def _write_heights(path: Path, scenes: Collection) -> None:
    """Write elevation in degrees, as Copernicus GLO-30 comes."""
    corners = LEFT, LEFT + 10.0 * scenes.side, TOP, TOP - 10.0 * scenes.side
    lon, lat = to_lonlat(
        easting=np.array(corners)[[0, 1, 0, 1]], northing=np.array(corners)[[2, 2, 3, 3]], epsg=EPSG
    )  # fmt: skip
    west, north = float(lon.min()) - 0.01, float(lat.max()) + 0.01
    shape = tuple(int((high - low + 0.02) / _ARCSECOND) for low, high in ((lat.min(), north), (west, lon.max())))
    rng = np.random.default_rng(6)
    coarse = rng.normal(900, 250, (shape[0] // 64 + 2, shape[1] // 64 + 2)).astype(np.float32)
    heights = zoom(coarse, 64, order=1)[: shape[0], : shape[1]] + rng.normal(0, 1, shape).astype(np.float32)
    with rasterio.open(
        path, "w", driver="COG", width=shape[1], height=shape[0], count=1, dtype="float32", crs="EPSG:4326",
        transform=from_origin(west, north, _ARCSECOND, _ARCSECOND), compress="deflate", predictor=3, blocksize=1024,
        overviews="NONE",
    ) as file:  # fmt: skip
        file.write(heights, 1)


def _write(
    path: Path, values: NDArray[np.generic], pixel: int, tile: int, *, predictor: int, nodata: float | None = None
) -> None:
    with rasterio.open(
        path, "w", driver="COG", width=values.shape[1], height=values.shape[0], count=1, dtype=values.dtype,
        crs=f"EPSG:{EPSG}", transform=from_origin(LEFT, TOP, pixel, pixel), compress="deflate", predictor=predictor,
        blocksize=tile, overviews="NONE", num_threads=2, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(values, 1)


def modalities_of(recipe: str) -> Sequence[str]:
    return load_recipe(recipe).modalities
