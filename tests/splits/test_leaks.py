import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from pipeline import grid
from pipeline.errors import RecipeError
from pipeline.splits.audit import audit, read_locations
from pipeline.splits.leaks import Patches, audit_patches

LD = "golden/sen12landslides/tasks/S12LS-LD/harmonized/s2/patch_locations.geojson"


def table(*rows, epsg=32633, side=1280.0):
    """Rows of split and lower left corner in sides."""
    frame = pd.DataFrame(rows, columns=["split", "x", "y"])
    frame = frame.assign(
        id=[f"p{number}" for number in range(len(frame))],
        epsg=epsg,
        easting=500_000.0 + (frame.x + 0.5) * side,
        northing=5_000_000.0 + (frame.y + 0.5) * side,
        side=side,
        resolution=10.0,
    )
    lon, lat = grid.to_lonlat(easting=frame.easting, northing=frame.northing, epsg=epsg)
    return frame.assign(lon=lon, lat=lat)


def shares(*rows, **options):
    found = audit_patches(Patches(table=table(*rows, **options)))
    return found.edge_share, found.neighbour_share, found.near_share


def test_the_published_patches_have_the_published_figures(shared):
    locations = read_locations(shared / LD)
    frames = []
    for crs, zone in locations.groupby("crs_original"):
        epsg = int(crs[5:])
        easting, northing = grid.to_utm(lon=zone.lon.to_numpy(), lat=zone.lat.to_numpy(), epsg=epsg)
        frames.append(zone.assign(epsg=epsg, easting=easting, northing=northing))
    patches = pd.concat(frames).rename(columns={"patch_id": "id"}).assign(side=1280.0, resolution=10.0)
    found, expected = audit_patches(Patches(table=patches)), audit(locations)
    assert found.patches == {"train": 3192, "val": 798, "test": 998, "buffer": 0}
    assert (found.edge_share, found.neighbour_share) == (expected.edge_share, expected.neighbour_share)
    assert round(found.near_share, 3) == round(expected.near_share, 3) == 0.996


@pytest.mark.parametrize("side", [320.0, 2640.0])
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0, 0), (1, 1)), ((1, 0), (1, 1)), ((-1, 0), (1, 1)), ((0, -1), (1, 1)), ((1, 1), (0, 1)), ((-1, 1), (0, 1)),
        ((2, 0), (0, 0)), ((1, 2), (0, 0)), ((1, 0.5), (1, 1)), ((0.4, 0.3), (1, 1)), ((1.1, 0), (0, 0)),
        ((0.9, 0.9), (1, 1)),
    ],
)  # fmt: skip
def test_neighbours_touch_on_any_lattice_and_off_it(place, expected, side):
    assert shares(("test", 0.3, 0.7), ("train", 0.3 + place[0], 0.7 + place[1]), side=side)[:2] == expected


def test_shares_are_of_test_patches_and_the_buffer_does_not_count():
    rows = ("test", 0, 0), ("test", 20, 0), ("val", 20, 1), ("buffer", 21, 0), ("train", 0, 1), ("train", 1, 1)
    found = audit_patches(Patches(table=table(*rows)))
    assert (found.edge_share, found.neighbour_share, found.near_share) == (0.5, 0.5, 0.5)
    assert found.patches == {"train": 2, "val": 1, "test": 2, "buffer": 1}
    assert found.same_event_share is None
    assert "same_event_share" not in found.as_dict()


def test_neighbours_of_two_zones_touch():
    # 18° E is the seam of zones 33 and 34.
    lat, frames = 45.0, []
    for split, epsg, lon in (("test", 32633, 17.99), ("train", 32634, 18.0061)):
        easting, northing = grid.to_utm(lon=lon, lat=lat, epsg=epsg)
        row = {"id": split, "split": split, "epsg": epsg, "easting": float(easting), "northing": float(northing)}
        frames.append(row | {"side": 1280.0, "resolution": 10.0, "lon": lon, "lat": lat})
    found = audit_patches(Patches(table=pd.DataFrame(frames)))
    assert (found.edge_share, found.neighbour_share) == (1.0, 1.0)
    assert found.smallest_distance == pytest.approx(Geod(ellps="WGS84").inv(17.99, lat, 18.0061, lat)[2], rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(4, 40))
def test_distances_are_geodesic(seed, count):
    rng = np.random.default_rng(seed)
    rows = [(split, *rng.uniform(-30, 30, 2)) for split in ["train", "test", *rng.choice(["train", "test"], count)]]
    patches = table(*rows)
    found = audit_patches(Patches(table=patches), distance=20_000.0)
    test, train = patches[patches.split == "test"], patches[patches.split == "train"]
    metres = [
        Geod(ellps="WGS84").inv(np.full(len(train), lon), np.full(len(train), lat), train.lon, train.lat)[2].min()
        for lon, lat in zip(test.lon, test.lat, strict=True)
    ]
    assert found.smallest_distance == pytest.approx(min(metres), rel=1e-4)
    if np.abs(np.array(metres) - 20_000.0).min() > 5.0:
        assert found.near_share == np.mean(np.array(metres) < 20_000.0)


def test_what_test_and_train_share():
    patches = table(("train", 0, 0), ("test", 9, 0), ("test", 18, 0), ("val", 27, 0), ("test", 36, 0), ("test", 45, 0))
    events = pd.DataFrame(
        [(0, "r|a|d", "r|d"), (1, "r|a|d", "r|d"), (1, "r|z|e", "r|e"), (2, "r|b|d", "r|d"), (3, "r|c|f", "r|f"),
         (4, "r|c|f", "r|f")],
        columns=["patch", "event", "trigger"],
    )  # fmt: skip
    passes = pd.DataFrame([(0, "x"), (3, "y"), (5, "x"), (5, "x"), (4, "y")], columns=["patch", "acquisition"])
    found = audit_patches(Patches(table=patches, events=events, acquisitions=passes))
    assert (found.same_event_share, found.same_trigger_share, found.same_acquisition_share) == (0.25, 0.5, 0.25)


@pytest.mark.parametrize("lost", ["train", "test"])
def test_both_are_needed(lost):
    held = "test" if lost == "train" else "train"
    with pytest.raises(RecipeError, match=f"no {lost} patches"):
        audit_patches(Patches(table=table((held, 0, 0))))
