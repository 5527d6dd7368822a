"""The REST API: discovery, algorithms, tokens, computePixels and computeFeatures, with faults on request.

Assumed, as no answer of the real server is at hand: the text of refusals for the monthly allowance.
"""

import importlib.resources
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlparse

import numpy as np
import shapely
from affine import Affine

from .algorithms import Catalogue, EvaluationError
from .cubes import as_value
from .graph import evaluate
from .objects import Grid, Image

LARGEST_REQUEST = 48 << 20
TOO_MANY = "Too many concurrent aggregations."
ALLOWANCE = "Your project has exceeded its monthly noncommercial EECU-hour quota."
COMPUTE = (":computePixels", ":computeFeatures", "value:compute")


@dataclass
class Fault:
    """What goes wrong with the next `count` requests whose path ends with `match`."""

    match: str = ":computePixels"
    count: int = 1
    status: int = 0
    message: str = ""
    truncate: bool = False
    seconds: float = 0.0
    header: tuple[str, str] = ("", "")


def client_file(name: str) -> bytes:
    """A file of the installed client's own tests."""
    path = importlib.resources.files("ee") / "tests" / name
    if not path.is_file():
        raise FileNotFoundError(f"this release of earthengine-api has no ee/tests/{name}, which the emulator serves")
    return path.read_bytes()


@dataclass
class Emulator:
    """State of one server: what it serves, what was asked, and what shall go wrong."""

    catalogue: Catalogue
    limit: int = 1000
    """Requests that it computes at once; more are answered 429."""
    latency: float = 0.0
    """How long it takes to answer [s]."""
    allowance: int | None = None
    """Requests that it computes before the allowance is used up."""
    tokens: set[str] | None = None
    """Tokens that are accepted; None accepts everyone."""
    faults: list[Fault] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    computed: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    in_flight: int = 0
    peak: int = 0
    refused: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def enter(self, path: str) -> Fault | None:
        with self.lock:
            self.requests[path.rpartition(":")[2] if ":" in path else path] += 1
            if not path.endswith(COMPUTE):
                return None
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            fault = next((fault for fault in self.faults if path.endswith(fault.match) and fault.count > 0), None)
            if fault:
                fault.count -= 1
            return fault

    def leave(self, path: str) -> None:
        if path.endswith(COMPUTE):
            with self.lock:
                self.in_flight -= 1

    def admit(self) -> None:
        with self.lock:
            if self.in_flight > self.limit:
                raise EvaluationError(TOO_MANY, 429, "RESOURCE_EXHAUSTED")
            if self.allowance is not None:
                if self.allowance <= 0:
                    raise EvaluationError(ALLOWANCE, 429, "RESOURCE_EXHAUSTED")
                self.allowance -= 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    emulator: Emulator

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        path = urlparse(self.path).path
        fault = self.emulator.enter(path)
        # The request is over before the client has the answer, or its next one would be counted beside it.
        try:
            content, kind = self._content(path, body, fault)
            status = 200
        except EvaluationError as err:
            status, fault = err.code, None
            content, kind = self._refusal(str(err), err.code, err.status), "application/json"
        except Exception as err:  # noqa: BLE001
            status, fault = 501, None
            content, kind = self._refusal(f"emulator: {err!r}", 501, "UNIMPLEMENTED"), "application/json"
        finally:
            self.emulator.leave(path)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(status, content, kind, fault)

    def _refusal(self, message: str, code: int, status: str) -> bytes:
        with self.emulator.lock:
            self.emulator.refused.append(message)
        return json.dumps({"error": {"code": code, "message": message, "status": status}}).encode()

    def _content(self, path: str, body: bytes, fault: Fault | None) -> tuple[bytes, str]:
        if path == "/$discovery/rest":
            text = client_file("cloud_api_discovery_document.json").decode().replace("v1alpha", "v1")
            return text.encode(), "application/json"
        if path == "/token":
            return self._token(), "application/json"
        if self.emulator.tokens is not None:
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if given not in self.emulator.tokens:
                raise EvaluationError("Request had invalid authentication credentials.", 401, "UNAUTHENTICATED")
        if path.endswith("/algorithms"):
            return client_file("algorithms.json"), "application/json"
        if not path.endswith(COMPUTE):
            raise EvaluationError(f"emulator: {path} is not implemented", 501, "UNIMPLEMENTED")
        return self._computed(path, json.loads(body), fault)

    def _computed(self, path: str, request: dict[str, Any], fault: Fault | None) -> tuple[bytes, str]:
        emulator = self.emulator
        time.sleep(emulator.latency + (fault.seconds if fault else 0.0))
        if fault and fault.status:
            raise EvaluationError(fault.message or "fault", fault.status, "UNAVAILABLE")
        emulator.admit()
        value = evaluate(emulator.catalogue, request["expression"])
        with emulator.lock:
            emulator.computed[path.rpartition(":")[2]] += 1
            emulator.bodies.append(request)
        if path.endswith(":computePixels"):
            return pixels(value, request), "application/octet-stream"
        if path.endswith("value:compute"):
            return json.dumps({"result": as_value(value)}).encode(), "application/json"
        return table(value, request), "application/json"

    def _token(self) -> bytes:
        emulator = self.emulator
        with emulator.lock:
            token = f"emulated-token-{emulator.requests['/token']}"
            if emulator.tokens is not None:
                emulator.tokens.add(token)
        return json.dumps({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}).encode()

    def _send(self, status: int, content: bytes, kind: str, fault: Fault | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if fault and fault.header[0]:
            self.send_header(*fault.header)
        self.end_headers()
        if fault and fault.truncate:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            self.wfile.write(content)


def pixels(image: Image, request: dict[str, Any]) -> bytes:
    """NPY of the requested grid: a structured array (height, width), masked values 0."""
    if request["fileFormat"] != "NPY":
        raise EvaluationError(f"emulator: {request['fileFormat']} is not implemented", 501, "UNIMPLEMENTED")
    asked = request["grid"]
    steps = {"shearX": 0, "shearY": 0, **asked["affineTransform"]}
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    size = asked["dimensions"]
    grid = Grid(asked["crsCode"], Affine(*(steps[n] for n in names)), int(size["width"]), int(size["height"]))
    bands = {}
    for name, band in image.bands.items():
        values, valid = band.pixels(grid)
        bands[name] = np.where(valid, values, np.zeros((), values.dtype))
    total = sum(band.dtype.itemsize + 1 for band in bands.values()) * grid.width * grid.height
    if total > LARGEST_REQUEST:
        raise EvaluationError(
            f"Total request size ({total} bytes) must be less than or equal to {LARGEST_REQUEST} bytes."
        )
    answer = np.zeros(grid.shape, [(name, band.dtype) for name, band in bands.items()])
    for name, band in bands.items():
        answer[name] = band
    file = io.BytesIO()
    np.save(file, answer)
    return file.getvalue()


def table(collection: Any, request: dict[str, Any]) -> bytes:
    """One page of a collection of features."""
    first, size = int(request.get("pageToken") or 0), int(request.get("pageSize") or 1000)
    page = collection.items[first : first + size]
    features = [
        {
            "type": "Feature",
            "geometry": None if f.geometry is None else shapely.geometry.mapping(f.geometry),
            "properties": dict(f.properties),
        }
        for f in page
    ]
    answer: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if first + size < len(collection.items):
        answer["nextPageToken"] = str(first + size)
    return json.dumps(answer).encode()


@contextmanager
def serve(catalogue: Catalogue, **settings: Any) -> Iterator[Emulator]:
    """Serve on a free port of this machine."""
    emulator = Emulator(catalogue, **settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"emulator": emulator}))
    server.daemon_threads = True
    server.request_queue_size = 256
    emulator.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield emulator
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
