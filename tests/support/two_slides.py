"""Two slides in neighbouring cells of a small site with more images than their series need, and a build to watch."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from support.catalogue import EVENT, Overpass, Pass, Site, blob, cell_centre, tiny, write_catalogue, write_inventory
from support.orders import Order

from pipeline import stages
from pipeline.assemble import BuildOptions
from pipeline.cli import main
from pipeline.cluster import LocalRunner
from pipeline.folder import read_recipe
from pipeline.records import ShardReport
from pipeline.sources import open_source

FAR, BEFORE, AFTER, LATE = (Overpass(day=day, baseline="04.00" if day > 0 else "03.01") for day in (-20, -10, 10, 20))
NEAR, SPARE = Pass(day=-5), Pass(day=9)
CELLS = ((1252, 15934), (1251, 15934))
TILE = "T33TVM"
SITE = replace(tiny(32633, *cell_centre(*CELLS[0])), overpasses=(FAR, BEFORE, AFTER, LATE), passes=(NEAR, SPARE))
OVERRIDES = (
    "patch_size=32", "series_length=2", "window={before: 40, after: 40}", "places.negatives=0", "samples_per_shard=1",
    "modalities=[S2L2A, SCL, S1ASC, MASK, MASK_SERIES]", "bands={S2L2A: [B02, B05]}", "places.columns.id=slide",
)  # fmt: skip
SERIES = ("S2L2A", "SCL", "MASK_SERIES")


def order_of(folder: Path, site: Site = SITE) -> Order:
    """Two slides in neighbouring cells of a small site."""
    rings = [blob(*cell_centre(*cell)) for cell in CELLS]
    places = write_inventory(folder / "places.geojson", rings, epsg=site.epsg, dates=[f"{EVENT:%Y-%m-%d}"] * 2)
    return Order(catalogue=write_catalogue(folder / "stac", site), places=places, overrides=OVERRIDES)


def planned(order: Order, out: Path) -> Path:
    assert main(order.arguments(out, command="plan")) == 0
    return out


class Stopped(BaseException):
    """Stands for SIGKILL: nothing behind it is run."""


def build_with(
    out: Path, order: Order, sign: Callable[[str], str], seen: Callable[[str], object] = lambda _: None
) -> list[ShardReport]:
    """Build in this process from a source that opens what `sign` lets it open."""

    class Watched(LocalRunner):
        def run(self, function, items, **_: object) -> Iterator:
            for item in items:
                seen(item.path)
                yield function(item)

    recipe = read_recipe(out)
    source = open_source(str(order.catalogue), recipe.collections)

    class Signing:
        def sign(self, href: str) -> str:
            return sign(source.sign(href))

        def gdal_env(self) -> dict[str, object]:
            return dict(source.gdal_env())

    options = BuildOptions(root=out, source=Signing(), threads=1)
    return stages.build(stages.load_plan(out), recipe, options, Watched(), lambda *_: None)
