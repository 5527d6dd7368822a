"""Several dates of a patch in one request: how many, the same pixels as one by one, and what a fault costs."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.earth_engine.fixtures import Serve
from support.earth_engine.objects import Band, Grid, Image
from support.earth_engine.server import ALLOWANCE, Emulator, Fault

from pipeline.errors import AllowanceError, SourceError, TransientSourceError
from pipeline.records import AssetRef, PatchGrid
from pipeline.records.recipe import Collections
from pipeline.sources import open_source
from pipeline.sources.earth_engine import packing, recent, session
from pipeline.sources.earth_engine.collections import BandReference
from pipeline.sources.earth_engine.forecast import forecast_reads
from pipeline.sources.earth_engine.packing import MOST_STACKED, request_bytes, stack_length
from pipeline.sources.reading import open_reader
from pipeline.sources.window import Wanted

pytest_plugins = ["support.earth_engine.fixtures"]

SIZE = 32
GRID = PatchGrid(epsg=32633, left=499_200.0, top=4_202_240.0, size=SIZE, resolution=10.0)
ASIDE = PatchGrid(epsg=32633, left=502_900.0, top=4_201_000.0, size=SIZE, resolution=10.0)
OPTICAL = "COPERNICUS/S2_SR_HARMONIZED"

Read = tuple[list[Wanted], PatchGrid]
Outcome = list[NDArray[Any]] | str


def noise(seed: int, kind: str) -> Band:
    """Numbers and gaps that are those of one band of one image, and differ from place to place."""

    def pixels(grid: Grid) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        generator = np.random.default_rng([seed, int(grid.transform.c)])
        valid = generator.random(grid.shape) < 0.6
        if kind == "classes":
            classes = generator.integers(0, 3, grid.shape).astype(np.uint8)
            return classes, classes != 0
        if kind == "radar":
            return generator.normal(-12, 4, grid.shape), valid
        return generator.integers(0, 3, grid.shape).astype(np.uint16), valid

    return Band(pixels)


def optical(count: int) -> dict[str, list[Image]]:
    kinds = {"SCL": "classes", "B2": "numbers", "B3": "numbers"}
    return {
        OPTICAL: [
            Image({band: noise(10 * date + at, kinds[band]) for at, band in enumerate(kinds)}, id=f"{OPTICAL}/{date}")
            for date in range(count)
        ]
    }


def radar(count: int, collection: str) -> dict[str, list[Image]]:
    return {
        collection: [
            Image({"VV": noise(2 * date, "radar"), "VH": noise(2 * date + 1, "radar")}, id=f"{collection}/{date}")
            for date in range(count)
        ]
    }


def wanted(name: object, *bands: str, collection: str = OPTICAL) -> list[Wanted]:
    rules = {"SCL": "nearest"}
    return [Wanted(f"ee://{collection}/{name}#{band}", rules.get(band, "bilinear")) for band in bands]  # type: ignore[arg-type]


def dates(count: int, grid: PatchGrid = GRID) -> list[Read]:
    return [(wanted(date, "SCL", "B2", "B3"), grid) for date in range(count)]


def outcomes(reads: Sequence[Read], *, ahead: bool) -> list[Outcome]:
    """What becomes of each read, by one reader; an error is its text."""
    recent.forget()
    found: list[Outcome] = []
    with open_reader(open_source("earth-engine", Collections())) as reader:
        if ahead:
            reader.read_ahead(reads)
        for bands, grid in reads:
            try:
                found.append(reader.read_bands(bands, grid))
            except TransientSourceError:
                raise
            except SourceError as err:
                found.append(str(err))
    return found


def assert_same(got: Sequence[Outcome], expected: Sequence[Outcome]) -> None:
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        if isinstance(theirs, str):
            assert mine == theirs
            continue
        for band, other in zip(mine, theirs, strict=True):
            assert isinstance(band, np.ndarray)
            assert (type(band), band.dtype) == (type(other), other.dtype)
            np.testing.assert_array_equal(np.ma.getmaskarray(band), np.ma.getmaskarray(other))
            np.testing.assert_array_equal(np.ma.getdata(band), np.ma.getdata(other))


def counted(emulator: Emulator, reads: Sequence[Read], *, ahead: bool) -> tuple[list[Outcome], int]:
    before = emulator.requests["computePixels"]
    found = outcomes(reads, ahead=ahead)
    return found, emulator.requests["computePixels"] - before


@pytest.mark.parametrize(("count", "requests"), [(1, 1), (4, 1), (5, 1), (6, 2), (15, 3)])
def test_dates_come_together_and_are_those_that_come_one_by_one(serve_earth: Serve, count: int, requests: int) -> None:
    with serve_earth(optical(count)) as emulator:
        expected, alone = counted(emulator, dates(count), ahead=False)
        got, together = counted(emulator, dates(count), ahead=True)
    assert (alone, together) == (count, requests)
    assert_same(got, expected)
    masks = [np.ma.getmaskarray(one[1]) for one in got if not isinstance(one, str)]
    assert all((a != b).any() for a, b in pairwise(masks))


@pytest.mark.parametrize("collection", ["COPERNICUS/S1_GRD", "COPERNICUS/S1_GRD_FLOAT"])
def test_radar_comes_together(serve_earth: Serve, collection: str) -> None:
    reads = [(wanted(date, "VV", "VH", collection=collection), GRID) for date in range(4)]
    with serve_earth(radar(4, collection)) as emulator:
        expected, _ = counted(emulator, reads, ahead=False)
        got, together = counted(emulator, reads, ahead=True)
    assert together == 1
    assert_same(got, expected)
    assert all(np.isnan(band).any() and np.isfinite(band).any() for one in got for band in one)


def test_mosaics_of_two_granules_come_together_with_single_images(serve_earth: Serve) -> None:
    refs = [
        AssetRef(scene_id=name, hrefs=(f"ee://{OPTICAL}/{name}#B2",), mask_href=f"ee://{OPTICAL}/{name}#SCL")
        for name in "01234"
    ]
    with serve_earth(optical(5)) as emulator:
        with open_reader(open_source("earth-engine", Collections())) as reader:
            joined = [reader.joined(assets)[0] for assets in (refs[:2], refs[2:3], refs[3:])]
        reads = [([Wanted(one.mask_href, "nearest"), Wanted(one.hrefs[0], "nearest")], GRID) for one in joined]
        expected, _ = counted(emulator, reads, ahead=False)
        got, together = counted(emulator, reads, ahead=True)
    assert together == 1
    assert_same(got, expected)


@pytest.mark.parametrize("gone", [0, 2, 3])
def test_an_image_that_is_gone_costs_its_own_date_only(serve_earth: Serve, gone: int) -> None:
    catalogue = optical(7)
    del catalogue[OPTICAL][gone]
    with serve_earth(catalogue) as emulator:
        expected, alone = counted(emulator, dates(7), ahead=False)
        got, together = counted(emulator, dates(7), ahead=True)
    assert [isinstance(one, str) for one in expected] == [date == gone for date in range(7)]
    assert_same(got, expected)
    # A refused stack of five, those five one by one, and a stack of two.
    assert (alone, together) == (7, 1 + 5 + 1)


@pytest.mark.parametrize("fitting", [1, 2, 3])
def test_no_stack_is_larger_than_a_request(serve_earth: Serve, monkeypatch: pytest.MonkeyPatch, fitting: int) -> None:
    # uint8, two uint16, the band of masks, and a byte of mask for each of the four.
    monkeypatch.setattr(packing, "LARGEST_REQUEST", fitting * SIZE**2 * (1 + 2 + 2 + 2 + 4) + 10)
    with serve_earth(optical(6)) as emulator:
        expected, _ = counted(emulator, dates(6), ahead=False)
        got, together = counted(emulator, dates(6), ahead=True)
    assert together == {1: 6, 2: 3, 3: 2}[fitting]
    assert_same(got, expected)


def test_patches_are_not_stacked_with_others(serve_earth: Serve) -> None:
    reads = [*dates(3), *dates(3, ASIDE), *dates(1)]
    with serve_earth(optical(3)) as emulator:
        expected, _ = counted(emulator, reads, ahead=False)
        got, together = counted(emulator, reads, ahead=True)
    assert together == 3
    assert_same(got, expected)


def test_a_date_that_fills_several_timesteps_is_asked_for_once(serve_earth: Serve) -> None:
    reads = [dates(6)[date] for date in (0, 0, 1, 2, 3, 0, 4, 4)]
    with serve_earth(optical(6)) as emulator:
        expected, _ = counted(emulator, reads, ahead=False)
        got, together = counted(emulator, reads, ahead=True)
    assert together == 1
    assert_same(got, expected)


def test_what_was_read_lately_is_not_asked_for_again(serve_earth: Serve) -> None:
    with serve_earth(optical(4)) as emulator:
        outcomes(dates(4), ahead=True)
        before = emulator.requests["computePixels"]
        with open_reader(open_source("earth-engine", Collections())) as reader:
            reads = [(wanted(date, "SCL"), GRID) for date in range(4)]
            reader.read_ahead(reads)
            for bands, grid in reads:
                reader.read_bands(bands, grid)
        assert emulator.requests["computePixels"] == before


def test_reads_that_were_not_announced_or_come_in_another_order_are_right(serve_earth: Serve) -> None:
    reads = dates(6)
    with serve_earth(optical(6)) as emulator:
        expected, _ = counted(emulator, reads, ahead=False)
        recent.forget()
        with open_reader(open_source("earth-engine", Collections())) as reader:
            reader.read_ahead(reads[:5])
            order = [3, 5, 0, 4, 1, 2]
            assert_same([reader.read_bands(*reads[date]) for date in order], [expected[date] for date in order])


def test_a_stack_is_one_request_to_the_governor(serve_earth: Serve) -> None:
    with serve_earth(optical(4)) as emulator:
        expected = outcomes(dates(4), ahead=False)
        emulator.faults += [Fault(status=503), Fault(status=429, message="Quota exceeded"), Fault(truncate=True)]
        got, together = counted(emulator, dates(4), ahead=True)
    assert together == 4
    assert_same(got, expected)


@pytest.mark.parametrize(
    ("status", "message", "error"), [(503, "down", TransientSourceError), (429, ALLOWANCE, AllowanceError)]
)
def test_trouble_that_passes_is_not_answered_with_more_requests(
    serve_earth: Serve, monkeypatch: pytest.MonkeyPatch, status: int, message: str, error: type[Exception]
) -> None:
    monkeypatch.setattr("pipeline.sources.earth_engine.governor.LONGEST_WAIT_SECONDS", 0.01)
    with serve_earth(optical(4)) as emulator:
        emulator.faults.append(Fault(status=status, message=message, count=1000))
        with pytest.raises(error):
            outcomes(dates(4), ahead=True)
        assert emulator.requests["computePixels"] == {503: 8, 429: 1}[status]


def test_a_stack_that_is_too_slow_is_asked_for_date_by_date(
    serve_earth: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "DEADLINE_MS", 1000)
    with serve_earth(optical(3)) as emulator:
        expected = outcomes(dates(3), ahead=False)
        emulator.faults.append(Fault(seconds=2.0))
        got, together = counted(emulator, dates(3), ahead=True)
    assert together == 1 + 3
    assert_same(got, expected)


def image(date: int, bands: int) -> tuple[BandReference, ...]:
    return tuple(BandReference((f"{OPTICAL}/{date}",), f"B{band}") for band in range(bands))


PLACES = [GRID, ASIDE]
READS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 16), st.sampled_from([256, 700, 1200]), st.sampled_from([0, 1])),
    min_size=1,
    max_size=40,
).map(
    lambda drawn: [
        (image(date, bands), PatchGrid(epsg=32633, left=1000.0 * at, top=0.0, size=size, resolution=10.0))
        for date, bands, size, at in drawn
    ]
)


def stacks(reads: Sequence[Any]) -> list[Sequence[Any]]:
    found = []
    while reads:
        count = stack_length(reads)
        found.append(reads[:count])
        reads = reads[count:]
    return found


@given(reads=READS, left_out=st.sets(st.integers(0, 39)))
def test_stacks_are_as_few_as_fit_and_fewer_reads_never_need_more(reads: list[Any], left_out: set[int]) -> None:
    found = stacks(reads)

    def fits(stack: Sequence[Any]) -> bool:
        unique = set(stack)
        size = sum(request_bytes(bands, grid) for bands, grid in unique)
        one_grid = len({grid for _, grid in unique}) == 1
        return one_grid and len(unique) <= MOST_STACKED and size <= packing.LARGEST_REQUEST

    assert [one for stack in found for one in stack] == reads
    for stack, following in zip(found, [*found[1:], None], strict=True):
        assert fits(stack) or len(set(stack)) == 1
        assert following is None or not fits([*stack, following[0]])
    assert len(stacks([one for index, one in enumerate(reads) if index not in left_out])) <= len(found)


def assets(date: int, *bands: str, offset: int = 0) -> AssetRef:
    hrefs = tuple(f"ee://{OPTICAL}/{date}#{band}" for band in bands)
    return AssetRef(scene_id=str(date), hrefs=hrefs, mask_href=f"ee://{OPTICAL}/{date}#SCL", offset=offset)


def test_the_forecast_counts_stacks_and_the_compute_of_all_that_is_in_them() -> None:
    bands = ("B2", "B3")
    batch = [((assets(date, *bands),), GRID) for date in range(7)]
    pair = [((assets(0, *bands), assets(1, *bands)), GRID)]
    unlike = [((assets(0, *bands), assets(1, *bands, offset=1000)), GRID), ((assets(2, *bands),), GRID)]
    one = SIZE**2 * (1 + 2 + 2 + 2 + 4)
    for batches, requests, parts in ([batch], 2, 7), ([batch, batch], 4, 14), ([pair], 1, 1), ([unlike], 2, 3):
        forecast = forecast_reads(batches)
        assert (forecast.requests, forecast.bytes) == (requests, parts * one)
        assert forecast.compute_hours == pytest.approx(parts * 0.5 / 3600)
    large = PatchGrid(epsg=32633, left=0.0, top=0.0, size=4000, resolution=10.0)
    (forecast, single) = (forecast_reads([[((assets(date, *bands),), large) for date in range(n)]]) for n in (3, 1))
    assert forecast.requests == 3 * single.requests > 3
