"""End to end: what the command line stores equals an independent read of the same files with rasterio and NumPy."""

import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
import xarray as xr
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT
from support.catalogue import (
    CELL,
    DEM_NODATA,
    EVENT,
    MAIN,
    RADAR_NODATA,
    RESOLUTIONS,
    Area,
    Overpass,
    Pass,
    blob,
    cell_centre,
    elevation_file,
    optical_file,
    optical_file_id,
    radar_file,
    radar_file_id,
    radar_start,
    tiny,
    write_catalogue,
    write_inventory,
)
from support.orders import CORNER, LATER, RECIPE, SLIDES, Order, place_slides, slide_rings

from pipeline import open_shard
from pipeline.cli import main
from pipeline.receipts import load_receipt
from pipeline.validate import validate

pytest_plugins = ["support.fixtures"]

BANDS = tuple(RESOLUTIONS)
S2_NODATA = -32768
MAX_CLOUD = 0.25
STEPS = 5

CLOUD_MASK = np.array([6, 6, 0, 5, 0, 0, 1, 0, 4, 4, 3, 2, *[6] * 244], np.uint8)
"""Class of v1.1 for each scene class: 0 land, 1 water, 2 snow, 3 thin cloud, 4 thick cloud, 5 shadow, 6 no data."""

CLOUDY, ONLY_RADAR, NOTHING, RADAR_EDGE = ((1250, 15936), (1246, 15934), (1225, 15934), (1260, 15933))
"""Cells with gaps of a kind of their own; see `support.fixtures.SLIDES`."""


class Frame(NamedTuple):
    """One stored (sample, timestep)."""

    cell: tuple[int, int]
    patch: Area
    bands: NDArray[Any]
    file_id: str
    time: datetime | None
    cloud_mask: NDArray[np.uint8] | None


def stored_frames(root: Path, modality: str) -> Iterator[Frame]:
    shards = sorted((root / "all" / modality).glob("*.zarr.zip"))
    assert shards
    for shard in shards:
        with open_shard(shard) as lazy:
            content = lazy.load()
        for sample in range(content.sizes["sample"]):
            yield from (frame_of(content.isel(sample=sample, time=step)) for step in range(content.sizes["time"]))


def frame_of(content: xr.Dataset) -> Frame:
    left, top = float(content["x_"][0]) - 5.0, float(content["y_"][0]) + 5.0
    time = content["time_"].values
    return Frame(
        cell=(round(left / CELL), round(top / CELL) - 1),
        patch=Area(epsg=int(content["crs"]), left=left, top=top, width=32, height=32, resolution=10),
        bands=content["bands"].values,
        file_id=str(content["file_id"].values),
        time=None if np.isnat(time) else pd.Timestamp(time).tz_localize("UTC").to_pydatetime(),
        cloud_mask=content["cloud_mask"].values if "cloud_mask" in content else None,
    )


def shared_area(one: Area, other: Area) -> float:
    """Ground that two areas of one CRS share [m²]."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.top, other.top) - max(one.bottom, other.bottom)
    return max(width, 0.0) * max(height, 0.0)


def best_first(patch: Area, areas: list[Area]) -> list[int]:
    """Which areas reach into the patch, the one that covers most of it first."""
    shares = [shared_area(patch, area) for area in areas]
    return sorted((index for index, share in enumerate(shares) if share), key=lambda index: -shares[index])


@cache
def whole_raster(path: Path) -> tuple[NDArray[Any], Any]:
    with rasterio.open(path) as raster:
        return raster.read(1), raster.transform


def read_nearest(path: Path, patch: Area, outside: float) -> NDArray[Any]:
    """The raster's pixel under the centre of each pixel of the patch."""
    values, transform = whole_raster(path)
    columns, rows = patch.centres()
    j = np.floor((columns - transform.c) / transform.a).astype(int)
    i = np.floor((rows - transform.f) / transform.e).astype(int)
    inside = (i >= 0) & (i < values.shape[0]) & (j >= 0) & (j < values.shape[1])
    picked = values[np.clip(i, 0, values.shape[0] - 1), np.clip(j, 0, values.shape[1] - 1)]
    return np.where(inside, picked, np.asarray(outside, values.dtype))


def read_warped(path: Path, patch: Area, nodata: float, **options: Any) -> NDArray[Any]:
    grid = {"crs": f"EPSG:{patch.epsg}", "transform": patch.transform, "width": patch.width, "height": patch.height}
    with (
        rasterio.open(path) as raster,
        WarpedVRT(raster, **grid, resampling=Resampling.bilinear, nodata=nodata, **options) as warped,
    ):
        return warped.read(1)


def read_radar(path: Path, patch: Area, radar: Pass) -> NDArray[Any]:
    if not radar.shift:
        return read_nearest(path, patch, RADAR_NODATA)
    # Pixels of one size: left to guess that from the windows' sizes, GDAL takes a little less than 1 and smooths.
    return read_warped(path, patch, RADAR_NODATA, XSCALE=1, YSCALE=1)


def expected_optical(root: Path, overpass: Overpass, patch: Area) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Stored numbers of every band, and the scene classification, from the tiles that see the patch."""
    classes = np.zeros((32, 32), np.uint8)
    stored = np.full((len(BANDS), 32, 32), S2_NODATA, np.int64)
    for index in best_first(patch, [MAIN.tile_area(index) for index in range(len(MAIN.tiles))]):
        tile = MAIN.tiles[index]
        seen = read_nearest(optical_file(root, tile, overpass, "SCL"), patch, 0)
        fresh = (classes == 0) & (seen != 0)
        classes[fresh] = seen[fresh]
        for band, name in enumerate(BANDS):
            numbers = read_nearest(optical_file(root, tile, overpass, name), patch, 0).astype(np.int64)
            shifted = np.clip(numbers + overpass.offset, -32767, 32767)
            is_data = fresh & ((numbers != 0) | (overpass.offset == 0))
            stored[band][is_data] = shifted[is_data]
    return stored.astype(np.int16), classes


def expected_power(root: Path, radar: Pass, patch: Area) -> NDArray[np.float32]:
    """Linear power of both polarisations; each pixel from the first frame that measured it in either."""
    power = np.full((2, 32, 32), np.nan, np.float32)
    for frame in best_first(patch, list(MAIN.frames(radar))):
        files = [radar_file(root, radar, frame, polarisation) for polarisation in ("vv", "vh")]
        found = np.stack([read_radar(file, patch, radar) for file in files])
        found = np.where((found == RADAR_NODATA) | (found <= 0.0), np.nan, found)
        fresh = np.isnan(power).all(axis=0)
        power[:, fresh] = found[:, fresh]
    return power


def expected_elevation(root: Path, patch: Area) -> NDArray[np.float32]:
    heights = np.full((32, 32), np.nan, np.float32)
    outline = shapely.Polygon(patch_ring(patch))
    tiles = [shapely.box(area.left, area.bottom, area.right, area.top) for area in MAIN.elevation()]
    for index in sorted(range(len(tiles)), key=lambda index: -outline.intersection(tiles[index]).area):
        found = read_warped(elevation_file(root, index), patch, DEM_NODATA)
        fresh = np.isnan(heights) & (found != DEM_NODATA)
        heights[fresh] = found[fresh]
    return heights


def patch_ring(patch: Area) -> list[tuple[float, float]]:
    return [(lon, lat) for lon, lat in patch.ring()]


def overpass_at(time: datetime) -> Overpass:
    return next(overpass for overpass in MAIN.overpasses if overpass.start == time)


def pass_at(time: datetime, state: str) -> Pass:
    near = (radar for radar in MAIN.passes if abs(radar.start - time) < timedelta(minutes=1))
    return next(radar for radar in near if radar.state == state)


def reach(radar: Pass, patch: Area) -> float:
    """Share of the patch inside the pass; its frames overlap by 60 m."""
    north, south = MAIN.frames(radar)
    both = shared_area(patch, replace(north, height=6, top=south.top))
    return (shared_area(patch, north) + shared_area(patch, south) - both) / CELL**2


def test_every_optical_pixel_is_the_products_own_without_its_offset(order: Order, dataset: Path) -> None:
    written = Counter()
    for frame in stored_frames(dataset, "S2L2A"):
        if frame.time is None:
            continue
        overpass = overpass_at(frame.time)
        stored, classes = expected_optical(order.catalogue, overpass, frame.patch)
        np.testing.assert_array_equal(frame.bands, stored)
        np.testing.assert_array_equal(frame.cloud_mask, CLOUD_MASK[classes])
        written[overpass.offset] += 1
        written["negative"] += int(((stored < 0) & (stored != S2_NODATA)).any())
        written["beyond the swath"] += int((classes == 0).mean() > 0.05)
    # Both sides of the baseline change, negative reflectance and swath edges do occur.
    assert min(written[what] for what in (0, -1000, "negative", "beyond the swath")) > 0


def test_every_class_is_the_scene_classification_of_the_same_acquisition(order: Order, dataset: Path) -> None:
    optical = [(frame.cell, frame.time, frame.file_id) for frame in stored_frames(dataset, "S2L2A")]
    classes = list(stored_frames(dataset, "SCL"))
    assert [(frame.cell, frame.time, frame.file_id) for frame in classes] == optical
    for frame in classes:
        if frame.time is not None:
            expected = expected_optical(order.catalogue, overpass_at(frame.time), frame.patch)[1]
            np.testing.assert_array_equal(frame.bands[0], expected)


def test_a_patch_across_two_tiles_is_a_mosaic_of_one_acquisition(order: Order, dataset: Path) -> None:
    across = [frame for frame in stored_frames(dataset, "S2L2A") if frame.cell[0] == 1255 and frame.time]
    assert across
    for frame in across:
        first = best_first(frame.patch, [MAIN.tile_area(0), MAIN.tile_area(1)])
        assert len(first) == 2
        alone = read_nearest(
            optical_file(order.catalogue, MAIN.tiles[first[0]], overpass_at(frame.time), "SCL"), frame.patch, 0
        )
        # The better tile leaves pixels open, and the other one fills them.
        assert (alone == 0).sum() > 32
        assert (frame.bands[0] != S2_NODATA).mean() > 0.95


@pytest.mark.parametrize(("modality", "state"), [("S1ASC", "ascending"), ("S1DSC", "descending")])
def test_every_radar_pixel_is_its_linear_power_in_decibels(
    order: Order, dataset: Path, modality: str, state: str
) -> None:
    mosaics = 0
    for frame in stored_frames(dataset, modality):
        if frame.time is None:
            continue
        radar = pass_at(frame.time, state)
        power = expected_power(order.catalogue, radar, frame.patch)
        decibels = (10.0 * np.log10(power.astype(np.float64))).astype(np.float32)
        np.testing.assert_array_equal(np.isnan(frame.bands), np.isnan(decibels))
        measured = ~np.isnan(decibels)
        np.testing.assert_array_max_ulp(frame.bands[measured], decibels[measured], maxulp=1)
        mosaics += len(best_first(frame.patch, list(MAIN.frames(radar)))) == 2
    assert mosaics > 0


def test_elevation_equals_a_warp_of_both_tiles_onto_the_patch(order: Order, dataset: Path) -> None:
    mosaics = holes = 0
    for frame in stored_frames(dataset, "DEM"):
        if frame.time is None:
            assert frame.cell == ONLY_RADAR
            continue
        expected = expected_elevation(order.catalogue, frame.patch)
        np.testing.assert_array_equal(frame.bands[0], expected)
        outline = shapely.Polygon(patch_ring(frame.patch))
        seam = MAIN.elevation()[1].left
        mosaics += outline.bounds[0] < seam < outline.bounds[2]
        holes += bool(np.isnan(expected).any())
    assert mosaics > 0
    assert holes > 0


def test_the_mask_is_every_pixel_that_a_slide_touches(dataset: Path) -> None:
    slides = [shapely.Polygon(ring) for ring in slide_rings()]
    for frame in stored_frames(dataset, "MASK"):
        burned = rasterize(slides, out_shape=(32, 32), transform=frame.patch.transform, all_touched=True)
        np.testing.assert_array_equal(frame.bands[0], burned)


def test_the_fraction_is_the_area_of_slides_in_each_pixel(dataset: Path) -> None:
    slides = shapely.union_all([shapely.Polygon(ring) for ring in slide_rings()])
    partial = 0
    for frame in stored_frames(dataset, "MASK_FRACTION"):
        columns, rows = frame.patch.centres()
        pixels = shapely.box(columns - 5, rows - 5, columns + 5, rows + 5)
        expected = shapely.area(shapely.intersection(slides, pixels)) / 100.0
        # Slides come as degrees of limited precision, and go back to metres.
        np.testing.assert_allclose(frame.bands[0], expected, atol=1e-5)
        partial += np.count_nonzero((expected > 0.0) & (expected < 1.0))
    assert partial > 100


def test_the_mask_of_an_image_is_what_had_slid_when_it_was_taken(dataset: Path) -> None:
    days = [datetime.fromisoformat(f"{day}T00:00:00+00:00") for _, day in SLIDES]
    slides = list(zip([*days, EVENT], map(shapely.Polygon, slide_rings()), strict=True))
    optical = list(stored_frames(dataset, "S2L2A"))
    grown = 0
    for frame, image in zip(stored_frames(dataset, "MASK_SERIES"), optical, strict=True):
        assert (frame.cell, frame.time, frame.file_id) == (image.cell, image.time, "")
        if image.time is None:
            assert (frame.bands == 255).all()
            continue
        there = [ring for day, ring in slides if image.time >= day + timedelta(days=1)]
        unsure = [ring for day, ring in slides if day <= image.time < day + timedelta(days=1)]
        expected = np.zeros((32, 32), np.uint8)
        for rings, value in ((unsure, 255), (there, 1)):
            if rings:
                options = {"out": expected, "transform": frame.patch.transform, "all_touched": True}
                rasterize(rings, default_value=value, **options)
        np.testing.assert_array_equal(frame.bands[0], expected)
        grown += frame.cell == SLIDES[0][0] and bool(expected.any())
    assert grown >= 2


def test_labels_pair_each_event_with_the_images_around_it(dataset: Path) -> None:
    labels = pq.read_table(dataset / "labels.parquet").to_pylist()
    samples = {row["id"]: row for row in pq.read_table(dataset / "samples.parquet").to_pylist()}
    events = {row["id"]: row for row in pq.read_table(dataset / "events.parquet").to_pylist()}
    wanted = [(name, event) for name, row in samples.items() if row["shard"] for event in row["event_ids"]]
    assert [(row["sample_id"], row["event_id"]) for row in labels] == wanted
    stored = {
        modality: {
            (frame.cell, step % STEPS): frame.time for step, frame in enumerate(stored_frames(dataset, modality))
        }
        for modality in ("S2L2A", "S1ASC", "S1DSC")
    }
    found = Counter()
    for row in labels:
        cell = (samples[row["sample_id"]]["lattice_x"], samples[row["sample_id"]]["lattice_y"])
        day = events[row["event_id"]]["date"]
        for modality, times in stored.items():
            taken = [(time, step) for (place, step), time in times.items() if place == cell and time]
            before = [step for time, step in sorted(taken) if time < day]
            after = [step for time, step in sorted(taken) if time >= day + timedelta(days=1)]
            expected = ((before or [-1])[-1], (after or [-1])[0])
            assert (row[f"before_{modality}"], row[f"after_{modality}"]) == expected
            found[modality] += min(expected) >= 0
    # The catalogue's descending passes lie on one side of the events.
    assert min(found["S2L2A"], found["S1ASC"]) > 5


def test_frames_say_what_lies_in_the_files(dataset: Path) -> None:
    frames = pq.read_table(dataset / "frames.parquet").to_pylist()
    ledger = ledger_of(dataset)
    imagery = ledger[(ledger.state == "written") & ~ledger.modality.str.startswith("MASK")]
    keys = {(row["modality"], row["sample_id"], row["timestep"]) for row in frames}
    assert len(keys) == len(frames)
    assert keys == set(zip(imagery.modality, imagery.sample_id, imagery.timestep, strict=True))
    for path in sorted(dataset.glob("all/*/*.zarr.zip")):
        with open_shard(path) as shard:
            content = shard[["time_", "file_id", "sample"]].load()
        here = path.relative_to(dataset).as_posix()
        for row in (row for row in frames if row["shard"] == here):
            at = {"sample": row["position"], "time": row["timestep"]}
            assert str(content["sample"].values[row["position"]]) == row["sample_id"]
            assert str(content["file_id"].isel(at).values) == row["file_id"]
            assert pd.Timestamp(content["time_"].isel(at).values).tz_localize("UTC") == row["acquired"]
    scenes = {row["id"]: row for row in pq.read_table(dataset / "scenes.parquet").to_pylist()}
    for row in frames:
        sources = [scenes[name] for name in row["scene_ids"]]
        assert {source["offset"] for source in sources} == {row["offset"]}
        assert (sources[0]["platform"], sources[0]["baseline"]) == (row["platform"], row["baseline"])
    assert {row["offset"] for row in frames if row["modality"] == "S2L2A"} == {0, -1000}


def test_receipts_say_what_the_fast_reader_left_to_gdal(dataset: Path) -> None:
    by_modality: dict[str, dict[str, int]] = {}
    for receipt in (dataset / "receipts").rglob("*.json"):
        by_modality.setdefault(receipt.parent.name, {}).update(load_receipt(receipt).fallbacks)
    assert by_modality["S2L2A"] == by_modality["SCL"] == by_modality["MASK"] == {}
    assert set(by_modality["DEM"]) == {"no EPSG zone"}


def test_patches_are_the_cells_that_slides_reach_into_and_half_as_many_others(dataset: Path) -> None:
    samples = gpd.read_parquet(dataset / "samples.parquet")
    annotated = {
        cell for row in samples[samples.is_annotated].itertuples() for cell in [(row.lattice_x, row.lattice_y)]
    }
    around = [(1258 - dx, 15935 - dy) for dx in (0, 1) for dy in (0, 1)]
    assert annotated == {*(cell for cell, _ in SLIDES), *around}
    others = samples[~samples.is_annotated]
    assert len(others) == round(len(annotated) * 0.5)
    tiles = shapely.union_all([shapely.Polygon(MAIN.tile_area(index).ring()) for index in (0, 1)])
    assert all(tiles.buffer(1e-9).covers(outline) for outline in others.geometry)
    for row in samples.itertuples():
        square = shapely.Polygon(patch_ring(cell_area(row.lattice_x, row.lattice_y)))
        assert row.geometry.symmetric_difference(square).area < 1e-5 * square.area


def cell_area(ix: int, iy: int) -> Area:
    return Area(epsg=MAIN.epsg, left=ix * CELL, top=(iy + 1) * CELL, width=32, height=32, resolution=10)


def test_frames_carry_the_granules_name_and_the_start_of_the_datatake(dataset: Path) -> None:
    for frame in stored_frames(dataset, "S2L2A"):
        if frame.time is None:
            continue
        first = best_first(frame.patch, [MAIN.tile_area(0), MAIN.tile_area(1)])[0]
        assert frame.file_id == optical_file_id(MAIN.tiles[first], overpass_at(frame.time))
    for modality, state in (("S1ASC", "ascending"), ("S1DSC", "descending")):
        for frame in stored_frames(dataset, modality):
            if frame.time is None:
                continue
            radar = pass_at(frame.time, state)
            frames = best_first(frame.patch, list(MAIN.frames(radar)))
            assert frame.file_id == radar_file_id(radar, frames[0])
            assert frame.time == radar_start(radar, frames[0])


def hidden_share(root: Path, overpass: Overpass, patch: Area) -> float:
    classes = expected_optical(root, overpass, patch)[1]
    return float((np.isin(classes, [0, 3, 8, 9, 10]) | (classes > 11)).mean())


def test_series_hold_the_nearest_clear_images_and_no_cloudy_one(order: Order, dataset: Path) -> None:
    later = datetime.fromisoformat(f"{LATER}T00:00:00+00:00")
    series: dict[tuple[int, int], list[datetime]] = {}
    for frame in stored_frames(dataset, "S2L2A"):
        series.setdefault(frame.cell, []).extend([frame.time] if frame.time else [])
    for cell, times in series.items():
        last = later if cell == SLIDES[1][0] else EVENT
        start, end = EVENT - timedelta(days=40), last + timedelta(days=41)
        offered = [overpass for overpass in MAIN.overpasses if start <= overpass.start < end]
        clear = [o.start for o in offered if hidden_share(order.catalogue, o, cell_area(*cell)) <= MAX_CLOUD]
        if cell == ONLY_RADAR:
            clear = []
        assert times == sorted(times)
        assert set(times) <= set(clear)
        assert len(times) == min(len(clear), STEPS)
        if clear:
            assert max(time for time in clear if time < EVENT) in times
            assert min(time for time in clear if time >= EVENT + timedelta(days=1)) in times


def ledger_of(root: Path) -> pd.DataFrame:
    """The ledger's rows of samples, with their cells."""
    ledger = pq.read_table(root / "ledger.parquet").to_pandas()
    ledger = ledger[ledger.sample_id != ""].copy()
    samples = pq.read_table(root / "samples.parquet").to_pandas().set_index("id")
    ledger["cell"] = [(samples.lattice_x[name], samples.lattice_y[name]) for name in ledger.sample_id]
    return ledger


def test_missing_timesteps_hold_no_data_no_time_no_name_and_a_reason_in_the_ledger(dataset: Path) -> None:
    ledger = ledger_of(dataset)
    written = {(row.cell, row.modality) for row in ledger.itertuples() if row.state == "written"}
    assert len(written) > 50
    for modality in ("S2L2A", "SCL", "S1ASC", "S1DSC", "DEM"):
        rows = ledger[(ledger.modality == modality) & (ledger.shard != "")]
        expected = Counter(row.cell for row in rows.itertuples() if row.state == "missing")
        missing = Counter(frame.cell for frame in stored_frames(dataset, modality) if frame.time is None)
        assert missing == expected
        for frame in stored_frames(dataset, modality):
            if frame.time is None:
                assert_no_data(frame)
    assert set(ledger.state) == {"written", "missing"}


def assert_no_data(frame: Frame) -> None:
    assert frame.file_id == ""
    if frame.bands.dtype.kind == "f":
        assert np.isnan(frame.bands).all()
    else:
        assert np.all(frame.bands == (S2_NODATA if frame.bands.dtype == np.int16 else 0))
    if frame.cloud_mask is not None:
        assert np.all(frame.cloud_mask == 6)


@pytest.mark.parametrize(
    ("cell", "modality", "reasons"),
    [
        (CLOUDY, "S2L2A", ["too_cloudy"] * STEPS),
        (CLOUDY, "SCL", ["too_cloudy"] * STEPS),
        (CLOUDY, "S1ASC", []),
        (ONLY_RADAR, "S2L2A", ["no_scene"] * STEPS),
        (ONLY_RADAR, "DEM", ["no_coverage"]),
        (ONLY_RADAR, "S1ASC", []),
        (NOTHING, "S2L2A", ["no_scene"] * STEPS),
        (NOTHING, "S1ASC", ["no_scene"] * STEPS),
        (NOTHING, "DEM", ["no_coverage"]),
        ((1255, 15934), "S1ASC", ["series_short"]),
        ((1252, 15934), "S1DSC", ["unreadable", "no_image_after", "series_short", "series_short"]),
        ((1252, 15934), "S2L2A", ["series_short"]),
    ],
)
def test_the_ledger_says_why_a_place_is_empty(
    dataset: Path, cell: tuple[int, int], modality: str, reasons: list[str]
) -> None:
    ledger = ledger_of(dataset)
    rows = ledger[(ledger.cell == cell) & (ledger.modality == modality) & (ledger.state == "missing")]
    assert sorted(rows.reason) == sorted(reasons)


def test_radar_that_reaches_part_of_a_patch_is_not_called_cloudy(dataset: Path) -> None:
    assert all(0.0 < reach(radar, cell_area(*RADAR_EDGE)) < 0.99 for radar in MAIN.passes)
    ledger = ledger_of(dataset)
    rows = ledger[(ledger.cell == RADAR_EDGE) & (ledger.modality == "S1ASC")]
    assert list(rows.reason) == ["too_much_missing"] * STEPS


def test_radar_that_is_judged_by_its_outline_says_no_scene_before_and_empty_after_it_is_read(
    order: Order, tmp_path: Path
) -> None:
    places = place_slides(tmp_path / "edges.geojson", (2, 6))
    edges = replace(order, places=places).with_overrides("series.radar=footprint", "modalities=[S2L2A, S1ASC]")
    ledger = ledger_of(edges.build(tmp_path / "dataset"))
    missing = ledger[(ledger.modality == "S1ASC") & (ledger.state == "missing")]
    assert list(missing[missing.cell == RADAR_EDGE].reason) == ["no_scene"] * STEPS
    assert list(missing[missing.cell == (1255, 15934)].reason) == ["empty"]
    survey = pq.read_table(tmp_path / "dataset" / "survey.parquet", columns=["acquisition"]).to_pandas()
    assert not survey.acquisition.str.startswith("S1").any()


def test_radar_lacks_no_more_than_the_recipe_allows(dataset: Path) -> None:
    survey = pq.read_table(dataset / "survey.parquet").to_pandas()
    radar = survey[survey.acquisition.str.startswith("S1")].set_index(["sample_id", "acquisition"])
    assert (radar.nodata > 0.05).any()
    assert (radar[["cloud", "shadow", "snow", "dark"]] == 0.0).all(axis=None)
    ledger = ledger_of(dataset)
    written = ledger[(ledger.state == "written") & ledger.modality.isin(["S1ASC", "S1DSC"])]
    assert len(written) > 20
    shares = [radar.nodata[row.sample_id, row.acquisition] for row in written.itertuples()]
    assert max(shares) <= 0.05


def test_an_event_that_nothing_sees_is_outside_the_source_and_the_others_are_built(dataset: Path) -> None:
    ledger = pq.read_table(dataset / "ledger.parquet").to_pandas()
    (row,) = ledger[ledger.sample_id == ""].itertuples()
    nothing = next(index for index, (cell, _) in enumerate(SLIDES) if cell == NOTHING)
    assert (row.event_id, row.state, row.reason) == (f"slide-{nothing}", "rejected", "outside_source")
    assert (row.modality, row.timestep, row.shard) == ("", -1, "")
    assert f"around {EVENT:%Y-%m-%d}" in row.detail
    assert set(ledger[ledger.sample_id != ""].event_id) == {""}


def test_every_gap_in_the_ledger_has_a_reason(dataset: Path) -> None:
    ledger = ledger_of(dataset)
    gaps = ledger[ledger.state == "missing"]
    assert sorted(set(gaps[gaps.reason == ""].modality)) == []


def test_a_dataset_with_gaps_of_every_kind_has_no_findings(dataset: Path) -> None:
    assert [str(finding) for finding in validate(dataset)] == []


def test_a_dataset_with_gaps_of_every_kind_is_finished(dataset: Path, order: Order) -> None:
    before = {file: file.stat().st_mtime_ns for file in dataset.rglob("*.zarr.zip")}
    order.build(dataset, "--resume")
    assert {file: file.stat().st_mtime_ns for file in dataset.rglob("*.zarr.zip")} == before


def test_metadata_has_the_published_columns_first_and_one_row_for_every_image(dataset: Path) -> None:
    frame = gpd.read_parquet(dataset / "metadata" / "all_metadata.parquet")
    assert list(frame.columns[:7]) == ["sample_id", "time_id", "time", "tile_id", "geometry", "tile_crs", "file"]
    assert frame.index.name == "idx"
    assert frame.crs.to_epsg() == 4326
    names = pq.read_table(dataset / "samples.parquet", columns=["id", "lattice_x", "lattice_y"]).to_pandas()
    cells = {row.id: (row.lattice_x, row.lattice_y) for row in names.itertuples()}
    images = {}
    for path in sorted((dataset / "all" / "S2L2A").glob("*.zarr.zip")):
        with open_shard(path) as shard:
            for position, name in enumerate(shard["sample"].values.tolist()):
                for step in np.flatnonzero(~np.isnat(shard["time_"].values[position])).tolist():
                    images[f"{name}_{step}"] = (path.name, position, shard.isel(sample=position, time=step).load())
    assert set(frame.index) == set(images)
    for row in frame.itertuples():
        file, position, image = images[row.Index]
        square = shapely.Polygon(patch_ring(cell_area(*cells[row.sample_id])))
        assert row.Index == f"{row.sample_id}_{row.time_id}" == str(image["sample_id"].values)
        assert (row.file, row.position, row.file_id) == (file, position, str(image["file_id"].values))
        assert (row.tile_id, row.tile_crs, row.sample_crs) == (row.file_id.split("_")[2], 32633, 32633)
        assert row.time == pd.Timestamp(image["time_"].values)
        assert row.baseline == overpass_at(row.time.tz_localize("UTC").to_pydatetime()).baseline
        assert row.geometry.symmetric_difference(square).area < 1e-5 * square.area
        assert len(row.geometry.exterior.coords) == 5
    assert frame.index.is_unique
    order = frame[["sample_id", "time_id"]].apply(tuple, axis=1).tolist()
    assert order == sorted(order)


def test_metadata_columns_are_stored_as_the_published_ones(dataset: Path, shared: Path) -> None:
    published = pq.ParquetFile(shared / "golden" / "ssl4eo-s12" / "val_metadata.parquet").schema
    ours = pq.ParquetFile(dataset / "metadata" / "all_metadata.parquet").schema
    by_name = {ours.column(index).name: ours.column(index) for index in range(len(ours.names))}
    for index in range(len(published.names)):
        column = published.column(index)
        mine = by_name[column.name]
        assert (mine.physical_type, str(mine.logical_type)) == (column.physical_type, str(column.logical_type))


def test_statistics_equal_numpy_over_the_stored_pixels(dataset: Path) -> None:
    held = json.loads((dataset / "statistics.json").read_text())
    assert set(held) == {"S2L2A", "S1ASC", "S1DSC", "DEM", "MASK", "MASK_FRACTION"}
    for modality, bands in held.items():
        stack = np.stack([frame.bands for frame in stored_frames(dataset, modality)])
        assert len(bands) == stack.shape[1]
        for index, statistics in enumerate(bands.values()):
            values = stack[:, index].astype(np.float64).ravel()
            values = values[np.isfinite(values) & (values != S2_NODATA)]
            assert statistics["count"] == values.size
            assert (statistics["min"], statistics["max"]) == (values.min(), values.max())
            np.testing.assert_allclose([statistics["mean"], statistics["std"]], [values.mean(), values.std()], 1e-9)
    assert list(held["S2L2A"]) == list(BANDS)


@pytest.mark.parametrize(
    ("modality", "bands", "dtype", "steps", "attributes"),
    [
        ("S2L2A", BANDS, "int16", STEPS, {"nodata": S2_NODATA, "offset": 0, "units": "1e-4"}),
        ("SCL", ("SCL",), "uint8", STEPS, {"nodata": 0}),
        ("S1ASC", ("vv", "vh"), "float32", STEPS, {"units": "dB", "orbit_state": "ascending"}),
        ("S1DSC", ("vv", "vh"), "float32", STEPS, {"units": "dB", "orbit_state": "descending"}),
        ("DEM", ("DEM",), "float32", 1, {"units": "m"}),
        ("MASK", ("MASK",), "uint8", 1, {}),
        ("MASK_FRACTION", ("MASK_FRACTION",), "float32", 1, {"units": "1"}),
        ("MASK_SERIES", ("MASK_SERIES",), "uint8", STEPS, {"nodata": 255}),
    ],
)
def test_a_shard_opens_with_the_names_dims_and_dtypes_of_v1_1(
    dataset: Path, modality: str, bands: tuple[str, ...], dtype: str, steps: int, attributes: dict[str, Any]
) -> None:
    with open_shard(min((dataset / "all" / modality).glob("*.zarr.zip"))) as shard:
        listing = {str(name): (shard[name].dims, str(shard[name].dtype)) for name in shard.variables}
        frames = ("sample", "time")
        widest = max(len(name) for name in shard["sample"].values)
        width = max(1, *(len(name) for name in shard["file_id"].values.ravel()))
        expected = {
            "bands": ((*frames, "band", "y", "x"), dtype),
            "cloud_mask": ((*frames, "y", "x"), "uint8"),
            "center_lat": (("sample",), "float64"),
            "center_lon": (("sample",), "float64"),
            "crs": (("sample",), "int64"),
            "file_id": (frames, f"<U{width}"),
            "sample_id": (frames, f"<U{widest + 2}"),
            "time_": (frames, "datetime64[ns]"),
            "x_": (("sample", "x"), "float64"),
            "y_": (("sample", "y"), "float64"),
            "sample": (("sample",), f"<U{widest}"),
            "time": (("time",), "int64"),
            "band": (("band",), f"<U{max(map(len, bands))}"),
            "x": (("x",), "int64"),
            "y": (("y",), "int64"),
        }
        if modality != "S2L2A":
            del expected["cloud_mask"]
        assert listing == expected
        assert set(map(str, shard.coords)) == {"sample", "time", "band", "x", "y"}
        assert dict(shard.sizes) == {"sample": 5, "time": steps, "band": len(bands), "y": 32, "x": 32}
        assert tuple(shard["band"].values) == bands
        assert np.array_equal(shard["x"], np.arange(32))
        assert np.array_equal(shard["time"], np.arange(steps))
        assert {name: shard["bands"].attrs.get(name) for name in attributes} == attributes
        assert "_FillValue" not in {*shard["bands"].attrs, *(shard["bands"].encoding if dtype == "int16" else ())}


def test_a_shard_is_a_stored_zip_of_one_chunk_for_every_patch(dataset: Path) -> None:
    path = min((dataset / "all" / "S2L2A").glob("*.zarr.zip"))
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        described = json.loads(archive.read("bands/.zarray"))
    assert names == sorted(set(names))
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    chunks = {name for name in names if name.startswith("bands/") and "/." not in name}
    assert chunks == {f"bands/{sample}.{step}.0.0.0" for sample in range(5) for step in range(STEPS)}
    assert described["chunks"] == [1, 1, 12, 32, 32]
    assert described["zarr_format"] == 2
    assert described["fill_value"] is None
    assert described["compressor"] == {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2, "blocksize": 0}


def test_all_modalities_hold_the_same_samples_in_the_same_files(dataset: Path) -> None:
    held: dict[str, set[tuple[str, ...]]] = {}
    for path in sorted(dataset.glob("all/*/*.zarr.zip")):
        with open_shard(path) as shard:
            held.setdefault(path.name, set()).add(tuple(shard["sample"].values.tolist()))
    assert len(held) == 4
    assert all(len(orders) == 1 for orders in held.values())


def test_the_card_names_what_is_missing_and_why(dataset: Path) -> None:
    card = (dataset / "README.md").read_text(encoding="utf-8")
    ledger = ledger_of(dataset)
    gaps = Counter((row.modality, row.reason) for row in ledger.itertuples() if row.state == "missing" and row.reason)
    assert len(gaps) >= 10
    for (modality, reason), count in gaps.items():
        line = next(line for line in card.splitlines() if line.startswith(f"- {modality}: {count} × {reason} ("))
        assert "see ledger.parquet" not in line
    assert "| S1RTC | – | – | not in this dataset: the source has no such scene | – |" in card
    assert "Contains modified Copernicus Sentinel data 2021, 2022." in card


@pytest.mark.parametrize(("radar", "read"), [("footprint", {"SCL.tif"}), ("measured", {"SCL.tif", "vv.tif"})])
def test_planning_reads_no_spectral_pixel_and_one_band_of_radar_at_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], radar: str, read: set[str]
) -> None:
    site = tiny(32633, *cell_centre(1252, 15934))
    catalogue = write_catalogue(tmp_path / "stac", site)
    for file in (tmp_path / "stac").rglob("*.tif"):
        if file.name not in read:
            file.unlink()
    ring = blob(*cell_centre(1252, 15934))
    places = write_inventory(tmp_path / "one.geojson", [ring], epsg=32633, dates=[f"{EVENT:%Y-%m-%d}"])
    order = Order(catalogue=catalogue, places=places, overrides=RECIPE)
    order = order.with_overrides("series_length=2", "places.negatives=0", f"series.radar={radar}")
    assert main(order.arguments(tmp_path / "out", command="plan")) == 0
    # Two images of twelve bands, each with the classification that says where it is valid; the classification itself,
    # likewise; one pass of two polarisations in two frames; two elevation tiles at most.
    printed = capsys.readouterr().out
    assert "1 patches in 7 files" in printed
    assert any(f"{2 * 13 + 2 * 2 + power + heights} windows" in printed for power in (2, 4) for heights in (1, 2))
    assert not list((tmp_path / "out").rglob("*.zarr.zip"))
    assert (tmp_path / "out" / "plan.parquet").is_file()


def test_slides_lie_where_the_tests_think(dataset: Path) -> None:
    assert CORNER == (1258 * CELL, 15935 * CELL)
    assert {frame.cell for frame in stored_frames(dataset, "MASK")} >= {cell for cell, _ in SLIDES} - {NOTHING}
