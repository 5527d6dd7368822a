import json

import pandas as pd
import pytest

from pipeline import grid
from pipeline.errors import RecipeError
from pipeline.splits.audit import Audit, audit, read_locations

POINT = {"type": "Point", "coordinates": [9.0, 45.0]}
PROPERTIES = {"patch_id": "a_1", "split": "test", "crs_original": "EPSG:32632"}
FEATURE = {"type": "Feature", "properties": PROPERTIES, "geometry": POINT}


def table(*rows, epsg=32632, shift=0.0):
    records = []
    for number, (split, ix, iy) in enumerate(rows):
        easting, northing = 501120.0 + 1280.0 * ix + shift, 4999040.0 + 1280.0 * iy
        lon, lat = grid.to_lonlat(easting=easting, northing=northing, epsg=epsg)
        records.append((f"p{epsg}_{number}", split, f"EPSG:{epsg}", float(lon), float(lat)))
    return pd.DataFrame(records, columns=["patch_id", "split", "crs_original", "lon", "lat"])


def shares(locations, **options):
    found = audit(locations, **options)
    return found.edge_share, found.neighbour_share, found.near_share


def test_published_figures(shared):
    path = shared / "golden/sen12landslides/tasks/S12LS-LD/harmonized/s2/patch_locations.geojson"
    locations = read_locations(path)
    assert locations.split.value_counts().to_dict() == {"train": 3192, "test": 998, "val": 798}
    found = audit(locations)
    assert found.test_patches == 998
    assert [round(100 * share, 1) for share in (found.edge_share, found.neighbour_share, found.near_share)] == [
        82.5,
        92.4,
        99.6,
    ]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ((0, 0), (1, 1, 1)),
        ((0, 1), (1, 1, 1)),
        ((-1, 0), (1, 1, 1)),
        ((1, -1), (0, 1, 1)),
        ((2, 0), (0, 0, 1)),
        ((4, 2), (0, 0, 1)),
        ((5, 0), (0, 0, 0)),
        ((3, 4), (0, 0, 0)),
    ],
)
def test_one_pair(cell, expected):
    assert shares(table(("test", 0, 0), ("train", *cell))) == expected


def test_val_does_not_count_and_shares_are_of_test_patches():
    locations = table(("test", 0, 0), ("test", 20, 0), ("val", 20, 1), ("train", 0, 1), ("train", 1, 1))
    assert audit(locations) == Audit(2, 0.5, 0.5, 0.5, 6400.0)
    assert shares(locations, distance=30000) == (0.5, 0.5, 1.0)


def test_small_offsets_snap_and_large_ones_raise():
    assert shares(table(("test", 0, 0), ("train", 0, 1), shift=5.0)) == (1, 1, 1)
    with pytest.raises(RecipeError, match=r"p32632_\d lies 100\.0 m off the lattice"):
        audit(table(("test", 0, 0), ("train", 0, 1), shift=100.0))


def test_same_cell_of_another_zone_is_far():
    assert shares(pd.concat([table(("test", 0, 0)), table(("train", 0, 0), epsg=32633)])) == (0, 0, 0)


def test_near_patch_of_another_zone_is_near():
    test = table(("test", 185, 0))
    easting, northing = grid.to_utm(lon=test.lon[0], lat=test.lat[0], epsg=32633)
    ix, iy = round((float(easting) - 501120) / 1280), round((float(northing) - 4999040) / 1280)
    assert shares(pd.concat([test, table(("train", ix + 1, iy), epsg=32633)])) == (0, 0, 1)


def test_as_dict_is_json():
    found = audit(table(("test", 0, 0), ("train", 0, 1)))
    assert json.loads(json.dumps(found.as_dict())) == {
        "test_patches": 1,
        "edge_share": 1.0,
        "neighbour_share": 1.0,
        "near_share": 1.0,
        "distance": 6400.0,
    }


@pytest.mark.parametrize("distance", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_distance(distance):
    with pytest.raises(RecipeError, match="distance must be"):
        audit(table(("test", 0, 0), ("train", 0, 1)), distance=distance)


@pytest.mark.parametrize("split", ["train", "test"])
def test_audit_needs_both(split):
    with pytest.raises(RecipeError, match=r"has no (train|test) patches"):
        audit(table((split, 0, 0)))


def collection(*features, **members):
    return {"type": "FeatureCollection", "features": list(features), **members}


def feature(point=None, **properties):
    return FEATURE | {"properties": PROPERTIES | properties, "geometry": point or POINT}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "not a GeoJSON FeatureCollection"),
        ({"type": "Feature"}, "not a GeoJSON FeatureCollection"),
        (collection(), "has no patches"),
        (collection(1), "feature 0 is not a Point"),
        (collection(feature({"type": "Point", "coordinates": ["a", 1]})), "feature 0 is not a Point"),
        (collection(feature({"type": "Polygon", "coordinates": []})), "feature 0 is not a Point"),
        (collection(feature(patch_id=None)), "no property patch_id"),
        (collection(feature(split=3)), "no property split"),
        (collection(feature(split="holdout")), "has split 'holdout'"),
        (collection(feature(crs_original="EPSG:4326")), "crs_original 'EPSG:4326'"),
        (collection(feature(), feature()), "repeats patch_id a_1"),
        (collection(feature({"type": "Point", "coordinates": [9.0, 89.0]})), "outside the UTM zones"),
        (collection(feature({"type": "Point", "coordinates": [float("nan"), 1.0]})), "outside the UTM zones"),
        (collection(feature(), crs={"properties": {"name": "EPSG:32632"}}), "must be in longitude and latitude"),
    ],
)
def test_wrong_files(tmp_path, content, message):
    path = tmp_path / "patch_locations.geojson"
    path.write_text(json.dumps(content))
    with pytest.raises(RecipeError, match=message) as caught:
        read_locations(path)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path):
    (tmp_path / "text").write_text("{")
    for path in (tmp_path / "none", tmp_path, tmp_path / "text"):
        with pytest.raises(RecipeError, match=r"cannot be read as GeoJSON: [^\n]+$"):
            read_locations(path)


def test_far_zone_raises():
    with pytest.raises(RecipeError, match="central meridian"):
        audit(table(("test", 0, 0), ("train", 0, 1)).assign(crs_original="EPSG:32601"))


def test_missing_column():
    with pytest.raises(RecipeError, match="no column lat"):
        audit(table(("test", 0, 0)).drop(columns="lat"))
