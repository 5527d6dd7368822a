"""The same plan gives the same bytes, whatever the hash seed, the workers, the driver and the number of kills."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.orders import Order, shard_digests

from pipeline.cli import main
from pipeline.validate import validate

pytest_plugins = ["support.fixtures"]

PATIENCE = 120.0
"""How long one process may take [s]."""


def environment(seed: int) -> dict[str, str]:
    return {**os.environ, "PYTHONHASHSEED": str(seed)}


def start(arguments: list[str], seed: int, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(arguments, env=environment(seed), stdout=output, stderr=subprocess.STDOUT)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10.0)


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


@contextmanager
def dask_cluster(folder: Path) -> Iterator[str]:
    """A scheduler and one worker of two threads, each a process of its own, on the loopback interface."""
    address, log = folder / "scheduler.json", folder / "dask.log"
    here = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    scheduler = start([tool("dask"), "scheduler", *here, "--port", "0", "--scheduler-file", str(address)], 11, log)
    try:
        wait_for(address.is_file, scheduler, log)
        wait_for(lambda: address.read_text().rstrip().endswith("}"), scheduler, log)
        connection = json.loads(address.read_text())["address"]
        threads = ["--nthreads", "2", "--no-nanny", "--local-directory", str(folder)]
        worker = start([tool("dask"), "worker", connection, *here, *threads], 12, folder / "worker.log")
        try:
            yield connection
        finally:
            stop(worker)
    finally:
        stop(scheduler)


@pytest.fixture(scope="session")
def pairs_order(small_order: Order) -> Order:
    """Two files of every modality."""
    return small_order.with_overrides("samples_per_shard=2")


@pytest.fixture(scope="session")
def pairs(pairs_order: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that was built in this process."""
    out = pairs_order.build(tmp_path_factory.mktemp("pairs") / "dataset")
    assert len(set(shard_digests(out).values())) == 16
    return out


def same_dataset(built: Path, reference: Path) -> None:
    assert shard_digests(built) == shard_digests(reference)
    for table in (
        "plan.parquet",
        "survey.parquet",
        "ledger.parquet",
        "frames.parquet",
        "labels.parquet",
        "statistics.json",
    ):
        assert (built / table).read_bytes() == (reference / table).read_bytes(), table


@contextmanager
def taken_port(port: int) -> Iterator[None]:
    """Make sure that somebody listens on a loopback port, be it somebody else."""
    with socket.socket() as here:
        with suppress(OSError):
            here.bind(("127.0.0.1", port))
            here.listen()
        yield


def test_worker_processes_and_a_hash_seed_change_no_byte(order: Order, dataset: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "dataset", tmp_path / "log"
    with taken_port(8787):
        process = start([tool("sen12"), *order.arguments(out, "--workers", "2")], 1, log)
        try:
            assert process.wait(PATIENCE) == 0, log.read_text()
        finally:
            stop(process)
    same_dataset(out, dataset)
    # Two builds on one machine do not complain about each other's ports.
    assert "Traceback" not in log.read_text()
    assert "Warning" not in log.read_text()


def test_a_running_dask_cluster_changes_no_byte(pairs_order: Order, pairs: Path, tmp_path: Path) -> None:
    with dask_cluster(tmp_path) as address:
        pairs_order.build(tmp_path / "dataset", "--scheduler", address)
    same_dataset(tmp_path / "dataset", pairs)
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def test_a_killed_build_leaves_only_whole_files_and_goes_on_to_the_same_bytes(
    pairs_order: Order, pairs: Path, tmp_path: Path
) -> None:
    out, log, expected = tmp_path / "dataset", tmp_path / "log", shard_digests(pairs)
    process = start([tool("sen12"), *pairs_order.arguments(out)], 3, log)
    try:
        wait_for(lambda: len(list(out.rglob("*.zarr.zip"))) >= 3, process, log)
        process.send_signal(signal.SIGKILL)
    finally:
        stop(process)
    held = shard_digests(out)
    assert 3 <= len(held) < len(expected)
    assert held.items() <= expected.items()
    times = modified(out)
    pairs_order.build(out, "--resume")
    assert shard_digests(out) == expected
    # Receipts follow their shards: at most the last shard had none yet, and was built again.
    kept = [path for path, moment in modified(out).items() if times.get(path) == moment]
    assert len(kept) >= len(held) - 1


def test_what_a_killed_build_left_half_written_does_not_stay(pairs_order: Order, pairs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pairs, tmp_path / "copy")
    # A shard is written under such a name; a process that is killed cannot remove it.
    shard = copy / "all" / "S1ASC" / "landslides_all_000002.zarr.zip"
    shard.rename(shard.with_name(f".{shard.name}.4711.tmp"))
    pairs_order.build(copy, "--resume")
    assert [path.name for path in copy.rglob("*.tmp")] == []


def modified(root: Path) -> dict[str, int]:
    """Time of every shard by its path in the dataset."""
    return {file.relative_to(root).as_posix(): file.stat().st_mtime_ns for file in root.rglob("*.zarr.zip")}


def receipt_of(shard: Path) -> Path:
    root = shard.parents[2]
    return root / "receipts" / "all" / shard.parent.name / shard.name.replace(".zarr.zip", ".json")


def truncate(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-500])


def flip(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[1_000] ^= 1
    shard.write_bytes(content)


def exchange(shard: Path) -> None:
    """Put a whole shard of the same dataset in the place of another one."""
    shutil.copyfile(shard.with_name(shard.name.replace("000002", "000001")), shard)


def garble_receipt(shard: Path) -> None:
    receipt_of(shard).write_text("{")


def lose_receipt(shard: Path) -> None:
    receipt_of(shard).unlink()


def change_receipt(**changes: Any) -> Callable[[Path], None]:
    def change(shard: Path) -> None:
        receipt_of(shard).write_text(json.dumps({**json.loads(receipt_of(shard).read_text()), **changes}))

    return change


DAMAGES: dict[str, Callable[[Path], None]] = {
    "S2L2A/landslides_all_000002": Path.unlink,
    "S1ASC/landslides_all_000001": truncate,
    "S1ASC/landslides_all_000002": flip,
    "MASK/landslides_all_000002": exchange,
    "MASK_FRACTION/landslides_all_000001": truncate,
    "MASK_SERIES/landslides_all_000002": flip,
    "SCL/landslides_all_000001": garble_receipt,
    "SCL/landslides_all_000002": lose_receipt,
    "DEM/landslides_all_000001": change_receipt(sha256="0" * 64),
    "DEM/landslides_all_000002": change_receipt(plan_digest="0" * 64),
    "S1DSC/landslides_all_000002": change_receipt(state="unfinished"),
}


def test_resume_rebuilds_exactly_the_shards_whose_receipts_do_not_match(
    pairs_order: Order, pairs: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(pairs, tmp_path / "dataset")
    digests, times = shard_digests(out), modified(out)
    damaged = {f"all/{name}.zarr.zip": damage for name, damage in DAMAGES.items()}
    for path, damage in damaged.items():
        damage(out / path)
    pairs_order.build(out, "--resume")
    assert shard_digests(out) == digests
    assert {path for path, moment in modified(out).items() if moment != times[path]} == set(damaged)
    assert validate(out) == []
    times = modified(out)
    pairs_order.build(out, "--resume")
    assert modified(out) == times


def test_resume_needs_neither_places_search_nor_survey_again(
    small_order: Order, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    shutil.rmtree(copy / "all")
    before = (copy / "plan.parquet").stat().st_mtime_ns
    capsys.readouterr()
    small_order.build(copy, "--resume")
    assert "search" not in capsys.readouterr().out
    assert (copy / "plan.parquet").stat().st_mtime_ns == before
    assert shard_digests(copy) == shard_digests(small_dataset)


def test_a_plan_made_before_gives_the_same_bytes(small_order: Order, small_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "planned"
    assert main(small_order.arguments(out, command="plan")) == 0
    assert shard_digests(out) == {}
    small_order.build(out, "--resume")
    assert shard_digests(out) == shard_digests(small_dataset)
