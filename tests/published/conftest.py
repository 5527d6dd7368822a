import shutil
from pathlib import Path

import pytest
from support.chunk_files import write_folder


@pytest.fixture(scope="session", params=["chunked", "published"])
def sound(request, tmp_path_factory) -> Path:
    """A folder without faults, in both chunkings; not to be changed."""
    return write_folder(tmp_path_factory.mktemp(request.param) / "dataset", store=request.param)


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("original") / "dataset", store="published")


@pytest.fixture
def folder(original, tmp_path) -> Path:
    """A folder without faults, to break."""
    return Path(shutil.copytree(original, tmp_path / "dataset"))
