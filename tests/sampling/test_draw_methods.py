import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyproj import Geod
from support.sampling import GEOD, RECIPE, write_cities, write_land

from pipeline.errors import RecipeError
from pipeline.sampling.cities import Cities, read_cities
from pipeline.sampling.draw import DrawRequest, NearCities, OnLand, draw_places
from pipeline.sampling.land import land_shares, open_land
from pipeline.sampling.philox import random_words, unit_interval
from pipeline.sampling.proposals import CitySampler, GlobeSampler, areas_of, triangles_of
from pipeline.sampling.strata import Regions, Strata, seats

MANY = 20_000
ONES = np.ones(MANY, np.int64)
EVERYWHERE = np.array([shapely.box(-180.0, -90.0, 180.0, 90.0)], np.object_)


def towns_at(*places: tuple[float, float]) -> Cities:
    table = pd.DataFrame(places, columns=["lon", "lat"]).assign(name="t", population=1.0, country="", continent="")
    return Cities(table=table, source="towns")


def near(cities: Cities, *, std: float = 50_000.0) -> CitySampler:
    rows = [np.arange(len(cities.table))]
    return CitySampler(seed=7, cities=cities, std=std, members=rows, region=np.zeros(MANY, np.int64))


@given(st.integers(0, 2**128 - 1), st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**31)), min_size=1))
@example(2**128 - 1, [(2**40, 2**31)])
@settings(max_examples=30)
def test_random_words_are_those_of_numpys_philox(seed, counters) -> None:
    index, attempt = (np.array(axis, np.int64) for axis in zip(*counters, strict=True))
    words = random_words(seed, index=index, attempt=attempt)
    for column, counter in zip(words.T, counters, strict=True):
        np.testing.assert_array_equal(column, np.random.Philox(key=seed, counter=[*counter, 0, 0]).random_raw(4))


def test_words_become_numbers_below_one() -> None:
    ends = unit_interval(np.array([0, 2**64 - 1], np.uint64))
    assert ends[0] == 0.0
    assert ends[1] == 1.0 - 2.0**-53


@pytest.mark.parametrize("lat", [0.0, 65.0, -79.0])
@pytest.mark.parametrize("lon", [10.0, 179.9])
def test_offsets_are_normal_in_metres_at_every_latitude(lon, lat) -> None:
    draws = near(towns_at((lon, lat))).draw(index=np.arange(MANY), attempt=ONES)
    start = np.full(MANY, lon), np.full(MANY, lat)
    azimuth, _, distance = GEOD.inv(*start, draws.lon, draws.lat)
    for offset in (distance * np.sin(np.radians(azimuth)), distance * np.cos(np.radians(azimuth))):
        assert offset.std() == pytest.approx(50_000.0, rel=0.02)
        assert abs(offset.mean()) < 4 * 50_000.0 / np.sqrt(MANY)
        assert (np.abs(offset) < 50_000.0).mean() == pytest.approx(0.6827, abs=0.012)
    assert ((draws.lon >= -180.0) & (draws.lon < 180.0)).all()


def test_every_city_is_as_likely() -> None:
    cities = towns_at(*((float(lon), 0.0) for lon in range(8)))
    draws = near(cities, std=1.0).draw(index=np.arange(MANY), attempt=ONES)
    counts = np.bincount(draws.city, minlength=8)
    assert np.abs(counts - MANY / 8).max() < 4.5 * np.sqrt(MANY / 8)
    np.testing.assert_allclose(draws.lon, draws.city, atol=1e-3)


def test_draws_of_a_sample_differ_from_attempt_to_attempt() -> None:
    sampler = near(towns_at((0.0, 0.0)))
    one, two = (sampler.draw(index=np.arange(MANY), attempt=ONES * attempt) for attempt in (1, 2))
    assert abs(np.corrcoef(one.lon, two.lon)[0, 1]) < 4 / np.sqrt(MANY)
    assert abs(np.corrcoef(one.lon[1:], one.lon[:-1])[0, 1]) < 4 / np.sqrt(MANY)
    assert np.unique(np.stack([one.lon, two.lon])).size > 1.99 * MANY


@given(st.permutations(range(50)))
@settings(max_examples=5)
def test_a_draw_depends_on_its_own_numbers_alone(order) -> None:
    sampler = near(towns_at((10.0, 60.0), (-70.0, -30.0)))
    index = np.array(order)
    whole = sampler.draw(index=np.arange(50), attempt=np.arange(50) % 3 + 1)
    shuffled = sampler.draw(index=index, attempt=index % 3 + 1)
    np.testing.assert_array_equal(shuffled.lon, whole.lon[index])
    np.testing.assert_array_equal(shuffled.lat, whole.lat[index])
    np.testing.assert_array_equal(shuffled.city, whole.city[index])


def test_places_anywhere_are_uniform_on_the_sphere() -> None:
    triangles = triangles_of(EVERYWHERE)
    assert areas_of(triangles)[0] == pytest.approx(510_065_621_724_000.0, rel=1e-6)
    sampler = GlobeSampler(seed=7, triangles=triangles, region=np.zeros(MANY, np.int64))
    draws = sampler.draw(index=np.arange(MANY), attempt=ONES)
    # Archimedes: heights above the equator's plane are uniform; the flattening moves them by less than 0.3 %.
    bands = np.histogram(np.sin(np.radians(draws.lat)), bins=20, range=(-1.0, 1.0))[0]
    sectors = np.histogram(draws.lon, bins=20, range=(-180.0, 180.0))[0]
    for counts in (bands, sectors):
        assert np.abs(counts - MANY / 20).max() < 4.5 * np.sqrt(MANY / 20)
    assert (np.abs(draws.lat) > 60.0).mean() == pytest.approx(1.0 - np.sin(np.radians(60.0)), abs=0.01)


def test_places_fill_a_region_evenly_whatever_its_shape() -> None:
    ring = shapely.box(-10.0, 50.0, 10.0, 70.0).difference(shapely.box(-5.0, 55.0, 5.0, 65.0))
    far = shapely.MultiPolygon([shapely.box(178.0, -20.0, 180.0, -10.0), shapely.box(-180.0, -20.0, -178.0, -10.0)])
    triangles = triangles_of(np.array([ring, far], np.object_))
    sampler = GlobeSampler(seed=1, triangles=triangles, region=np.arange(MANY) % 2)
    draws = sampler.draw(index=np.arange(MANY), attempt=ONES)
    in_ring, beyond = draws.take(np.arange(0, MANY, 2)), draws.take(np.arange(1, MANY, 2))
    assert shapely.intersects_xy(ring, in_ring.lon, in_ring.lat).mean() > 0.9999
    assert (beyond.lon > 0.0).mean() == pytest.approx(0.5, abs=0.02)
    geod = Geod(ellps="WGS84")
    south = ring.intersection(shapely.box(-10.0, 50.0, 10.0, 60.0))
    share = geod.geometry_area_perimeter(shapely.segmentize(shapely.normalize(south), 0.1))[0]
    share /= geod.geometry_area_perimeter(shapely.segmentize(shapely.normalize(ring), 0.1))[0]
    assert (in_ring.lat < 60.0).mean() == pytest.approx(share, abs=0.02)


def test_land_and_sea_are_where_they_should_be() -> None:
    land = open_land()
    places = {
        "Paris": (2.35, 48.86, True), "Suva": (178.44, -18.13, True), "Chukotka": (-179.99, 68.0, True),
        "Wrangel": (179.99, 71.2, True), "Victoria Land": (160.0, -75.0, True), "Lake Superior": (-87.5, 47.7, True),
        "Atlantic": (-30.0, 40.0, False), "Null Island": (0.0, 0.0, False), "Arctic Ocean": (0.0, 89.9, False),
        "Pacific": (-180.0, 0.0, False), "Pole": (0.0, -90.0, True),
    }  # fmt: skip
    lon, lat, expected = (np.array(axis) for axis in zip(*places.values(), strict=True))
    assert dict(zip(places, land.holds(lon=lon, lat=lat).tolist(), strict=True)) == dict(
        zip(places, expected.tolist(), strict=True)
    )
    draws = GlobeSampler(seed=3, triangles=triangles_of(EVERYWHERE), region=np.zeros(MANY, np.int64)).draw(
        index=np.arange(MANY), attempt=ONES
    )
    assert land.holds(lon=draws.lon, lat=draws.lat).mean() == pytest.approx(0.29, abs=0.015)


def test_the_raster_is_read_as_its_own_package_reads_it() -> None:
    globe = open_land()
    assert globe.sea.shape == (21600, 5400)
    rows = np.array([0, 1, 4936, 10799, 21599])
    columns = np.array([0, 7, 21882, 43192, 43199])
    middles = (columns + 0.5) / 120.0 - 180.0, 90.0 - (rows + 0.5) / 120.0
    unpacked = np.unpackbits(globe.sea[rows], axis=1)[np.arange(5), columns]
    np.testing.assert_array_equal(globe.holds(lon=middles[0], lat=middles[1]), unpacked == 0)


def test_the_share_of_land_in_a_patch_is_counted_over_it(tmp_path) -> None:
    land = open_land(
        write_land(tmp_path, shapely.box(9.0, 40.0, 10.0, 50.0), shapely.box(-180.0, -20.0, -179.0, -15.0))
    )
    places = {"lon": np.array([9.5, 10.0, 11.0, 180.0 - 1e-9, -179.5]), "lat": np.array([45.0, 45.0, 45.0, -17, -17])}
    np.testing.assert_allclose(land_shares(land, recipe=RECIPE, **places), [1.0, 0.5, 0.0, 0.5, 1.0], atol=0.07)


def test_the_default_cities_are_the_largest() -> None:
    cities = read_cities(largest=10_000)
    assert len(cities.table) == 10_000
    assert cities.table["population"].is_monotonic_decreasing
    assert {"Shanghai", "Lagos", "Istanbul"} <= set(cities.table["name"][:20])
    assert cities.table["population"].iloc[-1] > 50_000
    assert {"Europe", "Africa", "Asia", "North America", "South America", "Oceania"} <= set(cities.table["continent"])
    assert cities.table.loc[cities.table["country"] == "NA", "continent"].eq("Africa").all()
    assert "GeoNames" in cities.source
    assert len(read_cities(largest=40_000).table) == 40_000


def test_a_users_list_is_ranked_whatever_its_order_and_columns(tmp_path) -> None:
    rows = ["B,1.5,2.5,200", "A,3,4,1000.0", 'C,5,6,""', 'D,-7,190,"1,500"']
    path = write_cities(tmp_path, *rows[:3], 'D,-7,-170,"1,500"')
    table = read_cities(path, largest=3).table
    assert table["name"].tolist() == ["D", "A", "B"]
    assert table["population"].tolist() == [1500.0, 1000.0, 200.0]
    assert table[["lon", "lat"]].to_numpy().tolist() == [[-170.0, -7.0], [4.0, 3.0], [2.5, 1.5]]
    mixed = write_cities(tmp_path, "x,1,2,5,NA", "y,1,2,5,NA", header="name,lon,lat,population,iso2")
    assert read_cities(mixed, largest=9).table["country"].tolist() == ["NA", "NA"]


@pytest.mark.parametrize(
    ("header", "row", "text"),
    [
        ("city,lat,lng,people", "a,1,2,3", "has no column population; its columns are: city, lat, lng, people"),
        ("city,lat,population", "a,1,2", "has no column lon or lng or longitude"),
        ("city,lat,lng,population", "a,x,2,3", r"1 of 1 values of column lat are not numbers \(first: a, 'x'\)"),
        ("city,lat,lng,population", "a,100,2,3", "check that lon and lat are not swapped"),
        ("city,lat,lng,population", "a,10,200,3", "values of column lng leave ±180"),
    ],
)
def test_a_city_list_that_cannot_be_used_is_refused_in_one_line(header, row, text, tmp_path) -> None:
    with pytest.raises(RecipeError, match=text) as caught:
        read_cities(write_cities(tmp_path, row, header=header), largest=5)
    assert "\n" not in str(caught.value)


weights = st.lists(st.integers(1, 50), min_size=1, max_size=12)


def regions(count: int) -> Regions:
    return Regions(names=tuple(f"r{number:02d}" for number in range(count)), outlines=None)


@given(weights, st.integers(1, 200), st.integers(0, 100))
def test_more_samples_change_no_seat_and_shares_hold_throughout(sizes, count, more) -> None:
    strata = Strata(by="country", quota="proportional")
    dealt = seats(strata, regions(len(sizes)), sizes, count=count)
    longer = seats(strata, regions(len(sizes)), sizes, count=count + more)
    np.testing.assert_array_equal(longer[:count], dealt)
    equal = seats(Strata(by="country"), regions(len(sizes)), sizes, count=count)
    np.testing.assert_array_equal(equal, np.arange(count) % len(sizes))
    counts = np.bincount(dealt, minlength=len(sizes))
    # Webster's condition: no seat would be better used elsewhere.
    assert ((counts - 0.5) / sizes).max() <= ((counts + 0.5) / sizes).min() + 1e-9


@given(weights)
def test_given_quotas_are_met_exactly(sizes) -> None:
    names = regions(len(sizes))
    quota = dict(zip(names.names, sizes, strict=True))
    dealt = seats(Strata(by="country", quota=quota), names, [], count=sum(sizes))
    np.testing.assert_array_equal(np.bincount(dealt, minlength=len(sizes)), sizes)


def test_strata_by_continent_draw_as_many_near_cities_of_each() -> None:
    drawn = draw_places(DrawRequest(recipe=RECIPE, count=60, strata=Strata(by="continent")))
    assert set(drawn.places["region"].value_counts()) == {10}
    asia = drawn.places[drawn.places["region"] == "Asia"]
    assert asia["lon"].between(25.0, 180.0).all()


@pytest.mark.parametrize("method", [OnLand(), NearCities(std_km=80.0)])
def test_strata_by_polygons_keep_places_inside_theirs(method, tmp_path) -> None:
    alps, fiji = shapely.box(8.0, 46.0, 12.0, 48.0), shapely.box(177.0, -19.0, 180.0, -16.0)
    east = shapely.box(-180.0, -19.0, -178.0, -16.0)
    path = write_land(tmp_path, alps, fiji, east, label=["alps", "fiji", "fiji"])
    strata = Strata(by=path, column="label", quota={"alps": 20, "fiji": 8})
    drawn = draw_places(DrawRequest(recipe=RECIPE, count=28, method=method, strata=strata, max_attempts=2000))
    assert not drawn.unplaced
    assert drawn.places["region"].value_counts().to_dict() == {"alps": 20, "fiji": 8}
    for region, area in (("alps", alps), ("fiji", fiji.union(east))):
        inside = drawn.places[drawn.places["region"] == region]
        assert shapely.intersects_xy(area, inside["lon"], inside["lat"]).all()
    reasons = set(drawn.rejected["reason"])
    assert ("region" in reasons) == isinstance(method, NearCities)


def test_the_proportional_quota_follows_area_on_land_and_cities_near_them(tmp_path) -> None:
    path = write_land(tmp_path, shapely.box(0.0, 0.0, 3.0, 1.0), shapely.box(10.0, 0.0, 11.0, 1.0), name=["a", "b"])
    towns = write_cities(tmp_path, "1,0.5,0.5,1", "2,0.5,10.5,1", "3,0.6,10.5,1", "4,0.4,10.5,1")
    strata = Strata(by=path, quota="proportional")
    near_them = NearCities(path=towns, std_km=20)
    for method, shares in ((OnLand(), {"a": 15, "b": 5}), (near_them, {"a": 5, "b": 15})):
        request = DrawRequest(recipe=RECIPE, count=20, method=method, strata=strata, land=path, max_attempts=500)
        assert draw_places(request).places["region"].value_counts().to_dict() == shares


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"strata": Strata(by="continent"), "method": OnLand()}, "strata by continent need the city sampler"),
        ({"strata": Strata(by="country", quota={"XX": 5})}, "there is no region XX to give a quota"),
        ({"strata": Strata(by="country", quota={"DE": 4})}, "the quotas add up to 4, but ids 0 to 4"),
        ({"strata": Strata(by="areas", column="label")}, "has no column label to name its regions"),
        ({"strata": Strata(by="areas")}, r"1 of 2 regions have no city .*first: b"),
        ({"strata": Strata(by="towns")}, "does not hold polygons alone"),
        ({"strata": Strata(by="continent"), "method": "towns"}, "no city has a continent"),
        ({"land": "towns"}, "does not hold polygons alone"),
    ],
)
def test_strata_and_land_that_cannot_be_used_are_refused_in_one_line(changes, text, tmp_path) -> None:
    files = {
        "areas": write_land(tmp_path, shapely.box(8.0, 46.0, 12.0, 48.0), shapely.box(0, 0, 1, 1), name=["a", "b"]),
        "towns": write_cities(tmp_path, "a,1,2,3"),
    }
    if "strata" in changes and changes["strata"].by in files:
        strata = changes["strata"]
        changes = changes | {"strata": Strata(by=files[strata.by], column=strata.column)}
    if changes.get("method") == "towns":
        changes = changes | {"method": NearCities(path=files["towns"])}
    if "land" in changes:
        changes = changes | {"land": files["towns"]}
    with pytest.raises(RecipeError, match=text) as caught:
        draw_places(DrawRequest(recipe=RECIPE, count=5, **changes))
    assert "\n" not in str(caught.value)
