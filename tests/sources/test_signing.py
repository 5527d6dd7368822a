"""Signing with short-lived tokens, against a loopback token service."""

import json
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from planetary_computer.settings import Settings

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources import signing
from pipeline.sources.signing import TokenSignature, Unsigned, forget_tokens

HREF = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/47/X/ML/B04.tif"
START = 1_700_000_000.0


class Tokens(BaseHTTPRequestHandler):
    status = 200
    life = 2400.0
    clock: list[float] = [START]  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012
    body: bytes | None = None

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        end = datetime.fromtimestamp(self.clock[0], UTC) + timedelta(seconds=self.life)
        answer = {"msft:expiry": f"{end:%Y-%m-%dT%H:%M:%SZ}", "token": f"sp=r&sig=secret{len(self.asked)}"}
        content = json.dumps(answer).encode() if self.body is None else self.body
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def service(serve: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Tokens]]:
    handler = type("Service", (Tokens,), {"asked": [], "clock": [START]})
    monkeypatch.setenv("PC_SDK_SAS_URL", f"{serve(handler)}/token")
    monkeypatch.setattr(signing.time, "time", lambda: handler.clock[0])
    monkeypatch.setattr(signing, "_FIRST_WAIT_SECONDS", 0.0)
    Settings.get.cache_clear()
    forget_tokens()
    yield handler
    Settings.get.cache_clear()
    forget_tokens()


def sign(href: str = HREF) -> str:
    return TokenSignature().sign(href)


def test_a_blob_gets_a_token_that_is_kept(service: type[Tokens]) -> None:
    assert [sign() for _ in range(3)] == [f"{HREF}?sp=r&sig=secret1"] * 3
    assert service.asked == ["/token/sentinel2l2a01/sentinel2-l2"]


@pytest.mark.parametrize(("life", "renewed_after"), [(2400.0, 2340.0), (21.0, 14.0)])
def test_a_token_is_renewed_before_it_runs_out(service: type[Tokens], life: float, renewed_after: float) -> None:
    service.life = life
    for moment, number in ((0.0, 1), (renewed_after - 0.1, 1), (renewed_after, 2), (renewed_after + 1.0, 2)):
        service.clock[0] = START + moment
        assert sign() == f"{HREF}?sp=r&sig=secret{number}"


def test_a_token_that_a_server_refuses_is_replaced_once_for_all_threads(service: type[Tokens]) -> None:
    signature, refused = TokenSignature(), sign()
    service.clock[0] = START + 1000.0
    assert signature.renew(HREF, refused)
    assert sign().endswith("secret2")
    # Another thread was refused with the same old token.
    assert signature.renew(HREF, refused)
    assert sign().endswith("secret2")
    assert len(service.asked) == 2


def test_a_token_just_made_is_not_made_anew_for_every_refusal(service: type[Tokens]) -> None:
    refused = sign()
    assert not TokenSignature().renew(HREF, refused)
    assert sign() == refused


@pytest.mark.parametrize(
    "href",
    [
        "/data/B04.tif",
        "s3://eodata/B04.jp2",
        "https://example.org/B04.tif",
        "https://ai4edatasetspublicassets.blob.core.windows.net/assets/x.png",
        f"{HREF}?sig=own",
    ],
)
def test_what_needs_no_token_stays_as_it_is(service: type[Tokens], href: str) -> None:
    assert sign(href) == href
    assert Unsigned().sign(href) == href
    assert not TokenSignature().renew(href, href)
    assert not Unsigned().renew(href, href)
    assert service.asked == []


def test_settings_travel_and_tokens_do_not(service: type[Tokens]) -> None:
    signature = TokenSignature()
    signature.sign(HREF)
    assert b"secret" not in pickle.dumps(signature)
    assert pickle.loads(pickle.dumps(signature)) == signature  # noqa: S301


@pytest.mark.parametrize(("status", "kind"), [(507, TransientSourceError), (403, SourceError)])
def test_a_failing_service_is_transient_and_a_refusal_is_not(
    service: type[Tokens], status: int, kind: type[SourceError]
) -> None:
    service.status = status
    with pytest.raises(SourceError, match=rf"^no token for sentinel2l2a01/sentinel2-l2: HTTP {status}$") as caught:
        sign()
    assert type(caught.value) is kind


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"msft:expiry": "soon", "token": "x"}', b"[]"])
def test_an_answer_that_is_no_token_is_transient(service: type[Tokens], body: bytes) -> None:
    service.body = body
    with pytest.raises(TransientSourceError, match=r"an answer that is no token$"):
        sign()


def test_a_service_that_is_away_is_transient(service: type[Tokens], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PC_SDK_SAS_URL", "http://127.0.0.1:9/token")
    Settings.get.cache_clear()
    with pytest.raises(TransientSourceError, match=r"no answer$"):
        sign()
