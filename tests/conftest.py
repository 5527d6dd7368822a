import contextlib
import io
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.made_once import made_once

from pipeline.archive import Archive, SeasonalArchive, write_archive, write_seasonal_archive
from pipeline.cli import main

# The first call of a kernel compiles it and would break any deadline.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("default")

LONGEST = (
    "test_earth_engine_build", "test_validate", "test_determinism", "test_lock_rebuild", "test_publish",
    "test_own_modalities", "test_faults_build", "test_real_server", "test_crash", "test_fault_courses", "test_fuzz",
)  # fmt: skip
"""Modules that are begun first: where files are shared out among processes, the last one decides when all are done."""

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with real pixels and golden metadata is not here")
    return SHARED


@pytest.fixture(scope="session")
def embedded_archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = made_once(tmp_path_factory, "embedded", lambda made: write_archive(made / "archive"))
    return write_archive(folder / "archive")


@pytest.fixture(scope="session")
def seasonal_archive(tmp_path_factory: pytest.TempPathFactory) -> SeasonalArchive:
    folder = made_once(tmp_path_factory, "seasonal", lambda made: write_seasonal_archive(made / "archive"))
    return write_seasonal_archive(folder / "archive")


@pytest.fixture(scope="session")
def demo_run(embedded_archive, tmp_path_factory):
    def build(folder: Path) -> None:
        shutil.copytree(embedded_archive.catalog.parent, folder / "archive", copy_function=os.link)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert main(["demo", "--out", str(folder)]) == 0
        (folder / "printed.txt").write_text(printed.getvalue())

    folder = made_once(tmp_path_factory, "demo", build)
    return folder / "dataset", (folder / "printed.txt").read_text()


@pytest.fixture(scope="session")
def demo(demo_run):
    return demo_run[0]


@pytest.fixture(scope="session")
def demo_output(demo_run):
    return demo_run[1]
