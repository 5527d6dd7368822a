from itertools import combinations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, box

from pipeline.errors import RecipeError
from pipeline.grid import cut_at_antimeridian, utm_epsg
from pipeline.recipes import load_recipe
from pipeline.sampling.zones import clusters_of, zones_of

RECIPE = load_recipe("landslides")
STEP = RECIPE.step
PAD = 3 * STEP / 110_000.0


def squares(*places: tuple[float, float], side: float = 0.001) -> np.ndarray:
    drawn = np.array([box(lon, lat, lon + side, lat + side) for lon, lat in places], dtype=object)
    return cut_at_antimeridian(drawn)


def zones(polygons: np.ndarray, recipe=RECIPE) -> list[int]:
    names = [f"event {index}" for index in range(len(polygons))]
    return zones_of(polygons, names, recipe=recipe, name="slides").tolist()


def are_linked(one, other) -> bool:
    """Compare widened boxes turn by turn, without trees or grids."""
    (w1, s1, e1, n1), (w2, s2, e2, n2) = one.bounds, other.bounds
    aside = sum(PAD / np.cos(np.radians(max(abs(s), abs(n)) + PAD)) for s, n in ((s1, n1), (s2, n2)))
    turns = (-360.0, 0.0, 360.0)
    return (
        any(w1 - aside <= e2 + t and w2 + t <= e1 + aside for t in turns)
        and s1 - 2 * PAD <= n2 <= n1 + 2 * PAD + n2 - s2
    )


@settings(max_examples=60)
@given(
    places=st.lists(st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)), min_size=1, max_size=25, unique=True),
    middle=st.sampled_from([(12.0, 45.0), (0.0, 0.0), (6.0, 79.0), (-60.0, -55.0)]),
)
def test_clusters_are_the_chains_of_overlapping_widened_boxes(places, middle) -> None:
    polygons = squares(*[(middle[0] + x, middle[1] + y) for x, y in places])
    cluster = clusters_of(polygons, step=STEP)
    expected = np.arange(len(polygons))
    for one, other in combinations(range(len(polygons)), 2):
        if are_linked(polygons[one], polygons[other]):
            expected[expected == expected[other]] = expected[one]
    same = cluster[:, None] == cluster[None, :]
    assert (same == (expected[:, None] == expected[None, :])).all()


@settings(max_examples=30)
@given(places=st.lists(st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)), min_size=1, max_size=25, unique=True))
def test_the_antimeridian_does_not_part_clusters(places) -> None:
    here = clusters_of(squares(*[(100.0 + x, y) for x, y in places]), step=STEP)
    there = clusters_of(squares(*[(180.0 + x, y) for x, y in places]), step=STEP)
    assert ((here[:, None] == here) == (there[:, None] == there)).all()


def test_a_cluster_at_a_zone_border_takes_the_zone_of_most_of_its_polygons() -> None:
    assert zones(squares((11.98, 45), (11.99, 45), (12.01, 45))) == [32632] * 3
    assert zones(squares((11.98, 45), (12.01, 45), (12.02, 45))) == [32633] * 3


def test_a_tied_cluster_takes_the_lowest_code() -> None:
    assert zones(squares((11.99, 45), (12.01, 45))) == [32632] * 2
    assert zones(squares((12.5, -0.01), (12.5, 0.01))) == [32633] * 2


def test_clusters_apart_keep_their_own_zones() -> None:
    assert zones(squares((11.5, 45), (12.5, 45))) == [32632, 32633]


def test_a_cluster_across_the_antimeridian_takes_one_zone() -> None:
    assert zones(squares((179.98, -17), (-179.99, -17), (-179.98, -17))) == [32701] * 3
    assert zones(squares((179.9995, -17), (179.98, -17), (179.97, -17))) == [32760] * 3


def test_parts_of_one_polygon_stay_together() -> None:
    scattered = MultiPolygon([box(11.5, 45, 11.6, 45.1), box(12.5, 45, 12.501, 45.001)])
    polygons = np.array([scattered, *squares((12.51, 45), (11.61, 45))], dtype=object)
    assert len(set(zones(polygons))) == 1


def test_a_given_zone_is_taken() -> None:
    recipe = RECIPE.model_copy(update={"places": RECIPE.places.model_copy(update={"crs": "EPSG:32633"})})
    assert zones(squares((11.5, 45), (5.0, 61)), recipe) == [32633, 32633]


def test_a_polygon_too_far_from_the_given_zone_is_refused() -> None:
    recipe = RECIPE.model_copy(update={"places": RECIPE.places.model_copy(update={"crs": "EPSG:32633"})})
    with pytest.raises(
        RecipeError, match=r"inventory slides: 1 of 2 polygons lie more than 20° .*event 1 in EPSG:32633"
    ):
        zones(squares((11.5, 45), (40.0, 45)), recipe)


def test_a_polygon_outside_the_utm_zones_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"inventory slides: a polygon at lon 10.*lies outside the UTM zones"):
        zones(squares((10.0, 84.5)))


def test_the_zone_of_one_polygon_is_the_zone_of_its_place() -> None:
    for lon, lat in ((5.0, 60.0), (9.5, 75.0), (-70.3, -33.4)):
        assert zones(squares((lon, lat))) == [utm_epsg(lon=lon, lat=lat)]


def test_order_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    polygons = squares(*zip(rng.uniform(11, 13, 300), rng.uniform(44, 46, 300), strict=True))
    shuffled = rng.permutation(300)
    assert zones(polygons[shuffled]) == np.array(zones(polygons))[shuffled].tolist()


def test_shapely_reads_what_is_drawn() -> None:
    assert shapely.is_valid(squares((179.9995, 0.0))).all()
