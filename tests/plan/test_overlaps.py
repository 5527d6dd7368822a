"""Pairs of patch and scene against every pair looked at by itself, and what patches share against patches alone."""

from datetime import datetime, timedelta
from random import Random

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from support.records import DAY, make_grid, make_recipe, make_sample, make_scene, make_score, rectangle

from pipeline import grid
from pipeline.errors import SourceError
from pipeline.plan.candidates import find_candidates
from pipeline.plan.choices import Choices, to_choice
from pipeline.plan.overlaps import overlaps
from pipeline.plan.windows import Interval
from pipeline.records import Sample, Scene

SAMPLES = [make_sample(f"s{number}", grid=make_grid(left=500_000.0 + 160.0 * number)) for number in range(5)]


def _scenes(random: Random) -> list[Scene]:
    """Scenes over parts of the patches, some with one outline, some of one pass and some in another zone."""
    outlines = [
        rectangle(make_grid(), left=(left := random.uniform(-1.0, 3.0)), right=left + random.uniform(0.2, 5.0))
        for _ in range(3)
    ]
    return [
        make_scene(
            f"{number}",
            DAY + timedelta(days=random.randrange(6), hours=random.randrange(3)),
            footprint=random.choice(outlines),
            acquisition=f"p{random.randrange(4)}",
            epsg=random.choice([32632, 32633]),
        )
        for number in range(random.randrange(1, 9))
    ]


def _windows(random: Random) -> dict[str, tuple[Interval, ...]]:
    def one() -> Interval:
        start = DAY + timedelta(days=random.randrange(-1, 6))
        return start, start + timedelta(days=random.randrange(4))

    # They may overlap, and one patch may have more of them than another, or none.
    return {sample.id: tuple(one() for _ in range(random.randrange(4))) for sample in SAMPLES}


def _is_inside(moment: datetime, windows: tuple[Interval, ...]) -> bool:
    return any(start <= moment < end for start, end in windows)


@given(st.randoms(use_true_random=False), st.booleans())
def test_pairs_are_those_of_every_patch_with_every_scene(random: Random, is_dated: bool) -> None:
    scenes, windows = _scenes(random), _windows(random)
    found = overlaps(SAMPLES, scenes, (lambda sample: windows[sample.id]) if is_dated else None)
    expected = {}
    for patch, sample in enumerate(SAMPLES):
        outline = grid.footprint(sample.grid)
        for number, scene in enumerate(scenes):
            share = shapely.intersection(outline, shapely.from_wkb(scene.footprint)).area / outline.area
            if share > 0.0 and (not is_dated or _is_inside(scene.acquired, windows[sample.id])):
                expected[patch, number] = share
    pairs = list(zip(found.patch.tolist(), found.scene.tolist(), strict=True))
    assert pairs == sorted(expected)
    assert found.share.tolist() == pytest.approx([expected[pair] for pair in pairs])
    parts = found.inside(range(len(found)))
    areas = [grid.footprint(SAMPLES[patch].grid).area for patch in found.patch.tolist()]
    assert [part.area for part in parts] == pytest.approx(
        [share * area for share, area in zip(found.share.tolist(), areas, strict=True)]
    )


@given(st.randoms(use_true_random=False))
def test_patches_together_have_the_candidates_that_each_has_alone(random: Random) -> None:
    scenes, windows = _scenes(random), _windows(random)

    def within(sample: Sample) -> tuple[Interval, ...]:
        return windows[sample.id]

    together = find_candidates(SAMPLES, scenes, within)
    assert together == {sample.id: find_candidates([sample], scenes, within)[sample.id] for sample in SAMPLES}


def test_patches_in_one_scene_share_its_candidate_and_its_choice() -> None:
    near, beside = make_sample("near"), make_sample("beside", grid=make_grid(left=500_100.0))
    scene = make_scene("s")
    found = find_candidates([near, beside], [scene], None)
    assert found["near"][0] is found["beside"][0]
    recipe = make_recipe("modalities=[S2L2A, S2RGB]")
    choices = Choices(recipe)
    first = choices.of(found["near"][0], "S2L2A", None)
    assert first is choices.of(found["beside"][0], "S2L2A", None)
    assert first == to_choice(found["near"][0], recipe.bands_of("S2L2A"), None, mask="SCL")
    scored = choices.of(found["near"][0], "S2L2A", make_score(near, scene, cloud=0.25))
    assert (scored.cloud, first.cloud) == (0.25, None)
    assert scored.assets[0] is first.assets[0]


def test_an_outline_that_cannot_be_cut_is_named_by_its_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = make_sample()
    (patch,) = grid.footprints([sample.grid])
    west, south, east, north = patch.bounds
    middle = (west + east) / 2
    crossed = shapely.Polygon([(middle, south), (east + 1, north), (east + 1, south), (middle, north)])

    def give_up(*_: object) -> None:
        raise shapely.errors.GEOSException("side location conflict")

    monkeypatch.setattr(shapely, "intersection", give_up)
    scene = make_scene("crossed", footprint=shapely.to_wkb(crossed))
    with pytest.raises(SourceError, match="crossed: its outline cannot be cut to a patch"):
        overlaps([sample], [scene], None)
