"""A loopback server of files by byte ranges that counts what it was asked for."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Asked:
    """Requests for files of pixels, and the bytes that went out."""

    requests: int = 0
    bytes: int = 0
    lock: Any = field(default_factory=Lock)

    def reset(self) -> None:
        with self.lock:
            self.requests = self.bytes = 0

    def add(self, count: int) -> None:
        with self.lock:
            self.requests += 1
            self.bytes += count


class _Files(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path
    asked: Asked

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        file = self.root / unquote(urlsplit(self.path).path).lstrip("/")
        if not file.is_file():
            self._answer(404, b"")
            return
        data = file.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted is None:
            self._answer(200, data)
            return
        first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
        if first >= len(data):
            self._answer(416, b"", **{"Content-Range": f"bytes */{len(data)}"})
            return
        part = data[first : last + 1]
        if file.suffix == ".tif" and self.command == "GET":
            self.asked.add(len(part))
        self._answer(206, part, **{"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Accept-Ranges": "bytes", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def counting_server(root: Path) -> Iterator[tuple[str, Asked]]:
    """Serve `root`; yields the address and the counts."""
    asked = Asked()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Files", (_Files,), {"root": root, "asked": asked}))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
