"""What lies at a reference now: asked of a real server on loopback, which may not know HEAD, or an S3 server."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipeline.errors import TransientSourceError
from pipeline.sources import identity as module
from pipeline.sources import reaching
from pipeline.sources.identity import AssetIdentity, difference, identify

SIGNATURE = "a-very-secret-signature"
CONTENT = b"pixels" * 100


class Signed:
    """A source whose files open under a signature only."""

    def sign(self, href: str) -> str:
        return f"{href}?sig={SIGNATURE}"

    def gdal_env(self) -> Mapping[str, str]:
        return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(head=True)

    def do_GET(self) -> None:
        self.answer(head=False)

    def answer(self, *, head: bool) -> None:
        path, _, query = self.path.partition("?")
        self.asked.append(f"{self.command} {path}")
        status = {"/gone.tif": 404, "/retired.tif": 410, "/busy.tif": 503, "/denied.tif": 403}.get(path, 200)
        if query != f"sig={SIGNATURE}" or (head and path == "/get-only.tif"):
            status = 403
        body = CONTENT if status == 200 else b""
        headers = {"ETag": '"abc"', "Last-Modified": "Wed, 01 Mar 2023 00:00:00 GMT", "x-amz-version-id": "v7"}
        if status == 200 and "Range" in self.headers:
            status, body = 206, CONTENT[:1]
            headers["Content-Range"] = f"bytes 0-0/{len(CONTENT)}"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not head:
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[tuple[str, list[str]]]:
    handler = type("Asked", (Handler,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(monkeypatch) -> Iterator[tuple[str, list[str]]]:
    monkeypatch.setattr(module, "_RETRIES", 0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_FIRST_WAIT_SECONDS", 0.0)
    reaching._session.cache_clear()
    with serving() as served:
        yield served
    reaching._session.cache_clear()


@pytest.mark.parametrize(
    ("name", "asked"), [("B04.tif", ["HEAD /B04.tif"]), ("get-only.tif", ["HEAD /get-only.tif", "GET /get-only.tif"])]
)
def test_a_server_is_asked_once_under_a_signature_that_is_not_kept(server, name: str, asked: list[str]) -> None:
    url, seen = server
    assert identify(f"{url}/{name}", Signed()) == AssetIdentity(
        href=f"{url}/{name}", size=len(CONTENT), etag='"abc"', version="v7", modified="Wed, 01 Mar 2023 00:00:00 GMT"
    )
    assert seen == asked


@pytest.mark.parametrize("name", ["gone.tif", "retired.tif"])
def test_what_is_gone_is_gone(server, name: str) -> None:
    assert identify(f"{server[0]}/{name}", Signed()).state == "gone"


@pytest.mark.parametrize("name", ["busy.tif", "denied.tif"])
def test_trouble_is_no_change_and_names_no_token(server, name: str) -> None:
    with pytest.raises(TransientSourceError) as caught:
        identify(f"{server[0]}/{name}", Signed())
    assert f"{server[0]}/{name}" in str(caught.value)
    assert SIGNATURE not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_a_server_that_does_not_answer_is_trouble_and_names_no_token(server) -> None:
    with pytest.raises(TransientSourceError, match=r"x\.tif does not answer: ConnectionError$") as caught:
        identify("http://127.0.0.1:9/x.tif", Signed())
    assert caught.value.__context__ is None


def test_local_files_are_known_by_content(tmp_path: Path) -> None:
    file = tmp_path / "B04.tif"
    file.write_bytes(CONTENT)
    first = identify(str(file), Signed())
    file.touch()
    assert identify(str(file), Signed()) == first
    file.write_bytes(CONTENT[::-1])
    changed = identify(str(file), Signed())
    assert difference(first, changed).startswith("checksum sha256:")
    file.unlink()
    assert difference(first, identify(str(file), Signed())) == "gone"


def test_references_to_no_file_are_known_by_their_id_alone() -> None:
    opaque = identify("ee://COPERNICUS/S2/x#B4", Signed())
    assert opaque == AssetIdentity(href="ee://COPERNICUS/S2/x#B4", state="opaque")


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ({"size": 1}, {"size": 2}, "2 bytes, was 1"),
        ({"size": 1, "etag": "a"}, {"size": 1, "etag": "b"}, "etag b, was a"),
        ({"etag": "a", "modified": "x"}, {"etag": "a", "modified": "y"}, ""),
        ({"modified": "x"}, {"modified": "y"}, "modified y, was x"),
        ({"checksum": "md5:a", "etag": "a"}, {"checksum": "md5:a", "etag": "b"}, ""),
        ({"etag": "a"}, {}, ""),
        ({}, {"state": "gone"}, "gone"),
        ({"state": "gone"}, {}, "there again"),
    ],
)
def test_a_change_is_said_in_words(then, now, words: str) -> None:
    assert difference(AssetIdentity(href="x", **then), AssetIdentity(href="x", **now)) == words


def test_assets_are_asked_for_with_the_providers_permits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A HEAD request takes a permit of the same limit as a read."""
    held: list[str] = []

    class Counted:
        @contextmanager
        def hold(self) -> Iterator[None]:
            held.append("taken")
            yield

        def pause(self, seconds: float) -> None:
            held.append(f"paused {seconds:g}")

    class Files:
        def sign(self, href: str) -> str:
            return href

        def gdal_env(self) -> dict[str, str]:
            return {}

        def asking(self) -> Counted:
            return Counted()

    answers = iter([(429, {"Retry-After": "2"}), (200, {"Content-Length": "7"})])
    monkeypatch.setattr(module, "_FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(module, "follow_session", lambda *given: (given[1], *next(answers)))
    assert identify("http://127.0.0.1:9/x.tif", Files()).size == 7
    assert held == ["taken", "paused 2", "taken"]
