import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ["before_after.png", "ndvi.png", "plan.png"]


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_notebook_runs_offline_on_the_demo(notebook, demo, tmp_path):
    (tmp_path / "archive").symlink_to(demo.parent / "archive")
    environment = {
        **os.environ, "SEN12_DATASET": str(demo), "SEN12_WORK": str(tmp_path), "MPLBACKEND": "agg",
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, str(notebook)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    pictures = [path.name for path in tmp_path.glob("*.png")]
    assert sorted(pictures) == (PICTURES if notebook.stem == "new_region" else [])
    assert "NDVI on the slide" in run.stdout
