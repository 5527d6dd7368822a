"""A small catalogue of ours in three forms: on disk, the same behind loopback HTTP, and behind a minimal STAC API."""

import json
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the folder of shared real items is not beside the project")
    return SHARED


def polygon(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def sentinel2_item(datatake: str, granule: str, tile: str, west: float) -> dict[str, Any]:
    """An Element 84 style item: its `datetime` is the granule's, minutes after the datatake's start."""
    day = granule[:8]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2A_{tile}_{day}_0_L2A",
        "collection": "sentinel-2-l2a",
        "geometry": polygon(west, 46.0, west + 1.0, 47.0),
        "properties": {
            "datetime": f"{day[:4]}-{day[4:6]}-{day[6:]}T{granule[9:11]}:{granule[11:13]}:{granule[13:]}Z",
            "platform": "sentinel-2a",
            "grid:code": f"MGRS-{tile}",
            "proj:epsg": 32633,
            "s2:datatake_id": f"GS2A_{datatake}_042547_N05.09",
            "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_2APS_{granule}_S{granule}_N05.09",
            "s2:processing_baseline": "05.09",
        },
        "links": [],
        "assets": {
            "red": {"href": "./B04.tif", "type": "image/tiff; application=geotiff"},
            "scl": {"href": "./SCL.tif?sig=secret", "type": "image/tiff; application=geotiff"},
        },
    }


def dem_item() -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "N46E014",
        "collection": "cop-dem-glo-30",
        "geometry": polygon(14.0, 46.0, 15.0, 47.0),
        "properties": {"datetime": "2021-04-22T00:00:00Z", "proj:epsg": 4326},
        "links": [],
        "assets": {"data": {"href": "./data.tif", "type": "image/tiff; application=geotiff"}},
    }


ITEMS = [
    sentinel2_item("20230812T095031", "20230812T095630", "33TVM", 14.0),
    sentinel2_item("20230810T095031", "20230810T095630", "33TVM", 14.0),
    sentinel2_item("20230810T095031", "20230810T095640", "33TUM", 12.5),
    # Started two minutes before midnight, seen two minutes after it.
    sentinel2_item("20230814T235800", "20230815T000200", "33TVM", 14.0),
    sentinel2_item("20230811T095031", "20230811T095630", "50TVM", 114.0),
    dem_item(),
]
COLLECTIONS = sorted({item["collection"] for item in ITEMS})


def collection_document(collection: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "id": collection,
        "stac_version": "1.0.0",
        "description": "made by a test",
        "license": "proprietary",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def write_catalogue(folder: Path) -> Path:
    """Write the items as a static catalogue with a sub-catalogue per year; return its root."""
    root = {"type": "Catalog", "id": "tiny", "stac_version": "1.0.0", "description": "tiny", "links": []}
    for collection in COLLECTIONS:
        root["links"].append({"rel": "child", "href": f"./{collection}/collection.json"})
        year = {"type": "Catalog", "id": "2023", "stac_version": "1.0.0", "description": "a year", "links": []}
        for item in ITEMS:
            if item["collection"] == collection:
                year["links"].append({"rel": "item", "href": f"./{item['id']}/{item['id']}.json"})
                write_json(folder / collection / "2023" / item["id"] / f"{item['id']}.json", item)
        document = collection_document(collection)
        # The link upwards makes a loop that a reader must not follow.
        document["links"] = [
            {"rel": "parent", "href": "../catalog.json"},
            {"rel": "child", "href": "./2023/catalog.json"},
        ]
        write_json(folder / collection / "collection.json", document)
        write_json(folder / collection / "2023" / "catalog.json", year)
    write_json(folder / "catalog.json", root)
    return folder / "catalog.json"


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return write_catalogue(tmp_path / "catalogue")


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def start(server: ThreadingHTTPServer) -> str:
    """Serve in the background and return the address."""
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Start a loopback server for a request handler and return its address; stopped when the test ends."""
    servers: list[ThreadingHTTPServer] = []

    def started(handler: Any) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        return start(servers[-1])

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def serve_folder(serve: Callable[[Any], str]) -> Callable[[Path], str]:
    """Serve the files of a folder and return the address."""
    return lambda folder: serve(partial(QuietFiles, directory=str(folder)))


@pytest.fixture
def catalogue_url(catalogue: Path, serve_folder: Callable[[Path], str]) -> str:
    return f"{serve_folder(catalogue.parent)}/catalog.json"


class TinyApi(BaseHTTPRequestHandler):
    """A STAC API that is sloppy on purpose: two items a page, newest first, blind to area and time."""

    server: "TinyApiServer"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        base = f"http://{self.headers['Host']}"
        if self.path == "/":
            links = [
                {"rel": "self", "href": f"{base}/"},
                {"rel": "search", "type": "application/geo+json", "href": f"{base}/search", "method": "POST"},
            ]
            core = {"type": "Catalog", "id": "tiny", "stac_version": "1.0.0", "description": "tiny"}
            conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
            self.answer(
                200, {**core, **({"conformsTo": conforms} if self.server.states_conformance else {}), "links": links}
            )
        elif self.path == "/collections":
            self.answer(200, {"collections": [collection_document(name) for name in COLLECTIONS], "links": []})
        else:
            self.answer(404, {"description": "not here"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.searches.append(body)
        if self.server.faults:
            self.answer(self.server.faults.pop(0), {"description": "injected"})
            return
        found = [deepcopy(item) for item in ITEMS if item["collection"] in body["collections"]]
        found.sort(key=lambda item: item["properties"]["datetime"], reverse=True)
        base = f"http://{self.headers['Host']}"
        for item in found:
            item["links"] = [{"rel": "self", "href": f"{base}/items/{item['id']}/item.json"}]
        first = int(body.get("token", 0))
        links = []
        if first + 2 < len(found):
            again = {**body, "token": str(first + 2)}
            links = [{"rel": "next", "href": f"{base}/search", "method": "POST", "body": again}]
        # One item of the page before comes again, as happens when a catalogue grows during a search.
        page = found[max(first - 1, 0) : first + 2]
        self.answer(200, {"type": "FeatureCollection", "features": page, "links": links})

    def answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class TinyApiServer(ThreadingHTTPServer):
    """What a test may set and see: `faults` are statuses to answer first, `searches` the requests that came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), TinyApi)
        self.faults: list[int] = []
        self.searches: list[dict[str, Any]] = []
        self.states_conformance = True
        self.address = start(self)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


@pytest.fixture
def api() -> Iterator[TinyApiServer]:
    server = TinyApiServer()
    yield server
    server.stop()
