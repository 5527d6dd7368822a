"""What is mutated: a small catalogue, a dataset made from it and its mirror, published files, rasters and places."""

import contextlib
import io
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from shapely.geometry import box
from support.catalogue import EVENT, MAIN, write_catalogue
from support.chunk_files import write_folder
from support.mirrors import copied
from support.orders import RECIPE, Order, place_slides

from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.recipes import load_recipe, recipe_to_yaml
from pipeline.records.recipe import Collections
from pipeline.sources import Query, open_source

OVERRIDES = (*RECIPE[:5], "samples_per_shard=16", *RECIPE[6:], "series_length=2", "bands.S2L2A=[B02,B05]")
POINTS = "id,lon,lat,date\n" + "".join(f"p{n},{14 + n / 100},{46 - n / 100},2022-01-{n + 1:02d}\n" for n in range(8))
CODECS = {"deflate": "DEFLATE", "zstd": "ZSTD", "plain": "NONE", "lzw": "LZW"}


@dataclass(frozen=True)
class Site:
    """Folder of everything."""

    root: Path

    @property
    def catalogue(self) -> Path:
        return self.root / "stac" / "catalog.json"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def published(self) -> Path:
        return self.root / "published"

    @property
    def rasters(self) -> list[Path]:
        return sorted((self.root / "rasters").glob("*.tif"))

    @property
    def places(self) -> list[Path]:
        return sorted((self.root / "places").iterdir())

    @property
    def order(self) -> Order:
        return Order(catalogue=self.catalogue, places=self.root / "places" / "hill.geojson", overrides=OVERRIDES)


def make_site(root: Path) -> Site:
    """Write the site; deterministic."""
    site = Site(root)
    write_catalogue(root / "stac", MAIN)
    (root / "places").mkdir()
    place_slides(root / "places" / "hill.geojson", (0, 1))
    (root / "places" / "points.csv").write_text(POINTS)
    with contextlib.redirect_stdout(io.StringIO()):
        _build_mirrored(site)
    (root / "recipe.yaml").write_text(recipe_to_yaml(load_recipe("landslides")))
    write_folder(site.published)
    _write_rasters(root / "rasters")
    return site


def _build_mirrored(site: Site) -> None:
    """Build from a catalogue that has lost an image, which a mirror still has."""
    mirror = copied(site.catalogue, site.root / "mirror")
    assert main(site.order.arguments(site.dataset, command="plan")) == 0
    row = next(row for row in read_decided(site.dataset).rows if row.modality == "S2L2A" and row.choice)
    Path(row.choice.assets[0].hrefs[0]).unlink()
    site.order.build(site.dataset, "--resume", "--mirror", str(mirror))
    assert (site.dataset / "copies.parquet").exists()


def _write_rasters(folder: Path) -> None:
    folder.mkdir()
    numbers = np.random.default_rng(7)
    for dtype in ("uint16", "float32", "uint8"):
        for name, codec in CODECS.items():
            values = numbers.integers(0, 200, (96, 96)).astype(dtype)
            with rasterio.open(
                folder / f"{dtype}-{name}.tif", "w", driver="GTiff", width=96, height=96, count=1, dtype=dtype,
                nodata=0, crs="EPSG:32633", transform=Affine(10.0, 0.0, 399_960.0, 0.0, -10.0, 5_100_000.0),
                tiled=True, blockxsize=32, blockysize=32, compress=codec,
                predictor=1 if codec == "NONE" else 3 if dtype == "float32" else 2,
            ) as raster:  # fmt: skip
                raster.write(values, 1)


def query_of(product: str) -> Query:
    """Everything of a product."""
    area = box(12.0, 44.0, 18.0, 48.0)
    if product == "DEM":
        return Query(product="DEM", footprint=area)
    return Query(
        product=product,  # type: ignore[arg-type]
        footprint=area, start=EVENT - timedelta(days=90), end=EVENT + timedelta(days=90),
    )  # fmt: skip


def open_catalogue(path: Path):  # type: ignore[no-untyped-def]
    return open_source(str(path), Collections())
