"""Five hundred mutated inputs; ten thousand are a job of their own, `./run fuzz 10000`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_mutated_inputs_end_in_a_clear_error_or_a_correct_result(tmp_path: Path) -> None:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    ended = subprocess.run(
        [sys.executable, "-m", "fuzz", "500", "--seed", "1"], capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("500 inputs in ")
    assert list(tmp_path.iterdir()) == []
