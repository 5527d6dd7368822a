"""Planning again without images that proved of no use keeps every rule of a plan, whatever was found in which order."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import (
    BANDS,
    DAY,
    by_pass,
    make_choice,
    make_grid,
    make_recipe,
    make_sample,
    make_scene,
    make_score,
)

from pipeline.catalog import Decided, replanned
from pipeline.plan.mirrored import faults_by_sample
from pipeline.plan.packing import Place
from pipeline.plan.replacing import stand_ins
from pipeline.plan.rows import Scores, plan_rows, radar_windows
from pipeline.plan.windows import windows_of
from pipeline.recipes import load_recipe
from pipeline.records import MODALITIES, PlanRow, Recipe, Sample, Scene, Unreadable

SAMPLES = (make_sample("here"), make_sample("there", grid=make_grid(left=500_320.0)))
SEASONS = {
    "dates": [(DAY + timedelta(days=90 * number)).date().isoformat() for number in range(4)],
    "half_width": 30,
}
SEASONAL = load_recipe("ssl4eo-s12", {"patch_size": 32, "seasons": SEASONS, "max_cloud": 0.5, "max_missing": None})
EVENT = make_recipe("series_length=4", "window={before: 60, after: 60}", "max_cloud=0.5")
GAPS = make_recipe("series_length=4", "window={before: 60, after: 60}", "max_cloud=0.5", "series.max_gap=25")
COMPAT = make_recipe("series_length=7", "window={before: 60, after: 60}", "series.policy=compat")


@dataclass(frozen=True)
class Case:
    """What was found, and which images are broken."""

    scenes: tuple[Scene, ...]
    scores: Scores
    recipe: Recipe
    broken: frozenset[tuple[str, str, str]]
    """Sample, product and acquisition."""

    def plan(self, unreadable: Sequence[Unreadable] = ()) -> list[PlanRow]:
        return plan_rows(SAMPLES, self.scenes, self.scores, self.recipe, unreadable)


def optical(day: int) -> list[Scene]:
    moment = DAY + timedelta(days=day, hours=10)
    low = make_scene(f"s2 {day:+04d}", moment, tile="T33TVM")
    bands = {band: f"/{low.id}/L1C/{band}.tif" for band in MODALITIES["S2L1C"].band_names}
    high = make_scene(
        f"l1c {day:+04d}", moment, product="S2L2A", acquisition=low.acquisition, tile="T33TVM", hrefs=bands
    )
    return [low, replace(high, product="S2L1C")]


def radar(day: int, state: str) -> Scene:
    return make_scene(f"s1 {state} {day:+04d}", DAY + timedelta(days=day, hours=5), product="S1", orbit_state=state)


@st.composite
def cases(draw: st.DrawFn, recipes: Sequence[Recipe] = (SEASONAL, EVENT, GAPS, COMPAT)) -> Case:
    recipe = draw(st.sampled_from(recipes))
    last = 300 if recipe.seasons is not None else 60
    scenes = [scene for day in draw(st.sets(st.integers(-60, last), min_size=2, max_size=25)) for scene in optical(day)]
    for state in ("ascending", "descending"):
        scenes += [radar(day, state) for day in draw(st.sets(st.integers(-60, last), max_size=9))]
    scenes.append(make_scene("dem", DAY, product="DEM"))
    chosen = draw(st.randoms(use_true_random=False))
    shares = [0.0, 0.0, 0.1, 0.2, 0.9]
    scores = [
        make_score(sample, scene, cloud=0.0 if scene.product == "S1" else chosen.choice(shares))
        for sample in SAMPLES
        for scene in scenes
        if scene.product in {"S2L2A", "S1"}
    ]
    share = draw(st.sampled_from([0.05, 0.3, 0.8]))
    broken = {
        (sample.id, scene.product, scene.acquisition)
        for sample in SAMPLES
        for scene in scenes
        if chosen.random() < share
    }
    return Case(tuple(scenes), by_pass(scores), recipe, frozenset(broken))


def image(sample_id: str, product: str, acquisition: str, reason: str = "unreadable") -> Unreadable:
    modality = {"S2L2A": "S2L2A", "S2L1C": "S2L1C", "S1": "S1ASC", "DEM": "DEM"}[product]
    return Unreadable(
        sample_id=sample_id, product=product, acquisition=acquisition, modality=modality, reason=reason, detail="gone",
        scene_ids=(acquisition,),
    )  # fmt: skip


def met(case: Case, rows: Iterable[PlanRow]) -> list[Unreadable]:
    """What reading the rows finds."""
    read = {(row.sample_id, MODALITIES[row.modality].product, row.choice.acquisition) for row in rows if row.choice}
    return [image(*key) for key in sorted(read & case.broken)]


def settled(case: Case) -> tuple[list[Unreadable], list[PlanRow], list[PlanRow]]:
    """Plan, read and plan again until everything can be read; returns what was met, the first and the last rows."""
    known: list[Unreadable] = []
    first = rows = case.plan()
    while found := met(case, rows):
        assert not set(found) & set(known)
        known += found
        rows = case.plan(known)
    return known, first, rows


def by_modality(rows: Iterable[PlanRow]) -> dict[tuple[str, str], list[PlanRow]]:
    held: dict[tuple[str, str], list[PlanRow]] = {}
    for row in rows:
        held.setdefault((row.sample_id, row.modality), []).append(row)
    return held


@settings(max_examples=40)
@given(cases())
def test_every_rule_of_a_plan_holds_when_images_are_lost(case: Case) -> None:
    known, first, rows = settled(case)
    lost = {(gone.sample_id, gone.product, gone.acquisition) for gone in known}
    assert [(r.sample_id, r.modality, r.timestep) for r in rows] == [
        (r.sample_id, r.modality, r.timestep) for r in first
    ]
    samples = {sample.id: sample for sample in SAMPLES}
    for (sample_id, name), held in by_modality(rows).items():
        product = MODALITIES[name].product
        assert all((row.choice is None) == bool(row.reason) for row in held)
        chosen = [row for row in held if row.choice and not row.is_padding]
        moments = [row.choice.acquired for row in chosen]
        if MODALITIES[name].is_series and product != "LABELS":
            assert not {(sample_id, product, row.choice.acquisition) for row in chosen} & lost
            windows = radar_windows if product == "S1" else windows_of
            intervals = windows(samples[sample_id], case.recipe)
            assert all(any(start <= moment < end for start, end in intervals) for moment in moments)
        if name != "S1GRD":
            assert moments == sorted(set(moments))


@settings(max_examples=40)
@given(cases())
def test_what_goes_together_stays_together(case: Case) -> None:
    _, _, rows = settled(case)
    held = by_modality(rows)
    gap = timedelta(days=case.recipe.pairing.max_gap)
    for sample in SAMPLES:
        images = held[sample.id, "S2L2A"]
        times = [row.choice.acquired if row.choice else None for row in images]
        for name in ("SCL", "S2RGB", "S2L1C", "MASK_SERIES"):
            followers = held.get((sample.id, name), images)
            assert [row.choice.acquired if row.choice else None for row in followers] == times
            assert [row.is_padding for row in followers] == [row.is_padding for row in images]
            assert [row.first_choice for row in followers] == [row.first_choice for row in images]
            assert [row.reason for row in followers] == [row.reason for row in images]
        sound = [
            scene.acquired
            for scene in case.scenes
            if scene.product == "S1" and (sample.id, "S1", scene.acquisition) not in case.broken
        ]
        for row, moment in zip(held.get((sample.id, "S1GRD"), ()), times, strict=False):
            if moment is None:
                assert row.choice is None
            elif row.choice is not None:
                assert abs(row.choice.acquired - moment) == min(abs(other - moment) for other in sound) <= gap


@settings(max_examples=40)
@given(cases())
def test_rows_tell_what_was_planned_first_and_nothing_else_changes(case: Case) -> None:
    known, first, rows = settled(case)
    touched = {gone.sample_id for gone in known}
    assert [r for r in rows if r.sample_id not in touched] == [r for r in first if r.sample_id not in touched]
    reasons = {(gone.sample_id, gone.acquisition): gone.reason for gone in known}
    before, after = by_modality(first), by_modality(rows)
    for key, held in after.items():
        if MODALITIES[key[1]].product == "LABELS":
            continue
        had = Counter((row.choice.acquisition, row.is_padding) for row in before[key] if row.choice)
        has = Counter((row.choice.acquisition, row.is_padding) for row in held if row.choice)
        told = Counter(row.first_choice for row in held if row.first_choice)
        # Every image that is new tells which one it replaces, and none is replaced twice.
        assert told <= Counter(name for name, _ in (had - has).elements())
        fresh = has - had
        for row in held:
            assert row.first_fault == reasons.get((row.sample_id, row.first_choice), "")
            is_new = row.choice is not None and (row.choice.acquisition, row.is_padding) in fresh
            if row.first_choice and row.choice is not None:
                assert is_new
        if not had - has:
            assert held == before[key]
        gaps = [sum(row.choice is None for row in side) for side in (before[key], held)]
        newly = Counter(r.reason for r in held if not r.choice) - Counter(r.reason for r in before[key] if not r.choice)
        assert newly["unreadable"] >= gaps[1] - gaps[0]


@settings(max_examples=40)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_in_which_faults_are_met_does_not_matter(case: Case, random: Random) -> None:
    known, first, rows = settled(case)
    shuffled = random.sample(known, len(known))
    assert case.plan(shuffled) == rows
    decided = Decided(
        samples=SAMPLES, events=(), scenes=case.scenes, scores=tuple(case.scores.values()), rows=tuple(first),
        places={sample.id: Place(split="all", shard="f", position=i) for i, sample in enumerate(SAMPLES)},
    )  # fmt: skip
    cut = random.randint(0, len(known))
    part = replanned(decided, shuffled[:cut], case.recipe)
    whole = replanned(part, shuffled, case.recipe)
    assert list(whole.rows) == rows
    assert whole.unreadable == tuple(sorted(known))
    # What is forgotten comes back.
    assert replanned(whole, (), case.recipe).rows == tuple(first)


def rows_of(*names: str) -> list[PlanRow]:
    """Rows of images named by their days; `-x` is a gap for the reason x."""
    rows = []
    for step, name in enumerate(names):
        missing = name.startswith("-")
        choice = None if missing else make_choice(name, DAY + timedelta(days=int(name)))
        reason = name[1:] if missing else ""
        rows.append(PlanRow(sample_id="a", modality="S2L2A", timestep=step, choice=choice, reason=reason))
    return rows


@pytest.mark.parametrize(
    ("first", "left", "told"),
    [
        (("1", "2", "3"), ("1", "3", "4"), ["", "", "2 unreadable"]),
        (("2", "5"), ("3", "4"), ["2 unreadable", "5 "]),
        (("1", "2"), ("1", "-no_scene"), ["", "2 unreadable: unreadable"]),
        (("1", "2"), ("-too_cloudy", "-too_cloudy"), ["2 unreadable: unreadable", "1 : unreadable"]),
        (("2", "-series_short"), ("-no_image_after", "-series_short"), ["2 unreadable: unreadable", ": series_short"]),
        (("2", "7"), ("7", "-no_coverage"), ["", "2 unreadable: unreadable"]),
        (("2", "7", "7"), ("7", "7", "8"), ["", "", "2 unreadable"]),
    ],
)
def test_rows_tell_what_stands_in_for_what(first: Sequence[str], left: Sequence[str], told: list[str]) -> None:
    rows = stand_ins(rows_of(*first), rows_of(*left), {"S2L2A": {"2": "unreadable"}})
    said = [f"{row.first_choice} {row.first_fault}" + (f": {row.reason}" if row.reason else "") for row in rows]
    assert [text.strip() for text in said] == [text.strip() for text in told]


def test_a_gap_keeps_the_reason_for_which_the_image_was_lost() -> None:
    rows = stand_ins(rows_of("1", "2"), rows_of("1", "-no_scene"), {"S2L2A": {"2": "empty"}})
    assert rows[1].reason == "empty"


def test_of_several_modalities_of_one_product_the_first_names_the_reason() -> None:
    told = [image("a", "S2L2A", "p", "empty"), replace(image("a", "S2L2A", "p"), modality="SCL")]
    assert faults_by_sample(told[::-1]) == {"a": {"S2L2A": {"p": {"": "empty"}}}}


def test_elevation_that_is_lost_is_missing_and_another_year_stands_in() -> None:
    sample: Sample = SAMPLES[0]
    early, late = (
        make_scene(name, DAY - timedelta(days=days), product="DEM") for name, days in (("early", 900), ("late", 400))
    )
    recipe = make_recipe("modalities=[DEM]")
    assert set(early.hrefs) == set(BANDS["DEM"])
    rows = plan_rows([sample], [early, late], {}, recipe, [image("here", "DEM", late.acquisition)])
    assert [(row.choice and row.choice.acquisition, row.first_choice) for row in rows] == [
        (early.acquisition, late.acquisition)
    ]
    rows = plan_rows([sample], [late], {}, recipe, [image("here", "DEM", late.acquisition, "empty")])
    assert [(row.choice, row.reason, row.first_choice) for row in rows] == [(None, "empty", late.acquisition)]
