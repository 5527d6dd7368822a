"""Item to scene: what providers call differently, on items of ours."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
import shapely
from shapely.geometry import MultiPolygon, box, mapping

from pipeline.errors import SourceError
from pipeline.records import Scene
from pipeline.sources.items import scene_from_item

TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
PRODUCT = "S2B_MSIL2A_20200322T074609_N0500_R135_T36NYH_20230612T214223"


def sentinel2(**properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "scene",
        "collection": "sentinel-2-l2a",
        "geometry": mapping(box(14.0, 46.0, 15.0, 47.0)),
        "properties": {"datetime": "2023-08-15T09:58:11.662000Z", "s2:processing_baseline": "05.09", **properties},
        "assets": {"B04": {"href": "https://host/B04.tif", "type": TIFF}},
    }


def sentinel1(**properties: Any) -> dict[str, Any]:
    assets = {band: {"href": f"https://host/{band}.tif", "type": TIFF} for band in ("vv", "vh")}
    stated = {"datetime": "2024-04-19T04:59:10Z", "proj:epsg": 32633, **properties}
    return {**sentinel2(), "id": "scene", "collection": "sentinel-1-rtc", "properties": stated, "assets": assets}


def with_assets(item: dict[str, Any], **assets: dict[str, Any]) -> dict[str, Any]:
    return {**item, "assets": {key: {"href": f"https://host/{key}.tif", **asset} for key, asset in assets.items()}}


def read(item: dict[str, Any]) -> Scene:
    return scene_from_item(item, "S2L2A")


def cdse_asset(band: str, resolution: int, **more: Any) -> dict[str, Any]:
    folder = (
        f"s3://eodata/Sentinel-2/MSI/L2A_N0500/2020/03/22/{PRODUCT}.SAFE/GRANULE/L2A_T36NYH_A015891_20200322T075811"
    )
    return {
        "href": f"{folder}/IMG_DATA/R{resolution}m/T36NYH_20200322T074609_{band}_{resolution}m.jp2",
        "type": "image/jp2",
        "roles": ["data", f"gsd:{resolution}m"],
        "gsd": resolution,
        "nodata": 0,
        "data_type": "uint16",
        "proj:code": "EPSG:32636",
        "alternate": {"https": {"href": f"https://zipper.example/{band}", "auth:refs": ["oidc"]}},
        **more,
    }


def cdse_item() -> dict[str, Any]:
    """STAC 1.1 as the Copernicus Data Space Ecosystem writes it: every band at several resolutions."""
    shifted = {"raster:scale": 0.0001, "raster:offset": -0.1}
    spectral = [("B01", 20), ("B01", 60), ("B02", 10), ("B02", 20), ("B02", 60), ("B8A", 20), ("B8A", 60), ("B09", 60)]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": PRODUCT,
        "collection": "sentinel-2-l2a",
        "geometry": mapping(box(34.8, 1.7, 35.8, 2.7)),
        "properties": {
            "datetime": "2020-03-22T07:46:09.024Z",
            "start_datetime": "2020-03-22T07:46:09.024Z",
            "platform": "sentinel-2b",
            "grid:code": "MGRS-36NYH",
            "product:type": "S2MSI2A",
            "eo:cloud_cover": 87.94,
            "sat:orbit_state": "descending",
            "sat:absolute_orbit": 15891,
            "sat:relative_orbit": 135,
            "eopf:datatake_id": "GS2B_20200322T074609_015891_N05.00",
            "eopf:datastrip_id": "S2B_OPER_MSI_L2A_DS_S2RP_20230612T214223_S20200322T075811_N05.00",
            "processing:version": "05.00",
            "processing:datetime": "2023-06-12T21:42:23.000000Z",
        },
        "links": [],
        "assets": {
            "AOT_10m": cdse_asset("AOT", 10, **{"raster:scale": 0.001, "raster:offset": 0}),
            **{
                f"{band}_{resolution}m": cdse_asset(band, resolution, bands=[{"name": band}], **shifted)
                for band, resolution in spectral
            },
            "SCL_20m": cdse_asset("SCL", 20),
            "SCL_60m": cdse_asset("SCL", 60),
            "thumbnail": {"href": "https://host/quicklook.jp2", "type": "image/jpeg", "roles": ["thumbnail"]},
            "product_metadata": {"href": "s3://eodata/MTD_MSIL2A.xml", "type": "application/xml"},
        },
    }


def test_copernicus_data_space_items_of_stac_1_1() -> None:
    scene = scene_from_item(cdse_item(), "S2L2A")
    assert scene.id == PRODUCT
    assert {band: href[-7:-4] for band, href in scene.hrefs.items()} == {
        "B01": "60m",
        "B02": "10m",
        "B8A": "20m",
        "B09": "60m",
        "SCL": "20m",
    }
    assert all(href.startswith("s3://eodata/") for href in scene.hrefs.values())
    assert scene.acquired == datetime(2020, 3, 22, 7, 46, 9, tzinfo=UTC)
    assert scene.acquisition == "S2_B_20200322T074609"
    assert scene.file_id == "20200322T074609_20200322T075811_T36NYH"
    assert (scene.tile, scene.epsg, scene.platform) == ("T36NYH", 32636, "sentinel-2b")
    assert (scene.orbit_state, scene.relative_orbit) == ("descending", 135)
    assert (scene.baseline, scene.offset, scene.offset_rule) == ("05.00", -1000, "raster_offset")
    assert scene.cloud_cover == 87.94
    assert scene.extras == {"generated": "20230612T214223"}


def test_an_offset_may_be_stated_by_the_band_inside_the_asset() -> None:
    item = cdse_item()
    for asset in item["assets"].values():
        for band in asset.get("bands", ()):
            band["raster:offset"], band["raster:scale"] = asset.pop("raster:offset"), asset.pop("raster:scale")
    assert (read(item).offset, read(item).offset_rule) == (-1000, "raster_offset")


def test_the_datastrip_is_found_in_the_granule_folder_too() -> None:
    item = cdse_item()
    del item["properties"]["eopf:datastrip_id"]
    assert read(item).file_id == "20200322T074609_20200322T075811_T36NYH"


def test_the_product_name_states_what_properties_leave_out() -> None:
    item = {**sentinel2(), "id": PRODUCT, "properties": {"datetime": "2020-03-22T07:58:11Z"}}
    scene = read(item)
    assert scene.acquired == datetime(2020, 3, 22, 7, 46, 9, tzinfo=UTC)
    assert (scene.baseline, scene.relative_orbit, scene.tile) == ("05.00", 135, "T36NYH")
    assert (scene.platform, scene.acquisition) == ("sentinel-2b", "S2_B_20200322T074609")
    assert scene.extras == {"generated": "20230612T214223"}
    assert scene.file_id == PRODUCT


def raster(offset: float | None, scale: float | None) -> dict[str, Any]:
    stated = {name: value for name, value in (("offset", offset), ("scale", scale)) if value is not None}
    return {"type": TIFF, "raster:bands": [{"nodata": "nan", **stated}]}


@pytest.mark.parametrize(
    ("properties", "asset", "offset", "rule"),
    [
        ({"earthsearch:boa_offset_applied": True}, raster(-0.1, 1e-4), 0, "boa_offset_applied"),
        ({"sentinel:boa_offset_applied": True}, {}, 0, "boa_offset_applied"),
        ({"earthsearch:boa_offset_applied": False}, raster(-0.1, 1e-4), -1000, "raster_offset"),
        ({}, raster(0, 1e-4), 0, "raster_offset"),
        ({}, raster(0, None), 0, "raster_offset"),
        ({"s2:processing_baseline": "02.14"}, raster(-0.1, 1e-4), -1000, "raster_offset"),
        ({}, raster(None, 1e-4), -1000, "processing_baseline"),
        ({}, raster(0.0, 1.0), -1000, "processing_baseline"),
        ({"s2:processing_baseline": "04.00"}, {}, -1000, "processing_baseline"),
        ({"s2:processing_baseline": "03.01"}, {}, 0, "processing_baseline"),
        ({"s2:processing_baseline": None, "processing:version": "05.11"}, {}, -1000, "processing_baseline"),
        ({"s2:processing_baseline": None, "sentinel:processing_baseline": "02.14"}, {}, 0, "processing_baseline"),
        ({"s2:processing_baseline": None, "s2:product_uri": PRODUCT}, {}, -1000, "processing_baseline"),
    ],
)
def test_the_first_statement_about_the_offset_decides(
    properties: dict[str, Any], asset: dict[str, Any], offset: int, rule: str
) -> None:
    scene = read(with_assets(sentinel2(**properties), B04=asset, SCL={}))
    assert (scene.offset, scene.offset_rule) == (offset, rule)


def test_bands_that_contradict_each_other_are_refused() -> None:
    item = with_assets(sentinel2(), B04=raster(-0.1, 1e-4), B03=raster(0, 1e-4))
    with pytest.raises(SourceError, match=r"^sentinel-2-l2a/scene: its bands state different offsets, -1000 and 0$"):
        read(item)


def test_the_classification_has_no_say_in_the_offset() -> None:
    assert read(with_assets(sentinel2(), B04=raster(-0.1, 1e-4), SCL=raster(0, 1e-4))).offset == -1000


@pytest.mark.parametrize(("offset", "scale"), [(-0.1, 0.001), (-0.1, None), (-1000, 1)])
def test_numbers_that_are_not_reflectance_in_ten_thousandths_are_refused(offset: float, scale: float | None) -> None:
    with pytest.raises(SourceError, match=r"asset B04 has offset .*, not scale 0\.0001"):
        read(with_assets(sentinel2(), B04=raster(offset, scale)))


def test_nothing_about_the_offset_is_refused() -> None:
    with pytest.raises(SourceError, match=r"^sentinel-2-l2a/scene states neither an offset nor a processing baseline$"):
        read(sentinel2(**{"s2:processing_baseline": None}))


@pytest.mark.parametrize(
    ("assets", "key"),
    [
        ({"B04": {}, "B04_10m": {}, "red": {}}, "B04"),
        ({"B04_20m": {}, "B04_10m": {}, "red": {}}, "B04_10m"),
        ({"red": {}, "red-jp2": {}}, "red"),
        ({"x": {"eo:bands": [{"name": "B04"}]}, "red-jp2": {}}, "x"),
        ({"x": {"bands": [{"name": "B04"}]}}, "x"),
        ({"x": {"bands": [{"name": "B04"}], "gsd": 20}, "r-jp2": {"bands": [{"name": "B04"}], "gsd": 10}}, "x"),
        ({"y": {"bands": [{"name": "B04"}], "gsd": 60}, "x": {"bands": [{"name": "B04"}], "gsd": 20}}, "x"),
        ({"visual": {"bands": [{"name": "B04"}, {"name": "B03"}]}, "red": {}}, "red"),
        ({"red-jp2": {}}, "red-jp2"),
    ],
)
def test_a_band_is_taken_from_the_first_asset_that_fits(assets: dict[str, dict[str, Any]], key: str) -> None:
    assert read(with_assets(sentinel2(), **assets)).hrefs == {"B04": f"https://host/{key}.tif"}


def test_element_84_names_every_band_differently() -> None:
    names = {
        "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
        "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B11": "swir16", "B12": "swir22",
        "SCL": "scl",
    }  # fmt: skip
    scene = read(with_assets(sentinel2(), **{name: {} for name in names.values()}))
    assert scene.hrefs == {band: f"https://host/{name}.tif" for band, name in names.items()}


def test_what_is_not_a_raster_is_passed_over() -> None:
    item = sentinel2()
    item["assets"] = {
        "B04": {"href": "https://host/B04.zarr", "type": "application/vnd+zarr"},
        "B04_10m": {"href": "https://host/B04.tif", "type": TIFF, "roles": ["thumbnail"]},
        "red": {"href": "https://host/B04"},
        "nothing": {},
        "red-jp2": {"href": "https://host/B04.jp2"},
    }
    assert read(item).hrefs == {"B04": "https://host/B04.jp2"}


def test_an_item_without_bands_is_refused() -> None:
    with pytest.raises(SourceError, match=r"no Sentinel-2 band among its assets visual$"):
        read(with_assets(sentinel2(), visual={}))


def test_top_of_atmosphere_is_refused() -> None:
    with pytest.raises(SourceError, match="is Level-1C"):
        read(sentinel2(**{"s2:product_type": "S2MSI1C"}))


@pytest.mark.parametrize(
    ("href", "location", "absolute"),
    [
        ("./B04.tif", "/data/a/item.json", "/data/a/B04.tif"),
        ("../b/B04.tif", "https://host/a/item.json", "https://host/b/B04.tif"),
        ("./B04.tif", "s3://bucket/a/item.json", "s3://bucket/a/B04.tif"),
        ("s3://eodata/B04.tif", "https://host/item.json", "s3://eodata/B04.tif"),
        ("file:///data/a%20b/B04.tif", "", "/data/a b/B04.tif"),
        ("/data/B04.tif", "", "/data/B04.tif"),
        ("https://host/B04.tif?sv=1&se=2&sig=secret", "", "https://host/B04.tif"),
        ("https://host/B04.tif?X-Amz-Expires=5&X-Amz-Signature=secret", "", "https://host/B04.tif"),
        ("https://host/B04.tif?token=secret", "", "https://host/B04.tif"),
        ("https://host/B04.tif?version=7", "", "https://host/B04.tif?version=7"),
        ("./B04.tif?sig=secret", "https://host/a/item.json", "https://host/a/B04.tif"),
    ],
)
def test_references_become_absolute_and_lose_signatures(href: str, location: str, absolute: str) -> None:
    item = sentinel2()
    item["assets"]["B04"]["href"] = href
    assert scene_from_item(item, "S2L2A", location=location).hrefs == {"B04": absolute}


def test_the_self_link_says_where_an_item_lies() -> None:
    item = {**sentinel2(), "links": [{"rel": "self", "href": "https://host/a/item.json"}]}
    item["assets"]["B04"]["href"] = "./B04.tif"
    assert read(item).hrefs == {"B04": "https://host/a/B04.tif"}


def test_a_relative_reference_without_a_place_is_refused() -> None:
    item = sentinel2()
    item["assets"]["B04"]["href"] = "./B04.tif"
    with pytest.raises(SourceError, match=r"asset B04 has the relative href \./B04\.tif$"):
        read(item)


@pytest.mark.parametrize(
    "properties",
    [
        {"s2:mgrs_tile": "01CCV"},
        {"grid:code": "MGRS-1CCV"},
        {"mgrs:utm_zone": 1, "mgrs:latitude_band": "C", "mgrs:grid_square": "CV"},
        {"sentinel:utm_zone": 1, "sentinel:latitude_band": "C", "sentinel:grid_square": "CV"},
        {"s2:product_uri": "S2B_MSIL2A_20191228T210519_N0212_R071_T01CCV_20201003T104658.SAFE"},
    ],
)
def test_a_tile_has_one_spelling(properties: dict[str, Any]) -> None:
    assert read(sentinel2(**properties)).tile == "T01CCV"


def test_a_tile_may_stand_in_the_item_id_alone() -> None:
    assert read({**sentinel2(), "id": "S2A_33TWL_20230815_0_L2A"}).tile == "T33TWL"
    assert read(sentinel2()).tile == ""


@pytest.mark.parametrize("spelling", ["Sentinel-2A", "SENTINEL-2A", "sentinel-2a", "sentinel 2a"])
def test_a_platform_has_one_spelling(spelling: str) -> None:
    assert read(sentinel2(platform=spelling)).platform == "sentinel-2a"


@pytest.mark.parametrize(
    "stated", [{"proj:epsg": 32633}, {"proj:code": "EPSG:32633"}, {"proj:epsg": None, "proj:code": "EPSG:32633"}]
)
def test_the_crs_is_found_in_item_or_asset(stated: dict[str, Any]) -> None:
    assert read(sentinel2(**stated)).epsg == 32633
    assert read(with_assets(sentinel2(), B04=stated)).epsg == 32633


def test_an_item_without_a_datatake_is_a_pass_of_its_own() -> None:
    scene = read(sentinel2(platform="Sentinel-2A"))
    assert scene.acquired == datetime(2023, 8, 15, 9, 58, 11, 662000, tzinfo=UTC)
    assert scene.acquisition == "sentinel-2a_20230815T095811"
    assert scene.file_id == "scene"


@pytest.mark.parametrize(
    ("stated", "time"),
    [
        ({"datetime": "2022-05-05T01:02:03Z"}, (2022, 5, 5, 1, 2, 3)),
        ({"datetime": None, "start_datetime": "2022-05-05 23:53:14.124313+00:00"}, (2022, 5, 5, 23, 53, 14, 124313)),
        ({"datetime": "2022-05-05T01:02:03+02:00"}, (2022, 5, 4, 23, 2, 3)),
        ({"datetime": "2022-05-05T01:02:03"}, (2022, 5, 5, 1, 2, 3)),
    ],
)
def test_times_are_utc(stated: dict[str, Any], time: tuple[int, ...]) -> None:
    acquired = read(sentinel2(**stated)).acquired
    assert acquired == datetime(*time, tzinfo=UTC)
    assert acquired.utcoffset() is not None


@pytest.mark.parametrize("stated", [{"datetime": None}, {"datetime": "yesterday"}])
def test_an_item_without_a_usable_time_is_refused(stated: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="time"):
        read(sentinel2(**stated))


def test_an_outline_across_the_antimeridian_is_cut() -> None:
    item = sentinel2()
    ring = [[179.5, -17], [-179.5, -17], [-179.5, -16], [179.5, -16], [179.5, -17]]
    item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    outline = shapely.from_wkb(read(item).footprint)
    assert outline.equals(MultiPolygon([box(179.5, -17, 180, -16), box(-180, -17, -179.5, -16)]))


@pytest.mark.parametrize(
    "outline",
    [{"geometry": None}, {"geometry": {"type": "Point", "coordinates": [1, 2]}}, {"geometry": {"type": "Blob"}}],
)
def test_an_item_without_a_usable_outline_is_refused(outline: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="no usable footprint"):
        read({**sentinel2(), **outline})


@pytest.mark.parametrize(
    "properties",
    [
        # As stactools writes detected products for Earth Search: CRS of the control points, transform of the bounds.
        {"sar:product_type": "GRD", "proj:epsg": 4326, "proj:transform": [0.0005, 0, 14, 0, -0.0005, 47]},
        {"sar:product_type": "GRD", "proj:epsg": None},
        # As the Copernicus Data Space Ecosystem names them.
        {"product:type": "IW_GRDH_1S-COG", "proj:epsg": None},
    ],
)
def test_ungeocoded_sentinel1_is_refused_however_it_is_described(properties: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="ungeocoded GRD"):
        scene_from_item(sentinel1(**properties), "S1")


def test_a_detected_product_is_known_by_its_id_when_nothing_else_says_so() -> None:
    item = {**sentinel1(**{"proj:epsg": None}), "id": "S1A_IW_GRDH_1SDV_20240419T045904_20240419T045916_053498_067DF2"}
    with pytest.raises(SourceError, match="ungeocoded GRD"):
        scene_from_item(item, "S1")


@pytest.mark.parametrize(
    "properties",
    [{"sar:product_type": "GRD"}, {"sar:product_type": "RTC", "proj:epsg": 4326}, {"sar:product_type": "NRB"}],
)
def test_geocoded_sentinel1_is_accepted(properties: dict[str, Any]) -> None:
    assert set(scene_from_item(sentinel1(**properties), "S1").hrefs) == {"vv", "vh"}


def test_sentinel1_of_other_polarisations_just_lacks_bands() -> None:
    assert scene_from_item(with_assets(sentinel1(), hh={}, VV={}), "S1").hrefs == {"vv": "https://host/VV.tif"}
    assert scene_from_item(with_assets(sentinel1(), hh={}), "S1").hrefs == {}


@pytest.mark.parametrize(
    ("identity", "properties", "acquisition"),
    [
        ("x", {"platform": "SENTINEL-1B", "sat:absolute_orbit": 27545, "sat:orbit_state": "ascending"},
         "S1_B_027545_ascending"),
        ("S1A_IW_GRDH_1SDV_20240419T045904_20240419T045916_053498_067DF2_DCEC", {}, "S1_A_053498_unknown"),
        ("x", {"platform": "sentinel-1", "sat:absolute_orbit": 27545}, "x"),
        ("x", {}, "x"),
    ],
)  # fmt: skip
def test_sentinel1_frames_of_one_pass_share_its_name(
    identity: str, properties: dict[str, Any], acquisition: str
) -> None:
    assert scene_from_item({**sentinel1(**properties), "id": identity}, "S1").acquisition == acquisition


def test_the_complete_sentinel1_id_is_kept_without_a_suffix() -> None:
    name = "S1A_IW_GRDH_1SDV_20240419T045904_20240419T045916_053498_067DF2"
    assert scene_from_item({**sentinel1(), "id": f"{name}_DCEC_COG"}, "S1").file_id == f"{name}_DCEC"
    assert scene_from_item({**sentinel1(), "id": f"{name}_rtc"}, "S1").file_id == name
    stated = sentinel1(**{"s1:product_identifier": f"{name}_DCEC"})
    assert scene_from_item({**stated, "id": f"{name}_rtc"}, "S1").file_id == f"{name}_DCEC"


@pytest.mark.parametrize("key", ["data", "DEM", "Elevation", "the_only_one"])
def test_elevation_is_found_by_its_usual_names_or_for_being_alone(key: str) -> None:
    scene = scene_from_item(with_assets(sentinel2(), **{key: {}}), "DEM")
    assert scene.hrefs == {"DEM": f"https://host/{key}.tif"}


def test_elevation_that_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(SourceError, match=r"no elevation among its assets a, b$"):
        scene_from_item(with_assets(sentinel2(), a={}, b={}), "DEM")


def test_labels_are_not_in_a_catalogue() -> None:
    with pytest.raises(ValueError, match="LABELS is not in any catalogue"):
        scene_from_item(sentinel2(), "LABELS")


def test_the_item_is_left_as_it_was() -> None:
    item = cdse_item()
    before = deepcopy(item)
    scene_from_item(item, "S2L2A")
    assert item == before
