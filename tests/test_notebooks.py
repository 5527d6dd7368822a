import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_notebook_runs_offline_on_the_demo(notebook, demo):
    environment = {**os.environ, "SEN12_DATASET": str(demo)}
    run = subprocess.run(
        [sys.executable, str(notebook)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "NDVI on the slide" in run.stdout
