"""Inventories with faults: every row is kept, and what is wrong with it is said."""

from datetime import UTC, datetime

import geopandas as gpd
import pytest
import shapely
from shapely.geometry import MultiPolygon, Point, Polygon, box

from pipeline.dating.polygons import days_in, read_polygons, shares_in
from pipeline.errors import RecipeError
from pipeline.records.recipe import Columns, Places

SQUARE = box(10.0, 45.0, 10.001, 45.001)
BOWTIE = Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])


def write(tmp_path, geometry, *, crs=4326, **columns):
    path = tmp_path / "slides.parquet"
    gpd.GeoDataFrame(columns, geometry=geometry, crs=crs).to_parquet(path)
    return path


def test_every_fault_has_its_code_and_no_row_is_lost(tmp_path):
    shapes = [SQUARE, None, Polygon(), BOWTIE, Point(10, 45), box(200, 0, 201, 1), box(10, 84, 10.1, 84.1)]
    polygons = read_polygons(write(tmp_path, shapes, name=list("abcdefg")), Places(columns=Columns(id="name")))
    assert polygons.ids == tuple("abcdefg")
    assert polygons.reasons == (
        "", "no_geometry", "no_geometry", "invalid_geometry", "invalid_geometry", "invalid_geometry", "outside_source"
    )  # fmt: skip
    assert polygons.usable.tolist() == [0]
    assert polygons.geometries[1] is None
    assert polygons.geometries[3].equals(BOWTIE)
    assert polygons.days == (None,) * 7


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("2023-02-28", datetime(2023, 2, 28, tzinfo=UTC)),
        ("2023-02-28T23:00:00-05:00", datetime(2023, 3, 1, tzinfo=UTC)),
        ("2023-02-30", None), ("16/05/2023", None), ("", None), ("none", None), (None, None),
    ],
)  # fmt: skip
def test_impossible_dates_are_none(tmp_path, cell, day):
    path = write(tmp_path, [SQUARE, SQUARE], event_date=[cell, "2020-01-01"])
    assert read_polygons(path, Places()).days[0] == day


def test_columns_that_are_not_there_or_hold_nonsense_say_nothing(tmp_path):
    table = read_polygons(write(tmp_path, [SQUARE] * 5, conf=["0.5", "1.01", None, "x", "-0"]), Places()).table
    assert shares_in(table, "conf") == [0.5, None, None, None, 0.0]
    assert shares_in(table, "none") == days_in(table, "none") == days_in(table, "conf") == [None] * 5


def test_projected_polygons_come_in_degrees(tmp_path):
    projected = gpd.GeoSeries([SQUARE], crs=4326).to_crs(32632)
    found = read_polygons(write(tmp_path, projected.tolist(), crs=32632), Places()).geometries[0]
    assert shapely.bounds(found) == pytest.approx(SQUARE.bounds, abs=1e-9)


def test_a_polygon_across_the_antimeridian_is_cut_there(tmp_path):
    across = Polygon([(179.99, 0), (-179.99, 0), (-179.99, 0.01), (179.99, 0.01)])
    polygons = read_polygons(write(tmp_path, [across]), Places())
    assert polygons.reasons == ("",)
    assert isinstance(polygons.geometries[0], MultiPolygon)
    assert polygons.geometries[0].area == pytest.approx(0.02 * 0.01)


def test_identifiers_are_the_named_columns_else_unique_ids_else_numbers(tmp_path):
    named = write(tmp_path, [SQUARE, SQUARE], id=[7, 8], slide=["x", "y"])
    assert read_polygons(named, Places(columns=Columns(id="slide"))).ids == ("x", "y")
    assert read_polygons(named, Places()).ids == ("7", "8")
    assert read_polygons(write(tmp_path, [SQUARE, SQUARE], id=[7, 7]), Places()).ids == ("1", "2")
    with pytest.raises(RecipeError, match="repeat an id"):
        read_polygons(write(tmp_path, [SQUARE, SQUARE], slide=["x", "x"]), Places(columns=Columns(id="slide")))


def test_a_date_column_that_the_recipe_names_must_be_there(tmp_path):
    with pytest.raises(RecipeError, match="has no column happened"):
        read_polygons(write(tmp_path, [SQUARE]), Places(columns=Columns(date="happened")))


@pytest.mark.parametrize("shapes", [[Point(10, 45)], [None], []])
def test_a_file_without_polygons_is_refused_in_one_line(tmp_path, shapes):
    with pytest.raises(RecipeError, match="holds no polygons") as caught:
        read_polygons(write(tmp_path, shapes), Places())
    assert "\n" not in str(caught.value)
