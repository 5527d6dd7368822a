"""The published sampler's close pairs, reproduced with its rule and absent with ours."""

from collections import defaultdict

import geopandas as gpd
import numpy as np
import pytest
import shapely
from support.sampling import GEOD, RECIPE, overlapping_pairs

from pipeline.sampling.cities import read_cities
from pipeline.sampling.draw import DrawRequest, NearCities, draw_places

KM_PER_DEGREE = 2.0 * np.pi * 6371.0 / 360.0
CLOSEST_KM = 1.5 * 1.32


class PublishedSampler:
    """SSL4EO-S12 v1.0 in grid mode as the specification's 1.2 has it, with the fault of its first quirk."""

    def __init__(self, cities, *, std_km: float, is_mended: bool = False) -> None:
        self.towns = np.stack([cities.lon, cities.lat], axis=-1)
        self.std = std_km / KM_PER_DEGREE
        self.is_mended = is_mended
        self.cities = np.random.default_rng(0)
        self.normal = np.random.default_rng(42)
        self.cells = defaultdict(list)

    def place(self):
        lon, lat = self.normal.normal(self.towns[self.cities.integers(len(self.towns))], self.std)
        cell = self.cells[int(np.floor(lon + 180.0)), int(np.floor(lat + 90.0))]
        if any(np.hypot(lon - x, lat - y) * KM_PER_DEGREE < CLOSEST_KM for x, y in cell):
            another = self.place()
            # The script throws the new place away, and goes on with the one that it has just rejected.
            return another if self.is_mended else (lon, lat)
        cell.append((lon, lat))
        return lon, lat


def distances(lon, lat):
    """Geodesic distances [m] of all pairs closer than about 5 km."""
    one, other = np.triu_indices(len(lon), 1)
    near = np.abs(lat[one] - lat[other]) < 0.05
    one, other = one[near], other[near]
    return GEOD.inv(lon[one], lat[one], lon[other], lat[other])[2]


@pytest.fixture(scope="module")
def published():
    sampler = PublishedSampler(read_cities(largest=100), std_km=50.0)
    return np.array([sampler.place() for _ in range(4000)])


def test_the_published_rule_leaves_close_pairs_and_ours_none(published) -> None:
    apart = distances(*published.T)
    assert (apart < 1000.0 * CLOSEST_KM).sum() > 20
    assert (apart < 2640.0).sum() > 60
    ours = draw_places(DrawRequest(recipe=RECIPE, count=4000, method=NearCities(largest=100, std_km=50.0)))
    assert len(ours.places) == 4000
    assert (ours.rejected["reason"] == "overlap").sum() > 60
    assert distances(ours.places["lon"].to_numpy(), ours.places["lat"].to_numpy()).min() > 2640.0 * 0.99
    assert overlapping_pairs(ours.places) == set()


def test_even_without_the_fault_the_published_rule_lets_patches_overlap() -> None:
    sampler = PublishedSampler(read_cities(largest=100), std_km=50.0, is_mended=True)
    apart = distances(*np.array([sampler.place() for _ in range(4000)]).T)
    assert ((apart > 1000.0 * CLOSEST_KM * 0.99) & (apart < 2640.0)).sum() > 30


def test_the_published_offsets_shrink_with_latitude() -> None:
    cities = read_cities(largest=10_000)
    north = cities.table[cities.lat > 62.0].iloc[:1]
    sampler = PublishedSampler(type(cities)(table=north, source=""), std_km=50.0)
    lon = np.array([sampler.place()[0] for _ in range(2000)])
    metres = (lon - north["lon"].iloc[0]) * 111_195.0 * np.cos(np.radians(north["lat"].iloc[0]))
    assert metres.std() < 0.5 * 50_000.0


def test_the_published_set_has_the_pairs_that_the_specification_counts(shared) -> None:
    golden = gpd.read_parquet(shared / "golden/ssl4eo-s12/val_metadata.parquet").drop_duplicates("sample_id")
    assert len(golden) == 2176
    lon, lat = shapely.get_coordinates(shapely.centroid(np.asarray(golden.geometry.array, np.object_))).T
    one, other = np.triu_indices(len(golden), 1)
    near = np.abs(lat[one] - lat[other]) < 0.05
    one, other = one[near], other[near]
    east, north = np.radians(lon), np.radians(lat)
    chord = np.sin((north[one] - north[other]) / 2.0) ** 2
    chord += np.cos(north[one]) * np.cos(north[other]) * np.sin((east[one] - east[other]) / 2.0) ** 2
    on_sphere = 2.0 * 6_371_000.0 * np.arcsin(np.sqrt(chord))
    assert ((on_sphere < 1980.0).sum(), (on_sphere < 2640.0).sum()) == (143, 413)
    geodesic = distances(lon, lat)
    assert ((geodesic < 1980.0).sum(), (geodesic < 2640.0).sum()) == (141, 413)
    own_metric = KM_PER_DEGREE * np.hypot(lon[one] - lon[other], lat[one] - lat[other])
    assert (own_metric < CLOSEST_KM).sum() == 64
