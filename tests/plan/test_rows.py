"""Rows: every (sample, modality, timestep) decided once, from what was found and surveyed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import BANDS, DAY, by_pass, make_grid, make_recipe, make_sample, make_scene, make_score, rectangle

from pipeline.plan.labels import label_rows
from pipeline.plan.rows import needed_bands, plan_rows, radar_offer
from pipeline.recipes import load_recipe
from pipeline.records import MODALITIES, PlanRow, Reason, Recipe, Sample, Scene

HERE = make_sample("here")
THERE = make_sample("there", grid=make_grid(left=500_320.0))
RECIPE = make_recipe("series_length=3", "window={before: 30, after: 30}", "max_cloud=0.2", "alternates=2")
FOOTPRINT = RECIPE.model_copy(update={"series": RECIPE.series.model_copy(update={"radar": "footprint"})})


def optical(day: int) -> Scene:
    return make_scene(f"s2 {day:+03d}", DAY + timedelta(days=day, hours=10))


def radar(day: int, orbit_state: str, **changes: object) -> Scene:
    name = f"s1 {orbit_state} {day:+03d}"
    return make_scene(name, DAY + timedelta(days=day, hours=5), product="S1", orbit_state=orbit_state, **changes)


def elevation(name: str = "dem", **changes: object) -> Scene:
    return make_scene(name, DAY - timedelta(days=900), product="DEM", acquisition="dem", **changes)


def plan(scenes: Sequence[Scene], recipe: Recipe = RECIPE, *, bad: float = 0.0, sample: Sample = HERE) -> list[PlanRow]:
    scores = [make_score(sample, scene, cloud=bad) for scene in scenes if scene.product == "S2L2A"]
    if recipe.series.radar == "measured":
        scores += [make_score(sample, scene) for scene in scenes if scene.product == "S1"]
    return plan_rows([sample], scenes, by_pass(scores), recipe)


def of(rows: Sequence[PlanRow], modality: str) -> list[PlanRow]:
    return [row for row in rows if row.modality == modality]


def dates(rows: Sequence[PlanRow]) -> list[object]:
    return [row.choice.acquired if row.choice else row.reason for row in rows]


@st.composite
def findings(draw: st.DrawFn) -> tuple[list[Sample], list[Scene], dict[str, float], Recipe]:
    days = st.integers(-40, 40)
    scenes = [optical(day) for day in draw(st.sets(days, max_size=10))]
    for state in ("ascending", "descending", "unknown"):
        scenes += [radar(day, state) for day in draw(st.sets(days, max_size=4))]
    scenes += [elevation()] * draw(st.integers(0, 1))
    samples = draw(st.lists(st.sampled_from([HERE, THERE, make_sample("off", grid=make_grid(left=7e5))]), unique=True))
    cloud = {scene.acquisition: draw(st.sampled_from([0.0, 0.1, 0.9])) for scene in scenes if scene.product == "S2L2A"}
    modalities = draw(st.lists(st.sampled_from(load_recipe("landslides").modalities), min_size=1, unique=True))
    if "MASK_SERIES" in modalities and set(modalities) <= {"DEM", "MASK", "MASK_FRACTION", "MASK_SERIES"}:
        modalities.append("SCL")
    recipe = make_recipe(
        f"modalities={modalities}", f"series_length={draw(st.integers(1, 6))}", "window={before: 30, after: 30}"
    )
    return samples, scenes, cloud, recipe


def scores_of(samples: Sequence[Sample], scenes: Sequence[Scene], cloud: dict[str, float]) -> dict:
    optical_scenes = [scene for scene in scenes if scene.acquisition in cloud]
    return by_pass([make_score(s, scene, cloud=cloud[scene.acquisition]) for s in samples for scene in optical_scenes])


@given(findings())
def test_rows_are_sorted_and_complete_whatever_was_found(
    found: tuple[list[Sample], list[Scene], dict[str, float], Recipe],
) -> None:
    samples, scenes, cloud, recipe = found
    rows = plan_rows(samples, scenes, scores_of(samples, scenes, cloud), recipe)
    states = {scene.orbit_state for scene in scenes if scene.product == "S1"}
    planned = [m for m in recipe.wanted if m.product != "S1" or m.orbit_state in states]
    if not any(m.is_series and m.product != "LABELS" for m in planned):
        planned = [m for m in planned if m.name != "MASK_SERIES"]
    assert [(row.sample_id, row.modality, row.timestep) for row in rows] == [
        (sample.id, modality.name, step)
        for sample in samples
        for modality in planned
        for step in range(recipe.timesteps_of(modality.name))
    ]
    for row in rows:
        assert (row.choice is None) == bool(row.reason)


@given(findings(), st.randoms(use_true_random=False))
def test_the_order_of_the_scenes_found_does_not_matter(
    found: tuple[list[Sample], list[Scene], dict[str, float], Recipe], random: Random
) -> None:
    samples, scenes, cloud, recipe = found
    scores = scores_of(samples, scenes, cloud)
    shuffled = random.sample(scenes, len(scenes))
    assert plan_rows(samples, shuffled, scores, recipe) == plan_rows(samples, scenes, scores, recipe)


@given(findings())
def test_images_of_a_series_ascend_and_gaps_come_last(
    found: tuple[list[Sample], list[Scene], dict[str, float], Recipe],
) -> None:
    samples, scenes, cloud, recipe = found
    rows = plan_rows(samples, scenes, scores_of(samples, scenes, cloud), recipe)
    for sample in samples:
        for modality in recipe.modalities:
            choices = [row.choice for row in of(rows, modality) if row.sample_id == sample.id]
            times = [choice.acquired for choice in choices if choice]
            assert choices[len(times) :] == [None] * (len(choices) - len(times))
            assert times == sorted(times)


def test_modalities_of_one_product_share_their_acquisitions() -> None:
    scenes = [optical(day) for day in (-20, -3, 4, 25)]
    # Without its classification a scene serves neither, without one band neither too.
    no_classes = replace(optical(1), hrefs={band: "/x.tif" for band in BANDS["S2L2A"] if band != "SCL"})
    no_band = replace(optical(-1), hrefs={band: "/x.tif" for band in BANDS["S2L2A"] if band != "B09"})
    rows = plan([*scenes, no_classes, no_band])
    assert dates(of(rows, "S2L2A")) == dates(of(rows, "SCL"))
    assert len(set(dates(of(rows, "S2L2A"))) & {scene.acquired for scene in scenes}) == 3
    for reflectance, classes in zip(of(rows, "S2L2A"), of(rows, "SCL"), strict=True):
        assert reflectance.choice is not None
        assert classes.choice is not None
        assert [asset.hrefs for asset in classes.choice.assets] == [
            (asset.mask_href,) for asset in reflectance.choice.assets
        ]


def test_radar_is_split_by_pass_direction() -> None:
    rows = plan([radar(-5, "ascending"), radar(-4, "descending"), radar(6, "ascending"), radar(7, "descending")])
    for modality, state, days in (("S1ASC", "ascending", (-5, 6)), ("S1DSC", "descending", (-4, 7))):
        choices = [row.choice for row in of(rows, modality) if row.choice]
        assert [choice.acquired for choice in choices] == [DAY + timedelta(days=day, hours=5) for day in days]
        assert {choice.orbit_state for choice in choices} == {state}
        assert [row.reason for row in of(rows, modality)][-1] == Reason.SERIES_SHORT
    assert of(rows, "S1RTC") == []


def test_a_place_that_radar_of_a_direction_does_not_reach_still_has_rows_for_it() -> None:
    away = radar(-5, "ascending", footprint=rectangle(make_grid(left=700_000.0)))
    assert dates(of(plan([away]), "S1ASC")) == [Reason.NO_SCENE] * 3


def test_radar_must_reach_the_whole_patch() -> None:
    whole = radar(-5, "ascending", footprint=rectangle(HERE.grid, right=0.9995))
    part = radar(5, "ascending", footprint=rectangle(HERE.grid, right=0.98))
    assert dates(of(plan([whole, part], FOOTPRINT), "S1ASC")) == [
        whole.acquired,
        Reason.NO_IMAGE_AFTER,
        Reason.SERIES_SHORT,
    ]


def test_radar_that_reaches_only_a_part_is_no_scene_and_not_a_cloudy_one() -> None:
    part = radar(5, "ascending", footprint=rectangle(HERE.grid, right=0.98))
    assert dates(of(plan([part], FOOTPRINT), "S1ASC")) == [Reason.NO_SCENE] * 3


def measured(shares: dict[int, float], recipe: Recipe = RECIPE) -> list[PlanRow]:
    """Rows of ascending radar of the given days, of which the given shares of the patch are missing."""
    scenes = [radar(day, "ascending") for day in shares]
    scores = [make_score(HERE, scene, nodata=share) for scene, share in zip(scenes, shares.values(), strict=True)]
    return of(plan_rows([HERE], scenes, by_pass(scores), recipe), "S1ASC")


def days(rows: Sequence[PlanRow]) -> list[object]:
    return [(row.choice.acquired - DAY).days if row.choice else row.reason for row in rows]


def test_radar_is_judged_by_what_it_measured_and_not_by_its_outline() -> None:
    part = radar(-5, "ascending", footprint=rectangle(HERE.grid, right=0.5))
    whole = radar(5, "ascending")
    scores = by_pass([make_score(HERE, part, nodata=0.05), make_score(HERE, whole, nodata=0.0501)])
    rows = of(plan_rows([HERE], [part, whole], scores, RECIPE), "S1ASC")
    assert dates(rows) == [part.acquired, Reason.NO_IMAGE_AFTER, Reason.SERIES_SHORT]
    choice = rows[0].choice
    assert choice is not None
    assert (choice.bad, choice.cloud) == (0.05, None)


def test_radar_that_measured_more_ranks_first() -> None:
    shares = {-20: 0.01, -19: 0.0, -18: 0.02, -2: 0.03, 2: 0.04, 3: 0.0}
    assert days(measured(shares)) == [-19, -2, 2]


@pytest.mark.parametrize(("limit", "expected"), [(0.2, [-5, 5]), (0.1, [5, Reason.NO_IMAGE_BEFORE])])
def test_the_recipe_says_how_much_radar_may_lack(limit: float, expected: list[object]) -> None:
    recipe = RECIPE.model_copy(
        update={"series_length": 2, "series": RECIPE.series.model_copy(update={"max_missing_radar": limit})}
    )
    assert days(measured({-5: 0.15, 5: 0.1}, recipe)) == expected
    strict = recipe.model_copy(update={"max_missing": 0.05})
    assert days(measured({-5: 0.15, 5: 0.1}, strict)) == [Reason.TOO_MUCH_MISSING] * 2


def test_radar_that_cannot_be_read_and_radar_that_lacks_too_much_are_told_apart() -> None:
    assert days(measured({-5: 0.3, 5: 1.0})) == [Reason.TOO_MUCH_MISSING] * 3
    scene = radar(-5, "ascending")
    broken = by_pass([make_score(HERE, scene, nodata=float("nan"), error="unreadable")])
    assert days(of(plan_rows([HERE], [scene], broken, RECIPE), "S1ASC")) == [Reason.UNREADABLE] * 3


def test_radar_that_nobody_surveyed_is_not_usable() -> None:
    rows = of(plan_rows([HERE], [radar(-5, "ascending")], {}, RECIPE), "S1ASC")
    assert dates(rows) == [Reason.TOO_MUCH_MISSING] * 3


def test_the_survey_is_offered_the_passes_of_the_directions_that_are_wanted() -> None:
    scenes = [radar(day, state) for day, state in ((-5, "ascending"), (3, "descending"), (4, "unknown"))]
    both = radar_offer([HERE, THERE], scenes, make_recipe("modalities=[S1ASC, S1DSC]"))
    assert {name: [c.acquisition for c in found] for name, found in both.items()} == {
        "here": [scenes[0].acquisition, scenes[1].acquisition],
        "there": [scenes[0].acquisition, scenes[1].acquisition],
    }
    assert radar_offer([HERE], [optical(1)], make_recipe("modalities=[S2L2A]")) == {"here": ()}


COMPAT = make_recipe(
    "series_length=6", "window={before: 90, after: 90}", "series.policy=compat", "max_cloud=0", "alternates=2"
)


def test_compat_repeats_the_last_image_marks_it_and_takes_clouds() -> None:
    sample = make_sample("here", event_ids=("1",), event_dates=(DAY,))
    rows = plan(
        [*map(optical, (-9, 5, 8)), radar(-3, "ascending"), radar(4, "ascending")], COMPAT, bad=1.0, sample=sample
    )
    for modality, expected, padding in (("S2L2A", [-9, 5, 8, 8, 8, 8], 3), ("S1ASC", [-3, 4, 4, 4, 4, 4], 4)):
        held = of(rows, modality)
        assert days(held) == expected
        assert [row.is_padding for row in held] == [False] * (6 - padding) + [True] * padding
        assert {row.choice for row in held[-padding - 1 :]} == {held[-1].choice}
    assert [row.is_padding for row in of(rows, "SCL")] == [row.is_padding for row in of(rows, "S2L2A")]


def test_compat_ranks_by_all_that_is_not_clear_ground_and_skips_what_lacks_more_than_five_percent() -> None:
    scenes = [optical(day) for day in (-30, -29, -28, -27, -5, 5, 30)]
    scores = by_pass(
        [
            make_score(HERE, scenes[0], nodata=0.0501),
            make_score(HERE, scenes[1], dark=0.3),
            make_score(HERE, scenes[2], snow=0.2),
            make_score(HERE, scenes[3], nodata=0.05, cloud=0.05, shadow=0.05, dark=0.049),
            *(make_score(HERE, scene, cloud=0.9) for scene in scenes[4:]),
        ]
    )
    recipe = COMPAT.model_copy(update={"series_length": 2})
    assert days(of(plan_rows([HERE], scenes, scores, recipe), "S2L2A")) == [-27, 5]


def test_compat_knows_no_anchor_day_but_the_events_of_an_annotated_place() -> None:
    scenes = [optical(day) for day in range(-60, 0, 6)]
    place = make_sample("here", is_annotated=False)
    assert all(row.choice for row in of(plan(scenes, COMPAT, sample=place), "S2L2A"))
    slid = make_sample("here", event_ids=("1",), event_dates=(DAY,))
    assert {row.reason for row in of(plan(scenes, COMPAT, sample=slid), "S2L2A")} == {Reason.NO_IMAGE_AFTER}


def test_compat_says_why_nothing_is_usable() -> None:
    assert dates(of(plan([], COMPAT), "S2L2A")) == [Reason.NO_SCENE] * 6
    scene = optical(-5)
    holed = by_pass([make_score(HERE, scene, nodata=0.5)])
    assert dates(of(plan_rows([HERE], [scene], holed, COMPAT), "S2L2A")) == [Reason.TOO_MUCH_MISSING] * 6
    broken = by_pass([make_score(HERE, scene, nodata=float("nan"), error="unreadable")])
    assert dates(of(plan_rows([HERE], [scene], broken, COMPAT), "S2L2A")) == [Reason.UNREADABLE] * 6
    assert dates(of(plan([scene], COMPAT), "S2L2A")) == [Reason.SERIES_SHORT] * 6


def test_a_gap_that_is_too_long_empties_one_modality_and_leaves_the_others() -> None:
    recipe = make_recipe("series_length=3", "window={before: 90, after: 90}", "series.max_gap=20")
    rows = plan([*map(optical, (-30, 30)), radar(-9, "ascending"), radar(9, "ascending")], recipe)
    assert dates(of(rows, "S2L2A")) == [Reason.GAP_TOO_LONG] * 3
    assert days(of(rows, "S1ASC")) == [-9, 9, Reason.SERIES_SHORT]


def test_the_days_between_which_a_slide_came_count_on_neither_side() -> None:
    span = {"event_from": (DAY - timedelta(days=10),), "event_to": (DAY + timedelta(days=20),)}
    sample = make_sample("here", event_ids=("1",), event_dates=(DAY,), **span)
    scenes = [optical(day) for day in (-11, -10, -9, 5, 19, 20)]
    recipe = make_recipe("series_length=2", "window={before: 5, after: 5}")
    assert days(of(plan(scenes, recipe, sample=sample), "S2L2A")) == [-10, 20]


def test_two_frames_of_one_pass_make_up_the_patch() -> None:
    lower = radar(-5, "ascending", acquisition="orbit", footprint=rectangle(HERE.grid, top=0.5))
    upper = replace(lower, id="s1 upper", footprint=rectangle(HERE.grid, bottom=0.4))
    choice = of(plan([lower, upper], FOOTPRINT), "S1ASC")[0].choice
    assert choice is not None
    assert [asset.scene_id for asset in choice.assets] == ["s1 upper", lower.id]
    assert choice.bad is None


def test_clouds_are_judged_by_the_survey_and_not_by_the_scene() -> None:
    scenes = [replace(optical(-5), cloud_cover=100.0), replace(optical(5), cloud_cover=0.0)]
    scores = by_pass([make_score(HERE, scenes[0]), make_score(HERE, scenes[1], cloud=0.1, shadow=0.11)])
    rows = of(plan_rows([HERE], scenes, scores, RECIPE), "S2L2A")
    assert dates(rows) == [scenes[0].acquired, Reason.NO_IMAGE_AFTER, Reason.SERIES_SHORT]
    choice = rows[0].choice
    assert choice is not None
    assert (choice.cloud, choice.bad) == (0.0, 0.0)


def test_an_acquisition_without_a_score_is_not_usable() -> None:
    assert dates(of(plan_rows([HERE], [optical(-5)], {}, RECIPE), "S2L2A")) == [Reason.TOO_CLOUDY] * 3


@pytest.mark.parametrize("max_cloud", [0.2, 1.0])
def test_an_unreadable_classification_is_not_usable_however_much_cloud_is_allowed(max_cloud: float) -> None:
    scene, nan = optical(-5), float("nan")
    broken = make_score(HERE, scene, nodata=nan, cloud=nan, shadow=nan, snow=nan, error="unreadable")
    recipe = make_recipe("series_length=3", f"max_cloud={max_cloud}")
    rows = of(plan_rows([HERE], [scene], by_pass([broken]), recipe), "S2L2A")
    assert [row.choice for row in rows] == [None] * 3


def test_alternates_are_ranked_cut_to_the_recipe_and_the_same_for_the_whole_series() -> None:
    scenes = [optical(day) for day in (-12, -8, -4, -2, 2, 4, 8, 12)]
    rows = of(plan(scenes), "S2L2A")
    kept = {row.alternates for row in rows}
    assert len(kept) == 1
    (alternates,) = kept
    assert [alternate.acquisition for alternate in alternates] == ["pass-s2 -04", "pass-s2 +04"]
    assert not {a.acquisition for a in alternates} & {row.choice.acquisition for row in rows if row.choice}


def test_elevation_has_one_row_with_all_its_tiles() -> None:
    west = elevation("west", footprint=rectangle(HERE.grid, right=0.3))
    east = elevation("east", footprint=rectangle(HERE.grid, left=0.3))
    (row,) = of(plan([west, east]), "DEM")
    assert row.choice is not None
    assert [asset.scene_id for asset in row.choice.assets] == ["east", "west"]
    assert row.alternates == ()


def test_without_elevation_the_one_row_says_so() -> None:
    (row,) = of(plan([]), "DEM")
    assert (row.choice, row.reason) == (None, Reason.NO_COVERAGE)


@pytest.mark.parametrize("name", ["MASK", "MASK_FRACTION"])
def test_labels_need_no_scene(name: str) -> None:
    (row,) = of(plan([]), name)
    assert row.choice is not None
    assert (row.choice.acquired, row.choice.assets) == (DAY, ())


@given(findings())
def test_a_series_of_masks_has_the_time_axis_of_the_images_that_it_follows(
    found: tuple[list[Sample], list[Scene], dict[str, float], Recipe],
) -> None:
    samples, scenes, cloud, recipe = found
    order = [name for name in recipe.modalities if name not in {"DEM", "MASK", "MASK_FRACTION", "MASK_SERIES"}]
    recipe = recipe.model_copy(update={"modalities": ("MASK_SERIES", *(name for name in order), "DEM")})
    rows = plan_rows(samples, scenes, scores_of(samples, scenes, cloud), recipe)
    planned = [name for name in order if of(rows, name)]
    followed = "S2L2A" if "S2L2A" in planned else next(iter(planned), "")
    assert [
        (row.sample_id, row.timestep, row.reason, row.choice.acquired if row.choice else None)
        for row in of(rows, "MASK_SERIES")
    ] == [
        (row.sample_id, row.timestep, row.reason, row.choice.acquired if row.choice else None)
        for row in of(rows, followed)
    ]
    for row in of(rows, "MASK_SERIES"):
        assert row.alternates == ()
        assert row.choice is None or (row.choice.file_id, row.choice.assets) == ("", ())


def test_a_series_of_masks_marks_padding_as_its_images_do() -> None:
    image = of(plan([optical(-3)]), "S2L2A")[0]
    padded = [image, replace(image, timestep=1, is_padding=True)]
    rows = label_rows(HERE, MODALITIES["MASK_SERIES"], padded)
    assert [(row.modality, row.timestep, row.is_padding) for row in rows] == [
        ("MASK_SERIES", 0, False),
        ("MASK_SERIES", 1, True),
    ]


@pytest.mark.parametrize("name", ["MASK", "MASK_FRACTION", "MASK_SERIES"])
def test_a_place_without_a_date_has_no_labels(name: str) -> None:
    imagery = of(plan([optical(-3)]), "S2L2A")[:1]
    (row,) = label_rows(replace(HERE, date=None), MODALITIES[name], imagery)
    assert (row.choice, row.reason) == (None, Reason.NO_COVERAGE)


def test_the_bands_that_are_needed_are_those_of_all_modalities_of_a_product() -> None:
    recipe = make_recipe("modalities=[SCL, S2L2A, S1ASC, S1DSC]", "bands={S2L2A: [B04, B03]}")
    assert needed_bands("S2L2A", recipe) == ("SCL", "B04", "B03")
    assert needed_bands("S1", recipe) == ("vv", "vh")
    assert needed_bands("DEM", recipe) == ()
    assert needed_bands("S2L2A", make_recipe("modalities=[S2L2A]", "bands={S2L2A: [B04]}")) == ("B04", "SCL")


def test_a_series_follows_the_first_and_last_event_of_its_place() -> None:
    later = DAY + timedelta(days=100)
    sample = make_sample("here", event_ids=("1", "2"), event_dates=(DAY, later))
    scenes = [optical(day) for day in (-31, -30, -2, 2, 98, 103, 130, 131)]
    scores = by_pass([make_score(sample, scene) for scene in scenes])
    recipe = make_recipe("series_length=6", "window={before: 30, after: 30}")
    rows = of(plan_rows([sample], scenes, scores, recipe), "S2L2A")
    assert dates(rows) == [scene.acquired for scene in scenes[1:-1]]


def test_classifications_that_cannot_be_read_are_not_called_clouds() -> None:
    sample, scenes = make_sample(), [optical(-3), optical(4)]
    scores = by_pass([make_score(sample, scene, nodata=float("nan"), error="unreadable") for scene in scenes])
    rows = of(plan_rows([sample], scenes, scores, RECIPE), "S2L2A")
    assert {row.reason for row in rows} == {Reason.UNREADABLE}
    half = by_pass([make_score(sample, scenes[0], error="unreadable"), make_score(sample, scenes[1], cloud=1.0)])
    assert {row.reason for row in of(plan_rows([sample], scenes, half, RECIPE), "S2L2A")} == {Reason.TOO_CLOUDY}
