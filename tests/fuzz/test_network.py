"""Messages of protocols: DNS, HTTP/1 of the agent, HTTP/2, nodes of discovery, admission reviews."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.agent.netns import PodSockets
from sailcloth.agent.status import StatusServer
from sailcloth.controlplane import admission
from sailcloth.injector import webhook
from sailcloth.injector.config import InjectorConfig
from sailcloth.lib import dnsmessage, http1, http2
from sailcloth.view import proxy

from . import JSON, TIMES, fuzzed, mutated, replaced

QUERY = dnsmessage.query("reviews.default.svc.cluster.local", dnsmessage.A)
RESPONSE = dnsmessage.Query.parse(QUERY)
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "a",
        "labels": {"app": "a", "pod-template-hash": "1"},
        "annotations": {"proxy.istio.io/config": "concurrency: 2", "sidecar.istio.io/proxyCPU": "100m"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a-1", "controller": True}],
    },
    "spec": {
        "serviceAccountName": "a",
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [
            {
                "name": "a",
                "image": "a",
                "ports": [{"containerPort": 80, "name": "http"}],
                "readinessProbe": {
                    "httpGet": {"path": "/", "port": "http", "httpHeaders": [{"name": "a", "value": "b"}]}
                },
                "env": [{"name": "A", "value": "b"}],
            }
        ],
    },
}
RULE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "a", "namespace": "default"},
    "spec": {
        "hosts": ["a"],
        "http": [
            {"match": [{"uri": {"prefix": "/"}}], "route": [{"destination": {"host": "a", "port": {"number": 80}}}]}
        ],
    },
}
REVIEW = {"request": {"uid": "u", "operation": "CREATE", "namespace": "default", "object": POD, "oldObject": POD}}


@fuzzed
@given(st.one_of(st.binary(max_size=80), mutated(QUERY)))
def test_dns_messages(data: bytes) -> None:
    query = dnsmessage.Query.parse(data)
    if query is not None:
        for message in (query.answer([b"\1\2\3\4"], 5), query.answer([bytes(16)], 5, "b.example"), query.failure(3)):
            assert len(query.fitted(message)) <= query.size
    with contextlib.suppress(ValueError):
        dnsmessage.addresses(data, dnsmessage.A)


@fuzzed
@given(
    st.one_of(
        st.binary(max_size=120),
        mutated(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        mutated(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-3\r\nhello\r\n-1\r\n\r\n"),
    )
)
def test_responses_of_http_1(data: bytes) -> None:
    status, body = http1.parse(data)
    assert len(body) <= len(data)
    assert status >= 0
    with contextlib.suppress(OSError):
        http1.body(data)


class Requests:
    """Takes what a connection of HTTP/2 receives."""

    def on_request(self, stream: http2.Stream, headers: http2.Headers) -> None:
        assert all(isinstance(n, bytes | str) for n, _ in headers)

    def on_data(self, stream: http2.Stream, data: bytes) -> None: ...

    def on_end(self, stream: http2.Stream) -> None: ...

    def on_reset(self, stream: http2.Stream) -> None: ...

    def on_sent(self, stream: http2.Stream) -> None: ...


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


FRAMES = st.builds(
    frame,
    st.integers(0, 10),
    st.integers(0, 255),
    st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1)),
    st.binary(max_size=40),
)


@fuzzed
@given(st.booleans(), st.lists(st.one_of(FRAMES, st.binary(max_size=20)), max_size=12))
def test_frames_of_http_2(proper: bool, parts: list[bytes]) -> None:
    connection = http2.ServerConnection(Requests())
    start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") if proper else b""
    for part in [start, *parts]:
        connection.receive(part)
        connection.outgoing(1 << 16)


@fuzzed
@given(st.text(max_size=40), JSON)
def test_nodes_of_discovery_requests(ident: str, metadata: object) -> None:
    with contextlib.suppress(ValueError):
        proxy.parse_node(ident, metadata if isinstance(metadata, dict) else {})


KNOWN = st.sampled_from(
    ["LABELS", "INSTANCE_IPS", "NAMESPACE", "PROXY_CONFIG", "ANNOTATIONS", "ISTIO_VERSION", "DNS_CAPTURE", "CLUSTER_ID",
     "INTERCEPTION_MODE", "SAILCLOTH_MARK", "SAILCLOTH_CLUSTERS", "NODE_NAME", "WORKLOAD_NAME", "MESH_ID"]
)  # fmt: skip


@fuzzed
@given(st.dictionaries(KNOWN, JSON, max_size=6))
def test_metadata_of_a_well_named_node(metadata: dict[str, object]) -> None:
    with contextlib.suppress(ValueError):
        proxy.parse_node("sidecar~10.0.0.1~a.default~default.svc.cluster.local", metadata)


def review(body: bytes) -> tuple[int, bytes]:
    """What the injector's webhook answers."""
    request = make_mocked_request("POST", "/inject")
    request._read_bytes = body
    answer = asyncio.run(webhook.handler(lambda _n, _l: InjectorConfig())(request))
    return answer.status, answer.body


def validate(body: bytes) -> tuple[int, bytes]:
    request = make_mocked_request("POST", admission.PATH)
    request._read_bytes = body
    answer = asyncio.run(admission.handler()(request))
    assert isinstance(answer.body, bytes)
    return answer.status, answer.body


def text(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("answer", [review, validate], ids=["inject", "validate"])
def test_admission_reviews(answer: object) -> None:
    assert callable(answer)
    rules = {"request": {**REVIEW["request"], "object": RULE, "oldObject": RULE}}

    @fuzzed
    @given(st.one_of(st.binary(max_size=60), JSON.map(text), replaced(REVIEW).map(text), replaced(rules).map(text)))
    def answers(body: bytes) -> None:
        status, said = answer(body)
        assert status in (200, 400)
        if status == 200:
            assert isinstance(json.loads(said)["response"]["allowed"], bool)

    answers()


def test_requests_to_the_agent() -> None:
    """Over a socket: the connection ends, whatever is sent, and the agent goes on."""
    examples: list[bytes] = []
    probe = json.dumps({"/app-health/a/readyz": {"httpGet": {"port": 1}}, "/app-health/b/livez": {"tcpSocket": {}}})
    env = [{"name": "ISTIO_KUBE_APP_PROBERS", "value": probe}]
    pod = {"spec": {"containers": [{"name": "istio-proxy", "env": env}]}}

    @fuzzed
    @given(
        st.one_of(st.binary(max_size=100), mutated(b"GET /app-health/a/readyz HTTP/1.1\r\nHost: a\r\n\r\n")),
        st.booleans(),
    )
    def collect(data: bytes, complete: bool) -> None:
        examples.append(data + (b"\r\n\r\n" if complete else b""))

    collect()

    async def ask() -> None:
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        server = StatusServer(PodSockets(-1), "127.0.0.1", pod)
        listening = await asyncio.start_server(server._answer, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]

        def send(data: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", port), 20) as connection, contextlib.suppress(ConnectionError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(1 << 16)
            return b""

        for data in [*examples, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100_000]:
            answer = await asyncio.to_thread(send, data)
            assert not answer or answer.startswith(b"HTTP/1.1 ")
        assert (await asyncio.to_thread(send, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")
        listening.close()
        assert not failures

    asyncio.run(asyncio.wait_for(ask(), 100 * TIMES))
