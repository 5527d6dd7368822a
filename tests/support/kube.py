"""A stand-in of the Kubernetes API server on the loopback interface, with an operator that starts real Dask processes.

It knows what this package asks of an API server: create, get and delete of DaskCluster, and get of a Service. What is
created is checked against the schema of the operator's own custom resource, unknown fields included.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from support.schemas import dask_problems

CLUSTERS = re.compile(r"^/apis/kubernetes\.dask\.org/v1/namespaces/([^/?]+)/daskclusters(?:/([^/?]+))?")
SERVICES = re.compile(r"^/api/v1/namespaces/([^/?]+)/services(?:/([^/?]+))?")


@dataclass
class ApiServer:
    """What the stand-in holds, and how it behaves."""

    folder: Path
    namespaces: tuple[str, ...] = ("sen12",)
    forbidden: tuple[str, ...] = ()
    has_operator_resources: bool = True
    operator_runs: bool = True
    shows_services: bool = True
    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    processes: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)
    is_open: bool = True
    port: int = 0
    scheduler_port: int = 0

    @property
    def kubeconfig(self) -> Path:
        path = self.folder / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "default"}}],
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "me", "user": {"token": "not-a-secret"}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def create(self, cluster: dict[str, Any]) -> None:
        name = cluster["metadata"]["name"]
        self.clusters[name] = cluster
        if self.operator_runs and self.is_open:
            self.processes[name] = list(self._start(cluster))

    def delete(self, name: str) -> None:
        del self.clusters[name]
        self.stop(name)

    def stop(self, name: str) -> None:
        for process in self.processes.pop(name, []):
            process.kill()
            process.wait(10)

    def _start(self, cluster: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
        """Run the containers' commands as processes, on the loopback interface."""
        spec, name = cluster["spec"], cluster["metadata"]["name"]
        here = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        scheduler = spec["scheduler"]["spec"]["containers"][0]
        yield self._run(scheduler, name, ["--port", str(self.scheduler_port), *here])
        for number in range(spec["worker"]["replicas"]):
            worker = spec["worker"]["spec"]["containers"][0]
            yield self._run(worker, f"{name}-{number}", ["--host", "127.0.0.1", "--local-directory", str(self.folder)])

    def _run(self, container: dict[str, Any], name: str, more: list[str]) -> subprocess.Popen[bytes]:
        command = [arg.replace("$(DASK_WORKER_NAME)", name) for arg in container["args"]]
        command[0] = str(Path(sys.executable).with_name(command[0]))
        # The operator gives workers this address, unless the manifest has one.
        values = {"DASK_SCHEDULER_ADDRESS": f"tcp://127.0.0.1:{self.scheduler_port}"}
        values |= {each["name"]: each["value"] for each in container["env"]}
        values = {key: self._local(value) for key, value in values.items()}
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [*command, *more], env={**os.environ, **values}, stdout=log, stderr=subprocess.STDOUT
            )

    def _local(self, value: str) -> str:
        """Put what stands for the pods' network and mounts in the place of these."""
        value = value.replace("/etc/dask-tls", str(self.folder / "tls"))
        return re.sub(r"//.*\.svc:8786$", f"//127.0.0.1:{self.scheduler_port}", value)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, verb: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.api.log.append((verb, self.path))
        if self.path.startswith("/version"):
            self._send(200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
        elif found := CLUSTERS.match(self.path):
            self._send(*self._cluster(verb, found[1], found[2], body))
        elif found := SERVICES.match(self.path):
            self._send(*self._service(found[1], found[2]))
        else:
            self._send(404, None)

    def _cluster(self, verb: str, namespace: str, name: str | None, body: bytes) -> tuple[int, Any]:
        api = self.server.api
        if not api.has_operator_resources:
            return 404, None
        if namespace in api.forbidden:
            what = 'daskclusters.kubernetes.dask.org is forbidden: User "me" cannot create resource "daskclusters"'
            return 403, _status(403, "Forbidden", f'{what} in the namespace "{namespace}"')
        if namespace not in api.namespaces:
            return 404, _status(404, "NotFound", f'namespaces "{namespace}" not found')
        if verb == "POST":
            return self._create(json.loads(body))
        return self._held(verb, name or "")

    def _held(self, verb: str, name: str) -> tuple[int, Any]:
        api = self.server.api
        if name not in api.clusters:
            return 404, _status(404, "NotFound", f'daskclusters.kubernetes.dask.org "{name}" not found')
        if verb == "DELETE":
            api.delete(name)
            return 200, _status(200, "Success", "")
        return 200, api.clusters[name]

    def _create(self, cluster: dict[str, Any]) -> tuple[int, Any]:
        problems = dask_problems(cluster)
        if problems:
            return 422, _status(
                422, "Invalid", f'DaskCluster "{cluster["metadata"]["name"]}" is invalid: {problems[0]}'
            )
        self.server.api.create(cluster)
        return 201, cluster

    def _service(self, namespace: str, name: str | None) -> tuple[int, Any]:
        api = self.server.api
        if not api.shows_services:
            return 403, _status(403, "Forbidden", f'services "{name}" is forbidden: User "me" cannot get resource')
        known = {f"{cluster}-scheduler" for cluster in api.clusters} if api.operator_runs else set()
        if name not in known:
            return 404, _status(404, "NotFound", f'services "{name}" not found')
        metadata = {"name": name, "namespace": namespace}
        return 200, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {}}

    def _send(self, code: int, content: Any) -> None:
        body = b"404 page not found\n" if content is None else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if content is None else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: ApiServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    state = "Success" if code < 300 else "Failure"
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": state,
        "message": message,
        "reason": reason,
        "code": code,
    }


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """Serve until the block is left; what it started is stopped."""
    api = ApiServer(folder=folder)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        api.scheduler_port = held.getsockname()[1]
    server = _Server(api)
    api.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.is_open = False
        server.shutdown()
        server.server_close()
        for name in list(api.processes):
            api.stop(name)
