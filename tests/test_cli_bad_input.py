"""Bad input gets one clear line and a non-zero exit, and nothing half written; borders on the map are no bad input."""

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform
from support.catalogue import (
    EVENT,
    MAIN,
    Site,
    blob,
    cell_centre,
    optical_file,
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

WRONG_REQUEST = 2
FAILED = 1
DAY = f"{EVENT:%Y-%m-%d}"
RING = blob(*cell_centre(1252, 15934))
HIDDEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""Categories that Python does not print by default."""


class Complaint(NamedTuple):
    code: int
    line: str
    """What was printed to standard error, after `sen12: error: `."""


@pytest.fixture
def complain(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[list[str]], Complaint]:
    """Run a command that has to fail with exactly one line on standard error."""

    def run(arguments: list[str]) -> Complaint:
        capsys.readouterr()
        caplog.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            code = main(arguments)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("sen12: error: ")
        # Outside of pytest these would have been lines of their own.
        assert [str(one.message) for one in caught if not issubclass(one.category, HIDDEN)] == []
        assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []
        return Complaint(code, lines[0].removeprefix("sen12: error: "))

    return run


Complain = Callable[[list[str]], Complaint]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("patchsize=32", "unknown key patchsize; did you mean patch_size?"),
        ("window.befor=3", "unknown key window.befor; did you mean before?"),
        ("places.columns.dates=when", "unknown key places.columns.dates; did you mean date?"),
        ("bands.S2L2=[B02]", "unknown modality S2L2"),
        ("bands.S2L2A=[B10]", "S2L2A has no band B10; it has B01, B02"),
        ("bands.S2L2A=[]", "bands.S2L2A: name at least one band"),
        ("modalities=[S2L2A,S3]", "unknown modality S3; there are S2L2A, S2L1C"),
        ("modalities=[S2L2A,S2L2A]", "modalities names one of them twice"),
        ("modalities=S2L2A", "modalities: input should be a valid tuple"),
        ("patch_size=0", "patch_size: input should be greater than"),
        ("patch_size=many", "patch_size: input should be a valid integer"),
        ("max_cloud=20", "max_cloud: input should be less than or equal to 1"),
        ("layout=v2", "layout: input should be 'ssl4eo-s12-v1.1'"),
        ("resampling.DEM=lanczos", "resampling.DEM: input should be"),
        ("places.crs=EPSG:4326", "places.crs"),
        ("places.extent=[0,0,1,1]", "places.extent is in metres of one UTM zone: give places.crs too"),
        ("places.margin=-1", "places.margin: input should be greater than"),
        ("patch_size.deep=3", "override patch_size.deep: patch_size holds a value, not a group of keys"),
        ("name=Land Slides", "name: string should match pattern"),
        ("patch_size", "override 'patch_size' is not key=value"),
        ("=32", "override '=32' is not key=value"),
        ("modalities=[S2L2A", "is not YAML"),
        ("window=null", "give either window (a series around an event) or seasons"),
    ],
)
def test_a_wrong_override_is_named(order: Order, out: Path, complain: Complain, override: str, text: str) -> None:
    complaint = complain(order.arguments(out, "--set", override))
    assert complaint.code == WRONG_REQUEST
    assert text in complaint.line
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"patch_sise: 3\n", "unknown key patch_sise; did you mean patch_size?"),
        (b"- a\n- b\n", "is not a YAML mapping"),
        (b"name: [\n", "is not YAML"),
        (b"", "is not a YAML mapping"),
        (b"name: \xff\xfe\n", "recipe"),
        (b"1: 2\n", "recipe"),
    ],
)
def test_a_wrong_recipe_file_is_named(
    order: Order, out: Path, tmp_path: Path, complain: Complain, content: bytes, text: str
) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    arguments = order.arguments(out)
    complaint = complain([arguments[0], str(tmp_path / "mine.yaml"), *arguments[2:]])
    assert complaint.code == WRONG_REQUEST
    assert text in complaint.line
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [("landslide", "no recipe 'landslide'; did you mean landslides?"), ("x/y.yaml", "recipe file x/y.yaml does not")],
)
def test_a_recipe_that_is_not_there_is_named(order: Order, out: Path, complain: Complain, name: str, text: str) -> None:
    arguments = order.arguments(out)
    complaint = complain([arguments[0], name, *arguments[2:]])
    assert complaint.code == WRONG_REQUEST
    assert text in complaint.line
    assert not out.exists()


MakePlaces = Callable[[Path], Path]


def inventory(ring: list[tuple[float, float]], date: str = DAY, epsg: int | None = 32633) -> MakePlaces:
    return lambda folder: write_inventory(folder / "places.geojson", [ring], epsg=epsg, dates=[date])


def without_date_column(folder: Path) -> Path:
    return write_inventory(folder / "places.geojson", [RING], epsg=32633, dates=None)


def bow_tie() -> list[tuple[float, float]]:
    east, north = cell_centre(1252, 15934)
    return [(east, north), (east + 80.0, north + 80.0), (east + 80.0, north), (east, north + 80.0)]


def empty(folder: Path) -> Path:
    return write_inventory(folder / "places.geojson", [], epsg=32633, dates=[])


def empty_table(folder: Path) -> Path:
    (folder / "points.csv").write_text("id,lon,lat,event_date\n")
    return folder / "points.csv"


def without_crs(name: str) -> MakePlaces:
    def make(folder: Path) -> Path:
        frame = gpd.GeoDataFrame({"slide": ["a"], "event_date": [DAY]}, geometry=[shapely.Polygon(RING)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            if name.endswith(".parquet"):
                frame.to_parquet(folder / name)
            else:
                frame.to_file(folder / name)
        return folder / name

    return make


def lines(folder: Path) -> Path:
    frame = gpd.GeoDataFrame(
        {"slide": ["a"], "event_date": [DAY]}, geometry=[shapely.LineString(RING)], crs="EPSG:32633"
    )
    frame.to_file(folder / "lines.gpkg")
    return folder / "lines.gpkg"


def broken_file(name: str) -> MakePlaces:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(b"this is no such file\n" * 20)
        return folder / name

    return make


def nowhere(folder: Path) -> Path:
    return folder / "nowhere.gpkg"


def undated_points(folder: Path) -> Path:
    (folder / "points.csv").write_text("slide,lon,lat\na,13.715,46.04\n")
    return folder / "points.csv"


def misspelt_points(folder: Path) -> Path:
    (folder / "points.csv").write_text("slide,longitude,lat,event_date\na,13.715,46.04,2022-01-24\n")
    return folder / "points.csv"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(without_date_column, "has no column event_date; its columns are: slide; use --set", id="no date"),
        pytest.param(
            inventory(RING, date="soon"), "none of 1 events can be used: 1 × bad_date (first: ", id="odd date"
        ),
        pytest.param(inventory(bow_tie()), "event slide-0: geometry is invalid: Self", id="invalid"),
        pytest.param(without_crs("a.gpkg"), "a.gpkg has no CRS", id="GeoPackage without CRS"),
        pytest.param(without_crs("a.shp"), "a.shp has no CRS", id="Shapefile without CRS"),
        pytest.param(without_crs("a.parquet"), "a.parquet has no CRS", id="GeoParquet without CRS"),
        pytest.param(inventory(RING, epsg=None), "polygon leaves longitude ±180", id="metres called degrees"),
        pytest.param(empty, "empty", id="empty inventory"),
        pytest.param(empty_table, "is empty: a points file needs at least one row", id="empty table"),
        pytest.param(lines, "geometry is a LineString; an inventory holds polygons only", id="lines"),
        pytest.param(inventory(blob(640_000.0, 5_100_000.0)), "lies outside the archive", id="outside in space"),
        pytest.param(inventory(RING, date="2010-06-01"), "lies outside the archive", id="outside in time"),
        pytest.param(inventory(RING, date="2010-06-01"), "between 2010-04-22 and 2010-07-11", id="window is named"),
        pytest.param(broken_file("a.gpkg"), "a.gpkg cannot be read", id="broken GeoPackage"),
        pytest.param(broken_file("a.geojson"), "a.geojson cannot be read", id="broken GeoJSON"),
        pytest.param(broken_file("a.parquet"), "a.parquet cannot be read", id="broken Parquet"),
        pytest.param(broken_file("a.txt"), "a.txt is not a kind of file that holds places", id="another kind of file"),
        pytest.param(nowhere, "nowhere.gpkg does not exist", id="no file"),
        pytest.param(undated_points, "1 of 1 places have no date (first: a); add a date", id="points without date"),
        pytest.param(misspelt_points, "has no column lon; its columns are: slide, longitude", id="points without lon"),
    ],
)
def test_wrong_places_are_named(
    order: Order, out: Path, tmp_path: Path, complain: Complain, make: MakePlaces, text: str
) -> None:
    folder = tmp_path / "places"
    folder.mkdir()
    complaint = complain(replace(order, places=make(folder)).arguments(out))
    assert complaint.code == WRONG_REQUEST
    assert text in complaint.line
    assert not out.exists()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{folder}/nowhere/catalog.json", "nowhere/catalog.json does not exist"),
        ("{folder}", "{folder} does not exist"),
        ("planetary-computr", "unknown source planetary-computr: did you mean planetary-computer?"),
        ("{folder}/text.json", "text.json is not JSON"),
        ("{folder}/item.json", "item.json is not a STAC catalogue"),
    ],
)
def test_a_wrong_source_is_named(
    order: Order, out: Path, tmp_path: Path, complain: Complain, source: str, text: str
) -> None:
    (tmp_path / "text.json").write_text("hello")
    write_json(tmp_path / "item.json", {"type": "Feature", "stac_version": "1.0.0", "id": "a", "links": []})
    given = Path(source.format(folder=tmp_path))
    complaint = complain(replace(order, catalogue=given).arguments(out))
    assert complaint.code == WRONG_REQUEST
    assert text.format(folder=tmp_path) in complaint.line
    assert not out.exists()


def change_items(catalogue: Path, collection: str, change: Callable[[dict[str, Any]], None]) -> None:
    for path in (catalogue.parent / collection).glob("*/*.json"):
        item = json.loads(path.read_text())
        change(item)
        write_json(path, item)


def tiny_order(folder: Path, site: Site, ring: list[tuple[float, float]], *more: str) -> Order:
    places = write_inventory(folder / "places.geojson", [ring], epsg=site.epsg, dates=[DAY])
    overrides = ("patch_size=32", "series_length=2", "window.before=40", "window.after=40", "places.negatives=0", *more)
    return Order(catalogue=write_catalogue(folder / "stac", site), places=places, overrides=overrides)


@pytest.fixture
def tiny_request(tmp_path: Path) -> Order:
    return tiny_order(tmp_path, tiny(32633, *cell_centre(1252, 15934)), RING)


def test_a_band_that_no_asset_supplies_is_named(tiny_request: Order, out: Path, complain: Complain) -> None:
    change_items(tiny_request.catalogue, "sentinel-2-l2a", lambda item: item["assets"].pop("B05"))
    complaint = complain(tiny_request.arguments(out))
    assert complaint.code == WRONG_REQUEST
    assert f"no asset of {tiny_request.catalogue} supplies B05 (S2L2A); it has B01, B02, B03" in complaint.line
    assert "--set 'bands.S2L2A=[B01, B02, B03, B04, B06," in complaint.line
    assert not out.exists()
    advised = complaint.line.split("use --set '")[1].split("'")[0]
    tiny_request.build(out, "--set", advised)
    assert validate(out) == []


def test_a_collection_that_the_catalogue_lacks_is_named(tiny_request: Order, out: Path, complain: Complain) -> None:
    complaint = complain(tiny_request.arguments(out, "--set", "collections.S1=sentinel-1-grd"))
    assert complaint.code != 0
    assert "collection sentinel-1-grd is not in" in complaint.line
    assert "sentinel-1-rtc" in complaint.line
    assert not out.exists()


def test_radar_that_is_not_geocoded_is_refused(tiny_request: Order, out: Path, complain: Complain) -> None:
    def into_grd(item: dict[str, Any]) -> None:
        item["properties"] |= {"sar:product_type": "GRD", "proj:epsg": None}

    change_items(tiny_request.catalogue, "sentinel-1-rtc", into_grd)
    complaint = complain(tiny_request.arguments(out))
    assert complaint.code == FAILED
    assert "ungeocoded GRD (ground control points only) cannot be put on a grid" in complaint.line
    assert not out.exists()


def test_radar_whose_files_have_control_points_only_is_a_gap_with_a_reason(tiny_request: Order, out: Path) -> None:
    for path in (tiny_request.catalogue.parent / "sentinel-1-rtc").rglob("*.tif"):
        points = [
            GroundControlPoint(row, col, 13.7 + col * 1e-4, 46.0 - row * 1e-4) for row in (0, 90) for col in (0, 90)
        ]
        power = np.full((100, 100), 0.1, np.float32)
        with rasterio.open(
            path, "w", driver="GTiff", width=100, height=100, count=1, dtype="float32", gcps=points, crs="EPSG:4326"
        ) as raster:
            raster.write(power, 1)
    tiny_request.build(out)
    ledger = (out / "README.md").read_text()
    assert "S1ASC: 2 × unreadable" in ledger


def test_a_file_in_the_datasets_place_is_refused(order: Order, out: Path, complain: Complain) -> None:
    out.write_text("mine")
    for more in ((), ("--overwrite",), ("--resume",)):
        complaint = complain(order.arguments(out, *more))
        assert complaint.code == WRONG_REQUEST
        assert f"{out} is a file" in complaint.line
        assert out.read_text() == "mine"


def test_a_folder_below_a_file_is_refused(order: Order, out: Path, complain: Complain) -> None:
    out.write_text("mine")
    complaint = complain(order.arguments(out / "dataset"))
    assert complaint.code != 0
    assert str(out) in complaint.line
    assert out.read_text() == "mine"


def test_a_folder_with_something_else_in_it_is_refused_and_kept(order: Order, out: Path, complain: Complain) -> None:
    (out / "all").mkdir(parents=True)
    (out / "all" / "thesis.txt").write_text("mine")
    (out / "README.md").write_text("mine too")
    before = tree_digest(out)
    for more in ((), ("--overwrite",), ("--resume",)):
        complaint = complain(order.arguments(out, *more))
        assert complaint.code == WRONG_REQUEST
        assert f"{out} is not empty and holds no dataset of this program" in complaint.line
        assert tree_digest(out) == before


@pytest.fixture
def existing(small_dataset: Path, out: Path) -> Path:
    """A finished dataset, and a file beside it that is not the program's."""
    shutil.copytree(small_dataset, out)
    (out / "notes.txt").write_text("mine")
    return out


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ((), "holds this dataset already"),
        (("--set", "max_cloud=0.3"), "was made from another request (max_cloud differ)"),
        (("--set", "max_cloud=0.3", "--resume"), "was made from another request (max_cloud differ)"),
        (("--set", "seed=1", "--set", "window.after=3", "--resume"), "(seed, window.after differ)"),
        (("--set", "max_clud=0.3", "--overwrite"), "did you mean max_cloud?"),
        (("--set", "places.columns.date=when", "--overwrite"), "has no column when"),
    ],
)
def test_an_existing_dataset_is_not_touched(
    small_order: Order, existing: Path, complain: Complain, more: tuple[str, ...], text: str
) -> None:
    before = tree_digest(existing)
    complaint = complain(small_order.arguments(existing, *more))
    assert complaint.code == WRONG_REQUEST
    assert text in complaint.line
    assert tree_digest(existing) == before


@pytest.mark.parametrize("what", ["places", "source"])
def test_other_places_or_another_source_are_another_request(
    small_order: Order, existing: Path, tmp_path: Path, complain: Complain, what: str
) -> None:
    other = replace(small_order, places=inventory(RING)(tmp_path))
    if what == "source":
        shutil.copyfile(small_order.catalogue, small_order.catalogue.with_name("copy.json"))
        other = replace(small_order, catalogue=small_order.catalogue.with_name("copy.json"))
    before = tree_digest(existing)
    complaint = complain(other.arguments(existing, "--resume"))
    assert complaint.code == WRONG_REQUEST
    assert f"was made from another request ({what}" in complaint.line
    assert tree_digest(existing) == before


def test_overwriting_replaces_the_dataset_and_nothing_else(small_order: Order, existing: Path) -> None:
    other = small_order.with_overrides("modalities=[SCL,MASK]")
    other.build(existing, "--overwrite")
    assert validate(existing) == []
    assert {path.parent.name for path in existing.rglob("*.zarr.zip")} == {"SCL", "MASK"}
    assert (existing / "notes.txt").read_text() == "mine"


def test_an_interrupted_plan_is_made_again_on_resume(small_order: Order, existing: Path) -> None:
    (existing / "plan.parquet").unlink()
    small_order.build(existing, "--resume")
    assert validate(existing) == []


def test_no_scheduler_at_the_address_is_a_wrong_request(order: Order, out: Path, complain: Complain) -> None:
    complaint = complain(order.arguments(out, "--scheduler", "nonsense"))
    assert complaint.code == WRONG_REQUEST
    assert "nonsense" in complaint.line
    assert not out.exists()


def test_a_negative_number_of_workers_is_a_wrong_request(order: Order, out: Path, complain: Complain) -> None:
    complaint = complain(order.arguments(out, "--workers", "-1"))
    assert complaint.code == WRONG_REQUEST
    assert not out.exists()


def place(lon: float, lat: float, epsg: int) -> tuple[float, float]:
    (east,), (north,) = transform("EPSG:4326", f"EPSG:{epsg}", [lon], [lat])
    return east, north


def warped(path: Path, shard: Any, how: Resampling) -> NDArray[Any]:
    """An independent read of a raster on the grid of the first sample."""
    left, top = float(shard["x_"][0, 0]) - 5.0, float(shard["y_"][0, 0]) + 5.0
    options = {"crs": f"EPSG:{int(shard['crs'][0])}", "width": 32, "height": 32, "resampling": how}
    with (
        rasterio.open(path) as raster,
        WarpedVRT(raster, transform=rasterio.Affine(10, 0, left, 0, -10, top), **options) as vrt,
    ):
        return vrt.read(1)


@pytest.mark.parametrize(
    ("lon", "lat", "tiles_in", "patches_in"),
    [
        pytest.param(11.9995, 46.2, 32633, 32632, id="west of 12°E, tiles of the zone to the east"),
        pytest.param(12.0005, 46.2, 32632, 32633, id="east of 12°E, tiles of the zone to the west"),
        pytest.param(12.0005, 46.2, 32633, 32633, id="east of 12°E, tiles of its own zone"),
        pytest.param(179.9995, -16.6, 32760, 32760, id="west of the antimeridian"),
        pytest.param(-179.9995, -16.6, 32760, 32701, id="east of the antimeridian, tiles of the last zone"),
        pytest.param(-179.9995, 65.6, 32601, 32601, id="east of the antimeridian in the north"),
    ],
)
def test_patches_across_a_zone_border_or_the_antimeridian_are_built(
    tmp_path: Path, lon: float, lat: float, tiles_in: int, patches_in: int
) -> None:
    site = tiny(tiles_in, *place(lon, lat, tiles_in))
    # Wide enough to reach across the border.
    ring = blob(*place(lon, lat, patches_in), radius=110.0)
    order = tiny_order(tmp_path, replace(site, epsg=tiles_in), ring)
    write_inventory(order.places, [ring], epsg=patches_in, dates=[DAY])
    dataset = order.build(tmp_path / "dataset")
    assert validate(dataset) == []
    with open_shard(dataset / "all" / "S2L2A" / "landslides_all_000001.zarr.zip") as shard:
        assert set(shard["crs"].values.tolist()) == {patches_in}
        assert not np.isnat(shard["time_"].values).any()
        side = int(abs(shard["center_lon"].values).max())
        assert side in {11, 12, 179}
        overpass = site.overpasses[0]
        for band in ("B02", "B05", "B09"):
            file = optical_file(order.catalogue, site.tiles[0], overpass, band)
            stored = shard["bands"].sel(band=band).values[0, 0]
            seen = shard["cloud_mask"].values[0, 0] != 6
            numbers = np.minimum(warped(file, shard, Resampling.nearest), 32767)
            np.testing.assert_array_equal(stored[seen], numbers[seen])
    with open_shard(dataset / "all" / "MASK" / "landslides_all_000001.zarr.zip") as shard:
        area = float(shard["bands"].sum()) * 100.0
        assert shapely.Polygon(ring).area < area < 1.6 * shapely.Polygon(ring).area


def test_the_main_site_is_where_the_places_are() -> None:
    assert MAIN.left < RING[0][0] < MAIN.right
