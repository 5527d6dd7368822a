"""Planning in neighbourhoods against planning at once, and the order of what lies on disk."""

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from support.records import make_scene, make_score

from pipeline import grid, stages
from pipeline.catalog import files, planned, scenes, stored
from pipeline.catalog.scenes import SceneTable, SceneWriter
from pipeline.catalog.scores import ScoreTable, ScoreWriter
from pipeline.cluster import LocalRunner
from pipeline.folder import Request
from pipeline.plan.packing import NOWHERE, make_shards, pack
from pipeline.plan.rows import plan_rows
from pipeline.planning import by_key, neighbourhoods, served
from pipeline.receipts import plan_digest
from pipeline.recipes import load_recipe
from pipeline.records import PlanRow, Recipe, Sample, Scene, Score
from pipeline.search import Found

FIRST = datetime(2021, 3, 1, tzinfo=UTC)
CENTRES = ((11.98, 47.0), (12.02, 47.0), (179.995, -17.0), (-179.995, -17.0), (-70.0, -30.0), (30.0, 10.0))
"""Two beside a border of zones, two beside the antimeridian, one far from all, and one that nothing passes over."""
RULES = (
    "modalities=[S2L2A,S1ASC,S1DSC,S2RGB]",
    "samples_per_shard=4",
    "patch_size=32",
    "split.val=0.3",
    "alternates=2",
)


def places(recipe: Recipe, count: int = 40) -> tuple[Sample, ...]:
    drawn = random.Random(5)  # noqa: S311
    found = []
    for number in range(count):
        lon, lat = drawn.choice(CENTRES)
        patch = grid.patch_around(
            lon=lon + drawn.uniform(-0.02, 0.02), lat=lat + drawn.uniform(-0.02, 0.02), recipe=recipe
        )
        middle = grid.centre(patch)
        found.append(
            Sample(
                id=f"{number:03d}",
                region="r",
                grid=patch,
                lon=middle.lon,
                lat=middle.lat,
                date=None,
                is_annotated=False,
            )
        )
    return tuple(found)


def passes() -> list[Scene]:
    """Scenes over the places: two tiles at each that overlap, radar of one direction at one place only."""
    found = []
    for place, (lon, lat) in enumerate(CENTRES[:-1]):
        for step in range(0, 330, 15):
            for tile, west in (("A", -0.6), ("B", -0.004)):
                box = shapely.box(lon + west, lat - 0.5, lon + west + 0.604, lat + 0.5)
                outline = shapely.to_wkb(grid.cut_at_antimeridian(np.array([box], dtype=object))[0])
                name = f"{place}-{step:03d}-{tile}"
                moment = FIRST - timedelta(days=step, minutes=place)
                common = {"acquisition": f"pass-{place}-{step}", "footprint": outline}
                found.append(make_scene(name, moment, tile=f"T33TW{tile}", **common))
                if place == 0:
                    common["acquisition"] = f"radar-{place}-{step}"
                    found.append(make_scene(f"s{name}", moment, product="S1", orbit_state="descending", **common))
    return found


def judged(samples: tuple[Sample, ...], found: list[Scene]) -> list[Score]:
    drawn = random.Random(6)  # noqa: S311
    optical = {scene.acquisition: scene for scene in found if scene.product == "S2L2A"}
    return [
        make_score(sample, scene, cloud=drawn.choice([0.0, 0.1, 0.9]), error=drawn.choice(["", "", "", "unreadable"]))
        for sample in samples
        for scene in optical.values()
    ]


def stored_scenes(folder: Path, found: list[Scene]) -> SceneTable:
    with SceneWriter(folder / ".planning" / "scenes.parquet") as table:
        for first in range(0, len(found), 50):
            # Searches of neighbouring clusters give the same scenes.
            table.add(found[max(0, first - 20) : first + 50])
        table.finish()
    return table.table()


def stored_scores(folder: Path, samples: tuple[Sample, ...], scores: list[Score]) -> ScoreTable:
    with ScoreWriter(folder / ".planning" / "survey.parquet") as table:
        for group in neighbourhoods(samples, size=5):
            names = {sample.id for sample in group}
            table.add([score for score in scores if score.sample_id in names])
    return table.table()


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is done in parts is done in many."""
    monkeypatch.setattr(stages, "neighbourhoods", partial(neighbourhoods, size=7))
    monkeypatch.setattr(stages, "STRETCH", 9)
    monkeypatch.setattr(planned, "GROUP_ROWS", 100)
    monkeypatch.setattr(scenes, "GROUP_SCENES", 60)
    monkeypatch.setattr(scenes, "BOX_SAMPLES", 2)
    monkeypatch.setattr(stored, "KEPT_ROWS", 0)
    monkeypatch.setattr(files, "KEPT_ROWS", 0)


@pytest.mark.parametrize("packing", ["local", "shuffled"])
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.usefixtures("in_small_parts")
def test_neighbourhoods_plan_what_all_samples_at_once_do(tmp_path: Path, packing: str, complete: bool) -> None:
    recipe = load_recipe("ssl4eo-s12", [*RULES, f"packing={packing}", f"complete={str(complete).lower()}"])
    (tmp_path / "places.csv").write_text("id,lon,lat\n")
    request = Request(recipe=recipe, places=str(tmp_path / "places.csv"), source="x", out=tmp_path)
    samples, found = places(recipe), passes()
    if complete:
        found = [replaced for scene in found for replaced in _with_radar_everywhere(scene)]
    scores = judged(samples, found)
    table = stored_scenes(tmp_path, found)
    assert {scene.id for scene in table} == {scene.id for scene in found}
    assert len(table) == len(found)

    stages.make_plan(
        request,
        Found(samples=samples, events=(), scenes=table),
        stored_scores(tmp_path, samples, scores),
        LocalRunner(),
    )

    rows = plan_rows(samples, found, by_key(scores), recipe)
    inside = served(rows, recipe)
    assert 0 < len(inside) < len(samples)
    spots = pack([sample for sample in samples if sample.id in inside], recipe)
    spots = {sample.id: spots.get(sample.id, NOWHERE) for sample in samples}
    decided = stages.load_plan(tmp_path)
    assert decided.samples == samples
    assert decided.places == spots
    assert sorted(decided.rows, key=_key) == sorted(rows, key=_key)
    assert any(row.alternates for row in decided.rows)
    loose = [row for row in rows if row.sample_id not in inside]
    assert {_key(row) for row in decided.unplaced()} == {_key(row) for row in loose}
    assert all(row.choice == one.choice for row, one in _paired(decided.unplaced(), loose))
    expected = make_shards(samples, {}, spots, rows, recipe)
    shards = stages.shards_of(decided, recipe)
    assert len(shards) == len(expected)
    assert sorted(shards, key=lambda shard: shard.path) == sorted(expected, key=lambda shard: shard.path)
    assert {plan_digest(shard, recipe) for shard in shards} == {plan_digest(shard, recipe) for shard in expected}
    assert [shards[0], shards[-1]] == [*shards[:1], *shards[-1:]]
    assert not (tmp_path / ".planning").exists()


def _paired(found: Iterable[PlanRow], expected: Iterable[PlanRow]) -> list[tuple[PlanRow, PlanRow]]:
    return list(zip(sorted(found, key=_key), sorted(expected, key=_key), strict=True))


def _key(row: object) -> tuple[str, str, int]:
    return (row.sample_id, row.modality, row.timestep)  # type: ignore[attr-defined]


def _with_radar_everywhere(scene: Scene) -> list[Scene]:
    """Return the scene and, of an optical one, radar of both directions beside it."""
    if scene.product != "S2L2A":
        return []
    radar = [
        make_scene(
            f"{direction}-{scene.id}", scene.acquired, product="S1", orbit_state=direction, footprint=scene.footprint,
            acquisition=f"{direction}-{scene.acquisition}",
        )
        for direction in ("ascending", "descending")
    ]  # fmt: skip
    return [scene, *radar]


@pytest.mark.usefixtures("in_small_parts")
def test_the_plan_lies_by_files_and_row_groups_hold_whole_ones(tmp_path: Path) -> None:
    recipe = load_recipe("ssl4eo-s12", [*RULES, "complete=false"])
    (tmp_path / "places.csv").write_text("id,lon,lat\n")
    request = Request(recipe=recipe, places=str(tmp_path / "places.csv"), source="x", out=tmp_path)
    samples, found = places(recipe), passes()
    scores = stored_scores(tmp_path, samples, judged(samples, found))
    stages.make_plan(
        request, Found(samples=samples, events=(), scenes=stored_scenes(tmp_path, found)), scores, LocalRunner()
    )
    with pq.ParquetFile(tmp_path / "plan.parquet") as file:
        groups = [file.read_row_group(n, columns=["shard"])["shard"].to_pylist() for n in range(file.num_row_groups)]
    assert len(groups) > 3
    order = [name for group in groups for name in dict.fromkeys(group)]
    placed = [name for name in order if name]
    assert placed == sorted(set(placed))
    assert all(not name for name in order[len(placed) :])


@pytest.mark.parametrize("size", [1, 7, 40, 100])
def test_neighbourhoods_hold_every_sample_once_in_order_and_lie_together(size: int) -> None:
    samples = places(load_recipe("ssl4eo-s12", []))
    groups = neighbourhoods(samples, size=size)
    assert sorted(sample.id for group in groups for sample in group) == [sample.id for sample in samples]
    assert all(len(group) <= size for group in groups)
    assert all([s.id for s in group] == sorted(s.id for s in group) for group in groups)
    if size == 7:
        widths = [np.ptp([sample.lat for sample in group]) for group in groups]
        assert np.median(widths) < 0.1


def test_scenes_near_a_patch_are_those_that_touch_it(tmp_path: Path, in_small_parts: None) -> None:
    samples, found = places(load_recipe("ssl4eo-s12", [])), passes()
    table = stored_scenes(tmp_path, found)
    for sample in samples[:10]:
        patch = grid.footprint(sample.grid)
        touching = {scene.id for scene in found if shapely.intersects(shapely.from_wkb(scene.footprint), patch)}
        near = table.near([sample]).read()
        assert touching <= {scene.id for scene in near}
        assert len(near) < len(found) / 2


def test_a_scene_that_is_found_twice_is_stored_once(tmp_path: Path) -> None:
    found = passes()
    with SceneWriter(tmp_path / "a.parquet") as table:
        table.add(found)
        table.add(found)
        table.finish()
    assert sorted(scene.id for scene in table.table()) == sorted(scene.id for scene in found)
