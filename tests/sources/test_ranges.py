"""Ranges of a file behind a server that misbehaves: right bytes, one clear line, or nothing."""

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fault_server import FAULTS, FaultServer, Script, Tokens, fault_server

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources import ranges
from pipeline.sources.ranges import RemoteBytes
from pipeline.sources.signing import TokenSignature, forget_tokens

CONTENT = bytes(range(256)) * 40
OPTIONS = {"GDAL_HTTP_MAX_RETRY": 3, "GDAL_HTTP_RETRY_DELAY": 0.0, "GDAL_HTTP_CONNECTTIMEOUT": 5}


@dataclass(frozen=True)
class Files:
    """A source of files behind a token service, or of files as they are."""

    signature: TokenSignature | None = None

    def sign(self, href: str) -> str:
        return self.signature.sign(href) if self.signature else href

    def renew(self, href: str, refused: str) -> bool:
        return self.signature.renew(href, refused) if self.signature else False

    def gdal_env(self) -> Mapping[str, str]:
        return {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "tiles").mkdir()
    (folder / "tiles" / "band.tif").write_bytes(CONTENT)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[FaultServer]:
    forget_tokens()
    with fault_server(folder) as made:
        yield made


def remote(server: FaultServer, **options: float) -> RemoteBytes:
    return RemoteBytes(Files(), f"{server.base}/tiles/band.tif", {**OPTIONS, **options})


def signed(server: FaultServer) -> RemoteBytes:
    signature = TokenSignature(service=f"{server.base}/token", hosts="127.0.0.1")
    return RemoteBytes(Files(signature), f"{server.base}/tiles/band.tif", OPTIONS)


@pytest.mark.parametrize("fault", [*FAULTS])
def test_a_fault_that_passes_changes_no_byte(server: FaultServer, fault: str) -> None:
    server.reset(Script(share=1.0, faults=(fault,), most=2, trickle_seconds=0.02))
    assert remote(server).fetch(100, 3000) == CONTENT[100:3100]
    assert [one.fault for one in server.seen] == ([fault] if fault == "trickle" else [fault, fault, ""])


def test_an_answer_that_trickles_is_not_waited_for(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LONGEST_SECONDS", 0.1)
    server.reset(Script(share=1.0, faults=("trickle",), most=1, trickle_seconds=3.0))
    assert remote(server).fetch(0, 5000) == CONTENT[:5000]
    assert server.failures() == {"trickle": 1} or not server.failures()


@pytest.mark.parametrize("fault", ["forbidden", "throttled", "unavailable", "reset", "truncated", "short_length"])
def test_a_fault_that_stays_is_transient_in_one_line_without_the_signature(server: FaultServer, fault: str) -> None:
    server.tokens = Tokens()
    server.reset(Script(share=1.0, faults=(fault,), only=r"\.tif$"))
    with pytest.raises(TransientSourceError, match=r"^\S+band\.tif could not be read now: [^\n]+$") as caught:
        signed(server).fetch(0, 100)
    assert server.tokens.mark not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("first", "count", "length"), [(10_000, 5000, 240), (10_240, 10, 0), (20_000, 1, 0)])
def test_where_the_file_ends_fewer_bytes_come(server: FaultServer, first: int, count: int, length: int) -> None:
    assert remote(server).fetch(first, count) == CONTENT[first : first + length]


def test_a_file_that_is_replaced_is_noticed_and_never_mixed(server: FaultServer) -> None:
    opened = remote(server)
    opened.fetch(0, 100)
    server.replaced["/tiles/band.tif"] = CONTENT[::-1]
    with pytest.raises(TransientSourceError, match="it was replaced while it was read"):
        opened.fetch(100, 100)
    assert remote(server).fetch(0, 100) == CONTENT[::-1][:100]


def test_a_file_that_is_gone_is_not_asked_for_again(server: FaultServer) -> None:
    server.reset(Script(lost=frozenset({"/tiles/band.tif"})))
    with pytest.raises(SourceError, match="HTTP response code: 404") as caught:
        remote(server).fetch(0, 10)
    assert not isinstance(caught.value, TransientSourceError)
    assert len(server.seen) == 1


def test_tokens_are_renewed_while_a_file_is_read(server: FaultServer) -> None:
    server.tokens = Tokens(life=0.3)
    opened = signed(server)
    data = b""
    while server.tokens.given < 4:
        data += opened.fetch(len(data) % 10_000, 10)
    statuses = [one.status for one in server.seen if one.path == "/tiles/band.tif"]
    assert statuses.count(403) <= 1
    assert data[:100] == CONTENT[:100]


def test_a_token_that_ends_before_it_said_is_renewed_when_it_is_refused(server: FaultServer) -> None:
    server.tokens = Tokens(life=0.15, claimed_life=1.0)
    opened = signed(server)
    for _ in range(200):
        opened.fetch(0, 10)
        if server.tokens.given > 2:
            break
    else:
        pytest.skip("two hundred requests were faster than a token is old")
    refused = [one for one in server.seen if one.status == 403]
    assert 2 <= len(refused) <= 3


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000), share=st.floats(0.0, 0.7), burst=st.integers(1, 3),
    asked=st.lists(st.tuples(st.integers(0, 11_000), st.integers(1, 4000)), min_size=1, max_size=6),
)  # fmt: skip
def test_any_script_of_faults_gives_right_bytes_or_a_transient_fault(
    server: FaultServer, seed: int, share: float, burst: int, asked: list[tuple[int, int]]
) -> None:
    server.reset(Script(seed=seed, share=share, burst=burst, trickle_seconds=0.01))
    opened = remote(server)
    for first, count, future in [(first, count, opened.read(first, count)) for first, count in asked]:
        try:
            assert future.result() == CONTENT[first : first + count]
        except TransientSourceError:
            assert sum(bool(one.fault) for one in server.seen) >= OPTIONS["GDAL_HTTP_MAX_RETRY"]
