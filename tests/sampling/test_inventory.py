import json
import shutil
import sqlite3
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely
from pyogrio.raw import write_arrow
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from pipeline.errors import RecipeError
from pipeline.records.recipe import Columns, Places
from pipeline.sampling import read_inventory

PLACES = Places(columns=Columns(id="id"))
SQUARES = [box(10.0, 45.0, 10.001, 45.001), box(10.01, 45.0, 10.011, 45.001), box(10.02, 45.0, 10.021, 45.001)]
DAYS = ["2020-03-01", "2019-05-06", "2020-03-01"]


def slides(**columns) -> gpd.GeoDataFrame:
    geometry = columns.pop("geometry", SQUARES)
    crs = columns.pop("crs", 4326)
    table = {"id": ["b", "c", "a"], "event_date": DAYS} | columns
    return gpd.GeoDataFrame(
        {key: value for key, value in table.items() if value is not None}, geometry=geometry, crs=crs
    )


def write(frame: gpd.GeoDataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".zip":
        folder = path.parent / "unzipped"
        folder.mkdir()
        frame.to_file(folder / "slides.shp")
        with zipfile.ZipFile(path, "w") as archive:
            for part in folder.iterdir():
                archive.write(part, part.name)
    else:
        frame.to_file(path)
    return path


def message(path: Path, places: Places = PLACES) -> str:
    with pytest.raises(RecipeError) as caught:
        read_inventory(path, places)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp", "a.shp.zip", "a.parquet"])
@pytest.mark.parametrize("crs", [4326, 32632, 3857])
def test_every_format_and_crs_gives_the_same_inventory(name, crs, tmp_path) -> None:
    inventory = read_inventory(write(slides().to_crs(crs), tmp_path / name), PLACES)
    assert inventory.name == "a"
    assert [event.id for event in inventory.events] == ["c", "a", "b"]
    assert [event.date for event in inventory.events] == [
        datetime(2019, 5, 6, tzinfo=UTC), datetime(2020, 3, 1, tzinfo=UTC), datetime(2020, 3, 1, tzinfo=UTC),
    ]  # fmt: skip
    polygons = shapely.from_wkb([event.wkb for event in inventory.events])
    for polygon, square in zip(polygons, [SQUARES[1], SQUARES[2], SQUARES[0]], strict=True):
        assert polygon.symmetric_difference(square).area < 1e-11


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2020-02-29"] * 3, "2020-02-29"),
        (["2020-02-29T23:59:59"] * 3, "2020-02-29"),
        (["2020-02-29 23:30:00-05:00"] * 3, "2020-03-01"),
        (["2020-02-29T23:30:00Z"] * 3, "2020-02-29"),
        (pd.to_datetime(["2020-02-29T12:00"] * 3), "2020-02-29"),
        (pd.to_datetime(["2020-02-29T20:00"] * 3).tz_localize("America/Lima"), "2020-03-01"),
        ([date(2020, 2, 29)] * 3, "2020-02-29"),
    ],
)
def test_dates_of_every_kind_become_midnight_utc(values, expected, tmp_path) -> None:
    inventory = read_inventory(write(slides(event_date=values), tmp_path / "a.parquet"), PLACES)
    assert {event.date for event in inventory.events} == {datetime.fromisoformat(expected).replace(tzinfo=UTC)}
    assert {type(event.date) for event in inventory.events} == {datetime}


def test_without_an_id_column_rows_are_numbered_from_one(tmp_path) -> None:
    inventory = read_inventory(write(slides(), tmp_path / "a.gpkg"), Places())
    assert [event.id for event in inventory.events] == ["2", "1", "3"]


@pytest.mark.parametrize(
    ("ids", "expected"), [([7, 8, 9], "7 8 9"), ([7.0, 8.0, 9.5], "7 8 9.5"), (["007", "8", "x"], "007 8 x")]
)
def test_ids_are_text_as_a_person_would_write_them(ids, expected, tmp_path) -> None:
    inventory = read_inventory(write(slides(id=ids), tmp_path / "a.parquet"), PLACES)
    assert sorted(event.id for event in inventory.events) == expected.split()


@pytest.mark.parametrize(
    ("name", "region"),
    [("Italy 2023.gpkg", "italy-2023"), ("Öst_1.shp.zip", "st-1"), ("v1.2.parquet", "v1-2"), ("ä.geojson", "places")],
)
def test_the_region_is_the_file_name_made_fit_for_ids(name, region, tmp_path) -> None:
    assert read_inventory(write(slides(), tmp_path / name), PLACES).name == region


def test_a_given_region_is_kept(tmp_path) -> None:
    places = Places(columns=Columns(id="id"), region="hokkaido")
    assert read_inventory(write(slides(), tmp_path / "a.gpkg"), places).name == "hokkaido"


def test_the_order_of_rows_does_not_matter(tmp_path) -> None:
    frame = slides()
    one = read_inventory(write(frame, tmp_path / "a.gpkg"), PLACES)
    (tmp_path / "other").mkdir()
    assert read_inventory(write(frame.iloc[[2, 0, 1]], tmp_path / "other/a.gpkg"), PLACES) == one


def test_heights_are_dropped(tmp_path) -> None:
    raised = shapely.force_3d(np.array(SQUARES, dtype=object), 100.0)
    events = read_inventory(write(slides(geometry=list(raised)), tmp_path / "a.gpkg"), PLACES).events
    assert not any(shapely.from_wkb(event.wkb).has_z for event in events)


@pytest.mark.parametrize("crs", [4326, 32601, 3832])
def test_a_polygon_across_the_antimeridian_is_cut_there_whatever_its_crs(crs, tmp_path) -> None:
    lonlat = gpd.GeoSeries(
        [Polygon([(179.99, -17.0), (-179.99, -17.0), (-179.99, -16.99), (179.99, -16.99)])], crs=4326
    )
    geometry = lonlat.to_crs(crs)
    frame = gpd.GeoDataFrame({"event_date": ["2020-01-01"]}, geometry=geometry)
    (event,) = read_inventory(write(frame, tmp_path / "a.gpkg"), Places()).events
    polygon = shapely.from_wkb(event.wkb)
    assert isinstance(polygon, MultiPolygon)
    assert polygon.area == pytest.approx(2e-4)
    assert (polygon.bounds[0], polygon.bounds[2]) == (-180.0, 180.0)


def test_a_hole_that_touches_its_shell_in_a_projected_file_is_no_fault(tmp_path) -> None:
    hole = [(5.1e5, 5e6), (5.1e5, 4.994e6), (5.108e5, 4.988e6)]
    touching = Polygon([(5e5, 5e6), (5.2e5, 5e6), (5.1e5, 4.98e6)], [hole])
    assert touching.is_valid
    assert not gpd.GeoSeries([touching], crs=32632).to_crs(4326).is_valid.all()
    frame = gpd.GeoDataFrame({"event_date": ["2020-01-01"]}, geometry=[touching], crs=32632)
    assert len(read_inventory(write(frame, tmp_path / "a.gpkg"), Places()).events) == 1


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    text = message(tmp_path / "none.gpkg")
    assert "none.gpkg does not exist: give the path" in text


def test_an_unknown_kind_of_file_is_refused_with_the_known_ones(tmp_path) -> None:
    (tmp_path / "a.kml").write_text("<kml/>")
    assert "convert it to one of csv, parquet, geoparquet, gpkg, geojson, json, shp, zip" in message(tmp_path / "a.kml")


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp", "a.zip", "a.parquet"])
def test_an_unreadable_file_is_refused(name, tmp_path) -> None:
    (tmp_path / name).write_text("{this is\nno such format")
    assert "cannot be read" in message(tmp_path / name)


def test_a_table_is_no_inventory(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("id,event_date\n1,2020-01-01\n")
    assert "holds no polygons" in message(tmp_path / "a.csv")


def test_an_empty_inventory_is_refused(tmp_path) -> None:
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    assert "a.geojson is empty: an inventory needs at least one polygon" in message(tmp_path / "a.geojson")


def test_several_layers_are_refused_by_name(tmp_path) -> None:
    for layer in ("north", "south"):
        slides().to_file(tmp_path / "a.gpkg", layer=layer)
    assert "has layers north, south: export the one" in message(tmp_path / "a.gpkg")


def test_a_missing_date_column_names_those_there_are_and_the_setting(tmp_path) -> None:
    text = message(write(slides(event_date=None, when=DAYS), tmp_path / "a.gpkg"))
    assert "has no column event_date; its columns are: id, when; use --set places.columns.date=NAME" in text


def test_a_missing_id_column_names_the_setting(tmp_path) -> None:
    text = message(write(slides(id=None), tmp_path / "a.gpkg"))
    assert "has no column id; its columns are: event_date; use --set places.columns.id=NAME" in text


@pytest.mark.parametrize(
    "bad",
    ["2016", "2016-05", "20160501", "01.05.2016", "16/05/2023", "2016-13-01", "2023-02-30", "", None, "none", "soon"],
)
def test_a_date_that_is_missing_or_not_iso_rejects_its_row_and_no_other(bad, tmp_path) -> None:
    inventory = read_inventory(write(slides(event_date=["2020-01-01", bad, bad]), tmp_path / "a.parquet"), PLACES)
    assert [event.id for event in inventory.events] == ["b"]
    assert [(event.id, event.reason) for event in inventory.rejected] == [("a", "bad_date"), ("c", "bad_date")]
    for event, square in zip(inventory.rejected, [SQUARES[2], SQUARES[1]], strict=True):
        assert "in column event_date is missing or not YYYY-MM-DD; mend or remove" in event.detail
        assert bad is None or repr(bad) in event.detail
        assert shapely.from_wkb(event.wkb).equals(square)


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.shp"])
@pytest.mark.parametrize("bad", ["2023-02-30", "16/05/2023", None])
def test_a_bad_date_among_good_ones_is_no_trouble_to_any_reader(name, bad, tmp_path) -> None:
    frame = slides(event_date=["2020-03-01", bad, "2021-03-01"])
    if name == "a.geojson":
        # GDAL takes every text that looks like a date for one, whether or not the calendar has it.
        features = json.loads(frame.to_json())
        (tmp_path / name).write_text(json.dumps(features))
    else:
        write(frame, tmp_path / name)
    inventory = read_inventory(tmp_path / name, PLACES)
    assert [(event.id, f"{event.date:%Y-%m-%d}") for event in inventory.events] == [
        ("b", "2020-03-01"), ("a", "2021-03-01"),
    ]  # fmt: skip
    assert [(event.id, event.reason) for event in inventory.rejected] == [("c", "bad_date")]
    assert bad is None or repr(bad) in inventory.rejected[0].detail


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp"])
def test_a_day_that_no_calendar_has_in_a_column_of_dates_is_told_as_it_is(name, tmp_path) -> None:
    days = pa.array([date(2023, 1, 1), date(2023, 1, 2), None], pa.date32())
    table = pa.table({"id": ["a", "b", "c"], "event_date": days, "geometry": list(shapely.to_wkb(SQUARES))})
    write_arrow(table, tmp_path / name, geometry_name="geometry", geometry_type="Polygon", crs="EPSG:4326")
    if name == "a.gpkg":
        with sqlite3.connect(tmp_path / name) as database:
            for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                database.execute(f'DROP TRIGGER "{trigger}"')
            database.execute("UPDATE a SET event_date = '2023-02-30' WHERE id = 'a'")
    else:
        content = (tmp_path / "a.dbf").read_bytes()
        assert content.count(b"20230101") == 1
        (tmp_path / "a.dbf").write_bytes(content.replace(b"20230101", b"20230230"))
    inventory = read_inventory(tmp_path / name, PLACES)
    assert [(event.id, f"{event.date:%Y-%m-%d}") for event in inventory.events] == [("b", "2023-01-02")]
    assert [(row.id, row.reason) for row in inventory.rejected] == [("a", "bad_date"), ("c", "bad_date")]
    assert inventory.rejected[0].detail.startswith("'2023-02-30' in column event_date is missing or not")


def test_numbers_are_no_dates(tmp_path) -> None:
    text = message(write(slides(event_date=[20200101, 20200102, 20200103]), tmp_path / "a.parquet"))
    assert "none of 3 events can be used: 3 × bad_date (first: event b: 20200101 in column event_date" in text


def test_a_file_without_any_usable_row_is_refused_with_counts(tmp_path) -> None:
    frame = slides(event_date=["soon", "2020-01-01", ""], geometry=[SQUARES[0], None, SQUARES[1]])
    text = message(write(frame, tmp_path / "a.parquet"))
    assert "none of 3 events can be used: 2 × bad_date, 1 × no_geometry (first: event b: 'soon' in column" in text


INTERVALS = [
    ("2020-02-20", "2020-03-05", True),
    ("2020-03-01", "2020-03-05", True),
    ("2020-02-20", "2020-03-01", True),
    ("2020-02-20", None, True),
    (None, "2020-03-05", True),
    ("", "none", True),
    ("2020-03-01", "2020-03-01", False),
    ("2020-03-02", "2020-03-05", False),
    ("2020-02-20", "2020-02-29", False),
    ("2020-03-02", None, False),
    ("2020-02-30", None, False),
    (None, "later", False),
]


@pytest.mark.parametrize(("first", "last", "is_kept"), INTERVALS)
def test_an_interval_encloses_its_date_or_the_row_is_rejected(first, last, is_kept, tmp_path) -> None:
    frame = slides(event_date=["2020-03-01"] * 3, date_from=[first, None, None], date_to=[last, None, None])
    inventory = read_inventory(write(frame, tmp_path / "a.parquet"), PLACES)
    assert [(event.id, event.reason) for event in inventory.rejected] == ([] if is_kept else [("b", "bad_date")])
    held = {event.id: event for event in inventory.events}
    assert (held["a"].date_from, held["a"].date_to) == (None, None)
    if is_kept:
        days = [
            None if day in {None, "", "none"} else datetime.fromisoformat(f"{day}T00:00+00:00") for day in (first, last)
        ]
        assert [held["b"].date_from, held["b"].date_to] == days


@pytest.mark.parametrize(
    ("given", "expected"),
    [(0, 0.0), (1.0, 1.0), ("0.43", 0.43), (None, None), ("", None), (1.01, "bad"), (-0.1, "bad"), ("high", "bad")],
)
def test_a_confidence_is_blank_or_from_0_to_1(given, expected, tmp_path) -> None:
    frame = slides(
        event_conf=pd.Series([given, 0.5, None], dtype=object).astype(str if isinstance(given, str) else float)
    )
    inventory = read_inventory(write(frame, tmp_path / "a.parquet"), PLACES)
    held = {event.id: event.confidence for event in inventory.events}
    assert held["c"] == 0.5
    assert held["a"] is None
    if expected == "bad":
        (row,) = inventory.rejected
        assert (row.id, row.reason) == ("b", "bad_date")
        assert "in column event_conf is not a number from 0 to 1" in row.detail
    else:
        assert held["b"] == expected


def test_without_the_optional_columns_nothing_is_known(tmp_path) -> None:
    event = read_inventory(write(slides(), tmp_path / "a.gpkg"), PLACES).events[0]
    assert (event.date_from, event.date_to, event.confidence, event.region) == (None, None, None, "a")


@pytest.mark.parametrize("key", ["date_from", "date_to", "confidence", "region"])
def test_an_optional_column_that_is_named_must_be_there(key, tmp_path) -> None:
    places = Places(columns=Columns(id="id", **{key: "mine"}))
    text = message(write(slides(), tmp_path / "a.gpkg"), places)
    assert f"has no column mine; its columns are: id, event_date; use --set places.columns.{key}=NAME" in text


def test_repeated_ids_are_counted_and_shown(tmp_path) -> None:
    text = message(write(slides(id=["a", "b", "a"]), tmp_path / "a.gpkg"))
    assert "1 of 3 rows repeat an id of column id (first: a); make ids unique, or" in text


def test_rows_without_an_id_are_counted(tmp_path) -> None:
    assert "2 of 3 rows have no id (first: row 2)" in message(
        write(slides(id=["a", None, " "]), tmp_path / "a.parquet")
    )


def test_an_event_needs_a_polygon(tmp_path) -> None:
    geometry = [SQUARES[0], None, Polygon()]
    inventory = read_inventory(write(slides(geometry=geometry), tmp_path / "a.parquet"), PLACES)
    assert [event.id for event in inventory.events] == ["b"]
    assert [(event.id, event.reason, event.wkb) for event in inventory.rejected] == [
        ("a", "no_geometry", b""), ("c", "no_geometry", b""),
    ]  # fmt: skip


@pytest.mark.parametrize("crs", [4326, 32632])
def test_an_invalid_geometry_is_rejected_with_the_reason_and_what_it_covers(crs, tmp_path) -> None:
    bow_tie = Polygon([(10.0, 45.0), (10.1, 45.1), (10.1, 45.0), (10.0, 45.1)])
    frame = slides(geometry=[SQUARES[1], bow_tie, SQUARES[2]]).to_crs(crs)
    inventory = read_inventory(write(frame, tmp_path / "a.gpkg"), PLACES)
    (row,) = inventory.rejected
    assert (row.id, row.reason) == ("c", "invalid_geometry")
    assert "geometry is invalid: Self-intersection[" in row.detail
    assert "shapely.make_valid" in row.detail
    covered = shapely.from_wkb(row.wkb)
    assert covered.symmetric_difference(shapely.make_valid(bow_tie)).area < 1e-6
    assert covered.area == pytest.approx(0.005, rel=1e-3)


def test_a_stray_vertex_covers_nothing(tmp_path) -> None:
    stray = Polygon([(10.0, 45.0), (10.1, 45.1), (30.0, 45.0), (10.0, 45.1)])
    assert not stray.is_valid
    (row,) = read_inventory(write(slides(geometry=[*SQUARES[:2], stray]), tmp_path / "a.gpkg"), PLACES).rejected
    assert (row.id, row.reason, row.wkb) == ("a", "invalid_geometry", b"")


@pytest.mark.parametrize("shape", [Point(10, 45), LineString([(10, 45), (11, 46)])])
def test_a_geometry_that_is_no_polygon_is_rejected(shape, tmp_path) -> None:
    inventory = read_inventory(write(slides(geometry=[SQUARES[0], shape, SQUARES[1]]), tmp_path / "a.gpkg"), PLACES)
    (row,) = inventory.rejected
    assert (row.id, row.reason, row.wkb) == ("c", "invalid_geometry", b"")
    assert f"geometry is a {shape.geom_type}" in row.detail


@pytest.mark.parametrize("south", [-89.0, 84.5])
def test_a_polygon_outside_the_utm_zones_is_rejected(south, tmp_path) -> None:
    geometry = [*SQUARES[:2], box(10.0, south, 10.01, south + 0.01)]
    (row,) = read_inventory(write(slides(geometry=geometry), tmp_path / "a.gpkg"), PLACES).rejected
    assert (row.id, row.reason) == ("a", "invalid_geometry")
    assert "lies outside the UTM zones (80° S to 84° N)" in row.detail


def shifted(share: float) -> Polygon:
    """The first square, moved so that intersection over union is `share`."""
    return shapely.affinity.translate(SQUARES[0], xoff=0.001 * (1 - share) / (1 + share))


@pytest.mark.parametrize(
    ("copy", "days", "kept"),
    [
        (SQUARES[0], ["2020-03-01", "2020-03-01"], ["1"]),
        (SQUARES[0], ["2020-03-01", "2020-03-02"], ["1", "2"]),
        (shifted(0.91), ["2020-03-01", "2020-03-01"], ["1"]),
        (shifted(0.89), ["2020-03-01", "2020-03-01"], ["1", "2"]),
        (SQUARES[0].buffer(-1e-6), ["2020-03-01", "2020-03-01"], ["1"]),
    ],
)
def test_the_same_ground_on_the_same_day_is_one_event(copy, days, kept, tmp_path) -> None:
    frame = slides(id=["1", "2", "9"], event_date=[*days, "2021-01-01"], geometry=[SQUARES[0], copy, SQUARES[2]])
    inventory = read_inventory(write(frame.iloc[::-1], tmp_path / "a.gpkg"), PLACES)
    assert [event.id for event in inventory.events] == [*kept, "9"]
    assert [(row.id, row.reason) for row in inventory.rejected] == ([("2", "duplicate")] if len(kept) == 1 else [])
    assert all("same ground as event 1;" in row.detail for row in inventory.rejected)


REGIONS = Places(columns=Columns(id="id", region="where"))


def test_every_value_of_the_region_column_is_a_region_with_a_slug(tmp_path) -> None:
    frame = slides(where=["New Zealand", "italy", "New Zealand"])
    inventory = read_inventory(write(frame, tmp_path / "all.gpkg"), REGIONS)
    assert {event.id: event.region for event in inventory.events} == {
        "a": "new-zealand",
        "b": "new-zealand",
        "c": "italy",
    }
    assert (inventory.name, inventory.rejected) == ("all", ())


def test_of_two_regions_of_one_name_the_one_of_the_earlier_day_stays(tmp_path) -> None:
    frame = slides(id=["a", "b", "c"], where=["Nepal", "nepal ", "Nepal"])
    inventory = read_inventory(write(frame, tmp_path / "a.parquet"), REGIONS)
    assert [(event.id, event.region) for event in inventory.events] == [("b", "nepal")]
    assert [(row.id, row.reason, row.region) for row in inventory.rejected] == [
        ("a", "region_name_taken", "nepal"), ("c", "region_name_taken", "nepal"),
    ]  # fmt: skip
    assert (
        "region 'Nepal' would be called nepal, as is 'nepal '; spell one of them otherwise"
        in inventory.rejected[0].detail
    )
    assert inventory.rejected[0].wkb


def test_a_region_without_a_usable_row_takes_no_name(tmp_path) -> None:
    frame = slides(
        id=["a", "b", "c"], where=["Nepal", "nepal ", "Nepal"], event_date=["2020-03-01", "soon", "2020-03-01"]
    )
    inventory = read_inventory(write(frame, tmp_path / "a.parquet"), REGIONS)
    assert [event.id for event in inventory.events] == ["a", "c"]
    assert [(row.id, row.reason) for row in inventory.rejected] == [("b", "bad_date")]


def test_a_row_without_a_region_is_counted(tmp_path) -> None:
    text = message(write(slides(where=["x", None, " "]), tmp_path / "a.parquet"), REGIONS)
    assert "2 of 3 rows have no where (first: row 2); give each one" in text


def test_one_region_and_a_column_of_regions_contradict_each_other(tmp_path) -> None:
    places = Places(columns=Columns(id="id", region="where"), region="italy")
    with pytest.raises(
        RecipeError, match=r"places\.region italy names one region, places\.columns\.region where several"
    ):
        read_inventory(write(slides(where=["x", "y", "z"]), tmp_path / "a.gpkg"), places)


def test_the_order_of_bad_rows_does_not_matter_either(tmp_path) -> None:
    bad = slides(event_date=["soon", "2020-03-01", "2020-03-01"], geometry=[SQUARES[0], SQUARES[1], SQUARES[1]])
    results = []
    for turn, order in enumerate([[0, 1, 2], [2, 0, 1], [1, 2, 0]]):
        (tmp_path / str(turn)).mkdir()
        results.append(read_inventory(write(bad.iloc[order], tmp_path / str(turn) / "a.gpkg"), PLACES))
    assert results[0] == results[1] == results[2]
    assert [(row.id, row.reason) for row in results[0].rejected] == [("b", "bad_date"), ("c", "duplicate")]


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize("name", ["a.gpkg", "a.shp", "a.shp.zip", "a.parquet"])
def test_a_file_without_a_crs_is_refused(name, tmp_path) -> None:
    assert "has no CRS; set it" in message(write(slides(crs=None), tmp_path / name))


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize("undefined", [-1, 0])
def test_a_geopackage_with_an_undefined_crs_is_refused(undefined, tmp_path) -> None:
    path = write(slides(crs=None), tmp_path / "a.gpkg")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE gpkg_contents SET srs_id = ?", (undefined,))
        database.execute("UPDATE gpkg_geometry_columns SET srs_id = ?", (undefined,))
    assert "has no CRS; set it" in message(path)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_geojson_without_a_crs_is_in_lonlat(tmp_path) -> None:
    assert len(read_inventory(write(slides(crs=None), tmp_path / "a.geojson"), PLACES).events) == 3


def test_swapped_axes_are_hinted_at(tmp_path) -> None:
    swapped = [box(-17.0, 178.0, -16.9, 178.1), *SQUARES[:2]]
    (row,) = read_inventory(write(slides(geometry=swapped), tmp_path / "a.gpkg"), PLACES).rejected
    assert (row.id, row.reason, row.wkb) == ("b", "invalid_geometry", b"")
    assert "polygon leaves longitude ±180 or latitude ±90, from -17 178;" in row.detail
    assert "not swapped" in row.detail


def test_metres_called_degrees_are_refused(tmp_path) -> None:
    metres = slides(geometry=[box(5e5, 5e6, 5.1e5, 5.1e6)] * 3)
    text = message(write(metres, tmp_path / "a.gpkg"))
    assert "none of 3 events can be used: 3 × invalid_geometry (first: event b: polygon leaves longitude ±180" in text


def test_a_shapefile_that_lost_its_companions_is_unreadable(tmp_path) -> None:
    write(slides(), tmp_path / "a.shp")
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "a.shp", tmp_path / "alone/a.shp")
    assert "cannot be read" in message(tmp_path / "alone/a.shp")
