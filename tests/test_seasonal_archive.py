"""The seasonal archive: what the recipe ssl4eo-s12 relies on, checked on the files alone."""

import hashlib
import itertools
import json
import re
from datetime import date, datetime, timedelta
from pathlib import Path

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio
import shapely

from pipeline.archive import SeasonalArchive, seasonal, seasons, write_archive, write_seasonal_archive
from pipeline.archive.area import SCENE, TILES
from pipeline.errors import RecipeError
from pipeline.plan.windows import season_windows
from pipeline.recipes import load_recipe
from pipeline.records import MODALITIES
from pipeline.sampling.points import read_points

PRESETS = ("ssl4eo-v1.0", "two-years")
SUMMER, WINTER, FEW_CLOUDS, CIRRUS, OFFSET = (
    date(2021, 6, 6), date(2020, 12, 23), date(2021, 9, 9), date(2021, 12, 20), date(2022, 1, 27),
)  # fmt: skip
UNUSABLE = (0, 1, 3, 8, 9, 10)


@pytest.fixture(scope="module")
def archive(seasonal_archive) -> SeasonalArchive:
    return seasonal_archive


@pytest.fixture(scope="module")
def items(archive) -> list[pystac.Item]:
    return list(pystac.Catalog.from_file(str(archive.catalog)).get_items(recursive=True))


@pytest.fixture(scope="module")
def optical(items):
    """Level -> (day, tile) -> item."""
    found: dict[str, dict[tuple[date, str], pystac.Item]] = {"1C": {}, "2A": {}}
    for item in items:
        if item.collection_id.startswith("sentinel-2"):
            level = item.properties["s2:product_type"].removeprefix("S2MSI")
            found[level][item.datetime.date(), item.properties["s2:mgrs_tile"]] = item
    return found


@pytest.fixture(scope="module")
def radar(items):
    return sorted((i for i in items if i.collection_id == "sentinel-1-rtc"), key=lambda i: i.datetime)


def read(item, asset):
    with rasterio.open(item.assets[asset].get_absolute_href()) as file:
        return file.read(1)


def reflectance(item, band):
    offset = 1000 if item.properties["s2:processing_baseline"] >= "04.00" else 0
    return (read(item, band).astype(float) - offset) / 10_000


def ndvi(item):
    red, near = reflectance(item, "B04"), reflectance(item, "B08")
    return (near - red) / (near + red)


def doubled(pixels):
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


def outline(item):
    return gpd.GeoSeries([shapely.geometry.shape(item.geometry)], crs=4326).to_crs(32633).iloc[0]


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_bytes_depend_on_the_seed_and_not_on_what_else_is_written(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(seasons, "OPTICAL", seasons.OPTICAL[-2:])
    monkeypatch.setattr(seasons, "RADAR", seasons.RADAR[:2])
    some, full = digest(write_seasonal_archive(tmp_path / "some").catalog.parent), digest(archive.catalog.parent)
    assert len(some) > 100
    assert {name for name in some if full[name] != some[name]} == {
        f"{collection}/collection.json" for collection in ("sentinel-1-rtc", "sentinel-2-l1c", "sentinel-2-l2a")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["some"]


def test_an_archive_that_fits_is_used_again(archive, monkeypatch):
    monkeypatch.setattr(seasonal, "_fill", lambda *_: pytest.fail("written anew"))
    assert write_seasonal_archive(archive.catalog.parent) == archive


def test_archives_of_the_two_kinds_do_not_replace_each_other(archive):
    with pytest.raises(RecipeError, match="other files"):
        write_archive(archive.catalog.parent)
    assert archive.catalog.is_file()


def test_it_stays_small(archive):
    assert sum(path.stat().st_size for path in archive.catalog.parent.rglob("*") if path.is_file()) < 150e6


def test_every_cog_lies_where_its_item_says(archive, items):
    paths = sorted(archive.catalog.parent.glob("*/*/*.json"))
    assert {item.id for item in items} == {path.stem for path in paths}
    for path in paths:
        item = json.loads(path.read_text())
        for name, asset in item["assets"].items():
            assert asset["href"].startswith("./")
            with rasterio.open(path.parent / asset["href"]) as file:
                assert file.crs.to_epsg() == item["properties"]["proj:epsg"], name
                assert list(file.shape) == asset["proj:shape"], name
                assert list(file.transform)[:6] == asset["proj:transform"], name
                assert file.block_shapes == [(256, 256)], name
                assert file.compression.name == "deflate", name


def test_names_have_the_providers_form(optical, radar):
    tile = r"R(079|036)_T33S[VW]C_\d{8}T\d{6}"
    for item in optical["1C"].values():
        assert re.fullmatch(rf"S2[AB]_MSIL1C_\d{{8}}T\d{{6}}_N0(209|300|301|400)_{tile}", item.id)
        assert item.properties["s2:product_uri"] == f"{item.id}.SAFE"
    for item in optical["2A"].values():
        assert re.fullmatch(rf"S2[AB]_MSIL2A_\d{{8}}T\d{{6}}_{tile}", item.id)
    for item in radar:
        assert re.fullmatch(r"S1[AB]_IW_GRDH_1SDV(_\d{8}T\d{6}){2}_\d{6}_[0-9A-F]{6}_rtc", item.id)
        assert all(len(asset.href.split("/")[-3]) == 67 for asset in item.assets.values())
        first = {"A": 73, "B": 27}[item.id[2]]
        absolute, relative = item.properties["sat:absolute_orbit"], item.properties["sat:relative_orbit"]
        assert (absolute - first) % 175 + 1 == relative


def test_one_product_of_each_level_has_no_partner(optical):
    level1c, level2a = optical["1C"], optical["2A"]
    assert len(level1c) == len(level2a) == 29
    assert level2a.keys() - level1c.keys() == {(date(2021, 3, 28), "33SVC")}
    assert level1c.keys() - level2a.keys() == {(date(2021, 9, 24), "33SWC")}


def test_partners_are_of_one_datatake(optical):
    for key in optical["1C"].keys() & optical["2A"].keys():
        first, second = optical["1C"][key], optical["2A"][key]
        assert first.properties["s2:datatake_id"][:-6] == second.properties["s2:datatake_id"][:-6]
        assert first.datetime == second.datetime
        assert first.geometry == second.geometry
        assert first.properties["s2:generation_time"] < second.properties["s2:generation_time"]
        stamps = [item.properties["s2:datastrip_id"].split("_S2")[1][:14] for item in (first, second)]
        assert stamps[0] == stamps[1]
        assert np.array_equal(read(first, "B11") == 0, read(second, "B11") == 0)


def test_only_level_2a_is_classified_and_only_level_1c_has_the_cirrus_band(optical):
    for level, modality in (("1C", "S2L1C"), ("2A", "S2L2A")):
        bands = set(MODALITIES[modality].band_names)
        for item in optical[level].values():
            assert set(item.assets) == bands | ({"SCL"} if level == "2A" else set())
            assert ("s2:vegetation_percentage" in item.properties) == (level == "2A")


def test_baselines_change_with_the_date(optical):
    steps = [(date(2021, 3, 30), "03.00"), (date(2021, 6, 30), "03.01"), (date(2022, 1, 25), "04.00")]
    for level, first in (("1C", "02.09"), ("2A", "02.14")):
        for (day, _), item in optical[level].items():
            expected = [first, *(name for since, name in steps if day >= since)][-1]
            assert item.properties["s2:processing_baseline"] == expected
            assert item.properties["s2:datatake_id"].endswith(f"_N{expected}")
            assert (np.median(read(item, "B12")) > 1200) or expected < "04.00"
        assert np.quantile(read(optical[level][OFFSET, "33SWC"], "B04"), 0.001) > 1000


def test_the_air_brightens_dark_forest_in_blue(optical):
    for day in (WINTER, date(2021, 3, 28), SUMMER, FEW_CLOUDS, OFFSET):
        above, below = optical["1C"][day, "33SWC"], optical["2A"][day, "33SWC"]
        forest = doubled(read(below, "SCL") == 4) & (reflectance(below, "B02") < 0.03)
        assert forest.sum() > 10_000
        assert (reflectance(above, "B02") > reflectance(below, "B02") + 0.02)[forest].all()
        assert np.median(reflectance(above, "B11") / reflectance(below, "B11")) < 1.0


def test_both_levels_show_the_same_ground(optical):
    for band in ("B02", "B08", "B12"):
        above, below = (reflectance(optical[level][SUMMER, "33SWC"], band) for level in ("1C", "2A"))
        assert np.corrcoef(above.ravel(), below.ravel())[0, 1] > 0.97, band


def test_the_cirrus_band_sees_cirrus_alone(optical):
    for day in (FEW_CLOUDS, CIRRUS, SUMMER):
        classes = read(optical["2A"][day, "33SWC"], "SCL")[1::3, 1::3]
        cirrus = reflectance(optical["1C"][day, "33SWC"], "B10")
        assert np.quantile(cirrus[classes != 10], 0.99) < 0.008
        if day == CIRRUS:
            assert np.median(cirrus[classes == 10]) > 0.01


def test_summer_is_green_and_winter_is_white_on_high_ground(optical):
    summer, winter = (optical["2A"][day, "33SWC"] for day in (SUMMER, WINTER))
    bare = doubled((read(winter, "SCL") == 4) & (read(summer, "SCL") == 4))
    assert (ndvi(summer) - ndvi(winter))[bare].mean() > 0.08
    snow = {key: (read(item, "SCL") == 11).mean() for key, item in optical["2A"].items()}
    assert snow[WINTER, "33SVC"] > 0.1
    assert all(share < 0.001 for (day, _), share in snow.items() if 4 <= day.month <= 10)


def test_places_are_patches_inside_the_archive_that_do_not_overlap(archive):
    assert re.fullmatch(r"id,lon,lat\n(\d{7},\d+\.\d+,\d+\.\d+\n){8}", archive.places.read_text())
    samples = read_points(archive.places, load_recipe("ssl4eo-s12"))
    patches = {sample.id: shapely.box(*sample.grid.bounds) for sample in samples}
    assert {id_: patch.bounds for id_, patch in patches.items()} == {
        place: tuple(map(float, seasons.patch_of(place).bounds)) for place in seasons.PLACES
    }
    assert all(sample.grid.epsg == 32633 for sample in samples)
    assert SCENE.outline.covers(shapely.union_all(list(patches.values())))
    assert not any(a.intersects(b) for a, b in itertools.combinations(patches.values(), 2))
    whole = {id_: any(tile.outline.covers(patch) for tile in TILES.values()) for id_, patch in patches.items()}
    assert [id_ for id_, inside in whole.items() if not inside] == ["0147156"]
    assert {sample.grid.left % 20 for sample in samples} == {0, 10}


@pytest.fixture(scope="module")
def paired_classes(optical):
    """Day -> classification of the whole scene at 20 m, 0 where a level is missing."""
    found = {}
    for day in sorted({day for day, _ in optical["2A"]}):
        found[day] = np.zeros(SCENE.shape(20), np.uint8)
        for tile, window in TILES.items():
            if (day, tile) in optical["1C"] and (day, tile) in optical["2A"]:
                part = found[day][window.within(SCENE, 20)]
                part[:] = np.maximum(part, read(optical["2A"][day, tile], "SCL"))
    return found


def test_every_place_has_a_usable_pair_in_every_season_of_both_presets(archive, paired_classes):
    for preset in PRESETS:
        recipe = load_recipe("ssl4eo-s12", [f"seasons={preset}"])
        for sample in read_points(archive.places, recipe):
            patch = seasons.patch_of(sample.id).within(SCENE, 20)
            unusable = {day: np.isin(classes[patch], UNUSABLE).mean() for day, classes in paired_classes.items()}
            days = [day for day, share in unusable.items() if share <= recipe.max_cloud]
            for intervals in season_windows(sample, recipe.seasons, seed=recipe.seed):
                spans = [(start.date(), end.date()) for start, end in intervals]
                assert any(start <= day < end for day in days for start, end in spans), (sample.id, spans)


def test_every_season_has_clear_and_cloudy_dates(optical):
    for reference in (date(2020, 12, 21), date(2021, 3, 20), date(2021, 6, 21), date(2021, 9, 22), date(2021, 12, 21)):
        cover: dict[date, list[float]] = {}
        for (day, _), item in optical["2A"].items():
            if abs(day - reference) <= timedelta(days=25):
                cover.setdefault(day, []).append(item.properties["eo:cloud_cover"])
        assert len(cover) >= 2
        assert sum(max(values) < 12 for values in cover.values()) == 2
        assert sum(min(values) > 50 for values in cover.values()) == (reference.year == 2021)


def test_the_order_of_radar_names_is_never_the_order_of_time(optical, radar):
    days = sorted({day for day, _ in optical["2A"]})
    for state in ({"ascending", "descending"}, {"ascending"}, {"descending"}):
        passes = [item for item in radar if item.properties["sat:orbit_state"] in state]
        nearest = {day: min(passes, key=lambda i: abs(i.datetime.date() - day)) for day in days}
        assert all(abs(item.datetime.date() - day) <= timedelta(days=14) for day, item in nearest.items())
        spring, autumn = ([i for day, i in nearest.items() if day.month in months] for months in ((3,), (9, 10)))
        assert {i.id[:3] for i in spring} == {"S1B"}
        assert {i.id[:3] for i in autumn} == {"S1A"}
        assert max(i.datetime for i in spring) < min(i.datetime for i in autumn)


def test_both_satellites_pass_in_both_directions_until_one_fails(radar):
    kinds = {(item.id[2], item.properties["sat:orbit_state"]) for item in radar}
    assert len(kinds) == 4
    assert max(item.datetime.date() for item in radar if item.id[2] == "B") < date(2021, 12, 23)
    assert {item.properties["platform"][-1] for item in radar if item.id[2] == "B"} == {"B"}


def test_ascending_frames_hold_every_patch_and_descending_ones_meet_inside(radar):
    patches = shapely.union_all([seasons.patch_of(place).outline for place in seasons.PLACES])
    for _, group in itertools.groupby(radar, key=lambda i: i.properties["sat:absolute_orbit"]):
        frames = list(group)
        outlines = [outline(item) for item in frames]
        is_ascending = frames[0].properties["sat:orbit_state"] == "ascending"
        assert len(frames) == (1 if is_ascending else 2)
        assert [part.covers(patches) for part in outlines] == [is_ascending] * len(frames)
        assert shapely.union_all(outlines).covers(patches)
        spans = [datetime.fromisoformat(i.properties["end_datetime"]) - i.datetime for i in frames]
        assert set(spans) == {timedelta(seconds=12.5)}


def test_backscatter_has_plausible_levels(radar):
    for polarization, low, high in (("vv", -13, -7), ("vh", -20, -12)):
        for item in radar[::7]:
            power = read(item, polarization)
            assert low < 10 * np.log10(power[power > 0]).mean() < high
