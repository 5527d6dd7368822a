"""The zone of a seasonal sample: that of most of its images' tiles, the earliest one's among equals."""

from datetime import timedelta

import pytest
from support.records import DAY, make_sample, make_scene, make_score

from pipeline import grid
from pipeline.plan.majority import majority_grids
from pipeline.plan.rows import optical_offer
from pipeline.recipes import load_recipe

DATES = [(DAY + timedelta(days=90 * number)).date().isoformat() for number in range(4)]
RECIPE = load_recipe(
    "ssl4eo-s12", {"modalities": ["S2L2A"], "patch_size": 32, "seasons": {"dates": DATES, "half_width": 5}}
)


def _moved(tiles: str) -> dict[str, int]:
    sample = make_sample()
    names = {"w": "T32TQM", "e": "T33TUG"}
    scenes = [
        make_scene(f"optical-{step}", acquired=DAY + timedelta(days=90 * step, hours=10), tile=names[letter])
        for step, letter in enumerate(tiles)
    ]
    scores = {(sample.id, scene.acquisition): make_score(sample, scene) for scene in scenes}
    offer = optical_offer([sample], scenes, RECIPE)
    return {name: moved.grid.epsg for name, moved in majority_grids([sample], scenes, offer, scores, RECIPE).items()}


@pytest.mark.parametrize(
    ("tiles", "epsg"),
    [("wwwe", 32632), ("weww", 32632), ("wewe", 32632), ("ewew", None), ("eeew", None), ("eeee", None)],
)
def test_a_sample_moves_to_the_zone_of_most_of_its_tiles(tiles: str, epsg: int | None) -> None:
    assert list(_moved(tiles).values()) == ([epsg] if epsg else [])


def test_a_moved_patch_holds_the_same_place_on_the_lattice_of_its_new_zone() -> None:
    sample = make_sample()
    scenes = [
        make_scene(f"optical-{step}", acquired=DAY + timedelta(days=90 * step, hours=10), tile="T32TQM")
        for step in range(4)
    ]
    scores = {(sample.id, scene.acquisition): make_score(sample, scene) for scene in scenes}
    offer = optical_offer([sample], scenes, RECIPE)
    moved = majority_grids([sample], scenes, offer, scores, RECIPE)[sample.id]
    assert moved.grid.left % 10 == 0
    assert moved.grid.top % 10 == 0
    assert (moved.lon, moved.lat) == grid.centre(moved.grid)
    assert abs(moved.lon - sample.lon) < 1e-4
    assert abs(moved.lat - sample.lat) < 1e-4
