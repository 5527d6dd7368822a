"""Candidates: which passes reach a patch, in which order their scenes are read, and when they count."""

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from support.records import DAY, make_grid, make_sample, make_scene, make_score, rectangle

from pipeline.plan.candidates import Candidate, Windows, find_candidates, scenes_with
from pipeline.plan.choices import to_choice
from pipeline.plan.windows import Interval, event_window, windows_of
from pipeline.recipes import load_recipe
from pipeline.records import Sample, Scene
from pipeline.records.recipe import Window

PATCH = make_grid()
WINDOW = Window(before=30, after=60)


RECIPE = load_recipe("landslides", {"window": WINDOW.model_dump()})


def around_event(sample: Sample) -> tuple[Interval, ...]:
    return windows_of(sample, RECIPE)


def find(*scenes: Scene, windows: Windows | None = around_event) -> tuple[Candidate, ...]:
    return find_candidates([make_sample()], scenes, windows)["a"]


def names(candidate: Candidate) -> list[str]:
    return [scene.id for scene in candidate.scenes]


def part(name: str, *, left: float = -1.0, right: float = 2.0, **changes: object) -> Scene:
    """A scene of the pass `p` that covers the patch from `left` to `right`, in sides of the patch."""
    return make_scene(name, acquisition="p", footprint=rectangle(PATCH, left=left, right=right), **changes)


def test_scenes_of_one_pass_are_joined_and_passes_come_oldest_first() -> None:
    later = make_scene("late", DAY + timedelta(days=3))
    west = part("west", right=0.6, acquired=DAY)
    east = part("east", left=0.4, acquired=DAY + timedelta(seconds=20))
    found = find(later, west, east)
    assert [candidate.acquisition for candidate in found] == ["p", "pass-late"]
    assert names(found[0]) == ["east", "west"]
    assert found[0].acquired == DAY
    assert found[0].reach == pytest.approx(1.0, abs=1e-6)


def test_passes_of_one_instant_are_told_apart_by_name() -> None:
    found = find(make_scene("b"), make_scene("c"), make_scene("a"))
    assert [candidate.acquisition for candidate in found] == ["pass-a", "pass-b", "pass-c"]


@given(
    st.lists(
        st.tuples(st.integers(-8, 24), st.integers(1, 20)).map(lambda pair: (pair[0] / 16, (pair[0] + pair[1]) / 16)),
        min_size=1,
        max_size=5,
    )
)
def test_the_reach_is_the_share_of_the_patch_that_the_scenes_cover_together(spans: list[tuple[float, float]]) -> None:
    scenes = [part(f"s{index}", left=left, right=right) for index, (left, right) in enumerate(spans)]
    columns = [(column + 0.5) / 16 for column in range(16)]
    covered = sum(any(left < x < right for left, right in spans) for x in columns) / 16
    found = find(*scenes)
    if covered:
        assert found[0].reach == pytest.approx(covered, abs=2e-3)
        assert set(names(found[0])) == {f"s{i}" for i, (left, right) in enumerate(spans) if left < 1 and right > 0}
    else:
        assert found == ()


def test_a_scene_that_only_touches_the_patch_is_no_candidate() -> None:
    outline = shapely.from_wkb(rectangle(PATCH))
    touching = shapely.box(shapely.bounds(outline)[0] - 1, 40.0, shapely.bounds(outline)[0], 50.0)
    assert find(make_scene("beside", footprint=shapely.to_wkb(touching))) == ()


def test_every_sample_has_an_entry_even_without_scenes() -> None:
    near, far = make_sample("near"), make_sample("far", grid=make_grid(left=700_000.0))
    assert find_candidates([near, far], [], around_event) == {"near": (), "far": ()}
    found = find_candidates([near, far], [make_scene("s")], around_event)
    assert [len(found[name]) for name in ("near", "far")] == [1, 0]
    assert find_candidates([], [make_scene("s")], around_event) == {}


def test_a_scene_of_the_whole_patch_comes_before_one_of_a_part() -> None:
    found = find(part("a-part", right=0.9, epsg=32633), part("z-whole", epsg=32632))
    assert names(found[0]) == ["z-whole", "a-part"]


def test_a_scene_of_the_patchs_own_zone_comes_first() -> None:
    found = find(part("a-other", epsg=32632), part("z-own", epsg=32633))
    assert names(found[0]) == ["z-own", "a-other"]


def test_among_parts_the_larger_one_comes_first() -> None:
    found = find(part("a", right=0.3), part("b", left=0.2))
    assert names(found[0]) == ["b", "a"]


def test_the_newest_processing_of_a_tile_comes_first() -> None:
    old = part("a", baseline="02.14", extras={"generated": "20230901T000000"})
    new = part("b", baseline="05.00", extras={"generated": "20230801T000000"})
    newest = part("c", baseline="05.00", extras={"generated": "20230802T000000"})
    assert names(find(old, new, newest)[0]) == ["c", "b", "a"]


def test_copies_of_one_tile_and_processing_come_by_id() -> None:
    assert names(find(part("b"), part("a"))[0]) == ["a", "b"]


def test_outlines_that_differ_by_simplification_do_not_put_an_old_processing_first() -> None:
    new = part("new", right=0.9993, baseline="05.09")
    old = part("old", baseline="02.14")
    assert names(find(old, new)[0]) == ["new", "old"]


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_scenes_found_does_not_matter(random: Random) -> None:
    scenes = [
        part("a", right=0.5),
        part("b", left=0.5),
        part("c", baseline="05.00"),
        part("d", epsg=32632),
        make_scene("e"),
        make_scene("f", DAY - timedelta(days=1)),
    ]
    assert find(*random.sample(scenes, len(scenes))) == find(*scenes)


def test_the_window_takes_whole_days_and_is_half_open() -> None:
    start, end = event_window(DAY, WINDOW)
    assert (start, end) == (DAY - timedelta(days=30), DAY + timedelta(days=61))
    second = timedelta(seconds=1)
    scenes = [make_scene(f"s{i}", when) for i, when in enumerate((start - second, start, end - second, end))]
    assert [candidate.acquired for candidate in find(*scenes)] == [start, end - second]


def test_later_events_of_a_place_widen_its_window() -> None:
    later = DAY + timedelta(days=100)
    sample = make_sample(event_ids=("1", "2"), event_dates=(DAY, later))
    end = event_window(later, WINDOW)[1]
    scenes = [make_scene("in", end - timedelta(seconds=1)), make_scene("out", end)]
    assert [names(found) for found in find_candidates([sample], scenes, around_event)["a"]] == [["in"]]


def test_without_a_window_scenes_of_any_date_count() -> None:
    ancient = make_scene("dem", DAY - timedelta(days=5000), product="DEM")
    assert [names(found) for found in find(ancient, windows=None)] == [["dem"]]


def test_a_place_without_a_date_has_no_series() -> None:
    undated = make_sample(date=None)
    assert find_candidates([undated], [make_scene("s")], around_event) == {"a": ()}
    assert len(find_candidates([undated], [make_scene("s")], None)["a"]) == 1


def test_scenes_are_kept_by_bands_and_pass_direction() -> None:
    rising = make_scene("up", product="S1", orbit_state="ascending")
    falling = make_scene("down", product="S1", orbit_state="descending")
    single = replace(rising, id="vv only", hrefs={"vv": "/vv.tif"})
    found = [rising, falling, single]
    assert scenes_with(found, ("vv", "vh"), None) == [rising, falling]
    assert scenes_with(found, ("vv",), "ascending") == [rising, single]
    assert scenes_with(found, ("vv", "vh"), "unknown") == []
    assert scenes_with(found, (), None) == found


def test_a_choice_says_all_that_reading_needs() -> None:
    first = part("first", tile="T33TVM", platform="sentinel-2a", baseline="05.09", offset=-1000, relative_orbit=79)
    second = part("second", right=0.5, offset=0)
    score = replace(make_score(make_sample(), first), cloud=0.1, shadow=0.05)
    choice = to_choice(find(first, second)[0], ("B03", "B02"), score, mask="SCL")
    assert (choice.acquisition, choice.acquired, choice.file_id) == ("p", DAY, "file-first")
    assert (choice.tile, choice.platform, choice.baseline, choice.relative_orbit) == (
        "T33TVM",
        "sentinel-2a",
        "05.09",
        79,
    )
    assert (choice.cloud, choice.bad) == (0.1, pytest.approx(0.15))
    assert [(asset.scene_id, asset.offset) for asset in choice.assets] == [("first", -1000), ("second", 0)]
    assert choice.assets[0].hrefs == ("/first/B03.tif", "/first/B02.tif")
    assert choice.assets[0].mask_href == "/first/SCL.tif"


def test_a_choice_that_nobody_surveyed_has_no_shares_and_no_mask() -> None:
    choice = to_choice(find(make_scene("r", product="S1"))[0], ("vv",), None)
    assert (choice.cloud, choice.bad, choice.assets[0].mask_href) == (None, None, "")


def test_a_patch_across_the_antimeridian_finds_scenes_on_both_sides() -> None:
    patch = make_grid(epsg=32660, left=825_000.0, top=1_000_000.0, size=256, resolution=40.0)
    sample = make_sample(grid=patch)
    east = make_scene("east", acquisition="p", footprint=shapely.to_wkb(shapely.box(178.0, 7.0, 180.0, 11.0)))
    west = make_scene("west", acquisition="p", footprint=shapely.to_wkb(shapely.box(-180.0, 7.0, -178.0, 11.0)))
    (found,) = find_candidates([sample], [east, west], around_event)["a"]
    assert set(names(found)) == {"east", "west"}
    assert found.reach == pytest.approx(1.0)
