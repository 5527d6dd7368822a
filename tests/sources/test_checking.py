"""Files compared with the checksums of their items: what was compared is what is read, however it was damaged."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fault_server import FaultServer, Script, fault_server

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources import checking
from pipeline.sources.checking import WRONG_BYTES, Checks, parse_multihash
from pipeline.sources.ranges import RemoteBytes
from pipeline.sources.watching import Failures, WatchedSource, added

CONTENT = bytes(range(256)) * 4000
PATH = "/band.tif"
OPTIONS = {"GDAL_HTTP_MAX_RETRY": 3, "GDAL_HTTP_RETRY_DELAY": 0.0, "GDAL_HTTP_CONNECTTIMEOUT": 5}
RUNS = iter(range(10**6))


@dataclass(frozen=True)
class Files:
    """A source of files as they are."""

    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> dict[str, str]:
        return {}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    (tmp_path / "band.tif").write_bytes(CONTENT)
    with fault_server(tmp_path) as made:
        yield made


def multihash(content: bytes) -> str:
    return "1220" + hashlib.sha256(content).hexdigest()


def checks_of(href: str, content: bytes) -> Checks:
    return Checks(f"run {next(RUNS)}", {href: multihash(content)})


def remote(server: FaultServer, checks: Checks | None = None) -> tuple[RemoteBytes, Failures]:
    href, failures = f"{server.base}{PATH}", Failures()
    source = WatchedSource(Files(), failures, checks or checks_of(href, CONTENT))
    return RemoteBytes(source, href, OPTIONS), failures


@pytest.mark.parametrize("name", ["sha256", "sha512", "sha1", "md5"])
def test_checksums_are_read_as_the_file_extension_writes_them(name: str) -> None:
    # https://multiformats.io/multihash: code, length, digest; md5's code takes two bytes.
    prefix = {"sha256": "1220", "sha512": "1340", "sha1": "1114", "md5": "d50110"}[name]
    digest = hashlib.new(name, b"pixels").hexdigest()
    assert parse_multihash(f"{prefix}{digest}".upper()) == (name, digest)


@pytest.mark.parametrize(
    "text", ["", "1220", "1220ab", "sha256:" + "0" * 64, "0" * 64, "1220" + "g" * 64, "1720" + "0" * 64]
)
def test_what_is_no_checksum_vouches_for_nothing(text: str) -> None:
    assert parse_multihash(text) is None


@given(size=st.integers(0, 40_000), first=st.integers(0, 45_000), count=st.integers(1, 45_000), data=st.data())
def test_damage_anywhere_in_a_range_is_noticed_and_none_elsewhere(
    size: int, first: int, count: int, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "_BLOCK", 1024)
        patch.setattr(checking, "_PIECE", 8 * 1024)
        content = bytearray(hashlib.shake_128(b"seed").digest(size))
        known = checks_of("a", bytes(content)).compared("a", lambda at, n: bytes(content[at : at + n]), pytest.fail)
        assert known is not None
        start, stop = known.around(first, count)
        assert content[first : first + count] == content[start:stop][first - start :][:count]
        assert known.holds(start, bytes(content[start:stop]))
        if start < stop:
            content[data.draw(st.integers(start, stop - 1))] ^= 0x10
            assert not known.holds(start, bytes(content[start:stop]))


def test_wrong_bytes_that_come_twice_are_what_lies_there() -> None:
    seen: list[str] = []
    checks = checks_of("https://host/a.tif?sig=SECRET", b"right")
    for _ in range(2):
        with pytest.raises(
            SourceError, match=r"^https://host/a\.tif cannot be read: its 5 bytes have sha256 "
        ) as caught:
            checks.compared("https://host/a.tif?sig=SECRET", lambda at, _: b"wrong"[at:], seen.append)
        assert not isinstance(caught.value, TransientSourceError)
    # The second time nothing was read: this run knows.
    assert seen == [WRONG_BYTES] * 2


def test_wrong_bytes_that_differ_each_time_are_trouble_on_the_way_and_asked_for_again() -> None:
    answers = iter([b"%d" % number for number in range(checking._READS)])
    checks = checks_of("a.tif", b"right")
    with pytest.raises(TransientSourceError, match="never the checksum's"):
        checks.compared("a.tif", lambda at, _: b"" if at else next(answers), lambda _: None)
    assert checks.compared("a.tif", lambda at, _: b"right"[at:], pytest.fail) is not None


def test_a_file_damaged_on_its_way_is_read_again(server: FaultServer) -> None:
    server.reset(Script(share=1.0, faults=("corrupt",), most=1))
    file, failures = remote(server)
    assert file.fetch(300_000, 1000) == CONTENT[300_000:301_000]
    # Once while all of it was read, and once more when the range was.
    assert failures.counts() == {WRONG_BYTES: 2}


def test_ranges_at_and_behind_the_end_are_as_of_a_file_that_nothing_vouches_for(server: FaultServer) -> None:
    file, _ = remote(server)
    size = len(CONTENT)
    assert file.fetch(size - 10, 50) == CONTENT[-10:]
    assert file.fetch(size, 10) == file.fetch(size + 10**6, 10) == b""


def test_a_file_of_wrong_bytes_is_refused_for_good(server: FaultServer) -> None:
    server.replaced[PATH] = CONTENT[::-1]
    with pytest.raises(SourceError, match="its item states") as caught:
        remote(server)[0].fetch(0, 10)
    assert not isinstance(caught.value, TransientSourceError)


def test_a_run_reads_a_file_whole_once_however_many_ask(server: FaultServer) -> None:
    checks, together = checks_of(f"{server.base}{PATH}", CONTENT), threading.Barrier(6, timeout=10)

    def ask(number: int) -> bytes:
        file, _ = remote(server, checks)
        together.wait()
        return file.fetch(number, 7)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == [CONTENT[number : number + 7] for number in range(6)]
    pieces = -(-len(CONTENT) // checking._PIECE)
    assert len(server.seen) == pieces + 6


def test_failed_requests_are_counted_by_what_went_wrong(server: FaultServer) -> None:
    for fault in ("throttled", "throttled", "unavailable", "truncated"):
        server.reset(Script(share=1.0, faults=(fault,), most=1))
        failures = Failures()
        RemoteBytes(WatchedSource(Files(), failures), f"{server.base}{PATH}", OPTIONS).fetch(0, 10)
        ((problem, count),) = failures.counts().items()
        assert (problem, count) == ({"throttled": "HTTP 429", "unavailable": "HTTP 503"}.get(fault, problem), 1)
    server.reset(Script(lost=frozenset({PATH})))
    failures = Failures()
    with pytest.raises(SourceError, match="404"):
        RemoteBytes(WatchedSource(Files(), failures), f"{server.base}{PATH}", OPTIONS).fetch(0, 10)
    assert failures.counts() == {"HTTP 404": 1}
    assert added(failures.counts(), {"HTTP 404": 2, "reset": 1}) == {"HTTP 404": 3, "reset": 1}
