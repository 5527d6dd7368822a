"""Names of Sentinel products, on real ones."""

from datetime import UTC, datetime

import pytest

from pipeline.sources import product_ids

NAME = "S2A_MSIL2A_20230815T095031_N0509_R079_T33TWL_20230815T155057"


def test_a_level_2a_name_states_its_parts() -> None:
    product = product_ids.parse_sentinel2_product(f"{NAME}.SAFE")
    assert product == product_ids.Sentinel2Product(
        unit="A",
        datatake=datetime(2023, 8, 15, 9, 50, 31, tzinfo=UTC),
        baseline="05.09",
        relative_orbit=79,
        tile="T33TWL",
        generated="20230815T155057",
    )


def test_planetary_computer_leaves_the_baseline_out_of_the_name() -> None:
    product = product_ids.parse_sentinel2_product("S2B_MSIL2A_20240419T095549_R122_T47XML_20240419T123458")
    assert product is not None
    assert (product.baseline, product.relative_orbit) == ("", 122)


@pytest.mark.parametrize("name", ["", "S2A_33TWL_20230815_0_L2A", NAME.replace("MSIL2A", "MSIL1B")])
def test_other_names_are_no_products(name: str) -> None:
    assert product_ids.parse_sentinel2_product(name) is None


# Pairs that Earth Engine publishes: DATASTRIP_ID, GRANULE_ID and the second stamp of system:index.
@pytest.mark.parametrize(
    ("datastrip", "granule", "second"),
    [
        ("S2A_OPER_MSI_L2A_DS_MTI__20190101T112242_S20190101T084846_N02.11",
         "L2A_T34HCH_A018422_20190101T084846", "20190101T084846"),
        ("S2A_OPER_MSI_L2A_DS_2APS_20240311T194050_S20240311T140636_N05.10",
         "L2A_T20HNJ_A045538_20240311T140636", "20240311T140636"),
    ],
)  # fmt: skip
def test_earth_engine_names_a_granule_by_the_start_of_its_datastrip(datastrip: str, granule: str, second: str) -> None:
    assert product_ids.datastrip_sensing(datastrip, "", "") == second
    assert product_ids.datastrip_sensing("", "", f"s3://x/GRANULE/{granule}/IMG_DATA/B04.jp2") == second
    assert product_ids.datastrip_sensing("", "scene", "https://host/B04.tif") == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("S1A_IW_GRDH_1SDV_20240419T045904_20240419T045916_053498_067DF2_DCEC/measurement/vv.tiff",
         "S1A_IW_GRDH_1SDV_20240419T045904_20240419T045916_053498_067DF2_DCEC"),
        ("S1A_IW_GRDH_1SDV_20240419T045904_20240419T045916_053498_067DF2_rtc",
         "S1A_IW_GRDH_1SDV_20240419T045904_20240419T045916_053498_067DF2"),
        ("S1_MOL_20230403", ""),
    ],
)  # fmt: skip
def test_a_sentinel1_id_is_found_with_its_checksum_if_there_is_one(text: str, found: str) -> None:
    assert product_ids.find_sentinel1_id(text) == found


def test_stamps_survive_the_way_there_and_back() -> None:
    assert product_ids.format_stamp(product_ids.parse_stamp("20230815T095031")) == "20230815T095031"
