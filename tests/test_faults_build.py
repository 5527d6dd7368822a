"""Whole builds against a server that misbehaves: the same bytes as from a quiet one, and no secret anywhere."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from support.fault_server import FaultServer, Script, Tokens, fault_server
from support.orders import Order, shard_digests

from pipeline import sources
from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.demo import demo_request
from pipeline.sources import governor, ranges, transport, window
from pipeline.sources.providers import Provider
from pipeline.sources.signing import TokenSignature, forget_tokens
from pipeline.status import dataset_status

pytest_plugins = ["support.fixtures"]

TABLES = ("survey.parquet", "labels.parquet", "statistics.json")
PROVIDER = "loopback"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for hundredths of seconds where a real run waits for seconds."""
    monkeypatch.setitem(window.GDAL_OPTIONS, "GDAL_HTTP_RETRY_DELAY", 0.01)
    monkeypatch.setattr(transport, "_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(governor, "THROTTLED_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(ranges, "LONGEST_SECONDS", 5.0)
    forget_tokens()


@pytest.fixture
def server(small_order: Order) -> Iterator[FaultServer]:
    with fault_server(small_order.catalogue.parent) as made:
        yield made


def arguments(order: Order, source: str, out: Path, *more: str) -> list[str]:
    words = order.arguments(out, *more)
    words[words.index("--source") + 1] = source
    return words


def contents(root: Path) -> Mapping[str, object]:
    """What the tables hold; without who was asked, and the ledger without its details and failures."""
    tables: dict[str, object] = {name: (root / name).read_bytes() for name in TABLES}
    told = ["detail", "attempts", "faults", "failed_requests", "source"]
    ledger = pq.read_table(root / "ledger.parquet").drop_columns(told).to_pylist()
    frames = pq.read_table(root / "frames.parquet").drop_columns("source").to_pylist()
    return {**tables, "ledger": ledger, "frames": frames}


@pytest.mark.parametrize("catalogue", ["api", pytest.param("catalogue", marks=pytest.mark.slow)])
def test_when_every_fifth_request_fails_the_dataset_is_the_same(
    server: FaultServer, small_order: Order, small_dataset: Path, tmp_path: Path, catalogue: str
) -> None:
    server.reset(Script(seed=7, share=0.2, burst=2, trickle_seconds=0.02))
    assert main(arguments(small_order, getattr(server, catalogue), tmp_path / "dataset")) == 0
    assert len(server.failures()) >= 6
    assert sum(server.failures().values()) >= 0.15 * len(server.seen)
    assert shard_digests(tmp_path / "dataset") == shard_digests(small_dataset)
    assert contents(tmp_path / "dataset") == contents(small_dataset)


def test_with_one_scene_gone_what_it_served_is_named_and_the_rest_is_the_same(
    server: FaultServer, small_order: Order, small_dataset: Path, tmp_path: Path
) -> None:
    rows = [row for row in read_decided(small_dataset).rows if row.modality == "S2L2A" and row.choice]
    scene = rows[0].choice.assets[0]
    folder = Path(scene.hrefs[0]).parent.relative_to(small_order.catalogue.parent).as_posix()
    # Its classification is there when the survey asks, and gone when the pixels are read.
    lost = frozenset(f"/{folder}/{Path(href).name}" for href in scene.hrefs)
    server.reset(Script(seed=3, share=0.1, lost=lost, trickle_seconds=0.02))
    out = tmp_path / "dataset"
    assert main(arguments(small_order, server.api, out)) == 0
    before = shard_digests(small_dataset)
    changed = {name for name, digest in shard_digests(out).items() if digest != before[name]}
    # Another image stands in, and what follows the optical series goes with it.
    assert {name.split("/")[1] for name in changed} == {"S2L2A", "SCL", "MASK_SERIES"}
    # The file was built once more, without the scene; that it was asked for in vain is not forgotten.
    assert dataset_status(out).failed_requests["HTTP 404"] >= 1
    ledger = pq.read_table(out / "ledger.parquet").to_pylist()
    served = {row.sample_id for row in rows if any(a.scene_id == scene.scene_id for a in row.choice.assets)}
    unreadable = {
        row["sample_id"] for row in ledger if (row["first_fault"], row["modality"]) == ("unreadable", "S2L2A")
    }
    assert unreadable <= served
    assert unreadable


@pytest.mark.slow
def test_a_file_that_is_replaced_while_it_is_read_never_mixes_with_what_it_was(
    server: FaultServer, small_order: Order, small_dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "dataset"
    assert main(arguments(small_order, server.api, out)) == 0
    shutil.rmtree(out / "all" / "DEM")
    old = {path: file.read_bytes() for file in small_order.catalogue.parent.glob("cop-dem*/*/*.tif")
           if (path := f"/{file.relative_to(small_order.catalogue.parent).as_posix()}")}  # fmt: skip
    # The same pixels behind another ETag: what is open is let go of, and opened anew.
    server.replaced.update({path: content + b"\0" for path, content in old.items()})
    assert main(arguments(small_order, server.api, out, "--resume")) == 0
    assert shard_digests(out) == shard_digests(small_dataset)


@pytest.fixture
def provider(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A provider by name whose files need tokens, as Planetary Computer's do."""
    signature = TokenSignature(service=f"{server.base}/token", hosts="127.0.0.1")
    made = Provider(url=server.api, signature=signature)
    monkeypatch.setattr(sources, "PROVIDERS", {**sources.PROVIDERS, PROVIDER: made})
    return PROVIDER


def test_tokens_that_live_for_moments_are_never_noticed(
    server: FaultServer, provider: str, small_order: Order, small_dataset: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.tokens, server.latency = Tokens(life=0.3), 0.005
    assert main(arguments(small_order, provider, tmp_path / "dataset")) == 0
    assert server.tokens.given >= 3
    assert capsys.readouterr().err == ""
    assert shard_digests(tmp_path / "dataset") == shard_digests(small_dataset)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give requests up soon."""
    monkeypatch.setitem(window.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY", 1)


@pytest.mark.usefixtures("hasty")
def test_a_token_is_in_no_log_no_message_and_no_file(
    server: FaultServer, provider: str, small_order: Order, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    server.tokens = Tokens(life=0.3)
    out = tmp_path / "dataset"
    server.reset(Script(seed=5, share=0.35, most=4, trickle_seconds=0.02, only=r"\.tif$"))
    codes = [main(arguments(small_order, provider, out, "--resume")) for _ in range(2)]
    # A place of files that are gone, too: errors say what and where.
    server.reset(Script(lost=frozenset(one.path for one in server.seen if "dem" in one.path)))
    shutil.rmtree(out / "all", ignore_errors=True)
    codes.append(main(arguments(small_order, provider, out, "--resume")))
    assert 1 in codes
    printed = capsys.readouterr()
    told = f"{printed.out}{printed.err}{caplog.text}"
    assert "could not be read now" in told
    for secret in (server.tokens.mark, quote(server.tokens.mark), "sig=", "&se="):
        assert secret not in told
    for file in [file for file in out.rglob("*") if file.is_file()]:
        assert server.tokens.mark.encode() not in file.read_bytes(), file
    for table in out.glob("*.parquet"):
        assert server.tokens.mark not in str(pq.read_table(table).to_pylist()), table


@pytest.mark.servers
def test_the_demo_survives_every_fifth_request_failing(demo: Path, tmp_path: Path) -> None:
    request = demo_request(demo.parent)
    with fault_server(demo.parent / "archive", Script(seed=1, share=0.2, burst=2)) as made:
        sets = ("series_length=6", "window.before=60", "window.after=60", "samples_per_shard=8")
        words = ["build", "landslides", "--places", request.places, "--source", made.api, "--out", str(tmp_path / "d")]
        assert main([*words, *(part for override in sets for part in ("--set", override))]) == 0
        assert sum(made.failures().values()) >= 0.15 * len(made.seen)
    assert shard_digests(tmp_path / "d") == shard_digests(demo)


@pytest.mark.servers
def test_tokens_of_twenty_seconds_last_for_a_build_of_minutes(
    server: FaultServer, provider: str, small_order: Order, small_dataset: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.tokens, server.latency = Tokens(life=20.0), 2.0
    assert main(arguments(small_order, provider, tmp_path / "dataset")) == 0
    assert server.seen[-1].moment - server.seen[0].moment > 120.0
    assert server.tokens.given >= 8
    assert capsys.readouterr().err == ""
    assert shard_digests(tmp_path / "dataset") == shard_digests(small_dataset)
