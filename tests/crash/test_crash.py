"""Five random kills of a build on a cluster; fifty are a job of their own, `./run crash 50`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_five_random_kills_leave_the_same_bytes(tmp_path: Path) -> None:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    ended = subprocess.run(
        [sys.executable, "-m", "crash", "5", "--seed", "1"], capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}, cwd=tmp_path,
    )  # fmt: skip
    assert ended.stdout.splitlines()[-1] == "5 kills, 5 identical", ended.stdout + ended.stderr
    assert ended.returncode == 0
    assert list(tmp_path.iterdir()) == []
