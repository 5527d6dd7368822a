"""Which scene of another provider is the same image, and which of several copies of it is taken."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.records import DAY, make_grid, make_scene

from pipeline.records import Copy, Scene
from pipeline.sources.contract import Query
from pipeline.sources.copies import find_copies, grid_problem, is_same_image, is_same_processing
from pipeline.sources.items import scene_from_item
from pipeline.sources.window import Placement

SHARED = Path(__file__).parents[3] / "shared" / "stac-items"

OURS = make_scene(
    "ours", DAY, tile="T33TVM", platform="sentinel-2a", baseline="03.01", file_id="granule", acquisition="S2_A_x"
)


def theirs(name: str = "theirs", **changes: Any) -> Scene:
    hrefs = {band: f"https://mirror/{name}/{band}.tif" for band in OURS.hrefs}
    return replace(OURS, id=name, **{"hrefs": hrefs, "acquisition": "by another name", **changes})


class Offering:
    """A mirror of some scenes."""

    name = "mirror"

    def __init__(self, *scenes: Scene) -> None:
        self.scenes = scenes

    def search(self, query: Query) -> list[Scene]:
        return [scene for scene in self.scenes if query.admits(scene.acquired)]

    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> Mapping[str, str]:
        return {}


def copy_of(scene: Scene, *offered: Scene) -> Copy:
    (copy,) = find_copies([scene], ("B02", "B05", "SCL"), Offering(*offered))
    return copy


@pytest.mark.parametrize(
    "changes",
    [
        {"tile": "T33TWM"},
        {"platform": "sentinel-2b"},
        {"acquired": DAY + timedelta(minutes=98)},
        {"acquired": DAY - timedelta(minutes=98)},
    ],
)
def test_another_tile_platform_or_pass_is_another_image(changes: dict[str, Any]) -> None:
    assert copy_of(OURS, theirs(**changes)).problem == "not in its catalogue"


@pytest.mark.parametrize("minutes", [-59, 0, 5, 59])
def test_providers_may_name_an_image_by_its_granules_time(minutes: int) -> None:
    copy = copy_of(OURS, theirs(acquired=DAY + timedelta(minutes=minutes)))
    assert copy.scene is not None
    # What a patch is stored with does not depend on who had it.
    assert (copy.scene.acquired, copy.scene.acquisition, copy.scene.file_id) == (DAY, "S2_A_x", "granule")
    assert (copy.scene.footprint, copy.scene.tile) == (OURS.footprint, OURS.tile)


def test_a_copy_has_the_mirrors_own_facts_of_its_numbers() -> None:
    stated = {
        "baseline": "05.11", "offset": -1000, "offset_rule": "raster_offset", "collection": "c1",
        "checksums": {"B02": "12"},
    }  # fmt: skip
    copy = copy_of(OURS, theirs(**stated))
    assert copy.scene is not None
    assert {name: getattr(copy.scene, name) for name in stated} == stated
    assert copy.scene.hrefs["B02"] == "https://mirror/theirs/B02.tif"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([{"baseline": "05.11"}, {"baseline": "03.01"}, {"baseline": "04.00"}], 1),
        ([{"baseline": "04.00"}, {"baseline": "05.11"}], 1),
        ([{"file_id": "other half", "baseline": "03.01"}, {"baseline": "05.11"}], 1),
        ([{"baseline": "05.11", "extras": {"generated": day}} for day in ("20230801", "20240801", "20220801")], 1),
        ([{"epsg": 32632}, {"baseline": "05.11"}], 1),
    ],
)
def test_of_several_copies_the_same_granule_and_processing_comes_first(
    offered: list[dict[str, Any]], chosen: int
) -> None:
    scenes = [theirs(f"copy {number}", **changes) for number, changes in enumerate(offered)]
    for order in (scenes, scenes[::-1]):
        copy = copy_of(OURS, *order)
        assert copy.scene is not None
        assert copy.scene.id == f"copy {chosen}"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hrefs": {"B02": "b", "SCL": "c"}}, "theirs has no B05"),
        ({"epsg": 32632}, "theirs lies on EPSG:32632, not on EPSG:32633"),
        ({"hrefs": OURS.hrefs}, "theirs names the same files"),
    ],
)
def test_a_copy_that_would_be_of_no_use_says_why(changes: dict[str, Any], problem: str) -> None:
    copy = copy_of(OURS, theirs(**changes))
    assert (copy.scene, copy.problem) == (None, problem)


def test_processing_is_the_same_only_where_both_say_so() -> None:
    assert is_same_processing(copy_of(OURS, theirs()), OURS)
    assert not is_same_processing(copy_of(OURS, theirs(baseline="05.11")), OURS)
    assert not is_same_processing(copy_of(OURS, theirs(baseline="")), replace(OURS, baseline=""))
    assert not is_same_processing(copy_of(OURS), OURS)


RADAR = "S1A_IW_GRDH_1SDV_20230801T050000_20230801T050025_049000_05E4A1_{sum}"


def test_a_radar_product_is_the_same_whatever_its_checksum() -> None:
    ours, other = (make_scene("r" + end, DAY, product="S1", file_id=RADAR.format(sum=end)) for end in ("1A2B", "FFFF"))
    assert is_same_image(ours, other)
    assert not is_same_image(ours, replace(other, file_id=RADAR.format(sum="1A2B").replace("T050000", "T050025")))


def test_an_elevation_tile_is_the_same_under_both_names_that_providers_give_it() -> None:
    names = ("Copernicus_DSM_COG_10_N46_00_E014_00_DEM", "Copernicus_DSM_10_N46_00_E014_00")
    ours, other = (make_scene(name, DAY + timedelta(days=300 * i), product="DEM") for i, name in enumerate(names))
    assert is_same_image(ours, other)
    assert not is_same_image(ours, replace(other, id=names[1].replace("E014", "E015")))
    assert not is_same_image(ours, replace(other, id=names[1].replace("_10_", "_30_")))


def test_items_as_providers_publish_them_are_told_apart_and_found_alike() -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared items are not there")
    files = ("sentinel-2-l2a-pc", "earth-search-v0-sentinel-2-l2a", "earth-search-v1-sentinel-2-c1-l2a")
    documents = [json.loads((SHARED / f"{name}.json").read_text(encoding="utf-8")) for name in files]
    items = [item for held in documents for item in (held if isinstance(held, list) else [held])]
    scenes = [scene_from_item(item, "S2L2A") for item in items]
    for scene in scenes:
        assert [other.id for other in scenes if is_same_image(scene, other)] == [scene.id]
        # What tells images apart is there in every provider's items.
        assert scene.platform.startswith("sentinel-2")
        assert scene.tile
        copy = copy_of(scene, replace(scene, hrefs={band: f"https://mirror/{band}" for band in scene.hrefs}))
        assert is_same_processing(copy, scene)


ON = Placement(399_960.0, 5_100_000.0, 20.0, -20.0)


@pytest.mark.parametrize(
    ("epsg", "lies", "problem"),
    [
        (32633, ON, ""),
        (32632, ON, "lies on EPSG:32632, not on EPSG:32633"),
        (0, ON, "lies on EPSG:0, not on EPSG:32633"),
        (32633, ON._replace(pixel_width=10.0, pixel_height=-10.0), "has pixels of 10 m, not of 20 m"),
        (32633, ON._replace(pixel_width=60.0, pixel_height=-60.0), "has pixels of 60 m, not of 20 m"),
        (32633, ON._replace(pixel_height=-10.0), "has pixels of 20 m, not of 20 m"),
        (32633, ON._replace(left=399_970.0), "has pixels that lie between those of the granule"),
        (32633, ON._replace(top=5_100_000.5), "has pixels that lie between those of the granule"),
    ],
)
def test_a_file_is_a_copy_only_on_the_granules_own_grid(epsg: int, lies: Placement, problem: str) -> None:
    assert grid_problem((epsg, lies), 32633, 20.0, make_grid()) == problem


def test_a_catalogue_of_coarser_files_may_have_mirrors_too() -> None:
    patch = make_grid(left=600_060.0, top=5_000_060.0, resolution=120.0)
    lies = Placement(600_060.0 - 120.0 * 7, 5_000_060.0 + 120.0, 120.0, -120.0)
    assert not grid_problem((32633, lies), 32633, 10.0, patch)
    assert grid_problem((32633, lies._replace(left=600_000.0)), 32633, 10.0, patch)
