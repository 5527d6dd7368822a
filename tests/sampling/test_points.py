from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import Point, box

from pipeline import grid
from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe
from pipeline.records import Recipe
from pipeline.sampling import read_places, read_points

RECIPE = load_recipe("landslides")


def with_places(columns=None, **changes) -> Recipe:
    if columns:
        changes["columns"] = RECIPE.places.columns.model_copy(update=columns)
    return RECIPE.model_copy(update={"places": RECIPE.places.model_copy(update=changes)})


def csv(folder: Path, text: str, name: str = "cities.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def message(path: Path, recipe: Recipe = RECIPE) -> str:
    with pytest.raises(RecipeError) as caught:
        read_points(path, recipe)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


def test_each_row_becomes_a_patch_around_its_point(tmp_path) -> None:
    path = csv(tmp_path, "id,lon,lat,date\nmunich,11.5755,48.1374,2020-06-01\nsuva,178.44,-18.14,\n")
    munich, suva = read_points(path, RECIPE)
    assert (munich.id, munich.region, munich.grid.epsg, suva.grid.epsg) == ("munich", "cities", 32632, 32760)
    assert munich.grid == grid.patch_around(lon=11.5755, lat=48.1374, recipe=RECIPE)
    assert (munich.lon, munich.lat) == grid.centre(munich.grid)
    assert munich.date == datetime(2020, 6, 1, tzinfo=UTC)
    assert suva.date is None
    assert not munich.is_annotated
    assert munich.lattice_x is munich.lattice_y is None


def test_leading_zeros_of_ids_stay(tmp_path) -> None:
    path = csv(tmp_path, "id,lon,lat\n0012,10,45\n012,11,45\n1.0,12,45\n1e3,13,45\n")
    assert [sample.id for sample in read_points(path, RECIPE)] == ["0012", "012", "1.0", "1e3"]


def test_rows_without_ids_are_numbered_in_the_region(tmp_path) -> None:
    samples = read_points(csv(tmp_path, "lon,lat\n10,45\n11,45\n"), RECIPE)
    assert [(sample.id, round(sample.lon)) for sample in samples] == [("cities_1", 10), ("cities_2", 11)]


def test_the_recipe_names_the_columns(tmp_path) -> None:
    path = csv(tmp_path, "id,code,x,y,when\nno,a,10,45,2020-01-02\n")
    recipe = with_places(columns={"id": "code", "lon": "x", "lat": "y", "date": "when"}, region="towns")
    (sample,) = read_points(path, recipe)
    assert (sample.id, sample.region, sample.date) == ("a", "towns", datetime(2020, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("header", "cell", "default", "expected"),
    [
        ("event_date", "2020-01-02", None, "2020-01-02"),
        ("date", "2020-01-02", "2021-03-04", "2020-01-02"),
        ("date", "", "2021-03-04", "2021-03-04"),
        ("note", "x", "2021-03-04", "2021-03-04"),
        ("note", "x", None, None),
    ],
)
def test_a_date_is_the_rows_own_or_the_recipes_or_none(header, cell, default, expected, tmp_path) -> None:
    path = csv(tmp_path, f"id,lon,lat,{header}\na,10,45,{cell}\nb,10,46,{cell}\n")
    dates = {sample.date for sample in read_points(path, with_places(date=default))}
    assert dates == {expected and datetime.fromisoformat(expected).replace(tzinfo=UTC)}


def test_the_recipes_date_column_is_preferred_to_date(tmp_path) -> None:
    path = csv(tmp_path, "id,lon,lat,date,event_date\na,10,45,2020-01-01,2021-01-01\n")
    assert read_points(path, RECIPE)[0].date == datetime(2021, 1, 1, tzinfo=UTC)


def test_a_given_zone_holds_for_every_point(tmp_path) -> None:
    path = csv(tmp_path, "id,lon,lat\na,11,45\nb,13,45\n")
    assert {sample.grid.epsg for sample in read_points(path, with_places(crs="EPSG:32633"))} == {32633}


def test_the_order_of_rows_does_not_matter(tmp_path) -> None:
    rows = ["a,10,45,2020-01-01", "b,11,45,", "c,178,-17,2020-01-03"]
    one = read_points(csv(tmp_path, "\n".join(["id,lon,lat,date", *rows])), RECIPE)
    assert read_points(csv(tmp_path, "\n".join(["id,lon,lat,date", *reversed(rows)])), RECIPE) == one


def test_a_byte_order_mark_spaces_and_blank_lines_do_no_harm(tmp_path) -> None:
    path = csv(tmp_path, "\ufeffid, lon, lat\n\na, 10, 45\n")
    assert read_points(path, RECIPE)[0].id == "a"


@pytest.mark.parametrize("suffix", ["parquet", "gpkg", "geojson", "geoparquet"])
def test_tables_and_vector_files_of_points_are_read_alike(suffix, tmp_path) -> None:
    text = "id,lon,lat,event_date\n007,10,45,2020-01-01\nb,179.5,-17,2020-01-02\n"
    expected = read_points(csv(tmp_path, text), RECIPE)
    table = pd.DataFrame(
        {"id": ["007", "b"], "lon": [10.0, 179.5], "lat": [45.0, -17.0], "event_date": ["2020-01-01", "2020-01-02"]}
    )
    path = tmp_path / f"cities.{suffix}"
    if suffix == "parquet":
        table.to_parquet(path)
    else:
        places = gpd.points_from_xy(table.pop("lon"), table.pop("lat"), crs=4326)
        frame = gpd.GeoDataFrame(table, geometry=places).to_crs(3832)
        frame.to_parquet(path) if suffix == "geoparquet" else frame.to_file(path)
    assert read_points(path, RECIPE) == expected
    placement = read_places(path, RECIPE)
    assert placement.samples == expected
    assert placement.inventory is None


def test_whole_numbers_in_parquet_are_ids_as_written(tmp_path) -> None:
    pd.DataFrame({"id": [7.0, 8.0], "lon": [10, 11], "lat": [45, 45]}).to_parquet(tmp_path / "a.parquet")
    assert [sample.id for sample in read_points(tmp_path / "a.parquet", RECIPE)] == ["7", "8"]


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    assert "none.csv does not exist" in message(tmp_path / "none.csv")


@pytest.mark.parametrize("text", ["id,lon,lat\n", "", "\n"])
def test_a_file_without_rows_is_refused(text, tmp_path) -> None:
    problem = message(csv(tmp_path, text))
    assert "is empty: a points file needs at least one row" in problem or "No columns" in problem


@pytest.mark.parametrize(
    ("header", "lacks", "key"), [("id,x,lat", "lon", "lon"), ("id,lon,y", "lat", "lat"), ("id;lon;lat", "lon", "lon")]
)
def test_a_missing_column_names_those_there_are(header, lacks, key, tmp_path) -> None:
    text = message(csv(tmp_path, f"{header}\na,1,2\n" if "," in header else f"{header}\na;1;2\n"))
    assert (
        f"has no column {lacks}; its columns are: {header.replace(',', ', ')}; use --set places.columns.{key}=NAME"
        in text
    )


def test_a_named_id_or_date_column_must_be_there(tmp_path) -> None:
    path = csv(tmp_path, "id,lon,lat\na,10,45\n")
    assert "has no column code" in message(path, with_places(columns={"id": "code"}))
    assert "has no column when" in message(path, with_places(columns={"date": "when"}))


def test_repeated_ids_are_refused(tmp_path) -> None:
    text = message(csv(tmp_path, "id,lon,lat\na,10,45\nb,10,45\na,11,45\n"))
    assert "1 of 3 rows repeat an id of column id (first: a)" in text


def test_empty_ids_are_refused(tmp_path) -> None:
    assert "1 of 2 rows have no id (first: row 2)" in message(csv(tmp_path, "id,lon,lat\na,10,45\n,10,45\n"))


@pytest.mark.parametrize("bad", ["a b", "a/b", "é", "../x"])
def test_ids_that_are_no_file_names_are_refused(bad, tmp_path) -> None:
    text = message(csv(tmp_path, f"id,lon,lat\nok,10,45\n{bad},10,45\n"))
    assert f"1 of 2 ids hold other characters than letters, digits, '.', '_' and '-' (first: {bad!r})" in text


@pytest.mark.parametrize("bad", ["ten", "", "nan", "inf", '"10,5"'])
def test_a_place_that_is_no_number_is_refused(bad, tmp_path) -> None:
    text = message(csv(tmp_path, f"id,lon,lat\na,10,45\nb,{bad},45\n"))
    assert f"1 of 2 values of column lon are not numbers (first: point b, {bad.strip(chr(34))!r})" in text


@pytest.mark.parametrize(
    ("lon", "lat", "what"),
    [(181, 45, "longitudes leave ±180"), (-180.1, 0, "longitudes leave ±180"), (10, 95.5, "latitudes leave ±90")],
)
def test_a_place_off_the_globe_is_refused_with_a_hint(lon, lat, what, tmp_path) -> None:
    text = message(csv(tmp_path, f"id,lon,lat\na,{lon},{lat}\n"))
    assert f"1 of 1 {what} (first: point a at lon {lon:.6g}, lat {lat:.6g}); check that longitude and latitude" in text


def test_a_place_outside_the_utm_zones_is_refused(tmp_path) -> None:
    text = message(csv(tmp_path, "id,lon,lat\na,10,-85\n"))
    assert "lon 10, lat -85 lies outside the UTM zones (80° S to 84° N)" in text


def test_a_place_far_from_the_given_zone_is_refused(tmp_path) -> None:
    text = message(csv(tmp_path, "id,lon,lat\na,60,45\n"), with_places(crs="EPSG:32633"))
    assert "lies more than 20° from the central meridian of EPSG:32633" in text


@pytest.mark.parametrize("bad", ["2016", "01.05.2016", "soon", "2020-02-30"])
def test_a_date_that_is_not_iso_is_refused(bad, tmp_path) -> None:
    text = message(csv(tmp_path, f"id,lon,lat,date\na,10,45,\nb,10,45,{bad}\n"))
    assert f"1 of 2 dates in column date are not YYYY-MM-DD (first: point b, {bad!r})" in text


def test_the_recipes_date_must_be_a_date(tmp_path) -> None:
    with pytest.raises(RecipeError, match=r"places\.date must be YYYY-MM-DD, got 'May'"):
        read_points(csv(tmp_path, "id,lon,lat\na,10,45\n"), with_places(date="May"))


@pytest.mark.parametrize("text", ["id,lon,lat\na,10,45\nb,10,45,6,7\n", "id,lon,lat\na,10,45,6\nb,10,45,6\n"])
def test_rows_with_more_cells_than_the_header_are_refused(text, tmp_path) -> None:
    assert "cannot be read" in message(csv(tmp_path, text))


def test_bytes_that_are_not_utf_8_are_refused(tmp_path) -> None:
    (tmp_path / "a.csv").write_bytes("id,lon,lat\nZürich,8,47\n".encode("latin-1"))
    assert "cannot be read" in message(tmp_path / "a.csv")


def test_polygons_among_points_are_refused(tmp_path) -> None:
    frame = gpd.GeoDataFrame({"id": ["a", "b"]}, geometry=[Point(10, 45), box(10, 45, 11, 46)], crs=4326)
    frame.to_file(tmp_path / "a.gpkg")
    assert "1 of 2 geometries are not points (first: point b)" in message(tmp_path / "a.gpkg")


def test_points_without_a_crs_are_refused(tmp_path) -> None:
    gpd.GeoDataFrame({"id": ["a"]}, geometry=[Point(10, 45)]).to_parquet(tmp_path / "a.parquet")
    assert "has no CRS" in message(tmp_path / "a.parquet")


def test_many_points_are_read_in_seconds(tmp_path) -> None:
    rng = np.random.default_rng(0)
    count = 20_000
    table = pd.DataFrame(
        {"id": np.arange(count), "lon": rng.uniform(-180, 180, count), "lat": rng.uniform(-80, 84, count)}
    )
    table.to_csv(tmp_path / "many.csv", index=False)
    assert len(read_points(tmp_path / "many.csv", RECIPE)) == count
