"""Real items as providers publish them, field by field."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
import shapely

from pipeline.errors import SourceError
from pipeline.sources.items import scene_from_item

SPECTRAL = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]


CLOUD_COVER = {
    "S2A_33TWL_20230815_0_L2A": 0.20399,
    "S2A_33TWL_20230818_0_L2A": 45.745239,
    "S2A_33TWM_20230815_0_L2A": 0.207328,
    "S2A_33TWM_20230818_0_L2A": 43.856794,
    "S2B_33TWL_20230810_0_L2A": 69.286209,
    "S2B_33TWL_20230813_0_L2A": 1.702489,
    "S2B_33TWL_20230820_0_L2A": 8.066346,
    "S2B_33TWM_20230810_0_L2A": 70.626998,
    "S2B_33TWM_20230813_0_L2A": 1.112399,
    "S2B_33TWM_20230820_0_L2A": 1.33675,
}


def published(shared: Path, name: str) -> list[dict[str, Any]]:
    document = json.loads((shared / "stac-items" / f"{name}.json").read_text())
    return document if isinstance(document, list) else [document]


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def test_planetary_computer_sentinel2(shared: Path) -> None:
    expected = [
        ("47XML", "20240419T123458", 32647, 0.219774),
        ("47XMJ", "20240419T122756", 32647, 0.82852),
        ("46XES", "20240419T123824", 32646, 0.843375),
        ("46XER", "20240419T124342", 32646, 0.126773),
    ]
    items = published(shared, "sentinel-2-l2a-pc")
    assert len(items) == len(expected)
    for item, (tile, generated, epsg, cloud) in zip(items, expected, strict=True):
        scene = scene_from_item(item, "S2L2A")
        assert scene.id == f"S2B_MSIL2A_20240419T095549_R122_T{tile}_{generated}"
        assert (scene.product, scene.collection) == ("S2L2A", "sentinel-2-l2a")
        assert scene.acquired == at(2024, 4, 19, 9, 55, 49)
        assert scene.acquisition == "S2_B_20240419T095549"
        assert scene.file_id == f"20240419T095549_20240419T095549_T{tile}"
        assert list(scene.hrefs) == [*SPECTRAL, "SCL"]
        for band, href in scene.hrefs.items():
            assert href == item["assets"][band]["href"]
        assert (scene.tile, scene.epsg, scene.platform) == (f"T{tile}", epsg, "sentinel-2b")
        assert (scene.orbit_state, scene.relative_orbit) == ("ascending", 122)
        assert (scene.baseline, scene.offset, scene.offset_rule) == ("05.10", -1000, "processing_baseline")
        assert scene.cloud_cover == cloud
        assert scene.extras == {"generated": generated}
        assert shapely.from_wkb(scene.footprint).equals(shapely.geometry.shape(item["geometry"]))


def test_earth_search_v0_sentinel2(shared: Path) -> None:
    (item,) = published(shared, "earth-search-v0-sentinel-2-l2a")
    scene = scene_from_item(item, "S2L2A")
    assert scene.id == "S2A_28QCH_20200714_0_L2A"
    assert scene.collection == "sentinel-s2-l2a-cogs"
    assert scene.acquired == at(2020, 7, 14, 11, 52, 21)
    assert scene.acquisition == "S2_A_20200714T115221"
    assert scene.file_id == scene.id, "nothing in the item states when the datastrip began"
    base = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/2020/S2A_28QCH_20200714_0_L2A"
    assert scene.hrefs == {band: f"{base}/{band}.tif" for band in [*SPECTRAL, "SCL"]}
    assert (scene.tile, scene.epsg, scene.platform) == ("T28QCH", 32628, "sentinel-2a")
    assert (scene.orbit_state, scene.relative_orbit) == ("unknown", 123)
    assert (scene.baseline, scene.offset, scene.offset_rule) == ("02.14", 0, "processing_baseline")
    assert scene.cloud_cover == 2.36
    assert scene.extras == {"generated": "20200714T191310"}
    assert shapely.from_wkb(scene.footprint).equals(shapely.geometry.shape(item["geometry"]))


def test_earth_search_collection_1_sentinel2(shared: Path) -> None:
    (item,) = published(shared, "earth-search-v1-sentinel-2-c1-l2a")
    scene = scene_from_item(item, "S2L2A")
    assert scene.id == "S2A_T20HNJ_20240311T140636_L2A"
    assert scene.collection == "sentinel-2-c1-l2a"
    assert scene.acquired == at(2024, 3, 11, 13, 57, 1)
    assert scene.acquisition == "S2_A_20240311T135701"
    assert scene.file_id == "20240311T135701_20240311T140636_T20HNJ"
    base = "https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com/sentinel-2-c1-l2a/20/H/NJ/2024/3"
    assert scene.hrefs == {band: f"{base}/{scene.id}/{band}.tif" for band in [*SPECTRAL, "SCL"]}
    assert (scene.tile, scene.epsg, scene.platform) == ("T20HNJ", 32720, "sentinel-2a")
    assert (scene.orbit_state, scene.relative_orbit) == ("unknown", 67)
    assert (scene.baseline, scene.offset, scene.offset_rule) == ("05.10", -1000, "raster_offset")
    assert scene.cloud_cover == 18.431592
    assert scene.extras == {"generated": "20240311T194050"}


def test_planetary_computer_terrain_corrected_sentinel1(shared: Path) -> None:
    expected = [
        ("045904_20240419T045916", "DCEC", (4, 59, 4, 220006)),
        ("045839_20240419T045904", "E692", (4, 58, 39, 221202)),
        ("045814_20240419T045839", "45E5", (4, 58, 14, 220975)),
    ]
    items = published(shared, "sentinel-1-rtc-pc")
    for item, (span, checksum, time) in zip(items, expected, strict=False):
        scene = scene_from_item(item, "S1")
        name = f"S1A_IW_GRDH_1SDV_20240419T{span}_053498_067DF2"
        assert scene.id == f"{name}_rtc"
        assert scene.file_id == f"{name}_{checksum}"
        assert scene.acquired == at(2024, 4, 19, *time)
        assert scene.hrefs == {band: item["assets"][band]["href"] for band in ("vv", "vh")}
    for item in items:
        scene = scene_from_item(item, "S1")
        assert len(scene.file_id) == 67
        assert (scene.product, scene.collection) == ("S1", "sentinel-1-rtc")
        assert scene.acquisition == "S1_A_053498_descending"
        assert (scene.epsg, scene.tile, scene.platform) == (32633, "", "sentinel-1a")
        assert (scene.orbit_state, scene.relative_orbit) == ("descending", 51)
        assert (scene.baseline, scene.offset, scene.offset_rule) == ("", 0, "")
        assert scene.cloud_cover is None
        assert shapely.from_wkb(scene.footprint).is_valid


def test_planetary_computer_detected_sentinel1_is_refused(shared: Path) -> None:
    (item,) = published(shared, "sentinel-1-grd-pc")
    with pytest.raises(SourceError) as caught:
        scene_from_item(item, "S1")
    assert str(caught.value) == (
        "sentinel-1-grd/S1A_EW_GRDM_1SSH_20220505T235314_20220505T235417_043082_05250D: ungeocoded GRD (ground "
        "control points only) cannot be put on a grid; use a terrain-corrected product, e.g. --source "
        "planetary-computer with collections.S1=sentinel-1-rtc"
    )


def test_planetary_computer_elevation(shared: Path) -> None:
    items = published(shared, "cop-dem-glo-30-pc")
    for item, column in zip(items, ("W180", "W179", "W178", "W177"), strict=True):
        scene = scene_from_item(item, "DEM")
        assert scene.id == scene.file_id == f"Copernicus_DSM_COG_10_S90_00_{column}_00_DEM"
        assert scene.acquisition == scene.collection == "cop-dem-glo-30"
        assert scene.acquired == at(2021, 4, 22)
        assert scene.hrefs == {"DEM": item["assets"]["data"]["href"]}
        assert (scene.epsg, scene.platform) == (4326, "tandem-x")
    west, _, east, _ = shapely.from_wkb(scene_from_item(items[0], "DEM").footprint).bounds
    assert (west, east) == (-180.0, 180.0)


def test_the_slovenian_catalogue(shared: Path) -> None:
    # Start of the datatake, start of the datastrip, generation and relative orbit of each date's pass.
    passes = {
        "S2B_20230810": ("20230810T094549", "20230810T095651", "20230810T130104", 79),
        "S2B_20230813": ("20230813T095559", "20230813T100712", "20230813T130536", 122),
        "S2A_20230815": ("20230815T095031", "20230815T095630", "20230815T155057", 79),
        "S2A_20230818": ("20230818T100031", "20230818T100032", "20230818T143300", 122),
        "S2B_20230820": ("20230820T094549", "20230820T094908", "20230820T124817", 79),
    }
    paths = sorted((shared / "real" / "slovenia-120m").glob("*/*/*.json"))
    assert len(paths) == 10
    for path in paths:
        scene = scene_from_item(json.loads(path.read_text()), "S2L2A", location=str(path))
        unit, tile, day, *_ = scene.id.split("_")
        started, sensing, generated, orbit = passes[f"{unit}_{day}"]
        assert scene.collection == "sentinel-2-l2a"
        assert scene.acquired == datetime.strptime(started, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        assert scene.acquisition == f"S2_{unit[-1]}_{started}"
        assert scene.file_id == f"{started}_{sensing}_T{tile}"
        assert len(scene.file_id) == 38
        assert scene.hrefs == {band: str(path.parent / f"{band}.tif") for band in ("B02", "B03", "B04", "B08", "SCL")}
        assert (scene.tile, scene.epsg, scene.platform) == (f"T{tile}", 32633, f"sentinel-2{unit[-1].lower()}")
        assert (scene.orbit_state, scene.relative_orbit) == ("unknown", orbit)
        assert (scene.baseline, scene.offset, scene.offset_rule) == ("05.09", 0, "boa_offset_applied")
        assert scene.cloud_cover == CLOUD_COVER[scene.id]
        assert scene.extras == {"generated": generated}


def test_the_belgian_sentinel2(shared: Path) -> None:
    paths = sorted((shared / "real" / "mol-10m" / "sentinel-2-l2a").glob("*/*.json"))
    assert len(paths) == 12
    for path in paths:
        scene = scene_from_item(json.loads(path.read_text()), "S2L2A", location=str(path))
        day = scene.id.removeprefix("S2_MOL_")
        assert scene.acquired == datetime.strptime(day, "%Y%m%d").replace(hour=10, minute=50, tzinfo=UTC)
        assert scene.acquisition == f"sentinel-2_{day}T105000"
        assert scene.file_id == scene.id == path.stem
        assert scene.hrefs == {band: str(path.parent / f"{band}.tif") for band in ("B01", "B04", "B08", "B11", "SCL")}
        assert (scene.tile, scene.epsg, scene.platform) == ("T31UFS", 32631, "sentinel-2")
        assert (scene.orbit_state, scene.relative_orbit) == ("unknown", None)
        assert (scene.baseline, scene.offset, scene.offset_rule) == ("05.09", 0, "raster_offset")
        assert scene.extras == {"generated": ""}


def test_the_belgian_sentinel1(shared: Path) -> None:
    paths = sorted((shared / "real" / "mol-10m" / "sentinel-1-rtc").glob("*/*.json"))
    assert len(paths) == 10
    for path in paths:
        scene = scene_from_item(json.loads(path.read_text()), "S1", location=str(path))
        day = scene.id.removeprefix("S1_MOL_")
        assert scene.acquired == datetime.strptime(day, "%Y%m%d").replace(hour=17, minute=30, tzinfo=UTC)
        assert scene.acquisition == scene.file_id == scene.id
        assert scene.hrefs == {band: str(path.parent / f"{band}.tif") for band in ("vv", "vh")}
        assert (scene.epsg, scene.platform, scene.orbit_state) == (32631, "sentinel-1", "unknown")


def test_the_belgian_elevation(shared: Path) -> None:
    (path,) = (shared / "real" / "mol-10m" / "cop-dem-glo-30").glob("*/*.json")
    scene = scene_from_item(json.loads(path.read_text()), "DEM", location=str(path))
    assert (scene.id, scene.acquisition, scene.epsg) == ("DEM_N51E005", "cop-dem-glo-30", 4326)
    assert scene.acquired == at(2000, 2, 11)
    assert scene.hrefs == {"DEM": str(path.parent / "data.tif")}


def test_an_item_that_pystac_read_gives_the_same_scene(shared: Path) -> None:
    for path in sorted((shared / "real").glob("*/sentinel-2-l2a/*/*.json"))[:3]:
        raw = scene_from_item(json.loads(path.read_text()), "S2L2A", location=str(path))
        assert scene_from_item(pystac.Item.from_file(str(path)), "S2L2A") == raw
