import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sampling import RECIPE, SPECK, overlapping_pairs, samples_at, shared_ground, write_cities, write_land

from pipeline.errors import RecipeError
from pipeline.grid import patches_around
from pipeline.sampling import read_points, rejection
from pipeline.sampling.cities import read_cities
from pipeline.sampling.draw import Drawn, DrawRequest, NearCities, OnLand, draw_places
from pipeline.sampling.land import LandPolygons
from pipeline.sampling.output import write_places
from pipeline.sampling.overlap import squares_of
from pipeline.sampling.proposals import CitySampler
from pipeline.sampling.rejection import Patches, settle
from pipeline.sampling.terms import Terms, refusals

LAND = np.array([shapely.box(-179.97, -90.0, 179.93, 90.0)], np.object_)
CROWDED = ("West,16.9,179.9,9000", "East,17.0,-179.95,8000", "North,83.8,30,7000")
"""Two towns across the antimeridian, and one near the end of UTM."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("places")


@pytest.fixture(scope="module")
def towns(folder):
    return write_cities(folder, *CROWDED)


@pytest.fixture(scope="module")
def world(folder):
    """Land everywhere but for a strait between the towns."""
    return write_land(folder, *LAND)


@pytest.fixture(scope="module")
def crowded(towns, world):

    def request(*, seed: int = 1, std_km: float = 8.0, **changes) -> DrawRequest:
        recipe = RECIPE.model_copy(update={"seed": seed})
        fields = {"count": 60, "max_attempts": 6, "land": world, **changes}
        return DrawRequest(recipe=recipe, method=NearCities(path=towns, std_km=std_km), **fields)

    return request


def same(one: Drawn, other: Drawn) -> None:
    pd.testing.assert_frame_equal(one.places, other.places)
    pd.testing.assert_frame_equal(one.rejected, other.rejected)
    assert one.unplaced == other.unplaced


def plain_loop(index, sampler, terms: Terms):
    """What the module says that its blocks come to: one id after the other, one attempt after the other."""
    kept, rejected = {}, []
    for sample in index:
        for attempt in range(1, terms.max_attempts + 1):
            draw = sampler.draw(index=np.array([sample]), attempt=np.array([attempt]))
            (reason,) = refusals(draw, terms)
            if not reason:
                (patch,) = patches_around(lon=draw.lon, lat=draw.lat, recipe=terms.recipe)
                beaten = [other for other, (_, there) in kept.items() if shared_ground(patch, there) > SPECK]
                if not beaten:
                    kept[sample] = attempt, patch
                    break
                reason = f"overlap {beaten[0]:07d}"
            rejected.append((sample, attempt, reason))
    return {sample: attempt for sample, (attempt, _) in kept.items()}, rejected


@given(st.integers(0, 2**128 - 1), st.sampled_from([3.0, 8.0]))
@settings(max_examples=4)
def test_blocks_decide_what_a_plain_loop_does(towns, seed, std_km) -> None:
    cities, index = read_cities(towns, largest=3), np.arange(24)
    region = np.zeros(24, np.int64)
    sampler = CitySampler(seed=seed, cities=cities, std=std_km * 1e3, members=[np.arange(3)], region=region)
    terms = Terms(
        recipe=RECIPE, land=LandPolygons(polygons=LAND, source=""), min_land_share=0.0, regions=None,
        region=region, gap=0.0, max_attempts=4,
    )  # fmt: skip
    settled = settle(index, sampler, terms, Patches(squares=squares_of([]), ids=np.empty(0, np.object_)))
    kept, rejected = plain_loop(index.tolist(), sampler, terms)
    assert dict(zip(settled.kept.index.tolist(), settled.kept.attempt.tolist(), strict=True)) == kept
    reasons = [f"{why} {whom}".strip() for why, whom in zip(settled.reason, settled.overlapped, strict=True)]
    log = zip(settled.rejected.index.tolist(), settled.rejected.attempt.tolist(), reasons, strict=True)
    assert list(log) == rejected
    assert any(reason.startswith("overlap") for reason in reasons)


@given(st.integers(0, 1000), st.integers(1, 59), st.sampled_from([1, 7, 64]))
@settings(max_examples=15)
def test_neither_the_number_of_samples_nor_their_blocks_matter(crowded, seed, cut, block) -> None:
    whole = draw_places(crowded(seed=seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rejection, "_BLOCK", block)
        same(draw_places(crowded(seed=seed)), whole)
    first = draw_places(crowded(seed=seed, count=cut))
    second = draw_places(crowded(seed=seed, count=60 - cut, start=cut, taken=samples_at(first.places)))
    pd.testing.assert_frame_equal(pd.concat([first.places, second.places], ignore_index=True), whole.places)
    pd.testing.assert_frame_equal(pd.concat([first.rejected, second.rejected], ignore_index=True), whole.rejected)
    assert first.unplaced + second.unplaced == whole.unplaced


@given(st.integers(0, 1000), st.sampled_from([0.0, 300.0]))
@settings(max_examples=8)
def test_no_two_patches_overlap_even_where_they_crowd(crowded, seed, gap) -> None:
    drawn = draw_places(crowded(seed=seed, std_km=5.0, gap=gap))
    assert "overlap" in set(drawn.rejected["reason"])
    assert overlapping_pairs(drawn.places) == set()
    wide = RECIPE.model_copy(update={"patch_size": 264 + round(gap / 10.0)})
    assert overlapping_pairs(drawn.places, wide) == set()


def test_every_draw_is_accounted_for(crowded) -> None:
    drawn = draw_places(crowded(std_km=4.0))
    assert drawn.unplaced
    assert sorted([*drawn.places["id"], *drawn.unplaced]) == [f"{number:07d}" for number in range(60)]
    draws = drawn.rejected.groupby("id")["attempt"].agg(list)
    for row in drawn.places.itertuples():
        assert draws.get(row.id, []) == list(range(1, row.attempts))
    for unplaced in drawn.unplaced:
        assert draws[unplaced] == [1, 2, 3, 4, 5, 6]
    overlaps = drawn.rejected[drawn.rejected["reason"] == "overlap"]
    assert (overlaps["overlapped"] < overlaps["id"]).all()
    assert (drawn.rejected.loc[drawn.rejected["reason"] != "overlap", "overlapped"] == "").all()


def test_a_rejected_draw_names_the_patch_that_it_overlaps(crowded) -> None:
    taken = samples_at(pd.DataFrame({"id": ["mine"], "lon": [179.9], "lat": [16.9]}))
    drawn = draw_places(crowded(std_km=0.1, count=8, taken=taken))
    grids = dict(zip(drawn.places["id"], samples_at(drawn.places), strict=True)) | {"mine": taken[0]}
    overlaps = drawn.rejected[drawn.rejected["reason"] == "overlap"]
    assert "mine" in set(overlaps["overlapped"])
    for row, sample in zip(overlaps.itertuples(), samples_at(overlaps), strict=True):
        assert shared_ground(sample.grid, grids[row.overlapped].grid) > 0.0


def test_places_beyond_utm_and_at_sea_are_rejected(towns, tmp_path) -> None:
    land = write_land(tmp_path, shapely.box(20.0, 80.0, 40.0, 90.0))
    drawn = draw_places(
        DrawRequest(recipe=RECIPE, count=40, method=NearCities(path=towns), land=land, max_attempts=200)
    )
    assert not drawn.unplaced
    assert drawn.places["lat"].between(80.0, 84.0).all()
    counts = drawn.rejected["reason"].value_counts()
    assert counts["latitude"] > 5
    assert counts["sea"] > 40
    assert (drawn.rejected.loc[drawn.rejected["reason"] == "latitude", "lat"] > 84.0).all()


def test_nothing_can_be_placed_where_all_is_sea(crowded, tmp_path) -> None:
    drawn = draw_places(crowded(land=write_land(tmp_path, shapely.box(0.0, 0.0, 1.0, 1.0)), count=5))
    assert drawn.places.empty
    assert len(drawn.unplaced) == 5
    assert len(drawn.rejected) == 30
    write_places(tmp_path / "none.parquet", drawn)
    assert len(gpd.read_parquet(tmp_path / "none.parquet")) == 0


def test_a_patch_must_hold_the_share_of_land_that_is_asked_for(tmp_path) -> None:
    land = write_land(tmp_path, shapely.box(10.0, 44.0, 11.0, 46.0))
    town = write_cities(tmp_path, "Town,45.0,10.0,5")
    request = DrawRequest(
        recipe=RECIPE, count=12, land=land, min_land_share=0.75, method=NearCities(path=town, std_km=4)
    )
    drawn = draw_places(request)
    assert {"sea", "land_share"} <= set(drawn.rejected["reason"])
    shores = drawn.rejected[drawn.rejected["reason"] == "land_share"]
    assert (drawn.places["lon"].min() - 10.0) * 78_850.0 > 0.25 * 2640.0 - 170.0
    assert ((shores["lon"] - 10.0) * 78_850.0).between(0.0, 0.25 * 2640.0 + 170.0).all()


def test_the_globe_and_its_cities_are_there_by_default() -> None:
    request = DrawRequest(recipe=RECIPE, count=300)
    near, anywhere = draw_places(request), draw_places(DrawRequest(recipe=RECIPE, count=300, method=OnLand()))
    for drawn in (near, anywhere):
        assert len(drawn.places) == 300
        assert "sea" in set(drawn.rejected["reason"])
        assert overlapping_pairs(drawn.places) == set()
    assert near.places["country"].nunique() > 30
    assert set(anywhere.places["city"]) == {""}
    assert anywhere.rejected["reason"].eq("sea").mean() == pytest.approx(0.98, abs=0.02)
    assert len(near.sources) == 2


@pytest.mark.parametrize("name", ["places.parquet", "deep/places.csv"])
def test_written_places_are_read_as_the_patches_that_were_tested(crowded, name, tmp_path) -> None:
    drawn = draw_places(crowded())
    places, rejected, report = write_places(tmp_path / name, drawn)
    samples = read_points(places, RECIPE)
    assert [sample.id for sample in samples] == drawn.places["id"].tolist()
    assert [sample.grid for sample in samples] == [sample.grid for sample in samples_at(drawn.places)]
    read = pd.read_csv if places.suffix == ".csv" else pd.read_parquet
    assert len(read(rejected)) == len(drawn.rejected)
    told = json.loads(report.read_text())
    assert told["places"] + len(told["unplaced"]) == 60
    assert sum(told["rejected"].values()) == len(drawn.rejected)
    assert told["settings"]["recipe"]["seed"] == 1
    assert sorted(path.name for path in places.parent.iterdir()) == sorted(
        path.name for path in (places, rejected, report)
    )


def test_files_that_are_there_are_not_overwritten(crowded, tmp_path) -> None:
    drawn = draw_places(crowded(count=2))
    (tmp_path / "a_rejected.csv").write_text("mine")
    with pytest.raises(RecipeError, match=r"a_rejected\.csv is there already"):
        write_places(tmp_path / "a.csv", drawn)
    with pytest.raises(RecipeError, match=r"end it with \.parquet or \.csv"):
        write_places(tmp_path / "a.xlsx", drawn)
    assert [path.name for path in tmp_path.iterdir()] == ["a_rejected.csv"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"count": 0}, "count 0: draw at least 1 place"),
        ({"start": -1}, "start -1 is below 0"),
        ({"start": 9_999_999, "count": 2}, "ids end at 9999999, but 10000000 is asked for"),
        ({"max_attempts": 0}, "max_attempts 0: allow at least 1"),
        ({"min_land_share": 1.5}, "min_land_share 1.5 is not a share from 0 to 1"),
        ({"gap": -1.0}, "gap -1 is not a distance in metres"),
        ({"std_km": 0.0}, "std_km 0 is not above 0 and at most 5000"),
        ({"seed": 2**128}, r"or more"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_one_line(crowded, changes, text) -> None:
    with pytest.raises(RecipeError, match=text) as caught:
        draw_places(crowded(**changes))
    assert "\n" not in str(caught.value)


def test_one_zone_for_all_places_is_refused(crowded) -> None:
    places = RECIPE.places.model_copy(update={"crs": "EPSG:32633"})
    with pytest.raises(RecipeError, match=r"places\.crs is EPSG:32633"):
        draw_places(DrawRequest(recipe=RECIPE.model_copy(update={"places": places}), count=1))
