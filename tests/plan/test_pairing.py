"""Pairs: whatever passes there are, what a row says of its radar image is of that one image."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from support.records import DAY, make_sample, make_scene, make_score

from pipeline.plan.rows import plan_rows
from pipeline.recipes import load_recipe
from pipeline.records import Scene

SEASONS = {
    "dates": [(DAY + timedelta(days=90 * number)).date().isoformat() for number in range(4)],
    "half_width": 20,
}
RECIPE = load_recipe(
    "ssl4eo-s12", {"modalities": ["S2L2A", "S1GRD"], "patch_size": 32, "seasons": SEASONS, "max_cloud": 1.0}
)


def _radar(number: int, unit: str, hours: int) -> Scene:
    moment = DAY + timedelta(hours=hours)
    stamp = moment.strftime("%Y%m%dT%H%M%S")
    name = f"S1{unit}_IW_GRDH_1SDV_{stamp}_{stamp}_{number:06d}_02E87B_7A8F"
    base = make_scene(name, product="S1", acquired=moment)
    return Scene(**{**{key: getattr(base, key) for key in base.__slots__}, "file_id": name})


passes = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(-30 * 24, 320 * 24)), max_size=40, unique_by=lambda pair: pair[1]
).map(lambda pairs: [_radar(number, unit, hours) for number, (unit, hours) in enumerate(pairs)])
images = st.lists(st.integers(-20, 290), min_size=1, max_size=30, unique=True).map(
    lambda days: [make_scene(f"optical-{day}", acquired=DAY + timedelta(days=day, hours=10)) for day in days]
)


@given(images, passes)
def test_bands_file_id_and_time_of_every_row_are_of_one_image(optical: list[Scene], radar: list[Scene]) -> None:
    sample = make_sample()
    scores = {(sample.id, scene.acquisition): make_score(sample, scene) for scene in optical}
    rows = plan_rows([sample], [*optical, *radar], scores, RECIPE)
    images_of = {row.timestep: row.choice for row in rows if row.modality == "S2L2A"}
    times = [choice.acquired for choice in images_of.values() if choice]
    assert times == sorted(times)
    for row in rows:
        if row.modality != "S1GRD" or row.choice is None:
            continue
        choice = row.choice
        assert choice.file_id[17:32] == choice.acquired.strftime("%Y%m%dT%H%M%S")
        assert choice.assets[0].scene_id == choice.file_id
        partner = images_of[row.timestep]
        assert partner is not None
        gap = abs(choice.acquired - partner.acquired)
        assert gap <= timedelta(days=RECIPE.pairing.max_gap)
        assert gap == min(abs(scene.acquired - partner.acquired) for scene in radar)
