"""Signing for Planetary Computer, against a loopback token service."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import planetary_computer.sas
import pytest
from planetary_computer.settings import Settings

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources import signing
from pipeline.sources.signing import keep_href, sign_planetary_computer

HREF = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/47/X/ML/B04.tif"


class Tokens(BaseHTTPRequestHandler):
    status = 200
    asked: list[str] = []  # noqa: RUF012

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        content = json.dumps({"msft:expiry": "2999-01-01T00:00:00Z", "token": "sp=r&sig=secret"}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def service(serve: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Tokens]]:
    handler = type("Service", (Tokens,), {"asked": []})
    monkeypatch.setenv("PC_SDK_SAS_URL", f"{serve(handler)}/token")
    Settings.get.cache_clear()
    planetary_computer.sas.TOKEN_CACHE.clear()
    yield handler
    Settings.get.cache_clear()
    planetary_computer.sas.TOKEN_CACHE.clear()


def test_a_blob_gets_a_token_that_is_kept(service: type[Tokens]) -> None:
    signed = [sign_planetary_computer(HREF) for _ in range(3)]
    assert signed == [f"{HREF}?sp=r&sig=secret"] * 3
    assert service.asked == ["/token/sentinel2l2a01/sentinel2-l2"]


@pytest.mark.parametrize(
    "href",
    [
        "/data/B04.tif",
        "s3://eodata/B04.jp2",
        "https://example.org/B04.tif",
        "https://ai4edatasetspublicassets.blob.core.windows.net/assets/x.png",
    ],
)
def test_what_needs_no_token_stays_as_it_is(service: type[Tokens], href: str) -> None:
    assert sign_planetary_computer(href) == href
    assert keep_href(href) == href
    assert service.asked == []


@pytest.mark.parametrize(("status", "kind"), [(507, TransientSourceError), (403, SourceError)])
def test_a_failing_service_is_transient_and_a_refusal_is_not(
    service: type[Tokens], status: int, kind: type[SourceError]
) -> None:
    service.status = status
    with pytest.raises(SourceError, match=rf"^no token for sentinel2l2a01/sentinel2-l2: HTTP {status}$") as caught:
        sign_planetary_computer(HREF)
    assert type(caught.value) is kind


def test_a_service_that_is_away_is_transient(service: type[Tokens], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PC_SDK_SAS_URL", "http://127.0.0.1:9/token")
    monkeypatch.setattr(signing, "_RETRIES", 0)
    Settings.get.cache_clear()
    with pytest.raises(TransientSourceError, match=r"no answer$"):
        sign_planetary_computer(HREF)
