"""A place that is full or may not be written: one line, nothing half written, and the build goes on later."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.orders import Order, shard_digests

from pipeline.cli import main
from pipeline.validate import validate

pytest_plugins = ["support.fixtures"]

GOES_ON = "what is built is kept: the same command with --resume goes on"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)], check=False, capture_output=True, timeout=20
    )
    if mounted.returncode:
        pytest.skip("only the superuser mounts a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=20)


def size_of(root: Path) -> int:
    return sum(file.stat().st_size for file in root.rglob("*") if file.is_file())


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sen12: error")]
    return line


def half_written(root: Path) -> list[str]:
    return [file.name for file in root.rglob("*.tmp")]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.55, 0.93])
def test_a_full_disk_stops_the_build_with_one_line_and_it_goes_on(
    share: float, disk: Path, small_order: Order, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, ballast = disk / "dataset", disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(b"x" * (free - 8_192 - round(share * size_of(small_dataset))))
    assert main(small_order.arguments(out)) == 1
    assert (
        one_line(capsys)
        == f"sen12: error: {out} cannot be written: No space left on device; free some space; {GOES_ON}"
    )
    assert half_written(out) == []
    assert shard_digests(out).items() <= shard_digests(small_dataset).items()
    ballast.unlink()
    small_order.build(out, "--resume")
    assert shard_digests(out) == shard_digests(small_dataset)
    assert validate(out) == []


def test_a_disk_that_becomes_read_only_stops_the_build_with_one_line(
    disk: Path, small_order: Order, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(small_dataset, disk / "dataset")
    victim = min((out / "all" / "DEM").glob("*.zarr.zip"))
    victim.unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=20)
    assert main(small_order.arguments(out, "--resume")) == 1
    line = f"{out} cannot be written: Read-only file system; mount it for writing; {GOES_ON}"
    assert one_line(capsys) == f"sen12: error: {line}"
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True, timeout=20)
    small_order.build(out, "--resume")
    assert shard_digests(out) == shard_digests(small_dataset)


def test_files_that_the_system_cuts_short_do_not_stay(
    tmp_path: Path, small_order: Order, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(small_dataset, tmp_path / "dataset")
    victim = max((out / "all").rglob("*.zarr.zip"), key=lambda file: file.stat().st_size)
    most = victim.stat().st_size - 1
    victim.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        assert main(small_order.arguments(out, "--resume")) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    line = f"{out} cannot be written: File too large; the file system takes no such file: lower samples_per_shard"
    assert one_line(capsys) == f"sen12: error: {line}; {GOES_ON}"
    assert half_written(out) == []
    assert not victim.exists()
    small_order.build(out, "--resume")
    assert shard_digests(out) == shard_digests(small_dataset)


@pytest.mark.slow
def test_a_full_disk_under_worker_processes_is_the_same_line(
    disk: Path, small_order: Order, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, ballast = disk / "dataset", disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(b"x" * (free - size_of(small_dataset) // 2))
    assert main(small_order.arguments(out, "--workers", "2")) == 1
    assert (
        one_line(capsys)
        == f"sen12: error: {out} cannot be written: No space left on device; free some space; {GOES_ON}"
    )
    ballast.unlink()
    small_order.build(out, "--resume")
    assert half_written(out) == []
    assert shard_digests(out) == shard_digests(small_dataset)
