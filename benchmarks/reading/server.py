"""Files by ranges over loopback HTTP, as slow as a distant store: `python -m benchmarks.reading.server FOLDER FILE`.

An answer begins after a set time, twice that on a new connection, and flows at a set rate per connection. A request for
`/~` returns what was asked since the last one (requests, bytes, connections) and, with `?MILLISECONDS`, sets the time.
"""

import asyncio
import json
import re
import socket
import sys
from pathlib import Path
from urllib.parse import unquote

BYTES_PER_SECOND = 80e6
_SLICE = 256 << 10
_RANGE = re.compile(rb"(?im)^range: *bytes=(\d+)-(\d*)")


class RangeServer:
    """The files of one folder; runs in a process of its own, so that its work is not counted as a reader's."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._first_byte = folder.resolve(), 0.0
        self._counts = dict.fromkeys(("requests", "bytes", "connections"), 0)

    async def serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)  # noqa: FBT003
            task = asyncio.create_task(self._talk(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _talk(self, connection: socket.socket) -> None:
        loop, received, is_new = asyncio.get_running_loop(), b"", True
        with connection:
            while True:
                while b"\r\n\r\n" not in received:
                    try:
                        part = await loop.sock_recv(connection, 65536)
                    except ConnectionError:
                        return
                    if not part:
                        return
                    received += part
                request, received = received.split(b"\r\n\r\n", 1)
                method, target = request.split(b" ", 2)[:2]
                try:
                    if target.startswith(b"/~"):
                        await loop.sock_sendall(connection, self._control(target.decode()))
                        continue
                    await asyncio.sleep(self._first_byte * (2 if is_new else 1))
                    self._counts["connections"] += is_new
                    is_new = False
                    await self._answer(connection, method, unquote(target.decode().partition("?")[0]), request)
                except ConnectionError:
                    return

    def _control(self, target: str) -> bytes:
        body = json.dumps(self._counts).encode()
        self._counts = dict.fromkeys(self._counts, 0)
        if "?" in target:
            self._first_byte = float(target.partition("?")[2]) / 1000
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def _answer(self, connection: socket.socket, method: bytes, target: str, request: bytes) -> None:
        loop, path = asyncio.get_running_loop(), (self._folder / target.lstrip("/")).resolve()
        self._counts["requests"] += 1
        if not path.is_relative_to(self._folder) or not path.is_file():
            await loop.sock_sendall(connection, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        size = path.stat().st_size
        first, stop, status = 0, size, b"200 OK"
        if asked := _RANGE.search(request):
            first, stop = int(asked[1]), min(int(asked[2] or size - 1) + 1, size)
            status = b"206 Partial Content\r\nContent-Range: bytes %d-%d/%d" % (first, stop - 1, size)
        head = b'HTTP/1.1 %s\r\nContent-Length: %d\r\nETag: "%x"\r\nAccept-Ranges: bytes\r\n\r\n'
        await loop.sock_sendall(connection, head % (status, stop - first, size))
        if method == b"HEAD":
            return
        self._counts["bytes"] += stop - first
        begun, at = loop.time(), first
        with path.open("rb") as file:
            while at < stop:
                at += await loop.sock_sendfile(connection, file, at, min(_SLICE, stop - at))
                await asyncio.sleep(max(0.0, begun + (at - first) / BYTES_PER_SECOND - loop.time()))


def main() -> None:
    folder, port_file = Path(sys.argv[1]), Path(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        listener.setblocking(False)  # noqa: FBT003
        temporary = port_file.with_suffix(".part")
        temporary.write_text(str(listener.getsockname()[1]))
        temporary.replace(port_file)
        asyncio.run(RangeServer(folder).serve(listener))


if __name__ == "__main__":
    main()
