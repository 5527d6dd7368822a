"""An S3-compatible server as a process of its own, on loopback."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from support.processes import free_port

READY_SECONDS = 60


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Yield the server's URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            ask("GET", f"{url}/moto-api/")
        except requests.RequestException:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(log.read_text())


def ask(method: str, url: str, data: bytes = b"") -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, url, data=data, timeout=10)
    answer.raise_for_status()
    return answer
