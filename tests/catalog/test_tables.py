"""The tables of a dataset: what was decided comes back, and the metadata are those of SSL4EO-S12 v1.1."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from support.records import DAY, make_choice, make_grid, make_recipe, make_sample, make_scene, make_score, rectangle

from pipeline import grid as grids
from pipeline.catalog import Decided, read_decided, write_built, write_decided
from pipeline.catalog.built import LedgerRow
from pipeline.catalog.codec import from_table, read_table
from pipeline.errors import LayoutError
from pipeline.plan.packing import Place, make_shards, pack
from pipeline.receipts import plan_digest
from pipeline.records import (
    Event,
    Moments,
    PatchReport,
    PlanRow,
    Reason,
    RejectedEvent,
    Sample,
    Shard,
    ShardReport,
    Unreadable,
)

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
GOLDEN = SHARED / "golden" / "ssl4eo-s12" / "val_metadata.parquet"
RECIPE = make_recipe("series_length=2", "modalities=[S2L2A, S1ASC, DEM]", "samples_per_shard=2", "bands.S2L2A=[B04]")
LATER = DAY + timedelta(days=9, hours=9, seconds=31)

NORTH = make_sample("north", event_ids=("e1",), event_dates=(DAY,))
SOUTH = make_sample("south", grid=make_grid(epsg=32733, top=4_900_000.0), is_annotated=False)
UNSERVED = make_sample("unserved", grid=make_grid(left=500_320.0), lattice_x=3, lattice_y=-4)


def rows_of(sample: Sample) -> list[PlanRow]:
    first = make_choice("p1", DAY - timedelta(days=5, hours=-10), tile="T33TVM", baseline="05.09", cloud=0.1, bad=0.15)
    second = make_choice("p2", LATER, tile="T32TQS", relative_orbit=79, offset_rule="stated")
    gap = PlanRow(sample_id=sample.id, modality="S1ASC", timestep=1, choice=None, reason=Reason.NO_IMAGE_AFTER)
    return [
        PlanRow(sample_id=sample.id, modality="S2L2A", timestep=0, choice=first, alternates=(second, first)),
        PlanRow(sample_id=sample.id, modality="S2L2A", timestep=1, choice=second),
        PlanRow(sample_id=sample.id, modality="S1ASC", timestep=0, choice=make_choice("orbit", assets=())),
        gap,
        PlanRow(sample_id=sample.id, modality="DEM", timestep=0, choice=make_choice("dem")),
    ]


def empty_rows(sample: Sample) -> list[PlanRow]:
    rows = [replace(row, choice=None, alternates=(), reason=Reason.NO_SCENE) for row in rows_of(sample)]
    return [replace(row, reason=Reason.NO_COVERAGE) if row.modality == "DEM" else row for row in rows]


@pytest.fixture
def decided() -> Decided:
    samples = (NORTH, SOUTH, UNSERVED)
    scenes = (make_scene("s", DAY, extras={"generated": "20230901T000000"}, cloud_cover=3.5), make_scene("t", LATER))
    places = pack([NORTH, SOUTH], RECIPE) | {"unserved": Place(split="", shard="", position=-1)}
    return Decided(
        samples=samples,
        events=(Event(id="e1", date=DAY, wkb=rectangle(NORTH.grid, left=0.4, right=0.5, bottom=0.1, top=0.2)),),
        scenes=scenes,
        scores=tuple(make_score(sample, scene, cloud=0.125) for sample in samples for scene in scenes),
        rows=tuple(row for s in samples for row in (empty_rows(s) if s is UNSERVED else rows_of(s))),
        places=places,
    )


def shards_of(decided: Decided) -> list[Shard]:
    events = {event.id: event for event in decided.events}
    return make_shards(decided.samples, events, decided.places, decided.rows, RECIPE)


def report_of(shard: Shard, **changes: Any) -> ShardReport:
    patches = tuple(
        PatchReport(
            sample_id=row.sample_id,
            timestep=row.timestep,
            state="written" if row.choice else "missing",
            reason=row.reason,
            acquisition=row.choice.acquisition if row.choice else "",
            scene_ids=tuple(asset.scene_id for asset in row.choice.assets) if row.choice else (),
            valid=0.5 if row.choice else 0.0,
            cloud=row.choice.cloud if row.choice else None,
        )
        for row in shard.rows
    )
    moments = (Moments(count=2, mean=3.0, m2=2.0, minimum=2.0, maximum=4.0),) * len(shard.bands)
    whole = ShardReport(path=shard.path, plan_digest="d", state="done", patches=patches, moments=moments)
    return replace(whole, **changes)


def build(root: Path, decided: Decided, **changes: dict[str, Any]) -> tuple[Sequence[LedgerRow], dict[str, Any]]:
    """Write what building gives; `changes` are changes of the reports by modality."""
    shards = shards_of(decided)
    reports = [report_of(shard, **changes.get(shard.modality, {})) for shard in shards]
    return write_built(root, decided, shards, reports)


def test_what_was_decided_comes_back(tmp_path: Path, decided: Decided) -> None:
    write_decided(tmp_path, decided)
    assert read_decided(tmp_path) == decided


def test_events_keep_what_is_known_of_their_date(tmp_path: Path, decided: Decided) -> None:
    (plain,) = decided.events
    told = replace(
        plain,
        id="e2",
        date_from=DAY - timedelta(days=5),
        date_to=DAY + timedelta(days=5),
        confidence=0.43,
        region="hill",
    )
    write_decided(tmp_path, replace(decided, events=(plain, told)))
    assert read_decided(tmp_path).events == (plain, told)
    frame = gpd.read_parquet(tmp_path / "events.parquet")
    assert frame["date_from"].isna().tolist() == frame["confidence"].isna().tolist() == [True, False]
    assert frame["date_to"][1] == told.date_to
    assert (frame["confidence"][1], frame["region"][1]) == (0.43, "hill")


def test_a_plan_that_was_read_back_has_the_digests_of_the_one_that_was_made(tmp_path: Path, decided: Decided) -> None:
    write_decided(tmp_path, decided)
    back = read_decided(tmp_path)
    assert [plan_digest(shard, RECIPE) for shard in shards_of(back)] == [
        plan_digest(shard, RECIPE) for shard in shards_of(decided)
    ]


REJECTED = (
    RejectedEvent(id="e2", region="here", reason="bad_date", detail="'soon' is no day", wkb=rectangle(make_grid())),
    RejectedEvent(id="e3", region="here", reason="no_geometry", detail="geometry is null"),
)


@pytest.mark.parametrize("rejected", [REJECTED, REJECTED[1:], REJECTED[:1]])
def test_rejected_events_come_back_with_and_without_polygons(tmp_path: Path, decided: Decided, rejected: Any) -> None:
    write_decided(tmp_path, replace(decided, rejected=rejected))
    assert read_decided(tmp_path).rejected == rejected
    frame = gpd.read_parquet(tmp_path / "rejected.parquet")
    assert frame.geometry.isna().tolist() == [not event.wkb for event in rejected]


def test_rejected_events_lead_the_ledger_and_change_no_other_row(tmp_path: Path, decided: Decided) -> None:
    plain, _ = build(tmp_path / "plain", decided)
    ledger, _ = build(tmp_path / "odd", replace(decided, rejected=REJECTED))
    assert list(ledger[2:]) == list(plain)
    assert [(row.event_id, row.state, row.reason, row.detail) for row in ledger[:2]] == [
        (event.id, "rejected", event.reason, event.detail) for event in REJECTED
    ]
    assert from_table(read_table(tmp_path / "odd" / "ledger.parquet"), LedgerRow) == ledger


def test_a_dataset_of_points_has_no_events_and_may_have_no_scores(tmp_path: Path, decided: Decided) -> None:
    plain = replace(
        decided, samples=tuple(replace(s, event_ids=(), event_dates=()) for s in decided.samples), events=(), scores=()
    )
    write_decided(tmp_path, plain)
    assert read_decided(tmp_path) == plain


def test_places_are_kept_beside_samples_and_files_beside_rows(tmp_path: Path, decided: Decided) -> None:
    write_decided(tmp_path, decided)
    samples = pd.read_parquet(tmp_path / "samples.parquet", columns=["id", "shard", "position"])
    assert samples.to_numpy().tolist() == [
        ["north", "landslides_all_000001", 0],
        ["south", "landslides_all_000001", 1],
        ["unserved", "", -1],
    ]
    plan = pq.read_table(tmp_path / "plan.parquet")
    assert set(plan["shard"].to_pylist()) == {"landslides_all_000001", ""}


@pytest.mark.parametrize("table", ["samples", "events", "scenes"])
def test_places_events_and_scenes_open_in_geopandas(tmp_path: Path, decided: Decided, table: str) -> None:
    write_decided(tmp_path, decided)
    frame = gpd.read_parquet(tmp_path / f"{table}.parquet")
    expected = {
        "samples": [grids.footprint(sample.grid) for sample in decided.samples],
        "events": [shapely.from_wkb(event.wkb) for event in decided.events],
        "scenes": [shapely.from_wkb(scene.footprint) for scene in decided.scenes],
    }
    assert list(frame.geometry) == expected[table]
    assert frame.crs == "OGC:CRS84"
    assert frame["id"].tolist() == [record.id for record in getattr(decided, table)]


def test_no_reference_in_the_tables_is_signed(tmp_path: Path, decided: Decided) -> None:
    write_decided(tmp_path, decided)
    hrefs = [href for row in pq.read_table(tmp_path / "scenes.parquet")["hrefs"].to_pylist() for _, href in row]
    assert hrefs
    assert not any("?" in href for href in hrefs)


@pytest.mark.parametrize("table", ["samples", "events", "scenes", "survey", "plan"])
def test_a_table_that_is_missing_or_damaged_is_named(tmp_path: Path, decided: Decided, table: str) -> None:
    write_decided(tmp_path, decided)
    path = tmp_path / f"{table}.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(LayoutError, match=rf"{table}\.parquet is not a whole parquet file"):
        read_decided(tmp_path)
    path.unlink()
    with pytest.raises(LayoutError, match=rf"{table}\.parquet does not exist"):
        read_decided(tmp_path)


@pytest.mark.parametrize(
    ("table", "column"),
    [("samples", "shard"), ("samples", "position"), ("events", "geometry"), ("scenes", "geometry"), ("plan", "choice")],
)
def test_a_table_without_one_of_its_columns_is_damaged(
    tmp_path: Path, decided: Decided, table: str, column: str
) -> None:
    write_decided(tmp_path, decided)
    path = tmp_path / f"{table}.parquet"
    pq.write_table(pq.read_table(path).drop_columns(column), path)
    with pytest.raises(LayoutError, match=rf"column {column}"):
        read_decided(tmp_path)


def test_an_image_is_done_without_for_a_known_reason(tmp_path: Path, decided: Decided) -> None:
    (sample_id, *_) = decided.places
    image = Unreadable(
        sample_id=sample_id, product="S2L2A", acquisition="a", modality="S2L2A", reason="unreadable", detail="",
        scene_ids=("a",),
    )  # fmt: skip
    write_decided(tmp_path, replace(decided, unreadable=(image,)))
    assert read_decided(tmp_path).unreadable == (image,)
    write_decided(tmp_path, replace(decided, unreadable=(replace(image, reason="rain"),)))
    with pytest.raises(LayoutError, match=r"unreadable\.parquet gives the reason 'rain'"):
        read_decided(tmp_path)


def test_the_ledger_has_a_row_for_every_row_of_the_plan(tmp_path: Path, decided: Decided) -> None:
    ledger, _ = build(tmp_path, decided)
    assert [(row.sample_id, row.modality, row.timestep) for row in ledger] == sorted(
        (row.sample_id, row.modality, row.timestep) for row in decided.rows
    )
    assert from_table(read_table(tmp_path / "ledger.parquet"), LedgerRow) == ledger
    by_key = {(row.sample_id, row.modality, row.timestep): row for row in ledger}
    written = by_key["north", "S2L2A", 0]
    assert (written.state, written.acquisition, written.scene_ids) == ("written", "p1", ("p1",))
    assert (written.shard, written.cloud) == ("all/S2L2A/landslides_all_000001.zarr.zip", 0.1)
    assert by_key["north", "S1ASC", 1].reason == Reason.NO_IMAGE_AFTER
    unserved = by_key["unserved", "S2L2A", 0]
    assert (unserved.state, unserved.reason, unserved.shard) == ("missing", Reason.NO_SCENE, "")


def test_a_file_that_was_not_built_is_unfinished_and_says_why(tmp_path: Path, decided: Decided) -> None:
    shards = shards_of(decided)
    reports = [report_of(s, state="unfinished", error="HTTP 503") for s in shards if s.modality == "DEM"]
    ledger, statistics = write_built(tmp_path, decided, shards, reports)
    details = {(row.modality, row.state, row.detail) for row in ledger if row.sample_id == "north"}
    assert details == {
        ("DEM", "unfinished", "HTTP 503"),
        ("S2L2A", "unfinished", "not built"),
        ("S1ASC", "unfinished", "not built"),
    }
    assert statistics == {}
    assert not (tmp_path / "metadata").exists()


def test_statistics_merge_files_and_leave_classes_out(tmp_path: Path, decided: Decided) -> None:
    recipe = make_recipe("series_length=2", "samples_per_shard=1", "modalities=[SCL, DEM]")
    rows = [
        PlanRow(sample_id=sample.id, modality=name, timestep=0, choice=make_choice())
        for sample in (NORTH, SOUTH)
        for name in ("SCL", "DEM")
    ]
    small = replace(decided, samples=(NORTH, SOUTH), rows=tuple(rows), places=pack([NORTH, SOUTH], recipe))
    shards = make_shards(small.samples, {"e1": decided.events[0]}, small.places, rows, recipe)
    values = ([1.0, 5.0], [9.0, 2.0, 2.0])
    moments = [
        Moments(count=len(v), mean=float(np.mean(v)), m2=float(np.var(v) * len(v)), minimum=min(v), maximum=max(v))
        for v in values
    ]
    reports = [report_of(shard, moments=(moments[int(shard.name[-1]) - 1],)) for shard in shards]
    _, statistics = write_built(tmp_path, small, shards, reports)
    joined = [1.0, 5.0, 9.0, 2.0, 2.0]
    assert statistics == {
        "DEM": {
            "DEM": {
                "count": 5,
                "mean": pytest.approx(np.mean(joined)),
                "std": pytest.approx(np.std(joined)),
                "min": 1.0,
                "max": 9.0,
            }
        }
    }
    assert json.loads((tmp_path / "statistics.json").read_text()) == statistics


def test_a_band_without_a_valid_pixel_has_no_statistics_but_strict_json(tmp_path: Path, decided: Decided) -> None:
    build(tmp_path, decided, DEM={"moments": (Moments(),)})
    text = (tmp_path / "statistics.json").read_text()
    tree = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert tree["DEM"]["DEM"] == {"count": 0, "mean": None, "std": None, "min": None, "max": None}


@pytest.fixture
def metadata(tmp_path: Path, decided: Decided) -> Path:
    build(tmp_path, decided)
    return tmp_path / "metadata" / "all_metadata.parquet"


@pytest.fixture
def golden() -> Path:
    if not GOLDEN.is_file():
        pytest.skip("the published metadata of SSL4EO-S12 v1.1 are not here: no folder ../shared/golden")
    return GOLDEN


def test_metadata_begin_with_the_published_columns_in_order(metadata: Path, golden: Path) -> None:
    published, ours = gpd.read_parquet(golden), gpd.read_parquet(metadata)
    assert list(ours.columns)[: len(published.columns)] == list(published.columns)
    assert ours.index.name == published.index.name == "idx"
    assert ours.index.dtype == published.index.dtype
    first = ours[list(published.columns)]
    assert dict(first.dtypes) == dict(published.dtypes)
    assert ours.crs == published.crs


def test_metadata_have_the_published_arrow_types(metadata: Path, golden: Path) -> None:
    published, ours = pq.read_schema(golden), pq.read_schema(metadata)
    assert {name: ours.field(name).type for name in published.names} == {
        name: published.field(name).type for name in published.names
    }


def test_metadata_are_the_published_geoparquet(metadata: Path, golden: Path) -> None:
    published, ours = (json.loads(pq.read_schema(path).metadata[b"geo"]) for path in (golden, metadata))
    assert ours["version"] == published["version"] == "1.0.0"
    assert ours["primary_column"] == published["primary_column"]
    told, here = published["columns"]["geometry"], ours["columns"]["geometry"]
    assert (here["encoding"], here["geometry_types"]) == (told["encoding"], told["geometry_types"])
    assert here["crs"]["id"] == told["crs"]["id"]


def published_grid(row: Any, epsg: int) -> Any:
    """The square that a published row describes."""
    lon, lat = np.array(row.geometry.exterior.coords)[:4].T
    easting, northing = grids.to_utm(lon=lon, lat=lat, epsg=epsg)
    return make_grid(epsg=epsg, left=float(round(easting[2], 3)), top=float(round(northing[1], 3)), size=264)


def test_squares_are_those_published_vertex_by_vertex(tmp_path: Path, decided: Decided, golden: Path) -> None:
    published = gpd.read_parquet(golden)
    # All four dates of a sample on tiles of one zone: there the sample's zone is the tiles'.
    zones = published.groupby("sample_id")["tile_crs"].nunique()
    rows = published[published["sample_id"].isin(zones[zones == 1].index) & (published["time_id"] == 0)].iloc[::97]
    assert len(rows) > 20
    samples = [
        make_sample(row.sample_id, grid=published_grid(row, int(row.tile_crs))) for row in rows.itertuples(index=False)
    ]
    plan = [replace(rows_of(sample)[0], sample_id=sample.id) for sample in samples]
    ours = replace(decided, samples=tuple(samples), rows=tuple(plan), places=pack(samples, RECIPE), events=())
    build(tmp_path, ours)
    frame = gpd.read_parquet(tmp_path / "metadata" / "all_metadata.parquet")
    assert frame["sample_id"].tolist() == rows["sample_id"].tolist()
    for square, expected in zip(frame.geometry, rows.geometry, strict=True):
        np.testing.assert_allclose(square.exterior.coords, expected.exterior.coords, rtol=0, atol=1e-9)


def test_a_square_has_five_vertices_from_its_lower_right_corner_on(metadata: Path) -> None:
    for sample, square in zip((NORTH, NORTH, SOUTH, SOUTH), gpd.read_parquet(metadata).geometry, strict=True):
        left, bottom, right, top = sample.grid.bounds
        easting, northing = grids.to_utm(
            lon=[x for x, _ in square.exterior.coords],
            lat=[y for _, y in square.exterior.coords],
            epsg=sample.grid.epsg,
        )
        corners = [(right, bottom), (right, top), (left, top), (left, bottom), (right, bottom)]
        np.testing.assert_allclose(np.stack([easting, northing], axis=-1), corners, rtol=0, atol=1e-4)


def test_a_square_across_the_antimeridian_is_cut_there(tmp_path: Path, decided: Decided) -> None:
    sample = make_sample("seam", grid=make_grid(epsg=32660, left=825_000.0, top=1_000_000.0, size=256, resolution=40.0))
    rows = [replace(row, sample_id="seam") for row in rows_of(sample)]
    build(tmp_path, replace(decided, samples=(sample,), rows=tuple(rows), places=pack([sample], RECIPE), events=()))
    frame = gpd.read_parquet(tmp_path / "metadata" / "all_metadata.parquet")
    for square in frame.geometry:
        assert square.geom_type == "MultiPolygon"
        assert square.bounds[0] == -180.0
        assert square.bounds[2] == 180.0
        assert square.area < 0.1


def test_metadata_rows_say_what_is_in_the_files(metadata: Path) -> None:
    frame = gpd.read_parquet(metadata)
    assert frame.index.tolist() == ["north_0", "north_1", "south_0", "south_1"]
    assert frame["time_id"].tolist() == [0, 1, 0, 1]
    assert frame["file"].tolist() == ["landslides_all_000001.zarr.zip"] * 4
    assert frame["tile_id"].tolist() == ["T33TVM", "T32TQS"] * 2
    assert frame["tile_crs"].tolist() == [32633, 32632] * 2
    assert frame["sample_crs"].tolist() == [32633, 32633, 32733, 32733]
    assert frame["position"].tolist() == [0, 0, 1, 1]
    assert frame["time"].tolist() == [datetime(2023, 7, 27, 10), datetime(2023, 8, 10, 9, 0, 31)] * 2  # noqa: DTZ001
    assert frame["is_annotated"].tolist() == [True, True, False, False]
    assert frame["cloud"].iloc[0] == 0.1


@pytest.mark.parametrize(("tile", "expected"), [("T33TVM", 32633), ("T01CCV", 32701), ("T60NUF", 32660), ("", 32733)])
def test_the_zone_of_a_tile_follows_its_latitude_band(
    tmp_path: Path, decided: Decided, tile: str, expected: int
) -> None:
    row = replace(rows_of(SOUTH)[0], choice=make_choice("p", tile=tile))
    build(tmp_path, replace(decided, samples=(SOUTH,), rows=(row,), places=pack([SOUTH], RECIPE), events=()))
    assert gpd.read_parquet(tmp_path / "metadata" / "all_metadata.parquet")["tile_crs"].tolist() == [expected]


def test_patches_that_are_not_in_the_files_have_no_metadata(tmp_path: Path, decided: Decided) -> None:
    shards = shards_of(decided)
    reports = [report_of(shard) for shard in shards]
    gone = [replace(p, state="missing", reason="unreadable") if p.timestep else p for p in reports[2].patches]
    assert shards[2].modality == "S2L2A"
    reports[2] = replace(reports[2], patches=tuple(gone))
    write_built(tmp_path, decided, shards, reports)
    frame = gpd.read_parquet(tmp_path / "metadata" / "all_metadata.parquet")
    assert frame.index.tolist() == ["north_0", "south_0"]


def test_column_types_do_not_depend_on_what_is_missing(tmp_path: Path, decided: Decided) -> None:
    types = []
    for name, orbit in (("all", 79), ("none", None)):
        rows = [
            replace(row, choice=replace(row.choice, relative_orbit=orbit, cloud=None, bad=None))
            for row in rows_of(NORTH)
            if row.choice
        ]
        part = replace(decided, samples=(NORTH,), rows=tuple(rows), places=pack([NORTH], RECIPE))
        build(tmp_path / name, part)
        schema = pq.read_schema(tmp_path / name / "metadata" / "all_metadata.parquet")
        types.append({field.name: str(field.type) for field in schema})
    assert types[0] == types[1]
    assert types[0]["orbit"] == "int64"
    assert types[0]["cloud"] == types[0]["bad"] == "double"
