"""Jobs under a real SLURM of one node: the same bytes, also when a job is killed; and one line for what goes wrong."""

import operator
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.orders import Order, shard_digests
from support.slurm import ask, missing, running_jobs, slurm_site

from pipeline.cli import main
from pipeline.cluster import ClusterSetting, SlurmConfig, open_runner
from pipeline.errors import PipelineError, RecipeError
from pipeline.recipes import load_recipe, recipe_to_yaml

SCRIPT = Path(__file__).parents[2] / "deployments" / "slurm" / "build.sbatch"

pytest_plugins = ["support.fixtures"]

needs_slurm = pytest.mark.skipif(
    bool(missing()), reason=f"not installed: {missing()}; apt-get install slurm-wlm munge (Debian)"
)

CONFIG = """\
workers: 2
cpus: 1
memory: 1500MB
walltime: "00:10:00"
host: 127.0.0.1
start_timeout: 60
local_directory: {folder}
log_directory: {folder}/logs
tls_directory: {folder}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Path]:
    with slurm_site(tmp_path_factory.mktemp("slurm")) as conf, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(conf))
        yield conf


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def setting(config: Path, **changes: object) -> ClusterSetting:
    found = ClusterSetting.from_file("slurm", config).config
    assert isinstance(found, SlurmConfig)
    return ClusterSetting(config=found.model_copy(update=changes))


@pytest.fixture(scope="module")
def pairs_order(small_order: Order) -> Order:
    return small_order.with_overrides("samples_per_shard=2")


@pytest.fixture(scope="module")
def expected(pairs_order: Order, tmp_path_factory) -> dict[str, str]:
    return shard_digests(pairs_order.build(tmp_path_factory.mktemp("here") / "dataset"))


@needs_slurm
@pytest.mark.slurm
def test_jobs_build_the_same_bytes_and_leave_the_queue_empty(site, config, pairs_order, expected, tmp_path) -> None:
    pairs_order.build(tmp_path / "dataset", "--cluster", "slurm", "--cluster-config", str(config))
    assert shard_digests(tmp_path / "dataset") == expected
    assert ask(site, "squeue", "-h", "-t", "RUNNING,PENDING").strip() == ""
    # Keys of the run are gone with it.
    assert list(tmp_path.glob(".sen12-tls-*")) == []


@needs_slurm
@pytest.mark.slurm
def test_a_job_that_is_cancelled_half_way_costs_no_byte(site, config, pairs_order, expected, tmp_path) -> None:
    out = tmp_path / "dataset"
    cancelled: list[str] = []
    is_over = threading.Event()

    def cancel_one() -> None:
        while not is_over.wait(0.02) and not list(out.rglob("*.zarr.zip")):
            pass
        cancelled.extend(running_jobs(site)[:1])
        ask(site, "scancel", "--signal=KILL", "--full", *cancelled)

    thread = threading.Thread(target=cancel_one)
    thread.start()
    try:
        pairs_order.build(out, "--cluster", "slurm", "--cluster-config", str(config))
    finally:
        is_over.set()
        thread.join()
    assert cancelled
    assert shard_digests(out) == expected


@needs_slurm
@pytest.mark.slurm
def test_the_batch_script_builds_the_same_bytes(site, config, pairs_order, expected, tmp_path, monkeypatch) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe_to_yaml(load_recipe("landslides", pairs_order.overrides)))
    monkeypatch.setenv("SEN12_CLUSTER", str(config))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    out, log = tmp_path / "dataset", tmp_path / "log"
    words = (str(recipe), str(pairs_order.catalogue), str(pairs_order.places), str(out))
    command = ("sbatch", "--wait", "--time=00:10:00", f"--output={log}", str(SCRIPT), *words)
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr + log.read_text()
    assert shard_digests(out) == expected


@needs_slurm
@pytest.mark.slurm
def test_a_partition_that_is_not_there_gives_one_line(site, config) -> None:
    wrong = setting(config, queue="long")
    with pytest.raises(PipelineError, match=r"^SLURM refused the job: .*partition.*; see `sinfo`"), open_runner(wrong):
        pytest.fail("there is no such partition")
    assert ask(site, "squeue", "-h").strip() == ""


@needs_slurm
@pytest.mark.slurm
def test_jobs_that_do_not_start_give_one_line_and_leave_the_queue(site, config) -> None:
    waiting = setting(config, start_timeout=3.0, directives=("--begin=now+1hour",))
    with pytest.raises(PipelineError, match=r"^no job started within 3 s; `squeue --me`"), open_runner(waiting):
        pytest.fail("no job runs before an hour is over")
    assert ask(site, "squeue", "-h", "-t", "RUNNING,PENDING").strip() == ""


@needs_slurm
@pytest.mark.slurm
def test_the_number_of_jobs_is_what_is_asked_for(site, config) -> None:
    with open_runner(ClusterSetting.from_file("slurm", config, workers=3)) as runner:
        end = time.monotonic() + 60
        while len(running_jobs(site)) < 3 and time.monotonic() < end:
            time.sleep(0.2)
        assert len(running_jobs(site)) == 3
        assert sorted(runner.run(operator.neg, range(5), threads=1)) == [-4, -3, -2, -1, 0]


def test_without_sbatch_there_is_one_line(monkeypatch, config) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, **more: None if name == "sbatch" else which(name, **more))
    with (
        pytest.raises(RecipeError, match=r"^there is no sbatch on this machine: .* login node"),
        open_runner(setting(config)),
    ):
        pytest.fail("there is no SLURM")


def test_a_job_too_small_for_a_file_is_refused_before_it_is_queued(
    monkeypatch, config, order, tmp_path, capsys
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    config.write_text(CONFIG.format(folder=tmp_path).replace("1500MB", "600MB"))
    wanted = order.arguments(tmp_path / "dataset", "--cluster", "slurm", "--cluster-config", str(config))
    assert main(wanted) == 2
    assert "a worker has 0.6 GB of memory and needs " in capsys.readouterr().err
