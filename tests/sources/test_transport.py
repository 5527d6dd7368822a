"""Which failures are worth a retry, and what a message may say."""

import pytest
from pystac_client.exceptions import APIError

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources.transport import public_text, source_error


def failure(status: int | None, text: str = "") -> APIError:
    error = APIError(text)
    if status is not None:
        error.status_code = status
    return error


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599, None])
def test_throttling_server_errors_and_silence_are_transient(status: int | None) -> None:
    assert isinstance(source_error(failure(status), "here"), TransientSourceError)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_permanent(status: int) -> None:
    error = source_error(failure(status, "no\n such thing"), "here")
    assert type(error) is SourceError
    assert str(error) == f"here: HTTP {status}: no such thing"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("HTTPConnectionPool(host='h'): Max retries exceeded (Caused by E('[Errno 111] Connection refused'))",
         "[Errno 111] Connection refused"),
        ("Max retries (Caused by ResponseError('too many 503 error responses'))", "too many 503 error responses"),
        ("HTTPSConnectionPool(host='h', port=443): Read timed out. (read timeout=30)", "Read timed out"),
    ],
)  # fmt: skip
def test_silence_is_explained_in_few_words(text: str, shown: str) -> None:
    assert str(source_error(failure(None, text), "here")) == f"here: no answer: {shown}"


def test_queries_and_credentials_are_left_out() -> None:
    text = "GET https://me:pw@host/a.tif?sig=abc&se=1 failed\nfor 'https://host/b?token=xyz'"
    assert public_text(text) == "GET https://host/a.tif failed for 'https://host/b'"
