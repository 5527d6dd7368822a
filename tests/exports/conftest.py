import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support.split_lists import write_lists

from pipeline.cli import main

Export = Callable[..., Path]


@pytest.fixture(scope="session")
def export_of() -> Export:
    """Export datasets by the command line."""

    def export(*roots: Path, out: Path, code: int = 0, options: tuple[str, ...] = ("--split", "compat")) -> Path:
        folders = [str(root) for root in roots]
        arguments = ["export", *folders, "--layout", "sen12landslides", "--out", str(out), *options]
        assert main(arguments) == code
        return out

    return export


@pytest.fixture(scope="session")
def listed_demo(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with two splits of its own: of some patches, and one without train."""
    root = shutil.copytree(demo, tmp_path_factory.mktemp("listed") / "dataset")
    ids = sorted(pd.read_parquet(root / "samples.parquet", columns=["id"])["id"])
    splits = {"train": ids[::2], "val": ids[1:6:2], "test": ids[7:14:2]}
    write_lists(root, "blocks", splits)
    write_lists(root, "idle", {"train": [], "val": ids[1::2], "test": ids[::2]})
    return root


@pytest.fixture(scope="session")
def exported(listed_demo: Path, export_of: Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo as Sen12Landslides, by its own split."""
    return export_of(listed_demo, out=tmp_path_factory.mktemp("exported") / "landslides", options=())
