import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pipeline.cli import main

# The first call of a kernel compiles it and would break any deadline.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("default")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with real pixels and golden metadata is not here")
    return SHARED


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):

    folder = tmp_path_factory.mktemp("demo")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["demo", "--out", str(folder)]) == 0
    return folder / "dataset", printed.getvalue()


@pytest.fixture(scope="session")
def demo(demo_run):
    return demo_run[0]


@pytest.fixture(scope="session")
def demo_output(demo_run):
    return demo_run[1]
