"""The survey: shares of a patch as NumPy counts them, and what becomes of a classification that cannot be read."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.records import DAY, make_grid, make_recipe, make_sample, make_scene

from pipeline.catalog.codec import from_table, read_table, to_table, write_table
from pipeline.errors import TransientSourceError
from pipeline.patches import PatchReader
from pipeline.plan.candidates import Candidate
from pipeline.records import AssetRef, Choice, Reason, Resampling, Sample, Scene, Score, Shard, ShardSample
from pipeline.sources.reading import open_reader
from pipeline.survey import place_batches, read_classification, survey_batch, survey_batches

SIDE = 32


@dataclass(frozen=True)
class Local:
    """A source of files on this machine."""

    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> Mapping[str, str]:
        return {"GDAL_HTTP_MAX_RETRY": "0"}


def write_classes(path: Path, classes: NDArray[np.uint8], *, resolution: float = 10.0) -> str:
    """Write classes whose upper left corner is that of `make_grid()`."""
    grid = make_grid()
    transform = Affine(resolution, 0.0, grid.left, 0.0, -resolution, grid.top)
    height, width = classes.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint8", crs="EPSG:32633",
        transform=transform, nodata=0,
    ) as file:  # fmt: skip
        file.write(classes, 1)
    return str(path)


def scene_of(name: str, href: str, day: int = 0) -> Scene:
    return make_scene(name, DAY + timedelta(days=day), acquisition=f"pass {day}", hrefs={"SCL": href})


def candidate(*scenes: Scene) -> Candidate:
    return Candidate(acquisition=scenes[0].acquisition, acquired=scenes[0].acquired, scenes=scenes, reach=1.0)


def survey(sample: Sample, *candidates: Candidate) -> list[Score]:
    batches = survey_batches([sample], {sample.id: candidates})
    return [score for batch in batches for score in survey_batch(batch, Local())]


def draw_classes(seed: int, *, side: int = SIDE, highest: int = 12) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, highest, (side, side), endpoint=True).astype(np.uint8)


def assert_shares(score: Score, classes: NDArray[np.uint8]) -> None:
    assert score.nodata == np.mean((classes == 0) | (classes > 11))
    assert score.cloud == np.isin(classes, [8, 9, 10]).mean()
    assert score.shadow == (classes == 3).mean()
    assert score.snow == (classes == 11).mean()
    assert score.bad == score.nodata + score.cloud + score.shadow
    assert score.dark == np.isin(classes, [1, 2]).mean()
    assert score.unclear == pytest.approx(1.0 - np.isin(classes, [4, 5, 6, 7]).mean(), abs=1e-12)
    assert score.error == ""


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_what_numpy_counts(tmp_path: Path, seed: int) -> None:
    classes = draw_classes(seed)
    (score,) = survey(make_sample(), candidate(scene_of("s", write_classes(tmp_path / "s.tif", classes))))
    assert_shares(score, classes)
    assert (score.sample_id, score.acquisition, score.scene_ids) == ("a", "pass 0", ("s",))
    assert score.acquired == DAY


def test_the_classification_is_repeated_from_twenty_metres(tmp_path: Path) -> None:
    classes = draw_classes(1, side=SIDE // 2)
    (score,) = survey(
        make_sample(), candidate(scene_of("s", write_classes(tmp_path / "s.tif", classes, resolution=20)))
    )
    assert_shares(score, classes.repeat(2, axis=0).repeat(2, axis=1))


def test_ground_that_no_scene_reaches_is_no_data(tmp_path: Path) -> None:
    half = np.full((SIDE, SIDE // 2), 4, np.uint8)
    (score,) = survey(make_sample(), candidate(scene_of("s", write_classes(tmp_path / "s.tif", half))))
    assert (score.nodata, score.bad) == (0.5, 0.5)


def test_the_first_scene_of_a_pass_that_has_data_wins(tmp_path: Path) -> None:
    first, second = draw_classes(1, highest=3), draw_classes(2)
    scenes = [scene_of(f"s{i}", write_classes(tmp_path / f"{i}.tif", c)) for i, c in enumerate((first, second))]
    (score,) = survey(make_sample(), candidate(*scenes))
    assert_shares(score, np.where(first == 0, second, first))
    assert score.scene_ids == ("s0", "s1")


def test_a_scene_that_is_not_needed_is_not_opened(tmp_path: Path) -> None:
    full = write_classes(tmp_path / "full.tif", np.full((SIDE, SIDE), 4, np.uint8))
    scenes = [scene_of("full", full), scene_of("gone", str(tmp_path / "gone.tif"))]
    (score,) = survey(make_sample(), candidate(*scenes))
    assert (score.bad, score.error) == (0.0, "")


@pytest.mark.parametrize("which", [0, 1])
def test_an_unreadable_classification_gets_an_error_code_and_no_shares(tmp_path: Path, which: int) -> None:
    empty = write_classes(tmp_path / "empty.tif", np.zeros((SIDE, SIDE), np.uint8))
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"<html>")
    hrefs = [empty, empty]
    hrefs[which] = str(broken)
    good = scene_of("good", write_classes(tmp_path / "good.tif", np.full((SIDE, SIDE), 4, np.uint8)), day=1)
    scores = survey(make_sample(), candidate(*(scene_of(href, href) for href in hrefs)), candidate(good))
    bad, fine = sorted(scores, key=lambda score: score.acquisition)
    assert bad.error == Reason.UNREADABLE
    assert np.isnan([bad.nodata, bad.cloud, bad.shadow, bad.snow, bad.dark, bad.bad]).all()
    assert bad.scene_ids == tuple(hrefs)
    assert fine.bad == 0.0


def write_power(path: Path, power: NDArray[np.float32], *, left: float = 0.0, nodata: float | None = -32768.0) -> str:
    """Write power whose upper left corner lies `left` metres to the right of that of `make_grid()`."""
    grid = make_grid()
    transform = Affine(10.0, 0.0, grid.left + left, 0.0, -10.0, grid.top)
    height, width = power.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype="float32", crs="EPSG:32633",
        transform=transform, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(power, 1)
    return str(path)


def frame(name: str, href: str, day: int = 0) -> Scene:
    hrefs = {"vv": href, "vh": "/gone.tif"}
    return make_scene(name, DAY + timedelta(days=day), product="S1", acquisition=f"orbit {day}", hrefs=hrefs)


def radar_survey(*candidates: Candidate, resampling: Resampling = "nearest") -> list[Score]:
    batches = survey_batches([make_sample()], {"a": candidates}, band="vv", radar=resampling)
    return [score for batch in batches for score in survey_batch(batch, Local())]


@pytest.mark.parametrize("nodata", [-32768.0, None])
def test_radar_lacks_what_is_not_a_power_above_zero_and_what_no_frame_reaches(
    tmp_path: Path, nodata: float | None
) -> None:
    rng = np.random.default_rng(3)
    power = rng.choice(np.array([0.3, 0.02, 0.0, -0.1, np.nan, -32768.0], np.float32), (SIDE, SIDE - 5))
    (score,) = radar_survey(candidate(frame("f", write_power(tmp_path / "f.tif", power, nodata=nodata))))
    measured = np.nan_to_num(power, nan=-1.0) > 0
    assert score.nodata == 1.0 - measured.sum() / SIDE**2
    assert (score.cloud, score.shadow, score.snow, score.dark, score.error) == (0.0, 0.0, 0.0, 0.0, "")
    assert score.bad == score.unclear == score.nodata
    assert (score.acquisition, score.scene_ids) == ("orbit 0", ("f",))


def test_frames_of_one_pass_measure_together(tmp_path: Path) -> None:
    whole = np.full((SIDE, SIDE), 0.1, np.float32)
    left = write_power(tmp_path / "left.tif", whole, left=-160.0)
    right = write_power(tmp_path / "right.tif", whole, left=200.0)
    (score,) = radar_survey(candidate(frame("l", left), frame("r", right)))
    assert score.nodata == 4 / SIDE


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_the_measured_share_is_that_of_the_patch_as_it_is_built(tmp_path: Path, resampling: Resampling) -> None:
    rng = np.random.default_rng(5)
    power = rng.choice(np.array([0.3, 0.02, -32768.0], np.float32), (SIDE + 2, SIDE + 2))
    scene = frame("f", write_power(tmp_path / "f.tif", power, left=-4.0))
    (score,) = radar_survey(candidate(scene), resampling=resampling)
    recipe = make_recipe(f"resampling.S1={resampling}", "bands.S1ASC=[vv]")
    sample = ShardSample(id="a", grid=make_grid(), lon=0.0, lat=0.0, date=None)
    shard = Shard(name="s", split="all", modality="S1ASC", bands=("vv",), samples=(sample,), rows=(), timesteps=1)
    with open_reader(Local()) as reader:
        asset = AssetRef(scene_id="f", hrefs=(scene.hrefs["vv"],))
        choice = Choice(acquisition="f", acquired=DAY, file_id="f", assets=(asset,))
        patch = PatchReader(shard=shard, recipe=recipe, reader=reader).read(choice, sample)
    assert 0.0 < score.nodata < 1.0
    assert score.nodata == pytest.approx(1.0 - patch.valid_share(float("nan")), abs=1e-12)


def test_radar_that_cannot_be_read_gets_an_error_code(tmp_path: Path) -> None:
    (score,) = radar_survey(candidate(frame("f", str(tmp_path / "gone.tif"))))
    assert score.error == Reason.UNREADABLE
    assert np.isnan(score.nodata)


def test_scores_of_optical_and_radar_acquisitions_share_a_table(tmp_path: Path) -> None:
    classes = candidate(scene_of("s", write_classes(tmp_path / "s.tif", draw_classes(1))))
    power = candidate(frame("f", write_power(tmp_path / "f.tif", np.ones((SIDE, SIDE), np.float32))))
    scores = [*survey(make_sample(), classes), *radar_survey(power)]
    write_table(tmp_path / "survey.parquet", to_table(scores, Score))
    assert from_table(read_table(tmp_path / "survey.parquet"), Score) == scores
    assert len({(score.sample_id, score.acquisition) for score in scores}) == 2


def test_a_transient_fault_stops_the_batch(tmp_path: Path) -> None:
    good = scene_of("good", write_classes(tmp_path / "good.tif", np.full((SIDE, SIDE), 4, np.uint8)))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    away = scene_of("away", f"http://127.0.0.1:{port}/scl.tif?sig=SECRET", day=1)
    windows = [w for batch in survey_batches([make_sample()], {"a": [candidate(good), candidate(away)]}) for w in batch]
    with pytest.raises(TransientSourceError, match=r"scl\.tif could not be read now") as caught:
        survey_batch(windows, Local())
    assert "SECRET" not in str(caught.value)


def test_the_mosaic_that_is_scored_is_the_one_that_reading_returns(tmp_path: Path) -> None:
    classes = draw_classes(7)
    href = write_classes(tmp_path / "s.tif", classes)
    with open_reader(Local()) as reader:
        got = read_classification([href], make_grid(), reader)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, classes)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(st.integers(0, 5), max_size=6, unique=True)), st.integers(1, 5)
)
def test_every_window_is_in_one_batch_and_a_batch_opens_one_scene_first(
    passes: dict[str, list[int]], largest: int
) -> None:
    samples = [make_sample(name) for name in passes]
    candidates = {
        name: [candidate(scene_of(f"s{day}", f"/{day}.tif", day), scene_of("t", "/t.tif", day)) for day in days]
        for name, days in passes.items()
    }
    batches = survey_batches(samples, candidates, largest=largest)
    windows = sorted((window.sample_id, window.acquisition) for batch in batches for window in batch)
    assert windows == sorted((name, f"pass {day}") for name, days in passes.items() for day in days)
    for batch in batches:
        assert 1 <= len(batch) <= largest
        assert len({window.hrefs[0] for window in batch}) == 1
    firsts = [batch[0].hrefs[0] for batch in batches]
    assert firsts == sorted(firsts)


@given(st.lists(st.tuples(st.sampled_from([32632, 32633]), st.integers(0, 4)), max_size=8), st.integers(1, 7))
def test_batches_by_place_hold_every_window_once_in_one_zone(places: list[tuple[int, int]], largest: int) -> None:
    samples = [make_sample(f"{number}", grid=make_grid(epsg=epsg)) for number, (epsg, _) in enumerate(places)]
    candidates = {
        f"{number}": [candidate(scene_of(f"s{day}", f"/{day}.tif", day)) for day in range(days)]
        for number, (_, days) in enumerate(places)
    }
    batches = place_batches(samples, candidates, largest=largest)
    windows = sorted((window.sample_id, window.acquisition) for batch in batches for window in batch)
    assert windows == sorted((f"{n}", f"pass {day}") for n, (_, days) in enumerate(places) for day in range(days))
    for batch in batches:
        assert 1 <= len(batch) <= largest
        assert len({window.grid.epsg for window in batch}) == 1
    for epsg in (32632, 32633):
        count = sum(days for zone, days in places if zone == epsg)
        assert sum(batch[0].grid.epsg == epsg for batch in batches) == -(-count // largest)


def test_a_window_knows_its_patch_and_all_scenes_of_the_pass() -> None:
    scenes = (scene_of("s", "/s.tif"), scene_of("t", "/t.tif"))
    ((window,),) = survey_batches([make_sample("x")], {"x": [candidate(*scenes)]})
    assert (window.grid, window.hrefs, window.scene_ids) == (make_grid(), ("/s.tif", "/t.tif"), ("s", "t"))
