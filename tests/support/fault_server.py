"""A loopback HTTP server of a folder that misbehaves by a script, the same way in every run.

What befalls a request is a function of the script's seed, the request's path and range, and how often just that was
asked for before. So a run is as reproducible as its requests, whatever the order in which threads send them.

`python -m support.fault_server FOLDER --share 0.2 --seed 1` serves until it is stopped.
"""

import argparse
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from support.stac_answers import StacAnswers

STATUSES = {"forbidden": 403, "throttled": 429, "unavailable": 503}
FAULTS = ("forbidden", "throttled", "unavailable", "reset", "truncated", "short_length", "trickle")
"""What a client must ride out; `corrupt` (wrong bytes of the right length) is left to scripts that name it."""


@dataclass(frozen=True)
class Script:
    """Which requests fail, and how."""

    seed: int = 0
    share: float = 0.0
    """Of the first attempts; a later attempt of the same request fails as often."""
    faults: tuple[str, ...] = FAULTS
    burst: int = 1
    """How often in a row `unavailable` strikes one request."""
    most: int | None = None
    """After so many failures the same request is answered well; None never promises that."""
    retry_after: str = "0"
    """What 429 asks for [s]; empty asks nothing."""
    trickle_seconds: float = 0.2
    """How long the body takes that trickles."""
    only: str = ""
    """Regular expression of the paths that may fail; empty for all."""
    lost: frozenset[str] = frozenset()
    """Paths that are gone for good."""

    def fault(self, path: str, extent: str, attempt: int) -> str:
        """Return what befalls a request, or an empty string."""
        if not self.faults or not re.search(self.only, path) or (self.most is not None and attempt >= self.most):
            return ""
        for earlier in range(max(0, attempt - self.burst + 1), attempt):
            if self._drawn(path, extent, earlier) == "unavailable":
                return "unavailable"
        return self._drawn(path, extent, attempt)

    def _drawn(self, path: str, extent: str, attempt: int) -> str:
        digest = hashlib.sha256(f"{self.seed} {path} {extent} {attempt}".encode()).digest()
        if int.from_bytes(digest[:6], "big") >= self.share * 2**48:
            return ""
        fault = self.faults[digest[6] % len(self.faults)]
        # Signatures run out, documents have none.
        return "unavailable" if fault == "forbidden" and not path.endswith(".tif") else fault


QUIET = Script()


@dataclass
class Tokens:
    """Short-lived leave to read: `/token/ACCOUNT/CONTAINER` hands it out, files are refused without it."""

    life: float = 3600.0
    """[s]"""
    mark: str = "SECRETTOKEN"
    """Every token has it in it."""
    claimed_life: float | None = None
    """What the service says, where it differs from the truth [s]."""
    given: int = 0
    revoked: int = 0
    """So many of those that were given are not taken any more, however long they were to live."""

    def revoke(self) -> None:
        """Refuse every token that was given so far."""
        self.revoked = self.given

    def make(self) -> dict[str, str]:
        self.given += 1
        end = time.time() + self.life
        told = datetime.now(UTC) + timedelta(seconds=self.life if self.claimed_life is None else self.claimed_life)
        return {"msft:expiry": f"{told:%Y-%m-%dT%H:%M:%S.%fZ}", "token": f"se={end:.6f}&sig={self.mark}{self.given}"}

    def admits(self, query: str) -> bool:
        held = parse_qs(query)
        signature, end = held.get("sig", [""])[0], held.get("se", ["0"])[0]
        number = signature.removeprefix(self.mark)
        is_ours = signature.startswith(self.mark) and number.isdecimal()
        return is_ours and int(number) > self.revoked and time.time() < float(end)


class Seen(NamedTuple):
    """One request, as it was dealt with."""

    path: str
    extent: str
    status: int
    fault: str
    moment: float
    """When it came, monotonic [s]."""


@dataclass
class FaultServer:
    """What a test may set while the server runs, and see."""

    folder: Path
    script: Script = QUIET
    tokens: Tokens | None = None
    replaced: dict[str, bytes] = field(default_factory=dict)
    """Path to the content that it has from now on, with an ETag of its own."""
    seen: list[Seen] = field(default_factory=list)
    most_in_flight: int = 0
    latency: float = 0.0
    """Before every answer [s]."""
    base: str = ""
    at_request: dict[int, Callable[[], None]] = field(default_factory=dict)
    """What happens when the request of this number comes in, counted from 0 since the last reset; each once."""
    _in_flight: int = 0
    _came: int = 0
    _attempts: "Counter[tuple[str, str]]" = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def catalogue(self) -> str:
        """URL of the folder's static catalogue."""
        return f"{self.base}/catalog.json"

    @property
    def api(self) -> str:
        """URL of a STAC API over the same items."""
        return f"{self.base}/stac"

    def failures(self) -> "Counter[str]":
        return Counter(one.fault for one in self.seen if one.fault)

    def next_fault(self, path: str, extent: str) -> str:
        with self._lock:
            attempt = self._attempts[path, extent]
            self._attempts[path, extent] += 1
            happening = self.at_request.pop(self._came, None)
            self._came += 1
        if happening is not None:
            happening()
        return self.script.fault(path, extent, attempt)

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def reset(self, script: Script) -> None:
        """Start over with another script."""
        with self._lock:
            self.script, self.most_in_flight, self._came = script, 0, 0
            self._attempts.clear()
            self.at_request.clear()
            self.seen.clear()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    state: FaultServer
    stac: StacAnswers
    _note: Callable[[int], None]
    """Takes down what is answered, before the client can have it."""

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._deal(b"")

    def do_GET(self) -> None:
        self._deal(b"")

    def do_POST(self) -> None:
        self._deal(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _deal(self, body: bytes) -> None:
        path, query = unquote(urlsplit(self.path).path), urlsplit(self.path).query
        extent = self.headers.get("Range", "") or hashlib.sha256(body).hexdigest()[:8] * bool(body)
        moment, fault = time.monotonic(), self.state.next_fault(path, extent)
        self._note = lambda status: self.state.seen.append(Seen(path, extent, status, fault, moment))
        with self.state.counted():
            if self.state.latency:
                time.sleep(self.state.latency)
            with suppress(BrokenPipeError, ConnectionResetError):
                self._answer(path, query, body, fault)

    def _answer(self, path: str, query: str, body: bytes, fault: str) -> None:
        if fault in STATUSES:
            asked = {"Retry-After": self.state.script.retry_after} if fault == "throttled" else {}
            return self._send(STATUSES[fault], b"injected", asked if self.state.script.retry_after else {})
        if path.startswith("/token/"):
            made = (self.state.tokens or Tokens()).make()
            return self._send(200, json.dumps(made).encode(), {}, fault)
        if path == "/stac" or path.startswith("/stac/"):
            status, document = self.stac.answer(self.state.base, path, query, body)
            return self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json"}, fault)
        return self._send_file(path, query, fault)

    def _send_file(self, path: str, query: str, fault: str) -> None:
        tokens = self.state.tokens
        if tokens is not None and path.endswith(".tif") and not tokens.admits(query):
            return self._send(403, b"<Error><Code>AuthenticationFailed</Code></Error>", {})
        content = None if path in self.state.script.lost else self._content(path)
        if content is None:
            return self._send(404, b"not found", {})
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if self.headers.get("If-Match", tag) != tag:
            return self._send(412, b"", {"ETag": tag})
        headers = {"ETag": tag, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return self._send(200, content, headers, fault)
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if first >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self._send(206, content[first : last + 1], headers, fault)

    def _content(self, path: str) -> bytes | None:
        if path in self.state.replaced:
            return self.state.replaced[path]
        file = (self.state.folder / path.lstrip("/")).resolve()
        is_inside = file.is_relative_to(self.state.folder.resolve())
        return file.read_bytes() if is_inside and file.is_file() else None

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], fault: str = "") -> None:
        self._note(status)
        told = len(body) // 2 if fault == "short_length" else len(body)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(told)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            _BODIES.get(fault, _whole)(self, body)


def _whole(handler: _Handler, body: bytes) -> None:
    handler.wfile.write(body)


def _reset(handler: _Handler, body: bytes) -> None:
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    # To linger for no time makes closing a reset.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def _truncated(handler: _Handler, body: bytes) -> None:
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def _trickle(handler: _Handler, body: bytes) -> None:
    steps = 10
    for step in range(steps):
        handler.wfile.write(body[step * len(body) // steps : (step + 1) * len(body) // steps])
        handler.wfile.flush()
        time.sleep(handler.state.script.trickle_seconds / steps)


def _corrupt(handler: _Handler, body: bytes) -> None:
    middle = len(body) // 2
    handler.wfile.write(body[:middle] + bytes(byte ^ 0x55 for byte in body[middle : middle + 16]) + body[middle + 16 :])


_BODIES: dict[str, Callable[[_Handler, bytes], None]] = {
    "reset": _reset, "truncated": _truncated, "trickle": _trickle, "corrupt": _corrupt,
}  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: connections break here on purpose."""


@contextmanager
def fault_server(folder: Path, script: Script = QUIET, port: int = 0) -> Iterator[FaultServer]:
    """Serve `folder` on loopback; stopped on leaving."""
    state = FaultServer(folder=folder, script=script)
    handler = type("Handler", (_Handler,), {"state": state, "stac": StacAnswers(folder)})
    server = _Server(("127.0.0.1", port), handler)
    state.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--token-seconds", type=float, default=0.0, help="0 asks for no token")
    options = parser.parse_args()
    with fault_server(options.folder, Script(seed=options.seed, share=options.share), options.port) as server:
        server.tokens = Tokens(life=options.token_seconds) if options.token_seconds else None
        print(server.catalogue, flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    _main()
