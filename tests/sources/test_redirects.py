"""Redirects and addresses: followed only where a catalogue may name files, and never with a signature for another."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import rasterio
from affine import Affine

from pipeline.errors import PipelineError, SourceError, TransientSourceError
from pipeline.records import PatchGrid
from pipeline.records.recipe import Collections
from pipeline.sources import open_source, ranges, reaching
from pipeline.sources.identity import identify
from pipeline.sources.ranges import RemoteBytes
from pipeline.sources.reaching import settled
from pipeline.sources.signing import TokenSignature, forget_tokens
from pipeline.sources.stac import open_client
from pipeline.sources.transport import open_io, read_document
from pipeline.sources.window import open_reference

CONTENT = bytes(range(256)) * 8
SIGNATURE = "sig=a-very-secret-signature"
OPTIONS = {"GDAL_HTTP_MAX_RETRY": 1, "GDAL_HTTP_RETRY_DELAY": 0.0, "GDAL_HTTP_CONNECTTIMEOUT": 5}
GRID = PatchGrid(epsg=32633, left=500_000.0, top=5_200_000.0, size=8, resolution=10.0)


@dataclass
class Served:
    """A server, and what it was asked for."""

    port: int
    redirects: dict[str, str] = field(default_factory=dict)
    """Path to where it redirects."""
    documents: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def numbered(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def named(self) -> str:
        """The same server under another name: another host."""
        return f"http://localhost:{self.port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        self.served.asked.append(self.path)
        path = self.path.partition("?")[0]
        body, status, headers = self.served.documents.get(path, b""), 200, {}
        if path in self.served.redirects:
            status, headers, body = 302, {"Location": self.served.redirects[path]}, b""
        elif "Range" in self.headers:
            first, last = (int(part) for part in self.headers["Range"].removeprefix("bytes=").split("-"))
            headers = {"Content-Range": f"bytes {first}-{min(last, len(body) - 1)}/{len(body)}"}
            status, body = 206, body[first : last + 1]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Served]:
    handler = type("Serving", (Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        served = Served(server.server_port)
        handler.served = served
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as served:
        served.documents = {"/band.tif": CONTENT}
        yield served


@pytest.fixture
def second() -> Iterator[Served]:
    with serving() as served:
        served.documents = {"/other.tif": CONTENT[::-1]}
        yield served


@dataclass(frozen=True)
class Files:
    """Files that a catalogue names."""

    root: str
    query: str = ""

    def sign(self, href: str) -> str:
        return f"{href}?{self.query}" if self.query else href

    def gdal_env(self) -> Mapping[str, str]:
        return {}

    def catalogue(self) -> str:
        return self.root


def by_ranges(href: str, source: Files) -> bytes:
    return RemoteBytes(source, href, OPTIONS).fetch(0, len(CONTENT))


def by_identity(href: str, source: Files) -> bytes:
    size = identify(href, source).size
    return b"" if size is None else b" " * size


def by_gdal(href: str, source: Files) -> bytes:
    return settled(href, source.sign(href), source).encode()


WAYS = pytest.mark.parametrize("read", [by_ranges, by_identity, by_gdal])
Read = Callable[[str, Files], bytes]


@WAYS
@pytest.mark.parametrize("catalogue", ["numbered", "disk"])
def test_files_are_followed_where_the_catalogue_may_name_them(
    read: Read, catalogue: str, first: Served, second: Served
) -> None:
    first.redirects = {"/moved.tif": "/again.tif", "/again.tif": f"{second.numbered}/other.tif"}
    root = first.numbered if catalogue == "numbered" else "/data/catalog.json"
    found = read(f"{first.numbered}/moved.tif", Files(root))
    expected = {by_ranges: CONTENT[::-1], by_identity: b" " * len(CONTENT), by_gdal: second.numbered + "/other.tif"}
    assert found == (expected[read].encode() if read is by_gdal else expected[read])
    assert second.asked


@WAYS
def test_a_server_does_not_redirect_to_this_machine_under_another_name(
    read: Read, first: Served, second: Served
) -> None:
    first.redirects = {"/moved.tif": f"{second.named}/other.tif"}
    with pytest.raises(TransientSourceError, match="which is inside a private network: not followed"):
        read(f"{first.numbered}/moved.tif", Files(first.numbered))
    assert second.asked == []
    # A catalogue on disk is its user's own.
    assert read(f"{first.numbered}/moved.tif", Files("/data/catalog.json"))


@WAYS
@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://example.org/x.tif", "s3://bucket/x.tif", "http://[::1", "http://169.254.169.254/x"],
)
def test_redirects_lead_to_files_behind_http_only(read: Read, target: str, first: Served) -> None:
    first.redirects = {"/moved.tif": target}
    with pytest.raises(TransientSourceError, match=r"a redirect: .*(not followed|no address|Invalid IPv6)"):
        read(f"{first.numbered}/moved.tif", Files(first.numbered))


@WAYS
def test_redirects_end(read: Read, first: Served) -> None:
    first.redirects = {"/moved.tif": "/moved.tif"}
    with pytest.raises(TransientSourceError, match="more than 5 redirects"):
        read(f"{first.numbered}/moved.tif", Files(first.numbered))
    assert len(first.asked) == 6


@WAYS
def test_a_signature_is_for_one_host(read: Read, first: Served, second: Served) -> None:
    first.redirects = {
        "/here.tif": f"/band.tif?{SIGNATURE}",
        "/there.tif": f"{second.named}/other.tif?{SIGNATURE}",
        "/own.tif": f"{second.named}/other.tif?key=own",
    }
    source = Files("", query=SIGNATURE)
    for name in ("here", "there", "own"):
        read(f"{first.numbered}/{name}.tif", source)
    assert first.asked[:2] == [f"/here.tif?{SIGNATURE}", f"/band.tif?{SIGNATURE}"]
    assert second.asked == ["/other.tif", "/other.tif?key=own"]


@WAYS
def test_a_public_name_that_leads_to_this_machine_is_not_read(
    read: Read, first: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = socket.getaddrinfo

    def resolve(host: str, *given: object, **more: object) -> object:
        return found("127.0.0.1" if host == "assets.example.org" else host, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    href = f"http://assets.example.org:{first.port}/band.tif"
    with pytest.raises(TransientSourceError, match=r"lies at 127\.0\.0\.1, inside a private network") as caught:
        read(href, Files("https://93.184.216.34/catalog.json"))
    assert first.asked == []
    assert href in str(caught.value)
    # A catalogue that lies inside may name what lies inside.
    assert read(href, Files("http://127.0.0.1/catalog.json"))


def test_gdal_is_given_what_a_redirect_leads_to(
    first: Served, second: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8)
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_200_000)}
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint16", **place}
    with rasterio.open(tmp_path / "x.tif", "w", **profile) as file:
        file.write(values, 1)
    second.documents = {"/x.tif": (tmp_path / "x.tif").read_bytes()}
    first.redirects = {"/allowed.tif": f"{second.numbered}/x.tif", "/forbidden.tif": f"{second.named}/x.tif"}
    # As behind a proxy, where only GDAL reads.
    monkeypatch.setattr("pipeline.sources.window.remote_bytes", lambda *_: None)
    with open_reference(Files(first.numbered)) as reader:
        read = reader.read(f"{first.numbered}/allowed.tif", GRID, resampling="nearest")
        np.testing.assert_array_equal(read, values)
        before = len(second.asked)
        with pytest.raises(TransientSourceError, match="inside a private network: not followed"):
            reader.read(f"{first.numbered}/forbidden.tif", GRID, resampling="nearest")
    assert len(second.asked) == before


def catalogue(**more: object) -> bytes:
    document = {"type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x", "links": []}
    return json.dumps({**document, **more}).encode()


def test_documents_are_redirected_within_their_host(first: Served, second: Served) -> None:
    first.documents["/catalog.json"] = second.documents["/catalog.json"] = catalogue()
    first.redirects = {"/here": "/catalog.json", "/there": f"{second.named}/catalog.json"}
    assert read_document(f"{first.numbered}/here", open_io(), subject="x")["id"] == "x"
    with pytest.raises(SourceError, match="which is not on its own host: not followed") as caught:
        read_document(f"{first.numbered}/there", open_io(), subject="x")
    assert not isinstance(caught.value, TransientSourceError)
    with pytest.raises(PipelineError, match="not on its own host"):
        open_source(f"{first.numbered}/there", Collections())
    assert second.asked == []


@pytest.mark.parametrize("relation", ["search", "next"])
def test_an_api_links_to_its_own_host(relation: str, first: Served, second: Served) -> None:
    conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
    elsewhere = f"{second.named}/search"
    search = {
        "rel": "search",
        "type": "application/geo+json",
        "href": elsewhere if relation == "search" else f"{first.numbered}/search",
    }
    first.documents["/"] = catalogue(conformsTo=conforms, links=[search])
    following = [{"rel": "next", "href": elsewhere}]
    item = {"type": "Feature", "id": "x", "properties": {}, "assets": {}, "links": []}
    first.documents["/search"] = json.dumps(
        {"type": "FeatureCollection", "features": [item], "links": following}
    ).encode()
    with pytest.raises(SourceError, match="which is not on its own host: not followed"):
        list(open_client(f"{first.numbered}/").search(collections=["x"]).items_as_dicts())
    assert second.asked == []


def test_the_key_for_tokens_is_not_sent_on(first: Served, second: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_tokens()
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "a-key")
    first.redirects = {"/token/127/x": f"{second.named}/token"}
    with pytest.raises(SourceError, match="no token for 127/x: HTTP 302"):
        TokenSignature(service=f"{first.numbered}/token", hosts="127.0.0.1").sign("http://127.0.0.1/x/band.tif")
    assert second.asked == []


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    for kept in (reaching._session, reaching._lies_inside, ranges._connections):
        kept.cache_clear()
    yield
    for kept in (reaching._session, reaching._lies_inside, ranges._connections):
        kept.cache_clear()
