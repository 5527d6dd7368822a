from collections.abc import Iterator

import pytest
from support.flow_runs import Built, digests_of
from support.prefect_server import Platform, prefect_platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory) -> Iterator[Platform]:
    """A Prefect server on SQLite with a process worker, for every test that asks."""
    with prefect_platform(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@pytest.fixture(scope="session")
def built(platform) -> Built:
    """The demo, as build-dataset/landslides builds it."""
    run = platform.run("build-dataset/landslides")
    out = platform.folder / "data" / "landslides"
    return Built(
        run=run,
        flow_run=platform.last_run(),
        archive=out / "archive",
        dataset=out / "dataset",
        digests=digests_of(out / "dataset"),
    )
