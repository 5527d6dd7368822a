"""Outlines: valid, flat, within the map."""

import math

import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely.affinity import translate
from shapely.geometry import LineString, MultiPolygon, Polygon, box, mapping

from pipeline.sources.footprints import cut_at_antimeridian, item_outline, normalised


def wrapped(longitude: float) -> float:
    return (longitude + 180.0) % 360.0 - 180.0


@settings(deadline=None)
@given(st.floats(-180, 180), st.floats(-80, 79), st.floats(0.1, 60), st.floats(0.1, 1))
def test_a_ring_that_wraps_keeps_its_area(west: float, south: float, width: float, height: float) -> None:
    ring = [(west, south), (west + width, south), (west + width, south + height), (west, south + height)]
    stated = Polygon([(wrapped(lon), lat) for lon, lat in ring])
    # A corner exactly on the antimeridian may be written on the wrong side of it.
    assume(all(abs(abs(wrapped(lon)) - 180.0) > 1e-6 for lon, _ in ring))
    outline = normalised(stated)
    assert outline.is_valid
    assert outline.bounds[0] >= -180.0
    assert outline.bounds[2] <= 180.0
    assert math.isclose(outline.area, width * height, rel_tol=1e-6)


@settings(deadline=None)
@given(st.floats(-900, 900), st.floats(0.1, 300))
def test_cutting_keeps_the_area_and_stays_on_the_map(west: float, width: float) -> None:
    cut = cut_at_antimeridian(box(west, 10, west + width, 11))
    assert cut.bounds[0] >= -180.0
    assert cut.bounds[2] <= 180.0
    assert math.isclose(cut.area, width, rel_tol=1e-6)


def test_a_ring_across_the_antimeridian_is_cut_there() -> None:
    outline = normalised(Polygon([(179, 10), (-179, 10), (-179, 11), (179, 11)]))
    assert outline.equals(MultiPolygon([box(179, 10, 180, 11), box(-180, 10, -179, 11)]))


def test_what_lies_a_little_beyond_is_moved_to_the_other_side() -> None:
    outline = normalised(box(-180.5, 0, -179, 1))
    assert outline.equals(MultiPolygon([box(-180, 0, -179, 1), box(179.5, 0, 180, 1)]))


def test_an_outline_that_is_cut_already_stays_as_it_is() -> None:
    cut = MultiPolygon([box(179, 10, 180, 11), box(-180, 10, -179, 11)])
    assert normalised(cut).equals(cut)


def test_the_whole_world_does_not_wrap() -> None:
    world = box(-180, -90, 180, 90)
    assert normalised(world).equals(world)


@pytest.mark.parametrize("latitude", [80.0, -80.0])
def test_a_ring_around_a_pole_encloses_it(latitude: float) -> None:
    ring = Polygon([(longitude, latitude) for longitude in range(-175, 180, 10)])
    outline = normalised(ring)
    pole = box(-180, 80, 180, 90) if latitude > 0 else box(-180, -90, 180, -80)
    assert outline.symmetric_difference(pole).area < 1e-6


def test_a_crossed_outline_is_made_valid() -> None:
    outline = normalised(Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]))
    assert outline.is_valid
    assert math.isclose(outline.area, 0.5)


def test_heights_are_dropped() -> None:
    outline = normalised(Polygon([(0, 0, 5), (1, 0, 5), (1, 1, 5)]))
    assert not shapely.has_z(outline)


def test_the_bounding_box_stands_in_for_a_missing_geometry() -> None:
    assert item_outline(None, [1, 2, 3, 4]).equals(box(1, 2, 3, 4))
    assert item_outline(None, [1, 2, 0, 3, 4, 900]).equals(box(1, 2, 3, 4))
    across = MultiPolygon([box(179, 2, 180, 4), box(-180, 2, -179, 4)])
    assert item_outline(None, [179, 2, -179, 4]).equals(across)


def test_geometry_goes_before_the_bounding_box() -> None:
    assert item_outline(mapping(box(0, 0, 1, 1)), [5, 5, 6, 6]).equals(box(0, 0, 1, 1))


@pytest.mark.parametrize("geometry", [LineString([(0, 0), (1, 1)]), Polygon([(0, 0), (1, 1), (2, 2)]), Polygon()])
def test_an_outline_without_area_is_refused(geometry: Polygon) -> None:
    with pytest.raises(ValueError, match="encloses no area"):
        normalised(geometry)


@pytest.mark.parametrize("far", [1e9, -1e300, math.inf, math.nan])
def test_an_outline_of_other_units_than_degrees_is_refused(far: float) -> None:
    with pytest.raises(ValueError, match="coordinates that are no degrees"):
        normalised(Polygon([(14.0, 46.0), (far, 46.0), (14.0, 47.0)]))


def test_an_item_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="neither geometry nor bbox"):
        item_outline(None, None)


def test_translation_by_a_turn_changes_nothing() -> None:
    tile = box(178, 0, 181, 1)
    moved = cut_at_antimeridian(translate(tile, -360))
    assert moved.symmetric_difference(cut_at_antimeridian(tile)).area < 1e-9
