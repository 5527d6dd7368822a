"""Which provider an image is read from depends on what was found broken where, and on nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import DAY, by_pass, make_grid, make_recipe, make_sample, make_scene, make_score

from pipeline.catalog import Decided
from pipeline.errors import TransientSourceError
from pipeline.failover import settled
from pipeline.plan.mirrored import OWN, providers_left
from pipeline.plan.packing import Place
from pipeline.plan.rows import Scores, plan_rows
from pipeline.records import MODALITIES, PlanRow, Recipe, Scene, Unreadable
from pipeline.sources import Query
from pipeline.sources.mirrors import Mirrors

SAMPLES = (make_sample("here"), make_sample("there", grid=make_grid(left=500_320.0)))
NAMES = ("one", "two")
EVENT = make_recipe(
    "series_length=3", "window={before: 60, after: 60}", "max_cloud=0.5", "modalities=[S2L2A, SCL, S1ASC, MASK_SERIES]"
)
FIXED = EVENT.model_copy(update={"alternates": 0})

Fault = tuple[str, str, str, str]
"""Provider, sample, product and acquisition."""


class Mirror:
    """Has some of the scenes, under its own names."""

    def __init__(self, name: str, scenes: Sequence[Scene], *, is_down: bool = False) -> None:
        self.name, self.scenes, self.is_down = name, scenes, is_down

    def search(self, query: Query) -> list[Scene]:
        if self.is_down:
            raise TransientSourceError(f"{self.name} does not answer")
        found = [scene for scene in self.scenes if scene.product == query.product and query.admits(scene.acquired)]
        return [
            replace(s, id=f"{self.name} {s.id}", hrefs={b: f"/{self.name}{h}" for b, h in s.hrefs.items()})
            for s in found
        ]

    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class World:
    """What the source has, what of it mirrors have, and what cannot be read where."""

    scenes: tuple[Scene, ...]
    scores: Scores
    recipe: Recipe
    held: dict[str, tuple[Scene, ...]]
    broken: frozenset[Fault]

    def mirrors(self, names: Sequence[str] = NAMES, down: str = "") -> Mirrors:
        sources = {name: Mirror(name, self.held[name], is_down=name == down) for name in names}
        return Mirrors(sources=sources, names=tuple(names))

    def decided(self, names: Sequence[str] = NAMES) -> Decided:
        return Decided(
            samples=SAMPLES, events=(), scenes=self.scenes, scores=tuple(self.scores.values()),
            rows=tuple(plan_rows(SAMPLES, self.scenes, self.scores, self.recipe)), mirrors=tuple(names),
            places={sample.id: Place(split="all", shard="f", position=i) for i, sample in enumerate(SAMPLES)},
        )  # fmt: skip

    def met(self, rows: Iterable[PlanRow]) -> set[Unreadable]:
        """What reading the rows finds."""
        read = {(row.choice.source, row.sample_id, MODALITIES[row.modality].product, row.choice.acquisition)
                for row in rows if row.choice and row.choice.assets}  # fmt: skip
        return {
            Unreadable(
                sample_id=sample, product=product, acquisition=name, modality={"S1": "S1ASC"}.get(product, product),
                reason="unreadable", detail="", scene_ids=(name,), source=source,
            )
            for source, sample, product, name in read & self.broken
        }  # fmt: skip

    def ended(self, decided: Decided, mirrors: Mirrors) -> Decided:
        """Read, ask and plan until everything can be read, or is known not to be."""
        while found := self.met(decided.rows) - set(decided.unreadable):
            after = settled(decided, (*decided.unreadable, *found), self.recipe, mirrors)
            assert not after.waiting
            decided = after.decided
        return decided


@st.composite
def worlds(draw: st.DrawFn) -> World:
    days = draw(st.sets(st.integers(-55, 55), min_size=3, max_size=12))
    scenes = [
        make_scene(f"s2 {day:+04d}", DAY + timedelta(days=day, hours=10), tile="T33TVM", platform="sentinel-2a")
        for day in days
    ]
    scenes += [
        make_scene(f"s1 {day:+04d}", DAY + timedelta(days=day, hours=5), product="S1", orbit_state="ascending")
        for day in draw(st.sets(st.integers(-55, 55), max_size=5))
    ]
    chosen = draw(st.randoms(use_true_random=False))
    share = draw(st.sampled_from([0.2, 0.6]))
    broken = {
        (source, sample.id, scene.product, scene.acquisition)
        for source in (OWN, *NAMES)
        for sample in SAMPLES
        for scene in scenes
        if chosen.random() < share
    }
    held = {name: tuple(scene for scene in scenes if chosen.random() < 0.7) for name in NAMES}
    scores = [make_score(s, scene, cloud=chosen.choice([0.0, 0.2, 0.9])) for s in SAMPLES for scene in scenes]
    recipe = draw(st.sampled_from([EVENT, FIXED]))
    return World(tuple(scenes), by_pass(scores), recipe, held, frozenset(broken))


@settings(max_examples=25)
@given(worlds())
def test_the_first_provider_that_has_an_image_serves_it(world: World) -> None:
    end = world.ended(world.decided(), world.mirrors())
    first = world.decided().rows
    has = {name: {scene.acquisition for scene in scenes} for name, scenes in world.held.items()}
    for row in end.rows:
        if row.choice is None or not row.choice.assets:
            continue
        product, name = MODALITIES[row.modality].product, row.choice.acquisition
        order = [source for source in (OWN, *NAMES) if source == OWN or name in has[source]]
        sound = [source for source in order if (source, row.sample_id, product, name) not in world.broken]
        if sound:
            assert row.choice.source == sound[0]
        else:
            # Only where nothing may stand in does a row keep what nobody has.
            assert (world.recipe.alternates, row.choice.source) == (0, OWN)
        if row.choice.source:
            # It may itself stand in for another one that is lost everywhere.
            assert row.first_choice
            assert row.first_fault == "unreadable" or row.first_choice != name
            assert all(href.startswith(f"/{row.choice.source}/") for href in row.choice.assets[0].hrefs)
    if world.recipe.alternates == 0:
        assert [row.choice and row.choice.acquisition for row in end.rows] == [
            row.choice and row.choice.acquisition for row in first
        ]


@settings(max_examples=25)
@given(worlds(), st.randoms(use_true_random=False))
def test_neither_the_order_of_faults_nor_when_a_mirror_is_named_matters(world: World, random: Random) -> None:
    end = world.ended(world.decided(), world.mirrors())
    known = random.sample(end.unreadable, len(end.unreadable))
    cut = random.randint(0, len(known))
    part = settled(world.decided(), known[:cut], world.recipe, world.mirrors()).decided
    whole = settled(part, known, world.recipe, world.mirrors()).decided
    assert list(whole.rows) == list(end.rows)
    # The second mirror is named after all was read with the first alone.
    early = world.ended(world.decided(NAMES[:1]), world.mirrors(NAMES[:1]))
    late = settled(replace(early, mirrors=NAMES), early.unreadable, world.recipe, world.mirrors()).decided
    late = world.ended(late, world.mirrors())
    images = [[(r.sample_id, r.modality, r.timestep, r.choice) for r in one.rows] for one in (late, end)]
    assert images[0] == images[1]


@settings(max_examples=25)
@given(worlds(), st.sampled_from(NAMES))
def test_a_mirror_that_does_not_answer_changes_no_row(world: World, down: str) -> None:
    first = world.decided()
    found = world.met(first.rows)
    after = settled(first, found, world.recipe, world.mirrors(down=down))
    if not after.waiting:
        assert list(after.decided.rows) == list(settled(first, found, world.recipe, world.mirrors()).decided.rows)
        return
    assert after.decided.rows == first.rows
    assert after.problem == f"{down} does not answer"
    assert after.waiting <= {image.sample_id for image in found}
    again = settled(after.decided, found, world.recipe, world.mirrors())
    assert list(again.decided.rows) == list(settled(first, found, world.recipe, world.mirrors()).decided.rows)


@pytest.mark.parametrize(
    ("faults", "left"),
    [
        ({}, ["", "one", "two"]),
        ({"": "unreadable"}, ["one", "two"]),
        ({"": "empty", "one": "unreadable"}, ["two"]),
        ({"": "too_much_missing"}, []),
        ({"": "unreachable"}, ["one", "two", ""]),
        ({"": "unreachable", "one": "unreadable", "two": "unreadable"}, [""]),
        ({"": "unreadable", "one": "too_much_missing"}, ["two"]),
    ],
)
def test_providers_come_in_order_and_who_merely_did_not_answer_last(faults: dict[str, str], left: list[str]) -> None:
    assert providers_left(faults, NAMES) == left
