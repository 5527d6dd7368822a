from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import Point, box

from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe
from pipeline.sampling import Placement, annotated_samples, negative_samples, read_inventory, read_places, read_points

RECIPE = load_recipe("landslides")


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    frame = gpd.GeoDataFrame({"event_date": ["2020-01-01"]}, geometry=[box(10, 45, 10.02, 45.01)], crs=4326)
    frame.to_file(tmp_path / "slides.gpkg")
    return tmp_path / "slides.gpkg"


def test_polygons_are_placed_as_an_inventory(slides) -> None:
    inventory = read_inventory(slides, RECIPE.places)
    assert read_places(slides, RECIPE) == Placement(samples=annotated_samples(inventory, RECIPE), inventory=inventory)
    assert read_places(str(slides), RECIPE) == read_places(slides, RECIPE)


def test_a_table_is_placed_as_points(tmp_path) -> None:
    (tmp_path / "cities.csv").write_text("id,lon,lat\na,10,45\n")
    placement = read_places(tmp_path / "cities.csv", RECIPE)
    assert placement == Placement(samples=read_points(tmp_path / "cities.csv", RECIPE), inventory=None)


def test_points_among_polygons_are_rejected_events_of_an_inventory(tmp_path) -> None:
    frame = gpd.GeoDataFrame(
        {"event_date": ["2020-01-01"] * 2}, geometry=[Point(10, 45), box(10, 45, 10.01, 45.01)], crs=4326
    )
    frame.to_file(tmp_path / "mixed.gpkg")
    placement = read_places(tmp_path / "mixed.gpkg", RECIPE)
    assert placement.inventory is not None
    assert [event.id for event in placement.inventory.events] == ["2"]
    assert [(event.id, event.reason) for event in placement.inventory.rejected] == [("1", "invalid_geometry")]
    assert placement.unlabelled == {}


def test_an_empty_vector_file_is_refused_as_an_inventory(tmp_path) -> None:
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(RecipeError, match=r"a\.geojson is empty"):
        read_places(tmp_path / "a.geojson", RECIPE)


def test_a_folder_is_no_places_file(tmp_path) -> None:
    with pytest.raises(RecipeError, match="is not a kind of file that holds places"):
        read_places(tmp_path, RECIPE)


def test_the_order_of_rows_changes_neither_annotated_cells_nor_negatives(tmp_path) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(-0.5, 0.5, (120, 2)) + np.array([12.0, 45.0])
    days = rng.integers(1, 4, 120)
    columns = {"slide": [f"s{n}" for n in range(120)], "event_date": [f"2020-01-0{day}" for day in days]}
    squares = [box(x, y, x + 0.01, y + 0.01) for x, y in corners]
    frame = gpd.GeoDataFrame(columns, geometry=squares, crs=4326)
    columns = RECIPE.places.columns.model_copy(update={"id": "slide"})
    recipe = RECIPE.model_copy(update={"places": RECIPE.places.model_copy(update={"columns": columns})})
    results = []
    for turn in range(2):
        path = tmp_path / str(turn) / "slides.gpkg"
        path.parent.mkdir()
        frame.iloc[rng.permutation(120)].to_file(path)
        placement = read_places(path, recipe)
        negatives = negative_samples(placement.samples[::-1], placement.inventory, recipe, coverage=None)
        results.append((placement, negatives))
    assert results[0] == results[1]
    assert len({sample.grid.epsg for sample in results[0][0].samples}) == 2
