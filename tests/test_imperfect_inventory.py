"""Inventories and archives with holes: every row and every image that cannot be used is told why, and nothing is made
up in its place."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from support.catalogue import (
    EVENT,
    Overpass,
    blob,
    cell_centre,
    elevation_file,
    tiny,
    write_catalogue,
    write_inventory,
    write_json,
)
from support.orders import Order, tree_digest

from pipeline import open_shard
from pipeline.cli import main
from pipeline.validate import validate

pytest_plugins = ["support.fixtures"]

DAY = f"{EVENT:%Y-%m-%d}"
LABELLED, SPOILT, ALONE = (1252, 15934), (1256, 15934), (1254, 15936)
"""Cells: one with a good event, one with a good and an undated event, one with an undated event alone."""


def slide(cell: tuple[int, int], **changes: Any) -> dict[str, Any]:
    """One row; `geometry` None is null, a ring becomes a polygon."""
    fields = {"event_date": DAY, "where": "Valley", "geometry": blob(*cell_centre(*cell)), **changes}
    ring = fields.pop("geometry")
    geometry = {"type": "Polygon", "coordinates": [[*map(list, ring), list(ring[0])]]} if ring else None
    return {"type": "Feature", "properties": fields, "geometry": geometry}


def bow_tie(cell: tuple[int, int]) -> list[tuple[float, float]]:
    east, north = cell_centre(*cell)
    return [(east, north), (east + 80.0, north + 80.0), (east + 80.0, north), (east, north + 80.0)]


ROWS = {
    "good": slide(LABELLED),
    "impossible": slide(ALONE, event_date="2023-02-30"),
    "mixed": slide(SPOILT, event_date="16/05/2023", geometry=blob(*cell_centre(*SPOILT), radius=40.0)),
    "beside": slide(SPOILT),
    "twice": slide(LABELLED, geometry=blob(*cell_centre(*LABELLED), radius=61.0)),
    "null": slide(LABELLED, geometry=None),
    "torn": slide(LABELLED, geometry=bow_tie((1258, 15936))),
    "namesake": slide((1250, 15933), where="valley ", event_date="2022-02-01"),
    "nowhere": slide(LABELLED, geometry=blob(640_000.0, 5_100_000.0)),
    "long-ago": slide((1259, 15935), event_date="2010-06-01"),
}
EXPECTED = {
    "impossible": "bad_date",
    "mixed": "bad_date",
    "twice": "duplicate",
    "null": "no_geometry",
    "torn": "invalid_geometry",
    "namesake": "region_name_taken",
    "nowhere": "outside_source",
    "long-ago": "outside_source",
}


def imperfect_order(order: Order, folder: Path) -> Order:
    features = [{**row, "properties": {"slide": name, **row["properties"]}} for name, row in ROWS.items()]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    places = write_json(folder / "odd.geojson", {"type": "FeatureCollection", "crs": crs, "features": features})
    more = ("series_length=3", "bands.S2L2A=[B02]", "places.columns.region=where", "places.negatives=4")
    return replace(order, places=places).with_overrides(*more)


@pytest.fixture(scope="module")
def odd_order(order: Order, tmp_path_factory: pytest.TempPathFactory) -> Order:
    return imperfect_order(order, tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="module")
def odd(odd_order: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_order.build(tmp_path_factory.mktemp("odd-built") / "dataset")


def table(root: Path, name: str) -> pd.DataFrame:
    return pq.read_table(root / f"{name}.parquet").to_pandas()


def test_every_row_that_cannot_be_used_is_in_the_ledger_with_its_reason(odd: Path) -> None:
    ledger = table(odd, "ledger")
    rejected = ledger[ledger.state == "rejected"]
    assert dict(zip(rejected.event_id, rejected.reason, strict=True)) == EXPECTED
    assert rejected.detail.map(bool).all()
    assert set(zip(rejected.sample_id, rejected.modality, rejected.timestep, strict=True)) == {("", "", -1)}
    assert validate(odd) == []


def test_the_polygons_of_rejected_events_open_in_geopandas(odd: Path) -> None:
    frame = gpd.read_parquet(odd / "rejected.parquet").set_index("id")
    assert frame.reason.to_dict() == EXPECTED
    assert frame.geometry.isna().to_dict() == {name: name == "null" for name in EXPECTED}
    assert frame.crs == "OGC:CRS84"


def test_one_line_for_each_reason_is_printed_by_plan_and_build(
    odd_order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(odd_order.arguments(tmp_path / "out", command="plan")) == 0
    planned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rejected: ")]
    assert main(odd_order.arguments(tmp_path / "out", "--resume")) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    built = [line for line in captured.out.splitlines() if line.startswith("rejected: ")]
    assert planned == built
    counts = Counter(EXPECTED.values())
    assert len(built) == len(counts)
    for line, (reason, count) in zip(built, sorted(counts.items()), strict=True):
        assert line.startswith(f"rejected: {count} event{'s' if count > 1 else ''} × {reason}: ")
        assert "see ledger.parquet" not in line
    assert "(first: event impossible: '2023-02-30' in column event_date is missing or not YYYY-MM-DD" in built[0]
    assert "missing: MASK 1 × undated_event" in captured.out


def test_the_card_tells_of_rejected_events(odd: Path) -> None:
    card = (odd / "README.md").read_text(encoding="utf-8")
    section = card.split("## Rejected events")[1].split("\n## ")[0]
    assert section.count("\n- ") == len(set(EXPECTED.values()))
    assert "- 1 event × no_geometry: the geometry is null or empty (first: event null: " in section


def test_a_sample_that_an_undated_slide_reaches_into_is_in_no_file(odd: Path) -> None:
    samples = table(odd, "samples").set_index(["lattice_x", "lattice_y"])
    spoilt = samples.loc[SPOILT]
    assert (spoilt.shard, spoilt.position) == ("", -1)
    assert samples.loc[LABELLED].shard
    ledger = table(odd, "ledger")
    rows = ledger[ledger.sample_id == spoilt.id]
    assert set(rows.state) == {"missing"}
    assert set(rows.reason) == {"undated_event"}
    series = Counter(rows.modality)
    assert (series["S2L2A"], series["MASK"], series["DEM"]) == (3, 1, 1)
    assert not (table(odd, "survey").sample_id == spoilt.id).any()


def test_no_negative_lies_where_a_rejected_event_is(odd: Path) -> None:
    samples = gpd.read_parquet(odd / "samples.parquet")
    negatives = samples[~samples.is_annotated]
    assert len(negatives) >= 8
    rejected = gpd.read_parquet(odd / "rejected.parquet")
    for polygon in rejected.geometry.dropna():
        assert not negatives.intersects(polygon).any()
    assert set(samples.region) == {"valley"}
    assert ALONE not in set(zip(samples.lattice_x, samples.lattice_y, strict=True))


def test_validation_notices_a_rejected_event_that_is_gone(odd: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(odd, copy)
    rejected = pq.read_table(copy / "rejected.parquet")
    pq.write_table(rejected.slice(1), copy / "rejected.parquet")
    assert [str(finding) for finding in validate(copy)] == [
        "ledger.parquet: is not the union of the receipts: 1 rows differ"
    ]
    (copy / "rejected.parquet").unlink()
    (finding,) = validate(copy)
    assert "rejected.parquet does not exist" in str(finding)


def test_a_finished_dataset_is_left_as_it_is_on_resume(odd_order: Order, odd: Path) -> None:
    before = {name: digest for name, (digest, _) in tree_digest(odd).items()}
    odd_order.build(odd, "--resume")
    assert {name: digest for name, (digest, _) in tree_digest(odd).items()} == before


def one_clear_date(folder: Path) -> Order:
    site = replace(
        tiny(32633, *cell_centre(1252, 15934)),
        overpasses=(
            Overpass(day=-30, sky="overcast"),
            Overpass(day=-10),
            Overpass(day=10, sky="overcast", baseline="04.00"),
            Overpass(day=20, sky="cirrus", baseline="04.00"),
        ),
    )
    places = write_inventory(folder / "hill.geojson", [blob(*cell_centre(1252, 15934))], epsg=32633, dates=[DAY])
    overrides = ("patch_size=32", "series_length=4", "window.before=40", "window.after=40", "places.negatives=0")
    return Order(catalogue=write_catalogue(folder / "stac", site), places=places, overrides=overrides)


def test_of_a_region_with_one_clear_date_that_one_is_stored_and_nothing_is_made_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = one_clear_date(tmp_path).with_overrides("modalities=[S2L2A,SCL,MASK]").build(tmp_path / "out")
    printed = capsys.readouterr().out
    ledger = table(dataset, "ledger")
    optical = ledger[ledger.modality == "S2L2A"].sort_values("timestep")
    assert optical.state.tolist() == ["written", "missing", "missing", "missing"]
    assert optical.reason.tolist() == ["", "no_image_after", "series_short", "series_short"]
    assert "missing: S2L2A 1 × no_image_after" in printed
    assert "missing: S2L2A 2 × series_short" in printed
    with open_shard(dataset / "all" / "S2L2A" / "landslides_all_000001.zarr.zip") as shard:
        bands, times = shard["bands"].values, shard["time_"].values
        assert np.isnat(times).tolist() == [[False, True, True, True]]
        assert (bands[0, 1:] == -32768).all()
        assert (bands[0, 0] != -32768).mean() > 0.95
        assert (shard["cloud_mask"].values[0, 1:] == 6).all()
    assert validate(dataset) == []


def mean_slope(order: Order, bounds: tuple[float, float, float, float], size: int) -> float:
    """Mean slope [degrees] of both elevation tiles, warped onto the patch: smoothed central differences."""
    left, top = bounds[0] - 10.0, bounds[3] + 10.0
    heights = np.full((size + 2, size + 2), np.nan, np.float32)
    for index in (0, 1):
        with (
            rasterio.open(elevation_file(order.catalogue, index)) as raster,
            WarpedVRT(
                raster, crs="EPSG:32633", transform=rasterio.Affine(10, 0, left, 0, -10, top), width=size + 2,
                height=size + 2, resampling=Resampling.bilinear, nodata=-9999.0,
            ) as warped,
        ):  # fmt: skip
            found = warped.read(1)
        heights = np.where(np.isnan(heights) & (found != -9999.0), found, heights)
    along, across = np.gradient(heights.astype(np.float64), 10.0)
    smooth = np.array([1.0, 2.0, 1.0]) / 4.0
    across = np.apply_along_axis(np.convolve, 0, across, smooth, "same")[1:-1, 1:-1]
    along = np.apply_along_axis(np.convolve, 1, along, smooth, "same")[1:-1, 1:-1]
    return float(np.nanmean(np.degrees(np.arctan(np.hypot(across, along)))))


def test_negatives_are_as_steep_as_asked_for_by_the_sources_elevation(
    odd_order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def negatives(name: str, *more: str) -> gpd.GeoDataFrame:
        order = odd_order.with_overrides("places.negatives=1000", *more)
        assert main(order.arguments(tmp_path / name, command="plan")) == 0
        frame = gpd.read_parquet(tmp_path / name / "samples.parquet")
        return frame[~frame.is_annotated].to_crs(32633)

    everywhere = negatives("everywhere")
    slopes = np.array([mean_slope(odd_order, square.bounds, 32) for square in everywhere.geometry])
    low, high = np.sort(slopes)[len(slopes) // 2 :][:2]
    assert high - low > 1e-4
    steep = negatives("steep", f"places.min_slope={(low + high) / 2}")
    assert set(steep.id) == set(everywhere.id[slopes >= high])
    assert 0 < len(steep) < len(everywhere)
    assert f"negatives: {len(steep)} of 4000 wanted could be drawn in valley" in capsys.readouterr().out
    assert negatives("none", "places.min_slope=89.99").empty
    assert "negatives: 0 of 4000 wanted could be drawn in valley" in capsys.readouterr().out


def test_two_regions_of_one_file_are_built_side_by_side(order: Order, tmp_path: Path) -> None:
    cells = {"North Hill": [(1252, 15934), (1254, 15936)], "south_hill": [(1256, 15932), (1252, 15934)]}
    features = [slide(cell, where=name, slide=f"{name}-{n}") for name in cells for n, cell in enumerate(cells[name])]
    features[-1] = slide((1252, 15934), where="south_hill", slide="later", event_date="2022-02-10")
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    places = write_json(tmp_path / "two.geojson", {"type": "FeatureCollection", "crs": crs, "features": features})
    more = ("series_length=2", "modalities=[SCL,MASK]", "places.columns.region=where", "places.negatives=2")
    dataset = replace(order, places=places).with_overrides(*more).build(tmp_path / "out")
    assert validate(dataset) == []
    samples = table(dataset, "samples")
    annotated = samples[samples.is_annotated].set_index(["lattice_x", "lattice_y"])
    assert annotated.region.to_dict() == {
        (1252, 15934): "north-hill", (1254, 15936): "north-hill", (1256, 15932): "south-hill",
    }  # fmt: skip
    assert annotated.loc[(1252, 15934)].event_ids.tolist() == ["North Hill-0", "later"]
    assert samples.id.is_unique
    assert not samples.duplicated(["lattice_x", "lattice_y"]).any()
    assert (samples.id.str.rpartition("_")[0] == samples.region).all()
    assert set(samples[~samples.is_annotated].region) == {"north-hill", "south-hill"}
    assert set(table(dataset, "events").region) == {"north-hill", "south-hill"}


def test_a_blank_inventory_of_bad_rows_is_one_line(
    order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [slide(LABELLED, event_date="2023-02-30"), slide(LABELLED, geometry=None), slide(LABELLED, event_date=None)]
    places = tmp_path / "bad.geojson"
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    places.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": rows}))
    odd = replace(order, places=places).with_overrides("places.columns.id=null")
    assert main(odd.arguments(tmp_path / "out")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "none of 3 events can be used: 2 × bad_date, 1 × no_geometry (first: event 1: '2023-02-30'" in line
    assert not (tmp_path / "out").exists()
