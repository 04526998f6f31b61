"""The subresource `proxy`: a request to a port of a Service or a pod by way of the API server."""

from __future__ import annotations

import sys

import aiohttp
import orjson
import pytest

from sailcloth.kube.client import ApiError, Client
from sailcloth.kube.resources import ENDPOINTSLICES, SERVICES

from .local_cluster import Object
from .pods import make, ready

# Answers with what it was asked; /away and /back redirect, /packed is compressed.
SERVER = """
import gzip, http.server, json
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("content-length") or 0)
        told = {"path": self.path, "body": self.rfile.read(length).decode(), "headers": {k.lower(): v for k, v in self.headers.items()}}
        body = json.dumps(told).encode()
        location = {"/away": "http://127.0.0.1:6443/version", "/back": "/there?a=b"}.get(self.path)
        packed = self.path == "/packed"
        body = gzip.compress(body) if packed else body
        self.send_response(302 if location else 418)
        for name, value in (("Location", location), ("Content-Encoding", packed and "gzip"), ("X-Mine", "yes")):
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 8080), H).serve_forever()
"""


def pod() -> Object:
    main = {
        "name": "main",
        "image": "busybox",
        "command": [sys.executable, "-I", "-S", "-c", SERVER],
        "ports": [{"containerPort": 8080, "name": "web"}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    spec = {"containers": [main], "terminationGracePeriodSeconds": 0}
    return {"metadata": {"name": "back", "labels": {"app": "back"}}, "spec": spec}


@pytest.fixture
async def back(client: Client, namespace: str) -> str:
    """The namespace of a pod and a Service `back`."""
    await make(client, namespace, pod())
    ports = [{"port": 80, "targetPort": "web", "name": "http"}]
    await client.create(
        SERVICES,
        {"metadata": {"name": "back", "namespace": namespace}, "spec": {"selector": {"app": "back"}, "ports": ports}},
    )
    await ready(client, namespace, "back")
    return namespace


async def ask(client: Client, path: str, method: str = "GET", **options: object) -> tuple[int, dict[str, str], bytes]:
    timeout = aiohttp.ClientTimeout(total=20)
    async with client.request(method, path, timeout=timeout, **options) as answer:
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()


@pytest.mark.parametrize(
    "name",
    [
        "pods/back:8080",
        "pods/http:back:web",
        "pods/back",
        "services/back:80",
        "services/http:back:http",
        "services/back:http",
    ],
)
async def test_requests_arrive_whole_and_without_credentials(client: Client, back: str, name: str) -> None:
    path = f"/api/v1/namespaces/{back}/{name}/proxy/a%2Fb/c%20d?x=1%26&y"
    sent = {
        "Content-Type": "text/odd",
        "X-Mine": "1",
        "Impersonate-User": "someone",
        "Impersonate-Group": "system:masters",
    }
    status, headers, body = await ask(client, path, "POST", data=b"hello", headers=sent)
    told = orjson.loads(body)
    assert (status, headers["x-mine"]) == (418, "yes")
    assert (told["path"], told["body"]) == ("/a%2Fb/c%20d?x=1%26&y", "hello")
    assert (told["headers"]["content-type"], told["headers"]["x-mine"]) == ("text/odd", "1")
    assert not {n for n in told["headers"] if n.startswith(("authorization", "impersonate"))}


async def test_redirects_go_back_to_the_caller(client: Client, back: str) -> None:
    prefix = f"/api/v1/namespaces/{back}/services/back:80/proxy"
    for path, location in (("/away", "http://127.0.0.1:6443/version"), ("/back", f"{prefix}/there?a=b")):
        status, headers, _ = await ask(client, prefix + path, allow_redirects=False)
        assert (status, headers["location"]) == (302, location)


async def test_compressed_answers_stay_compressed(client: Client, back: str) -> None:
    status, headers, body = await ask(client, f"/api/v1/namespaces/{back}/pods/back:8080/proxy/packed")
    assert (status, headers["content-encoding"]) == (418, "gzip")
    assert orjson.loads(body)["path"] == "/packed"  # aiohttp has unpacked it here, once


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0"])
async def test_this_machine_and_its_link_are_not_reached(client: Client, namespace: str, address: str) -> None:
    await client.create(
        SERVICES, {"metadata": {"name": "bad", "namespace": namespace}, "spec": {"ports": [{"port": 80}]}}
    )
    labels = {"kubernetes.io/service-name": "bad"}
    piece = {
        "metadata": {"name": "bad", "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"port": 6443}],
    }
    try:
        await client.create(ENDPOINTSLICES, piece)
    except ApiError as error:
        assert error.status == 422  # noqa: PT017  refused already
        return
    status, _, body = await ask(client, f"/api/v1/namespaces/{namespace}/services/bad:80/proxy/version")
    assert status == 503
    assert b"is not allowed" in body


async def test_what_is_not_there_is_told(client: Client, back: str) -> None:
    for name, status in (
        ("services/none:80", 503),
        ("services/back:81", 503),
        ("pods/none:80", 404),
        ("pods/back:1", 503),
        ("pods/a:b:c:d", 400),
    ):
        answer = await ask(client, f"/api/v1/namespaces/{back}/{name}/proxy/")
        assert answer[0] == status, name
