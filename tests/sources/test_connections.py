"""One request at a time on connections that are kept: what a server sends, or one word for what went wrong."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.sources import connections
from pipeline.sources.connections import Connections, Patience
from pipeline.sources.governor import AgainError

PART = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\n"
FIVE = PART + b"Content-Length: 5\r\n\r\nabcde"
PATIENCE = Patience(connect=5.0, silent=5.0, whole=5.0)


class Server:
    """Answers each request with the bytes that stand next in its list; an empty one closes the connection."""

    def __init__(self, answers: list[bytes], context: ssl.SSLContext | None = None) -> None:
        self._answers, self._context = iter(answers), context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.accepted = 0
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}/a%20b/band.tif?sig=secret%2F"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                self.accepted += 1
                if self._context:
                    connection = self._context.wrap_socket(connection, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        while True:
            request = b""
            while b"\r\n\r\n" not in request:
                part = connection.recv(65536)
                if not part:
                    return
                request += part
            self.requests.append(request)
            answer = next(self._answers)
            if answer:
                connection.sendall(answer)
            if not answer or b"close" in answer:
                return


@pytest.fixture
def answering() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def started(*answers: bytes, context: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(list(answers), context))
        return servers[-1]

    yield started
    for server in servers:
        server.close()


def get(pool: Connections, server: Server, most: int = 5, patience: Patience = PATIENCE) -> bytes:
    return pool.get_part(server.url, {"Range": "bytes=0-4"}, most, patience).body


def test_a_connection_is_used_again_and_asked_for_what_the_url_says(answering):
    pool, server = Connections(), answering(FIVE, FIVE, FIVE)
    assert [get(pool, server) for _ in range(3)] == [b"abcde"] * 3
    assert server.accepted == 1
    first = server.requests[0].split(b"\r\n")
    assert first[0] == b"GET /a%20b/band.tif?sig=secret%2F HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}".encode() in first
    assert {b"Range: bytes=0-4", b"User-Agent: sen12-pipeline"} <= {*first}


@pytest.mark.parametrize("end", [b"", b"Connection: close\r\n"])
def test_a_connection_that_the_server_closed_is_not_used_again(answering, end):
    answer = PART + end + b"Content-Length: 5\r\n\r\nabcde"
    server, pool = answering(answer, *([b""] if not end else []), answer), Connections()
    assert get(pool, server) == b"abcde"
    if not end:
        with pytest.raises(AgainError, match=r"^ProtocolError$"):
            get(pool, server)
    assert get(pool, server) == b"abcde"
    assert server.accepted == 2


def test_one_that_was_closed_while_it_waited_is_noticed_before_anything_is_asked(answering):
    pool, server = Connections(), answering(FIVE, FIVE)
    get(pool, server)
    (_, connection), *_ = pool._idle
    connection.sock.shutdown(socket.SHUT_RDWR)
    assert get(pool, server) == b"abcde"
    assert server.accepted == 2


def test_chunks_are_put_together_and_the_connection_is_kept(answering):
    chunked = PART + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
    pool, server = Connections(), answering(chunked, FIVE)
    assert [get(pool, server, most=9), get(pool, server)] == [b"abcde", b"abcde"]
    assert server.accepted == 1


@pytest.mark.parametrize("most", [0, 1, 3])
def test_of_more_than_was_asked_for_one_byte_more_is_read(answering, most):
    pool, server = Connections(), answering(FIVE, FIVE)
    assert get(pool, server, most=most) == b"abcde"[: most + 1]
    assert get(pool, server) == b"abcde"
    assert server.accepted == 2


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"503 Service Unavailable"])
def test_what_is_no_part_is_not_read(answering, status):
    server = answering(b"HTTP/1.1 " + status + b"\r\nRetry-After: 3\r\nContent-Length: 5000000000\r\n\r\nabc")
    answer = Connections().get_part(server.url, {}, 5, PATIENCE)
    assert (answer.status, answer.headers["retry-after"], answer.body) == (int(status[:3]), "3", b"")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "ProtocolError"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 9\r\nX: close\r\n\r\nabc", "ProtocolError"),
        (PART + b"Transfer-Encoding: chunked\r\nX: close\r\n\r\n9\r\nabc", "ProtocolError"),
        (b"SSH-2.0-OpenSSH close\r\n\r\n", "ProtocolError"),
        (PART + b"Content-Length: 9\r\n\r\nabc", "ReadTimeoutError"),
        (PART, "ReadTimeoutError"),
    ],
)
def test_an_answer_that_breaks_off_is_one_word(answering, answer, problem):
    server = answering(answer)
    with pytest.raises(AgainError, match=f"^{problem}$"):
        get(Connections(), server, most=9, patience=PATIENCE._replace(silent=0.1))


def test_servers_that_are_not_there_are_one_word():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for url, problem in {
        f"http://127.0.0.1:{port}/x?secret": "NewConnectionError",
        "http://name.invalid/x?secret": "NameResolutionError",
        f"http://{'a' * 64}.org/x?secret": "LocationParseError",
        "http://127.0.0.1:port/x?secret": "LocationParseError",
        "ftp://127.0.0.1/x?secret": "LocationParseError",
    }.items():
        with pytest.raises(AgainError, match=f"^{problem}$"):
            Connections().get_part(url, {}, 5, PATIENCE)


def test_no_more_connections_are_kept_than_are_used_at_once(answering, monkeypatch):
    monkeypatch.setattr(connections, "CONNECTIONS", 2)
    pool, servers = Connections(), [answering(FIVE, FIVE) for _ in range(3)]
    for server in servers:
        get(pool, server)
    assert [server.port for server, _ in pool._idle] == [server.port for server in servers[1:]]


def certificate(folder: Path) -> Path:
    """Write a key and its certificate for 127.0.0.1, which nobody has signed."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "here.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ) + made.public_bytes(serialization.Encoding.PEM)
    )  # fmt: skip
    return path


def test_certificates_are_checked(answering, tmp_path, monkeypatch):
    path = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = answering(FIVE, FIVE, context=context)
    connections._tls_context.cache_clear()
    with pytest.raises(AgainError, match=r"^SSLError$"):
        get(Connections(), server)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    connections._tls_context.cache_clear()
    pool = Connections()
    assert [get(pool, server), get(pool, server)] == [b"abcde", b"abcde"]
    connections._tls_context.cache_clear()
