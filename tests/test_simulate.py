"""What a simulation says beforehand, against what a loopback server was then asked for."""

import contextlib
import io
import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.catalogue import EVENT, Overpass, Pass, Site, blob, cell_centre, write_catalogue, write_inventory
from support.counting_server import counting_server
from support.orders import RECIPE, Order

from pipeline.cli import main
from pipeline.records import PatchGrid
from pipeline.simulate import Load, Setting, calibrate, outlook_of, packing
from pipeline.simulate.files import FileLayout, Reading

REQUESTS, BYTES = 0.25, 0.15
"""How far a simulation may be off."""

SITE = Site(
    size=360,
    overpasses=(Overpass(day=-20), Overpass(day=-10), Overpass(day=5, baseline="04.00")),
    passes=(Pass(day=-12), Pass(day=6)),
)
"""Two tiles of 3 × 3 blocks of 128 px at 10 m."""
MODALITIES = "modalities=[S2L2A, S1ASC, DEM]"
CELLS = [(1250 + 2 * column, 15927 + row) for column in range(9) for row in (0, 6)]


@dataclass(frozen=True)
class Simulated:
    printed: str
    requests: int
    bytes: int
    stored: int
    arguments: list[str]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory):
    """What was printed for a plan, and what the server was then asked for by the build."""
    folder = tmp_path_factory.mktemp("simulated")
    write_catalogue(folder / "stac", SITE)
    rings = [blob(*cell_centre(*cell)) for cell in CELLS]
    places = write_inventory(folder / "slides.geojson", rings, epsg=32633, dates=[f"{EVENT:%Y-%m-%d}"] * len(rings))
    overrides = (*RECIPE, "series_length=3", "samples_per_shard=8", "places.negatives=0", MODALITIES)
    order = Order(catalogue=Path("unused"), places=places, overrides=overrides)
    printed = io.StringIO()
    with counting_server(folder / "stac") as (address, asked):

        def arguments(command: str, *more: str) -> list[str]:
            told = order.arguments(folder / "out", *more, command=command)
            told[told.index("--source") + 1] = f"{address}/catalog.json"
            return told

        with contextlib.redirect_stdout(printed):
            assert main(arguments("plan", "--simulate", "--price-per-gb", "2.5", "--price-per-request", "0.01")) == 0
        asked.reset()
        assert main(arguments("build", "--resume")) == 0
        stored = sum(file.stat().st_size for file in (folder / "out" / "all").rglob("*.zarr.zip"))
        yield Simulated(printed.getvalue(), asked.requests, asked.bytes, stored, arguments("plan", "--resume"))


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def test_requests_and_bytes_are_those_of_the_build(simulated: Simulated) -> None:
    assert number(r"simulated: (\d+) requests", simulated.printed) == pytest.approx(simulated.requests, rel=REQUESTS)
    megabytes = number(r"headers; ([\d.]+) MB over", simulated.printed)
    assert megabytes == pytest.approx(simulated.bytes / 1e6, rel=BYTES)


def test_what_is_stored_is_right_in_size(simulated: Simulated) -> None:
    assert 0.5 < number(r"([\d.]+) MB to store", simulated.printed) * 1e6 / simulated.stored < 2


def test_money_is_that_of_the_named_prices(simulated: Simulated) -> None:
    requests = number(r"simulated: (\d+) requests", simulated.printed)
    gigabytes = number(r"headers; ([\d.]+) MB over", simulated.printed) / 1e3
    price = number(r"simulated: ([\d.]+) for requests and transfer", simulated.printed)
    assert price == pytest.approx(0.01 * requests + 2.5 * gigabytes, abs=0.01)


def test_shuffled_files_cost_more(simulated: Simulated) -> None:
    assert number(r"packing=local; shuffled would take ([\d.]+) × the requests", simulated.printed) > 1.0
    assert number(r"the requests, ([\d.]+) × the bytes", simulated.printed) > 1.0


def ratios(printed: str) -> list[float]:
    (line,) = [line for line in printed.splitlines() if "packing=" in line]
    found = re.search(r"([\d.]+) × the requests, ([\d.]+) × the bytes, ([\d.]+) × the headers and ([\d.]+) × the", line)
    assert found, line
    return [float(ratio) for ratio in found.groups()]


def test_a_shuffled_plan_says_what_it_costs(
    simulated: Simulated, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [*simulated.arguments, "--set", "packing=shuffled", "--unpack-rate", "400", "--pack-rate", "200"]
    told[told.index("--out") + 1] = str(tmp_path / "shuffled")
    told.remove("--resume")
    assert main(told) == 0
    stated = capsys.readouterr().out
    assert "packing=shuffled takes" in stated
    assert "if tiles are of 512 px; --simulate asks the files" in stated
    assert min(ratios(stated)) >= 1.0

    assert main([*told, "--resume", "--simulate"]) == 0
    asked = ratios(capsys.readouterr().out)
    assert asked[:3] == ratios(simulated.printed)[:3], "a plan says the same of both packings, whichever it has"

    monkeypatch.setattr(packing, "FILES", 2)
    assert main([*told, "--resume", "--simulate"]) == 0
    assert ratios(capsys.readouterr().out) == pytest.approx(asked, rel=0.35), "some files stand for all"


def test_without_prices_it_says_that_none_are_known(simulated: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    rates = ["--unpack-rate", "400", "--pack-rate", "200", "--latency", "20", "--bandwidth", "80"]
    assert main([*simulated.arguments, "--simulate", *rates]) == 0
    printed = capsys.readouterr().out
    assert "simulated: no money: no prices are known here; give --price-per-request and --price-per-gb" in printed
    assert "at 20 ms and 80 MB/s a worker" in printed
    assert "at 400 MB/s unpacked and 200 MB/s packed" in printed


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "fast"])
def test_a_rate_that_is_none_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "landslides", "--places", "x", "--source", "y", "--simulate", "--bandwidth", wrong])
    assert "--bandwidth" in capsys.readouterr().err


LAYOUT = FileLayout(
    epsg=32633, left=300_000.0, top=5_000_040.0, pixel_width=10.0, pixel_height=10.0, width=1000, height=900,
    tile_width=128, tile_height=64, packed=1000.0, unpacked=128 * 64 * 2, is_deflated=True, head=32768,
)  # fmt: skip


@given(column=st.integers(-400, 1300), row=st.integers(-400, 1200), size=st.integers(1, 400))
def test_the_tiles_of_a_patch_are_those_that_hold_its_pixels(column: int, row: int, size: int) -> None:
    grid = PatchGrid(epsg=32633, left=LAYOUT.left + 10 * column, top=LAYOUT.top - 10 * row, size=size, resolution=10.0)
    rows = [at for at in range(row, row + size) if 0 <= at < LAYOUT.height]
    columns = [at for at in range(column, column + size) if 0 <= at < LAYOUT.width]
    expected = set(itertools.product({at // 64 for at in rows}, {at // 128 for at in columns}))
    found = LAYOUT.tiles(grid)
    assert set(found) == expected
    for (tile, _), share in found.items():
        deepest = min(row + size - 64 * tile, 64)
        assert share == pytest.approx(deepest / 64)


WHOLE = Reading(together=1, gap=500, longest=float("inf"), stops_early=False)


@pytest.mark.parametrize(
    ("tiles", "reading", "expected"),
    [
        ({}, WHOLE, (0, 0)),
        ({(0, 0): 0.5}, WHOLE, (1, 1000)),
        ({(0, 0): 0.5, (0, 1): 0.5}, WHOLE, (1, 2000)),
        ({(0, 0): 0.5, (1, 0): 0.5}, WHOLE, (2, 2000)),
        ({(0, 7): 0.5, (1, 0): 0.5}, WHOLE, (1, 2000)),
        ({(0, 0): 0.5, (0, 2): 0.5}, WHOLE._replace(gap=1000), (1, 3000)),
        ({(0, 0): 0.5, (0, 1): 0.5, (0, 2): 0.5}, WHOLE._replace(longest=2000), (2, 3000)),
        ({(0, 0): 0.5}, WHOLE._replace(stops_early=True), (1, 562.5)),
        ({(0, 0): 0.5, (0, 1): 0.5}, WHOLE._replace(stops_early=True, gap=400), (2, 1125)),
    ],
)
def test_tiles_that_lie_close_come_in_one_request(tiles: dict, reading: Reading, expected: tuple[int, float]) -> None:
    assert LAYOUT.requests(tiles, reading) == pytest.approx(expected)


SETTING = Setting(latency=0.05, bandwidth=50e6, workers=2, unpack_rate=400e6, pack_rate=200e6)


def test_time_is_that_of_what_takes_longest() -> None:
    load = Load(requests=3200, bytes=1e9, unpacked=4e9, pixels=2e9, rounds=800)
    outlook = outlook_of(load, SETTING)
    assert outlook.network_hours * 3600 == pytest.approx((5 + 20) / 2)
    assert outlook.processor_hours * 3600 == pytest.approx(10 + 10)
    assert outlook.hours == outlook.network_hours
    slow = outlook_of(load, replace(SETTING, unpack_rate=40e6))
    assert slow.hours * 3600 == pytest.approx((100 + 10) / 2)


@given(st.integers(1, 64), st.floats(0.001, 2.0))
def test_more_workers_are_never_slower_and_more_latency_never_faster(workers: int, latency: float) -> None:
    load = Load(requests=1000, bytes=1e9, unpacked=1e9, pixels=1e9, rounds=100)
    some = outlook_of(load, replace(SETTING, workers=workers, latency=latency)).hours
    assert outlook_of(load, replace(SETTING, workers=workers + 1, latency=latency)).hours <= some
    assert outlook_of(load, replace(SETTING, workers=workers, latency=latency * 2)).hours >= some


def test_this_machine_unpacks_and_packs() -> None:
    assert all(1e6 < rate < 1e11 for rate in calibrate())
    assert np.isfinite(outlook_of(Load(), SETTING).hours)
