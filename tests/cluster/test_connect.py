"""Schedulers that are refused, and why."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.dask_processes import DaskProcesses, dask_processes

from pipeline import __version__
from pipeline.cluster import ClusterSetting, connect, open_cluster, open_runner
from pipeline.errors import RecipeError

HERE = {"python": "3.12", "dask": "2026.8.0", "sen12-pipeline": "0.1.0"}


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[DaskProcesses]:
    with dask_processes(tmp_path, workers=0) as made:
        yield made


@pytest.mark.parametrize(
    ("others", "problem"),
    [
        ({"scheduler": HERE, "tcp://a:1": HERE}, ""),
        ({"scheduler": {}, "tcp://a:1": HERE}, ""),
        ({"scheduler": {**HERE, "dask": "2026.3.0"}}, "scheduler: dask 2026.3.0, here 2026.8.0"),
        (
            {"scheduler": HERE, "tcp://a:1": HERE, "tcp://b:2": {**HERE, "python": "3.11", "sen12-pipeline": "none"}},
            "worker tcp://b:2: python 3.11, here 3.12, sen12-pipeline none, here 0.1.0",
        ),
    ],
)
def test_the_first_that_differs_is_named(others: dict[str, dict[str, str]], problem: str) -> None:
    assert connect.version_problem(HERE, others) == problem


def test_workers_with_another_release_are_refused_with_one_line(empty: DaskProcesses, tmp_path: Path) -> None:
    release = tmp_path / "other" / "sen12_pipeline-0.0.9.dist-info"
    release.mkdir(parents=True)
    (release / "METADATA").write_text("Metadata-Version: 2.1\nName: sen12-pipeline\nVersion: 0.0.9\n")
    empty.add_worker(environment={"PYTHONPATH": str(release.parent)})
    line = (
        rf"^the Dask cluster at {empty.address} runs other versions than this program "
        rf"\(worker tcp://\S+: sen12-pipeline 0\.0\.9, here {__version__}\): install the same release"
    )
    with pytest.raises(RecipeError, match=line), open_runner(ClusterSetting(address=empty.address)):
        pytest.fail("versions differ")


def test_workers_with_too_little_memory_are_refused_with_one_line(empty: DaskProcesses) -> None:
    empty.add_worker("--memory-limit", "1GB")
    setting = ClusterSetting(address=empty.address)
    with open_runner(setting, needs=300_000_000):
        pass
    with (
        pytest.raises(RecipeError, match=r"^a worker has 1\.0 GB of memory and needs 3\.0 GB to build the recipe's"),
        open_runner(setting, needs=2_000_000_000),
    ):
        pytest.fail("the worker is too small")


def test_one_cluster_serves_several_stages_by_its_address() -> None:
    with open_cluster(ClusterSetting(workers=1)) as opened:
        assert opened == ClusterSetting(address=opened.address)
        for _ in range(2):
            with open_runner(opened) as runner:
                assert list(runner.run(abs, [-1], threads=1)) == [1]


def test_in_this_process_there_is_no_cluster() -> None:
    with open_cluster(ClusterSetting()) as opened:
        assert opened == ClusterSetting()


def test_a_tls_address_without_certificates_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 1)
    line = r"^no Dask scheduler answers at tls://127\.0\.0\.1:9; start one .* certificates under distributed\.comm\.tls"
    with pytest.raises(RecipeError, match=line), open_runner(ClusterSetting(address="tls://127.0.0.1:9")):
        pytest.fail("there are no certificates")
