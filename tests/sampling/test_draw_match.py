import geopandas as gpd
import pandas as pd
import pytest
from support.sampling import RECIPE, overlapping_pairs, samples_at

from pipeline.errors import RecipeError
from pipeline.sampling import read_points
from pipeline.sampling.match import match_places
from pipeline.sampling.output import write_places


def csv(folder, text):
    path = folder / "coords.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_published_form_without_a_header_is_read_and_ids_get_seven_digits(tmp_path) -> None:
    path = csv(tmp_path, "173,15.1234567891,38.07\n2,10,45\n125054,-180,10\n")
    places = match_places(path, RECIPE).places
    assert places["id"].tolist() == ["0000002", "0000173", "0125054"]
    assert places["lon"].tolist() == [10.0, 15.1234567891, -180.0]
    assert places["attempts"].tolist() == [0, 0, 0]
    assert not match_places(path, RECIPE).unplaced
    rows = csv(tmp_path, "5,10,10\n6,10,10\n")
    matched = match_places(rows, RECIPE)
    assert matched.places["id"].tolist() == ["0000005", "0000006"]
    assert matched.overlapping == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet", "geoparquet"])
def test_own_places_keep_their_ids_and_coordinates(suffix, tmp_path) -> None:
    table = pd.DataFrame({"id": ["b", "007", "a"], "lon": [10.00001, 179.5, -60.0], "lat": [45.0, -17.0, 2.0]})
    path = tmp_path / f"mine.{suffix}"
    if suffix == "csv":
        table.to_csv(path, index=False)
    elif suffix == "parquet":
        table.to_parquet(path)
    else:
        gpd.GeoDataFrame(table[["id"]], geometry=gpd.points_from_xy(table["lon"], table["lat"], crs=4326)).to_parquet(
            path
        )
    drawn = match_places(path, RECIPE)
    assert drawn.places[["id", "lon", "lat"]].to_numpy().tolist() == [
        ["007", 179.5, -17.0], ["a", -60.0, 2.0], ["b", 10.00001, 45.0],
    ]  # fmt: skip
    written, _, _ = write_places(tmp_path / "out.parquet", drawn)
    assert [sample.grid for sample in read_points(written, RECIPE)] == [s.grid for s in samples_at(drawn.places)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,lon,lat\n1,10,45\n1,11,45\n", "1 of 2 rows repeat an id of column id"),
        ("1,10,45\n0000001,11,45\n", "1 of 2 rows repeat an id of column id"),
        ("id,lon,lat\n1,45,100\n2,45,10\n", "check that longitude and latitude are not swapped"),
        ("1,45,100\n2,45,10\n", "check that longitude and latitude are not swapped"),
        ("1,45\n", "has no header: give it one, or the three columns id, lon, lat"),
        ("1,10,north\n2,11,46\n", "has no column lon"),
        ("1,10,45\n2,x,45\n", "values of column lon are not numbers"),
    ],
)
def test_a_coordinates_file_that_is_wrong_is_refused_in_one_line(text, problem, tmp_path) -> None:
    with pytest.raises(RecipeError, match=problem) as caught:
        match_places(csv(tmp_path, text), RECIPE)
    assert "\n" not in str(caught.value)


def test_places_that_make_sense_either_way_or_neither_are_taken_as_they_are(tmp_path) -> None:
    rows = [f"{row},{lat},{lon}" for row, (lon, lat) in enumerate((2.0 * k - 10.0, 8.0) for k in range(12))]
    assert len(match_places(csv(tmp_path, "id,lat,lon\n" + "\n".join(rows)), RECIPE).places) == 12
    sea = [f"{row},{lon},{lat}" for row, (lon, lat) in enumerate((-25.0 - row, 60.0 + row / 2) for row in range(12))]
    assert len(match_places(csv(tmp_path, "id,lon,lat\n" + "\n".join(sea)), RECIPE).places) == 12


def test_a_file_of_which_nothing_is_on_land_unless_it_is_swapped_is_refused(tmp_path) -> None:
    coast = [(-63.0 - 0.5 * step, -33.0) for step in range(12)]
    rows = "\n".join(f"{row},{lat},{lon}" for row, (lon, lat) in enumerate(coast))
    with pytest.raises(RecipeError, match="none of 12 places is on land, but all are when"):
        match_places(csv(tmp_path, f"id,lon,lat\n{rows}\n"), RECIPE)


def test_overlapping_pairs_of_the_published_places_are_counted(shared, tmp_path) -> None:
    golden = gpd.read_parquet(shared / "golden/ssl4eo-s12/val_metadata.parquet").drop_duplicates("sample_id")
    middles = golden.geometry.to_crs(6933).centroid.to_crs(4326)
    table = pd.DataFrame({"id": golden["sample_id"], "lon": middles.x, "lat": middles.y})
    path = tmp_path / "val.csv"
    table.to_csv(path, index=False)
    drawn = match_places(path, RECIPE)
    assert len(drawn.places) == 2176
    assert drawn.overlapping == len(overlapping_pairs(drawn.places)) > 413
