"""What a simulation says beforehand, against what a loopback server was then asked for."""

import re
from pathlib import Path

import pytest
from support.catalogue import EVENT, Overpass, Pass, Site, blob, cell_centre, write_catalogue, write_inventory
from support.counting_server import counting_server
from support.orders import RECIPE, Order

from pipeline.cli import main

TOLERANCE = 0.15
"""Of requests and of bytes."""

SITE = Site(
    size=480,
    overpasses=(Overpass(day=-20), Overpass(day=-10), Overpass(day=5, baseline="04.00"), Overpass(day=15)),
    passes=(Pass(day=-12), Pass(day=6), Pass(day=14, state="descending", shift=4.0)),
)
"""Tiles of 4 × 4 blocks of 128 px at 10 m."""
CELLS = [(1250 + 2 * column, 15924 + row) for column in range(9) for row in (0, 5, 9)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stac")
    write_catalogue(folder, SITE)
    rings = [blob(*cell_centre(*cell)) for cell in CELLS]
    write_inventory(folder / "slides.geojson", rings, epsg=32633, dates=[f"{EVENT:%Y-%m-%d}"] * len(rings))
    return folder


def order_on(archive: Path, catalogue: str) -> Order:
    overrides = (*RECIPE, "series_length=4", "samples_per_shard=8", "places.negatives=0")
    return Order(catalogue=Path(catalogue), places=archive / "slides.geojson", overrides=overrides)


def arguments(order: Order, out: Path, address: str, command: str, *more: str) -> list[str]:
    told = order.arguments(out, *more, command=command)
    told[told.index("--source") + 1] = f"{address}/catalog.json"
    return told


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


@pytest.fixture(scope="module")
def simulated(archive: Path, tmp_path_factory: pytest.TempPathFactory):
    """What was printed for a plan, what the server was then asked for by the build, and the dataset."""
    out = tmp_path_factory.mktemp("simulated") / "dataset"
    order = order_on(archive, "catalog.json")
    capture = pytest.MonkeyPatch()
    with counting_server(archive) as (address, asked):
        import contextlib
        import io

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert main(arguments(order, out, address, "plan", "--simulate", "--price-per-gb", "2.5")) == 0
        asked.reset()
        assert main(arguments(order, out, address, "build", "--resume")) == 0
        counted = asked.requests, asked.bytes
    capture.undo()
    return printed.getvalue(), counted, out


def test_requests_and_bytes_are_those_of_the_build(simulated) -> None:
    printed, (requests, size), _ = simulated
    assert number(r"simulated: (\d+) requests", printed) == pytest.approx(requests, rel=TOLERANCE)
    assert number(r"headers; ([\d.]+) MB over", printed) == pytest.approx(size / 1e6, rel=TOLERANCE)
