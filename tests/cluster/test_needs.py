"""How much memory a file takes: estimated from the recipe, compared with what building one really took."""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.orders import Order

from pipeline.cli import main
from pipeline.cluster import needs as module
from pipeline.cluster import worker_bound, worker_needs
from pipeline.cluster.needs import check_threads, fitting_threads
from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe

pytest_plugins = ["support.fixtures"]

GIB = 2**30
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

MEASURE = """
import numpy as np
from pathlib import Path
import pipeline.assemble
from pipeline.layouts.encoding import PixelShape, open_encoder
from pipeline.layouts.ssl4eo import ShardLabels, write_encoded
from pipeline.pixels import frame_moments

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])

n, t, c, s = {shape}
before = peak()
rng = np.random.default_rng(0)
shape = PixelShape(samples=n, times=t, bands=c, height=s, width=s, dtype=np.dtype(np.int16), fill=-32768,
                   has_cloud_mask=True, store="{store}")
labels = ShardLabels(
    band_names=tuple(f"b{{i}}" for i in range(c)), sample_ids=tuple(map(str, range(n))),
    file_ids=np.full((n, t), "x" * 60), times=np.full((n, t), np.datetime64("NaT", "ns")),
    epsg=np.full(n, 32633), lon=np.zeros(n), lat=np.zeros(n), eastings=np.zeros((n, s)), northings=np.zeros((n, s)))
with open_encoder(shape) as encoder:
    for sample in range(n):
        for time in range(t):
            frame = rng.integers(-32767, 32767, (c, s, s), np.int16)
            frame_moments(frame, nodata=-32768)
            encoder.put(sample, time, frame, rng.integers(0, 256, (s, s), np.uint8))
    write_encoded(Path("{path}"), labels, encoder.finish())
print(peak() - before, before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("store", ["chunked", "published"])
def test_writing_a_file_takes_no_more_than_estimated_nor_much_less(store: str, tmp_path) -> None:
    overrides = {"samples_per_shard": 32, "patch_size": 128, "modalities": ["S2L2A"], "store": store}
    recipe = load_recipe("landslides", overrides)
    shape = (32, recipe.series_length, len(recipe.bands_of("S2L2A")), 128)
    script = MEASURE.format(shape=shape, path=tmp_path / "x.zarr.zip", store=store)
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120)
    taken, before = map(int, printed.stdout.split())
    assert taken <= worker_needs(recipe) <= 2 * taken
    assert before <= module.PROCESS_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_building_a_file_stays_within_the_bound_that_the_plan_states() -> None:
    spec = importlib.util.spec_from_file_location("memory", BENCHMARKS / "memory.py")
    assert spec is not None
    assert spec.loader is not None
    memory = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(memory)
    options = argparse.Namespace(samples=8, size=128, steps=4, store="published")
    taken = memory.measured(options)
    assert taken["bound"] == worker_bound(memory.recipe_of(options))
    assert 0.5 * taken["bound"] < taken["peak"] <= taken["bound"]


def test_what_does_not_fit_this_machine_is_refused_before_anything_is_planned(
    small_order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    too_large = small_order.with_overrides("samples_per_shard=4096", "patch_size=4096")
    assert main(too_large.arguments(tmp_path / "dataset", command="plan")) == 2
    line = capsys.readouterr().err
    assert "GB of memory and needs" in line
    assert "lower samples_per_shard" in line
    assert not (tmp_path / "dataset").exists()


def test_the_largest_modality_decides_and_everything_counts() -> None:
    def needs(**values: object) -> int:
        return worker_needs(load_recipe("landslides", values))

    whole = needs()
    assert needs(modalities=["S2L2A"]) == whole
    assert needs(modalities=["DEM"]) < whole
    small = needs(samples_per_shard=32) - module.READ_BYTES
    assert 2 * small == pytest.approx(whole - module.READ_BYTES, abs=2)
    assert needs(patch_size=256) - module.READ_BYTES == pytest.approx(4 * (whole - module.READ_BYTES), abs=4)


def test_answers_of_earth_engine_count_up_to_the_limit_of_a_request() -> None:
    def answers(**values: object) -> int:
        recipe = load_recipe("landslides", values)
        extra = worker_bound(recipe, "earth-engine") - worker_bound(recipe)
        assert extra == worker_needs(recipe, "earth-engine") - worker_needs(recipe, "planetary-computer")
        return extra - module.CLIENT_BYTES

    small = answers(patch_size=64, modalities=["S2L2A"])
    assert small == 8 * 2.5 * 5 * 64**2 * (2 * 12 + 3), "five dates of twelve bands in eight threads"
    assert answers(patch_size=128, modalities=["S2L2A"]) == 4 * small
    assert answers(patch_size=128, modalities=["S2L2A"], series_length=2) == pytest.approx(4 * small * 2 / 5)
    assert answers(patch_size=2048, modalities=["S2L2A"]) == 8 * 2.5 * (48 << 20)
    assert answers(modalities=["MASK"]) == 0


@given(st.integers(1, 20 * GIB), st.integers(1, 64 * GIB), st.integers(1, 64))
def test_what_fits_fits_and_one_more_would_not(needs: int, memory: int, at_most: int) -> None:
    room = module.USABLE_SHARE * memory - module.PROCESS_BYTES
    if room < needs:
        with pytest.raises(RecipeError, match=r"^a worker has .* GB of memory and needs .* GB to build"):
            fitting_threads(needs, memory=memory, at_most=at_most)
        return
    threads = fitting_threads(needs, memory=memory, at_most=at_most)
    assert 1 <= threads <= at_most
    assert threads * needs <= room
    assert threads == at_most or (threads + 1) * needs > room
    check_threads(needs, memory=memory, threads=threads)


def test_what_is_not_known_is_not_limited() -> None:
    assert fitting_threads(0, memory=1, at_most=7) == 7


def test_more_threads_than_memory_holds_are_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"^4 threads a worker are more than its 4\.3 GB of memory hold: a file takes"
    ):
        check_threads(GIB, memory=4 * GIB, threads=4)
