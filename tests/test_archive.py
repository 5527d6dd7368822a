"""The embedded archive: what a reader of its catalogue relies on, checked on the files alone."""

import hashlib
import json
import re
from datetime import date, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from rasterio.features import rasterize

from pipeline.archive import Archive, write_archive, writer
from pipeline.archive.area import CELL, TILES, iter_whole_cells
from pipeline.errors import RecipeError
from pipeline.records import MODALITIES

BANDS = MODALITIES["S2L2A"].bands
CLEAR_BEFORE, CLEAR_AFTER, CLEAR_LATER = date(2022, 1, 7), date(2022, 1, 17), date(2022, 2, 1)
CLOUDY, AT_THE_SWATH_EDGE = date(2022, 1, 22), date(2022, 1, 19)


@pytest.fixture(scope="module")
def archive(embedded_archive) -> Archive:
    return embedded_archive


@pytest.fixture(scope="module")
def items(archive) -> list[pystac.Item]:
    return list(pystac.Catalog.from_file(str(archive.catalog)).get_items(recursive=True))


@pytest.fixture(scope="module")
def raw_items(archive) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(archive.catalog.parent.glob("*/*/*.json"))]


@pytest.fixture(scope="module")
def slides(archive) -> gpd.GeoSeries:
    return gpd.read_file(archive.inventory).to_crs(32633).geometry


def of(items, collection, day=None):
    return [i for i in items if i.collection_id == collection and day in (None, i.datetime.date())]


def read(item, asset):
    with rasterio.open(item.assets[asset].get_absolute_href()) as file:
        return file.read(1)


def optical(items, day, tile="33SVC"):
    return next(i for i in of(items, "sentinel-2-l2a", day) if i.properties["s2:mgrs_tile"] == tile)


def reflectance(item, band):
    offset = 1000 if item.properties["s2:processing_baseline"] >= "04.00" else 0
    return (read(item, band).astype(float) - offset) / 10_000


def ndvi(item):
    red, near = reflectance(item, "B04"), reflectance(item, "B08")
    return (near - red) / np.where(near + red == 0, np.nan, near + red)


def doubled(pixels):
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


def burnt(polygons, item, asset):
    with rasterio.open(item.assets[asset].get_absolute_href()) as file:
        return rasterize(polygons, out_shape=file.shape, transform=file.transform).astype(bool)


def decibels(power):
    return 10 * np.log10(np.where(power > 0, power, np.nan))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes(archive, tmp_path):
    again = write_archive(tmp_path / "again")
    assert digest(again.catalog.parent) == digest(archive.catalog.parent)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_an_archive_that_fits_is_used_again(archive, monkeypatch):
    monkeypatch.setattr(writer, "_fill", lambda *_: pytest.fail("written anew"))
    assert write_archive(archive.catalog.parent) == archive


def test_an_archive_of_another_seed_is_replaced(tmp_path, monkeypatch):
    def fill(folder, seed):
        folder.mkdir()
        (folder / "archive.json").write_text(f"seed {seed}")

    monkeypatch.setattr(writer, "_fill", fill)
    write_archive(tmp_path / "a", seed=1)
    write_archive(tmp_path / "a", seed=2)
    assert (tmp_path / "a" / "archive.json").read_text() == "seed 2"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fill(folder, seed):
        folder.mkdir()
        raise RuntimeError("disk full")

    monkeypatch.setattr(writer, "_fill", fill)
    with pytest.raises(RuntimeError, match="disk full"):
        write_archive(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RecipeError, match="other files"):
        write_archive(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_it_stays_small(archive):
    assert sum(path.stat().st_size for path in archive.catalog.parent.rglob("*") if path.is_file()) < 120e6


def test_pystac_finds_every_item(archive, items, raw_items):
    assert {i.id for i in items} == {i["id"] for i in raw_items}
    counts = {name: len(of(items, name)) for name in ("sentinel-2-l2a", "sentinel-1-rtc", "cop-dem-glo-30")}
    assert counts == {"sentinel-2-l2a": 24, "sentinel-1-rtc": 24, "cop-dem-glo-30": 2}
    hrefs = [asset["href"] for i in raw_items for asset in i["assets"].values()]
    assert all(href.startswith("./") for href in hrefs)


def test_every_cog_lies_where_its_item_says(archive, raw_items):
    for item in raw_items:
        folder, properties = archive.catalog.parent / item["collection"] / item["id"], item["properties"]
        for name, asset in item["assets"].items():
            with rasterio.open(folder / asset["href"]) as file:
                assert file.crs.to_epsg() == properties["proj:epsg"], name
                assert list(file.shape) == asset["proj:shape"], name
                assert list(file.transform)[:6] == asset["proj:transform"], name
                assert file.profile["tiled"], name
                assert file.block_shapes == [(256, 256)], name
                assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG", name


def test_names_have_the_providers_form(items):
    for item in of(items, "sentinel-2-l2a"):
        assert re.fullmatch(r"S2[AB]_MSIL2A_\d{8}T\d{6}_R\d{3}_T33S[VW]C_\d{8}T\d{6}", item.id)
        uri = item.properties["s2:product_uri"]
        assert re.fullmatch(r"S2[AB]_MSIL2A_\d{8}T\d{6}_N0[34]0[01]_R\d{3}_T33S[VW]C_\d{8}T\d{6}\.SAFE", uri)
    for item in of(items, "sentinel-1-rtc"):
        assert re.fullmatch(r"S1A_IW_GRDH_1SDV(_\d{8}T\d{6}){2}_\d{6}_[0-9A-F]{6}_rtc", item.id)
        absolute, relative = item.properties["sat:absolute_orbit"], item.properties["sat:relative_orbit"]
        assert (absolute - 73) % 175 + 1 == relative


def test_no_data_is_the_same_pixel_in_every_band(items):
    partial = 0
    for item in of(items, "sentinel-2-l2a"):
        empty = read(item, "SCL") == 0
        partial += bool(empty.any())
        assert np.isclose(100 * empty.mean(), item.properties["s2:nodata_pixel_percentage"], atol=1e-4)
        for band in BANDS:
            factor = 60 // band.resolution
            pixels = read(item, band.name)[::factor, ::factor] == 0
            assert np.array_equal(pixels, empty[::3, ::3]), band.name
    assert partial == 2


def test_the_footprint_covers_only_what_was_seen(items):
    item = optical(items, AT_THE_SWATH_EDGE)
    outline = gpd.GeoSeries([shapely.geometry.shape(item.geometry)], crs=4326).to_crs(32633)
    covered = burnt(outline, item, "SCL")
    assert 0.6 < covered.mean() < 0.75
    assert read(item, "SCL")[covered].min() > 0


def test_digital_numbers_rise_by_a_thousand_with_baseline_4(items):
    before, after = optical(items, CLEAR_AFTER), optical(items, CLEAR_LATER)
    assert before.properties["s2:processing_baseline"] == "03.01"
    assert after.properties["s2:processing_baseline"] == "04.00"
    assert "raster:bands" not in after.assets["B04"].extra_fields
    ground = doubled((read(before, "SCL") == 4) & (read(after, "SCL") == 4))
    for band in ("B02", "B03", "B04"):
        rise = read(after, band)[ground].astype(float).mean() - read(before, band)[ground].mean()
        assert 950 < rise < 1050, band
    for item in of(items, "sentinel-2-l2a"):
        assert (item.properties["s2:processing_baseline"] >= "04.00") == (item.datetime.date() >= date(2022, 1, 25))


def test_slides_turn_green_ground_bare_and_nothing_else_does(items, slides):
    for tile in TILES:
        before, after = (optical(items, day, tile) for day in (CLEAR_BEFORE, CLEAR_AFTER))
        inside, around = burnt(slides, before, "B04"), burnt(slides.buffer(20), before, "B04")
        fall = ndvi(before) - ndvi(after)
        assert ndvi(before)[inside].mean() > 0.6
        assert fall[inside].mean() > 0.3
        assert np.quantile(fall[inside], 0.05) > 0.1
        bare = doubled((read(before, "SCL") != 11) & (read(after, "SCL") == 4)) & ~around
        assert np.quantile(np.abs(fall[bare]), 0.9) < 0.05


def test_classes_agree_with_the_pixels(items):
    seen = set()
    for item in of(items, "sentinel-2-l2a"):
        classes = read(item, "SCL")
        green = reflectance(item, "B03").reshape(312, 2, 312, 2).mean(axis=(1, 3))
        swir = reflectance(item, "B11")
        index = ndvi(item).reshape(312, 2, 312, 2).mean(axis=(1, 3))
        checks = {4: index > 0.3, 6: swir < 0.14, 9: green > 0.2, 11: (green > 0.1) & (green > swir)}
        for number, agrees in checks.items():
            where = classes == number
            if where.sum() > 50:
                seen.add(number)
                assert agrees[where].mean() > 0.97, (item.id, number)
        cloud = 100 * np.isin(classes, (8, 9, 10)).sum() / (classes > 0).sum()
        assert np.isclose(cloud, item.properties["eo:cloud_cover"], atol=1e-3)
    assert seen == {4, 6, 9, 11}


def test_some_dates_are_clear_and_some_are_overcast(archive, items):
    cover: dict[date, list[float]] = {}
    for item in of(items, "sentinel-2-l2a"):
        cover.setdefault(item.datetime.date(), []).append(item.properties["eo:cloud_cover"])
    clear = [day for day, values in cover.items() if max(values) == 0]
    assert len(cover) == 12
    assert sum(day < archive.event_date for day in clear) >= 2
    assert sum(day > archive.event_date for day in clear) >= 2
    assert sum(min(values) > 90 for values in cover.values()) >= 2


def test_clouds_cast_shadows_away_from_the_sun(items):
    item, clear = optical(items, CLOUDY), optical(items, CLEAR_AFTER)
    classes = read(item, "SCL")
    shadow, cloud = classes == 3, np.isin(classes, (8, 9))
    assert 0.05 < shadow.mean() < 0.4
    darker = reflectance(item, "B08") / reflectance(clear, "B08")
    assert np.median(darker[doubled(shadow)]) < 0.6
    azimuth = np.radians(item.properties["s2:mean_solar_azimuth"])

    def overlap(metres):
        rows, columns = round(metres * np.cos(azimuth) / 20), round(-metres * np.sin(azimuth) / 20)
        inner = (slice(75, -75), slice(75, -75))
        return (np.roll(cloud, (rows, columns), (0, 1)) & shadow)[inner].sum() / shadow[inner].sum()

    distances = range(-1480, 1481, 40)
    best = max(distances, key=overlap)
    assert best > 400
    assert overlap(best) > 0.85


def test_the_tiles_of_a_datatake_overlap_and_agree(items):
    left, right = TILES["33SVC"], TILES["33SWC"]
    shared = (left.left + left.width - right.left) // 10
    assert 20 <= shared <= 60
    for day in {i.datetime.date() for i in of(items, "sentinel-2-l2a")}:
        west, east = optical(items, day, "33SVC"), optical(items, day, "33SWC")
        assert west.properties["s2:datatake_id"] == east.properties["s2:datatake_id"]
        assert 0 < abs((west.datetime - east.datetime).total_seconds()) < 10
        assert np.array_equal(read(west, "B03")[:, -shared:], read(east, "B03")[:, :shared])


def test_some_cells_need_both_tiles():
    cells = list(iter_whole_cells())
    alone = [any(tile.outline.covers(cell.outline) for tile in TILES.values()) for cell in cells]
    assert len(cells) == 32
    assert alone.count(False) == 4
    assert all(cell.left % CELL == 0 and cell.top % CELL == 0 for cell in cells)
    assert all(tile.left % 60 == tile.top % 60 == tile.width % 60 == 0 for tile in TILES.values())


def test_the_inventory_annotates_some_cells_and_leaves_more_free(archive, slides):
    table = gpd.read_file(archive.inventory)
    cells = [cell.outline for cell in iter_whole_cells()]
    reached = np.array([[slide.intersects(cell) for cell in cells] for slide in slides])
    assert table.crs.to_epsg() == 4326
    assert list(table.columns) == ["id", "event_date", "geometry"]
    assert table["id"].is_unique
    assert {str(day)[:10] for day in table["event_date"]} == {archive.event_date.isoformat()}
    assert 8 <= reached.any(axis=0).sum() <= 12
    assert (reached.sum(axis=1) > 1).sum() >= 2
    assert shapely.union_all(cells).covers(shapely.union_all(slides))
    assert slides.is_valid.all()


def frames(items):
    passes: dict[tuple[str, int], list[pystac.Item]] = {}
    for item in sorted(of(items, "sentinel-1-rtc"), key=lambda i: i.datetime):
        key = (item.properties["sat:orbit_state"], item.properties["sat:absolute_orbit"])
        passes.setdefault(key, []).append(item)
    return passes


def test_a_pass_is_two_frames_that_meet_inside_the_area(items):
    passes = frames(items)
    assert [state for state, _ in passes].count("ascending") == 6
    assert [state for state, _ in passes].count("descending") == 6
    for pair in passes.values():
        first, second = (shapely.geometry.shape(item.geometry) for item in pair)
        assert first.intersects(second)
        assert first.intersection(second).area < 0.05 * first.area
        whole = gpd.GeoSeries([first | second], crs=4326).to_crs(32633).iloc[0]
        assert all(whole.covers(cell.outline) for cell in iter_whole_cells())
        ends = [datetime.fromisoformat(item.properties["end_datetime"]) for item in pair]
        assert ends[0] < ends[1]


def test_frames_agree_where_they_overlap_and_are_empty_outside(items):
    for pair in list(frames(items).values())[::6]:
        pixels, corners = [], []
        for item in pair:
            with rasterio.open(item.assets["vh"].get_absolute_href()) as file:
                assert file.nodata == -32768
                pixels.append(file.read(1))
                corners.append((file.transform.c, file.transform.f))
        assert corners[0][0] % 10 == corners[0][1] % 10 == 0
        upper, lower = (0, 1) if corners[0][1] > corners[1][1] else (1, 0)
        start = int(corners[upper][1] - corners[lower][1]) // 10
        common = pixels[upper].shape[0] - start
        a, b = pixels[upper][start:], pixels[lower][:common]
        both = (a != -32768) & (b != -32768)
        assert both.sum() > 5000
        assert np.array_equal(a[both], b[both])
        assert ((a == -32768) & (b == -32768)).sum() == 0


def test_backscatter_has_plausible_levels_and_speckle(items):
    pairs = list(frames(items).values())
    for polarization, low, high in (("vv", -13, -7), ("vh", -20, -12)):
        levels = [np.nanmean(decibels(read(item, polarization))) for pair in pairs for item in pair]
        assert low < min(levels) <= max(levels) < high
    ascending = [pair for (state, _), pair in frames(items).items() if state == "ascending"]
    first, second = (read(pair[0], "vv") for pair in ascending[:2])
    seen = (first > 0) & (second > 0)
    ratio = np.log(first[seen]) - np.log(second[seen])
    variance = [1 / looks + 1 / (2 * looks**2) + 1 / (6 * looks**3) for looks in (4.7, 4.1)]
    assert variance[0] < ratio.var() / 2 < variance[1]


def test_slopes_look_different_from_the_two_orbits(items):
    mean = {}
    for state in ("ascending", "descending"):
        chosen = [pair for (orbit, _), pair in frames(items).items() if orbit == state]
        north = [max(pair, key=lambda i: i.bbox[3]) for pair in chosen]
        stack = [decibels(read(item, "vv")[:160]) for item in north]
        mean[state] = np.mean(stack, axis=0)
    assert np.nanstd(mean["ascending"] - mean["descending"]) > 1.5


def test_slides_change_the_backscatter(items, slides):
    change = {}
    for polarization in ("vv", "vh"):
        means = []
        for after in (False, True):
            chosen = [i for i in of(items, "sentinel-1-rtc") if (i.datetime.date() > date(2022, 1, 10)) is after]
            values = [read(i, polarization)[burnt(slides.buffer(-10), i, polarization)] for i in chosen]
            means.append(np.nanmean(decibels(np.concatenate(values))))
        change[polarization] = means[1] - means[0]
    assert change["vv"] > 1
    assert change["vh"] < -1


def test_elevation_tiles_meet_inside_the_area(items):
    west, east = sorted(of(items, "cop-dem-glo-30"), key=lambda i: i.bbox[0])
    assert west.id == "Copernicus_DSM_COG_10_N37_00_E014_00_DEM"
    assert east.id == "Copernicus_DSM_COG_10_N37_00_E015_00_DEM"
    with (
        rasterio.open(west.assets["data"].get_absolute_href()) as left,
        rasterio.open(east.assets["data"].get_absolute_href()) as right,
    ):
        assert left.bounds.right == pytest.approx(right.bounds.left, abs=1e-9)
        assert left.res == pytest.approx((1 / 3600, 1 / 3600))
        assert left.dtypes == ("float32",)
        assert left.nodata is None
        a, b = left.read(1), right.read(1)
    step = np.abs(b[:, 0] - a[:, -1]).mean()
    assert step < 1.5 * np.abs(np.diff(a, axis=1)).mean() + 3
    assert 100 < min(a.min(), b.min()) < max(a.max(), b.max()) < 1500
    seam = gpd.GeoSeries(shapely.points([east.bbox[0]], [37.95]), crs=4326).to_crs(32633).iloc[0].x
    assert sum(cell.left < seam < cell.left + cell.width for cell in iter_whole_cells()) == 4
