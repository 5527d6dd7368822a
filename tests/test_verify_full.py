"""`build --verify full`: bytes that are wrong although their length is right are never used where an item vouches."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.fault_server import FaultServer, Script, fault_server
from support.orders import Order, shard_digests
from support.vouching import vouch

from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.cluster import LocalRunner
from pipeline.sources import window
from pipeline.sources.checking import WRONG_BYTES
from pipeline.sources.permits import Limit, ProcessPermits
from pipeline.status import dataset_status

pytest_plugins = ["support.fixtures"]

CORRUPT = Script(seed=2, share=0.3, faults=("corrupt",), most=1, only=r"\.tiff?$")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(window.GDAL_OPTIONS, "GDAL_HTTP_RETRY_DELAY", 0.01)


@pytest.fixture
def folder(small_order: Order, tmp_path: Path) -> Path:
    """The catalogue with the checksums of everything but elevation."""
    folder = tmp_path / "stac"
    shutil.copytree(small_order.catalogue.parent, folder)
    for item in folder.glob("sentinel*/**/*.json"):
        vouch(item)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[FaultServer]:
    with fault_server(folder) as made:
        yield made


def words(order: Order, source: str, out: Path, *more: str) -> list[str]:
    made = order.arguments(out, *more)
    made[made.index("--source") + 1] = source
    return made


def unreadable(out: Path, modality: str) -> list[dict[str, Any]]:
    return [row for row in pq.read_table(out / "unreadable.parquet").to_pylist() if row["modality"] == modality]


def plan_digests(out: Path) -> dict[str, str]:
    return {str(file): json.loads(file.read_text())["plan_digest"] for file in out.glob("receipts/**/*.json")}


def test_what_is_damaged_on_its_way_ends_in_the_same_bytes(
    server: FaultServer, small_order: Order, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dataset"
    server.reset(Script(**{**vars(CORRUPT), "only": r"sentinel.*\.tiff?$"}))
    assert main(words(small_order, server.api, out, "--verify", "full")) == 0
    assert server.failures()["corrupt"] >= 10
    assert shard_digests(out) == shard_digests(small_dataset)
    assert (out / "survey.parquet").read_bytes() == (small_dataset / "survey.parquet").read_bytes()
    printed = capsys.readouterr().out
    assert "assets are read whole and compared with their checksums; " in printed
    assert "state none and are read as they come" in printed
    counts = dataset_status(out).failed_requests
    assert 0 < counts[WRONG_BYTES] <= server.failures()["corrupt"]
    ledger = pq.read_table(out / "ledger.parquet").to_pylist()
    by_shard = {row["shard"]: dict(row["failed_requests"]) for row in ledger if row["shard"]}
    assert sum(held.get(WRONG_BYTES, 0) for held in by_shard.values()) == counts[WRONG_BYTES]
    assert main(["status", str(out)]) == 0
    assert f"{counts[WRONG_BYTES]} × {WRONG_BYTES}" in capsys.readouterr().out


def test_an_asset_that_is_not_the_one_its_item_describes_is_named(
    server: FaultServer, small_order: Order, small_dataset: Path, tmp_path: Path
) -> None:
    rows = [row for row in read_decided(small_dataset).rows if row.modality == "S2L2A" and row.choice]
    image = Path(rows[0].choice.assets[0].hrefs[0])
    path = f"/{image.relative_to(small_order.catalogue.parent).as_posix()}"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 0x01
    server.replaced[path] = bytes(content)
    out = tmp_path / "dataset"
    assert main(words(small_order, server.api, out, "--verify", "full")) == 0
    named = unreadable(out, "S2L2A")
    assert named
    assert all(f"{server.base}{path} cannot be read: its {len(content)} bytes" in row["detail"] for row in named)
    assert {row["scene_ids"][0] for row in named} == {rows[0].choice.assets[0].scene_id}


def test_files_on_disk_are_compared_too(folder: Path, small_order: Order, small_dataset: Path, tmp_path: Path) -> None:
    rows = [row for row in read_decided(small_dataset).rows if row.modality == "S2L2A" and row.choice]
    image = folder / Path(rows[0].choice.assets[0].hrefs[0]).relative_to(small_order.catalogue.parent)
    content = bytearray(image.read_bytes())
    content[-1] ^= 0x01
    image.write_bytes(content)
    catalogue = folder / small_order.catalogue.name
    assert main(words(small_order, str(catalogue), tmp_path / "dataset", "--verify", "full")) == 0
    named = unreadable(tmp_path / "dataset", "S2L2A")
    assert {row["detail"].partition(" cannot")[0] for row in named} == {str(image)}


def test_a_rebuild_compares_with_checksums_too_and_a_lock_asks_by_the_shared_limit(
    server: FaultServer, small_order: Order, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, lock = tmp_path / "dataset", tmp_path / "lock.zip"
    assert main(words(small_order, server.catalogue, out)) == 0
    limits: list[Limit] = []
    with monkeypatch.context() as patch:
        patch.setattr(LocalRunner, "permits", lambda _, limit: limits.append(limit) or ProcessPermits(limit))
        assert main(["lock", str(out), "--out", str(lock)]) == 0
    assert [limit.name for limit in limits] == ["127.0.0.1"]
    server.reset(Script(**{**vars(CORRUPT), "only": r"sentinel.*\.tiff?$"}))
    capsys.readouterr()
    assert main(["rebuild", str(lock), "--out", str(tmp_path / "again"), "--verify", "full"]) == 0
    assert server.failures()["corrupt"] >= 10
    assert shard_digests(tmp_path / "again") == shard_digests(small_dataset)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("verify: ")
    assert last == "8 of 8 shards identical"
