import json
import math
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info
from shapely.geometry import MultiPolygon, Point, Polygon, box
from support.published import SEN12LANDSLIDES_LATTICE

from pipeline import grid
from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe
from pipeline.records import PatchGrid, Recipe

RECIPE = load_recipe("landslides")

PLACED = set(SEN12LANDSLIDES_LATTICE) - {"lanaodelnorte", "nepal", "usa_alaska"}
"""Regions whose places are published."""

"""EPSG, rows and offset of each region's ids, measured from the published patches."""

longitudes = st.floats(-180.0, 180.0, exclude_max=True)
latitudes = st.floats(-79.9, 83.9)
indices = st.integers(-2000, 9000)
recipes = st.builds(
    lambda size, resolution, anchor: RECIPE.model_copy(
        update={"patch_size": size, "resolution": resolution, "anchor": anchor}
    ),
    st.sampled_from([8, 96, 128, 264]),
    st.sampled_from([10.0, 20.0, 2.5, 0.3]),
    st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)),
)


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, list[dict[str, object]]]:
    folder = shared / "golden/sen12landslides/tasks/S12LS-LD/harmonized/s2"
    features = json.loads((folder / "patch_locations.geojson").read_text())["features"]
    regions = defaultdict(list)
    for feature in features:
        regions[feature["properties"]["patch_id"].rpartition("_")[0]].append(feature["properties"])
    return dict(regions)


def origin_of(cells: list[grid.Cell], rows: int, offset: int) -> grid.Cell:
    """The one south-western cell that the table's offset allows: id = rows · ix + iy + offset."""
    low, high = min(cell.iy for cell in cells), max(cell.iy for cell in cells)
    iy0 = next(iy for iy in range(high - rows + 1, low + 1) if (iy + offset) % rows == 0)
    return grid.Cell(-(offset + iy0) // rows, iy0)


@pytest.mark.parametrize("region", sorted(PLACED))
def test_every_published_patch_lies_on_the_lattice_under_its_published_id(region, published) -> None:
    epsg, rows, offset = SEN12LANDSLIDES_LATTICE[region]
    patches = published[region]
    assert {patch["crs_original"] for patch in patches} == {f"EPSG:{epsg}"}
    lon, lat = [patch["lon"] for patch in patches], [patch["lat"] for patch in patches]
    easting, northing = grid.to_utm(lon=lon, lat=lat, epsg=epsg)
    cells = [
        grid.cell_index(x, y, step=RECIPE.step, anchor=RECIPE.anchor) for x, y in zip(easting, northing, strict=True)
    ]
    origin = origin_of(cells, rows, offset)
    for patch, cell in zip(patches, cells, strict=True):
        number = int(patch["patch_id"].rpartition("_")[2])
        assert grid.grid_id(*cell, origin=origin, rows=rows) == number
        assert grid.cell_of_grid_id(number, origin=origin, rows=rows) == cell
        centre = grid.centre(grid.cell_grid(*cell, epsg=epsg, recipe=RECIPE))
        assert centre == pytest.approx((patch["lon"], patch["lat"]), abs=1e-9)


def test_all_published_regions_are_checked(published) -> None:
    assert set(published) == PLACED
    assert sum(map(len, published.values())) == 4988


def test_chimanimani_108_is_centred_on_its_published_place() -> None:
    epsg, rows, offset = SEN12LANDSLIDES_LATTICE["chimanimani"]
    cell = grid.cell_of_grid_id(108, origin=grid.Cell(0, -offset), rows=rows)
    left, bottom, right, top = grid.cell_grid(
        *grid.cell_index(460160, 7834240, step=1280, anchor=(0, 0)), epsg=epsg, recipe=RECIPE
    ).bounds
    assert ((left + right) / 2, (bottom + top) / 2) == (460160, 7834240)
    assert grid.grid_id(359, 6120, origin=grid.Cell(0, -offset), rows=rows) == 108
    assert rows * cell.ix + cell.iy == rows * 359 + 6120


@given(lon=longitudes, lat=latitudes)
def test_a_place_lies_within_three_degrees_of_its_zone_by_pyprojs_projection(lon, lat) -> None:
    epsg = grid.utm_epsg(lon=lon, lat=lat)
    forward = Transformer.from_crs(4326, epsg, always_xy=True)
    easting, northing = forward.transform(lon, lat)
    assert easting == pytest.approx(500_000, abs=680_000 * max(math.cos(math.radians(lat)), 0.01))
    assert (epsg < 32700) == (lat >= 0)
    assert 0 <= northing <= 10_000_000
    if not (56 <= lat < 64 and 0 <= lon < 12) and not (lat >= 72 and 0 <= lon < 42):
        west, _, east, _ = CRS(epsg).area_of_use.bounds
        assert west <= lon <= east


@settings(max_examples=20)
@given(lon=longitudes.filter(lambda lon: lon % 6 > 0.01), lat=st.floats(-79, 55).filter(lambda lat: abs(lat) > 0.01))
def test_zones_agree_with_the_proj_database_away_from_the_exceptions(lon, lat) -> None:
    area = AreaOfInterest(lon, lat, lon, lat)
    known = {int(info.code) for info in query_utm_crs_info("WGS 84", area)}
    assert grid.utm_epsg(lon=lon, lat=lat) in known


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [
        (2.9, 60, 32631), (3.0, 60, 32632), (5.9, 60, 32632), (3.0, 55.9, 32631), (3.0, 64.0, 32631),
        (8.9, 72, 32631), (9.0, 72, 32633), (20.9, 80, 32633), (21.0, 80, 32635), (32.9, 80, 32635),
        (33.0, 80, 32637), (41.9, 80, 32637), (42.0, 80, 32638), (-0.1, 80, 32630), (7.0, 71.9, 32632),
        (-180, 10, 32601), (180, 10, 32601), (179.999, -10, 32760), (540, 10, 32601), (-360, 0, 32631),
        (12.5, -0.001, 32733), (12.5, 84, 32633), (15, -80, 32733),
    ],
)  # fmt: skip
def test_zones_follow_mgrs_at_borders_and_in_norway_and_svalbard(lon, lat, epsg) -> None:
    assert grid.utm_epsg(lon=lon, lat=lat) == epsg


@pytest.mark.parametrize(("lon", "lat"), [(10, 84.001), (10, -80.001), (10, math.nan), (math.nan, 10), (math.inf, 1)])
def test_a_place_outside_the_zones_is_refused_by_name(lon, lat) -> None:
    with pytest.raises(RecipeError, match=r"lon .*, lat .* lies outside the UTM zones \(80° S to 84° N\)"):
        grid.utm_epsg(lon=lon, lat=lat)


@given(lon=st.floats(-1e6, 1e6))
def test_wrapping_keeps_the_meridian(lon) -> None:
    wrapped = float(grid.wrap_longitude(lon))
    assert -180 <= wrapped < 180
    assert math.cos(math.radians(lon - wrapped)) == pytest.approx(1)


@pytest.mark.parametrize("crs", ["EPSG:32661", "EPSG:32600", "EPSG:32761", "EPSG:4326", "nonsense"])
def test_a_crs_that_is_no_utm_zone_is_refused(crs) -> None:
    with pytest.raises(RecipeError, match="is not a UTM zone"):
        grid.epsg_of(crs)


@given(ix=indices, iy=indices, recipe=recipes, across=st.floats(0, 1, exclude_max=True), up=st.floats(0, 1))
def test_cells_tile_the_plane(ix, iy, recipe: Recipe, across, up) -> None:
    left, bottom, right, top = grid.cell_grid(ix, iy, epsg=32633, recipe=recipe).bounds
    easting, northing = left + across * (right - left), bottom + up * (top - bottom)
    cell = grid.cell_index(easting, northing, step=recipe.step, anchor=recipe.anchor)
    assert abs(cell.ix - ix) <= (across > 0.999) + (across < 0.001)
    assert abs(cell.iy - iy) <= (up > 0.999) + (up < 0.001)


@given(easting=st.floats(-1e6, 2e6), northing=st.floats(-1e6, 1e7), recipe=recipes)
def test_a_place_lies_in_its_own_cell_lower_edges_included(easting, northing, recipe: Recipe) -> None:
    cell = grid.cell_index(easting, northing, step=recipe.step, anchor=recipe.anchor)
    own, beyond = (grid.cell_grid(ix, iy, epsg=32633, recipe=recipe) for ix, iy in (cell, (cell.ix + 1, cell.iy + 1)))
    assert own.left <= easting < beyond.left
    assert recipe.anchor[1] + cell.iy * recipe.step <= northing < own.top


@given(ix=indices, iy=indices, recipe=recipes)
def test_the_lower_left_corner_belongs_to_its_cell_however_the_division_rounds(ix, iy, recipe: Recipe) -> None:
    left, bottom = recipe.anchor[0] + ix * recipe.step, recipe.anchor[1] + iy * recipe.step
    assert grid.cell_index(left, bottom, step=recipe.step, anchor=recipe.anchor) == (ix, iy)


@given(ix=indices, iy=indices, columns=st.integers(0, 100), row=st.integers(0, 99))
def test_ids_count_up_each_column(ix, iy, columns, row) -> None:
    origin = grid.Cell(ix, iy)
    number = grid.grid_id(ix + columns, iy + row, origin=origin, rows=100)
    assert number == columns * 100 + row
    assert grid.cell_of_grid_id(number, origin=origin, rows=100) == (ix + columns, iy + row)


@given(lon=longitudes, lat=latitudes, recipe=recipes)
def test_a_patch_around_a_place_is_centred_on_it_to_half_a_pixel_and_on_the_lattice(lon, lat, recipe: Recipe) -> None:
    patch = grid.patch_around(lon=lon, lat=lat, recipe=recipe)
    left, bottom, right, top = patch.bounds
    easting, northing = grid.to_utm(lon=lon, lat=lat, epsg=patch.epsg)
    half_pixel = recipe.resolution / 2 + 1e-6
    assert abs(easting - (left + right) / 2) <= half_pixel
    assert abs(northing - (bottom + top) / 2) <= half_pixel
    for edge, anchor in ((patch.left, recipe.anchor[0]), (patch.top, recipe.anchor[1])):
        steps = (edge - anchor) / recipe.resolution
        assert steps == pytest.approx(round(steps), abs=1e-6)


@given(lon=longitudes, lat=latitudes)
def test_a_footprint_holds_the_place_and_stays_on_the_globe(lon, lat) -> None:
    patch = grid.patch_around(lon=lon, lat=lat, recipe=RECIPE)
    outline = grid.footprint(patch)
    west, south, east, north = outline.bounds
    assert outline.is_valid
    assert -180 <= west <= east <= 180
    assert -90 <= south <= north <= 90
    assert outline.covers(Point(grid.centre(patch)))
    assert max(part.bounds[2] - part.bounds[0] for part in shapely.get_parts(outline)) < 1


@given(lon=st.one_of(longitudes, st.floats(179.98, 180.02)), lat=latitudes)
def test_a_footprint_projects_back_to_the_patch(lon, lat) -> None:
    patch = grid.patch_around(lon=lon, lat=lat, recipe=RECIPE)
    back = grid.project(grid.footprint(patch), patch.epsg)
    assert isinstance(back, Polygon)
    assert back.symmetric_difference(box(*patch.bounds)).area < 1e-3 * RECIPE.step


@pytest.mark.parametrize("epsg", [32601, 32660, 32701, 32760])
def test_a_patch_across_the_antimeridian_is_cut_there(epsg) -> None:
    easting, northing = grid.to_utm(lon=180.0, lat=-17.0 if epsg > 32700 else 66.0, epsg=epsg)
    patch = PatchGrid(epsg=epsg, left=float(easting) - 300.0, top=float(northing) + 640.0, size=128, resolution=10.0)
    outline = grid.footprint(patch)
    assert isinstance(outline, MultiPolygon)
    west, east = sorted(outline.geoms, key=lambda part: part.bounds[0])
    assert west.bounds[0] == -180
    assert east.bounds[2] == 180
    assert outline.bounds[2] - outline.bounds[0] == 360
    assert west.bounds[2] < -179.9
    assert east.bounds[0] > 179.9
    assert -180 <= grid.centre(patch).lon < 180


def test_a_patch_that_ends_at_the_antimeridian_is_in_one_piece() -> None:
    easting, northing = grid.to_utm(lon=180.0, lat=0.0, epsg=32660)
    patch = PatchGrid(epsg=32660, left=float(easting) - 1280.0, top=float(northing) + 640.0, size=128, resolution=10.0)
    assert max(part.area for part in shapely.get_parts(grid.footprint(patch))) == pytest.approx(1.323e-4, rel=1e-2)


@pytest.mark.parametrize(
    "spelling",
    [
        box(179.9, 10.0, 180.1, 10.1),
        box(-180.1, 10.0, -179.9, 10.1),
        Polygon([(179.9, 10.0), (-179.9, 10.0), (-179.9, 10.1), (179.9, 10.1)]),
        MultiPolygon([box(179.9, 10.0, 180.0, 10.1), box(-180.0, 10.0, -179.9, 10.1)]),
    ],
)
@pytest.mark.parametrize("epsg", [32601, 32660])
def test_every_spelling_of_a_polygon_across_the_antimeridian_projects_to_one_piece(spelling, epsg) -> None:
    projected = grid.project(spelling, epsg)
    assert isinstance(projected, Polygon)
    width = 0.2 * 111_320 * math.cos(math.radians(10.05))
    assert projected.bounds[2] - projected.bounds[0] == pytest.approx(width, rel=0.01)
    assert projected.area == pytest.approx(width * 11_061, rel=0.01)


def test_parts_far_from_the_antimeridian_stay_parts() -> None:
    islands = MultiPolygon([box(10.0, 0.0, 10.1, 0.1), box(10.2, 0.0, 10.3, 0.1)])
    assert len(grid.project(islands, 32632).geoms) == 2


def test_a_place_too_far_from_the_given_zone_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"lon 40, lat 10 lies more than 20° from the central meridian of EPSG:32632"):
        grid.patch_around(lon=40, lat=10, recipe=RECIPE, epsg=32632)


def test_one_and_many_agree() -> None:
    lon, lat = np.array([10.0, 179.999, -70.0]), np.array([45.0, -17.0, 0.0])
    patches = grid.patches_around(lon=lon, lat=lat, recipe=RECIPE)
    assert patches == [grid.patch_around(lon=x, lat=y, recipe=RECIPE) for x, y in zip(lon, lat, strict=True)]
    assert grid.centres(patches) == [grid.centre(patch) for patch in patches]
    assert grid.footprints(patches).tolist() == [grid.footprint(patch) for patch in patches]
    assert grid.centres([]) == []
    assert grid.footprints([]).size == 0


def test_a_hundred_thousand_places_take_seconds() -> None:
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 100_000), rng.uniform(-80, 84, 100_000)
    start = time.perf_counter()
    patches = grid.patches_around(lon=lon, lat=lat, recipe=RECIPE)
    centres = grid.centres(patches)
    assert time.perf_counter() - start < 20
    assert len(centres) == 100_000
