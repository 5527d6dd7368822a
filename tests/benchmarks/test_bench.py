"""The benchmark runs, small, and says what it must; how fast anything is, is no test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    command, environment = (
        [sys.executable, "-m", "benchmarks", *arguments],
        {**os.environ, "XDG_CACHE_HOME": str(cache)},
    )
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_the_benchmark_runs_small_and_its_rows_are_complete(tmp_path: Path) -> None:
    done = bench("reading", "--quick", "--json", str(tmp_path / "rows.json"), cache=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    assert {name.partition(" ")[0] for name in names} == {"disk,", "HTTP"}
    for row in rows:
        assert sorted(row) == ["conditions", "high", "low", "name", "ratio", "unit"]
        assert 0.0 < row["low"] <= row["ratio"] <= row["high"]
        assert row["unit"]
        assert row["conditions"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["copying"], "there is no part copying"), (["loader", "--only", "disk"], "is known to the part `reading` alone")],
)
def test_what_the_benchmark_does_not_know_is_refused_in_one_line(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    done = bench(*arguments, cache=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
