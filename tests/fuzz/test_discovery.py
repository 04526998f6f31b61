"""Streams of discovery requests to a control plane in memory, over gRPC: each ends with a status, and nothing is left of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.controlplane.connected_proxies import ConnectedProxies
from sailcloth.mesh.registry import Mesh
from sailcloth.xds import types
from sailcloth.xds.server import SERVICE, Server

from ..agent.certificate_authority import serve
from . import TIMES, fuzzed, mutated

TYPES = st.sampled_from(
    (
        types.CLUSTER,
        types.ENDPOINTS,
        types.LISTENER,
        types.ROUTES,
        types.SECRET,
        types.NAMES,
        "istio.io/debug/syncz",
        "x",
    )
)
NAMES = st.lists(st.sampled_from(("*", "80", "BlackHoleCluster", "outbound|80||a.b", "", "x" * 300)), max_size=3)
NODE = {"id": "sidecar~10.0.0.1~a.default~default.svc.cluster.local", "metadata": {"LABELS": {"app": "a"}}}
NONCES = st.sampled_from(("", "1", "2", "999", "x"))


@st.composite
def requests(draw: st.DrawFn, delta: bool) -> bytes:
    fields: dict[str, Any] = {"type_url": draw(TYPES), "response_nonce": draw(NONCES)}
    if draw(st.booleans()):
        fields["node"] = draw(
            st.sampled_from((NODE, {"id": "x"}, {**NODE, "metadata": {"LABELS": [1], "NAMESPACE": {}}}))
        )
    if draw(st.booleans()):
        fields["error_detail"] = {"code": draw(st.integers(0, 20)), "message": "no"}
    if delta:
        fields |= {"resource_names_subscribe": draw(NAMES), "resource_names_unsubscribe": draw(NAMES)}
        fields["initial_resource_versions"] = dict.fromkeys(draw(NAMES), "1")
    else:
        fields |= {"resource_names": draw(NAMES), "version_info": draw(NONCES)}
    message = discovery_pb2.DeltaDiscoveryRequest() if delta else discovery_pb2.DiscoveryRequest()
    json_format.ParseDict(fields, message)
    valid = message.SerializeToString()
    return draw(st.one_of(st.just(valid), st.just(valid), mutated(valid)))


STREAMS = st.booleans().flatmap(
    lambda delta: st.tuples(st.just(delta), st.lists(requests(delta), min_size=1, max_size=6))
)


def test_streams() -> None:
    examples: list[tuple[bool, list[bytes]]] = []

    @fuzzed
    @given(STREAMS)
    def collect(stream: tuple[bool, list[bytes]]) -> None:
        examples.append(stream)

    collect()
    statuses = (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED)

    async def ask() -> None:
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        proxies = ConnectedProxies(Mesh())
        async with serve({}, Server(proxies).methods()) as channel:
            for delta, messages in examples:
                method = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
                call = channel.stream_stream(f"/{SERVICE}/{method}")(timeout=20)
                for message in messages:
                    if not call.done():
                        await _write(call, message)
                if not call.done():
                    await call.done_writing()
                async for _ in _responses(call):
                    pass
                code, details = await call.code(), await call.details()
                # The client says `from Core` of what it could not write any more.
                assert code in statuses or "from Core" in details, (code, details, messages)
                assert not failures, (failures, messages)
        assert not proxies.clients

    asyncio.run(asyncio.wait_for(ask(), 100 * TIMES))


async def _write(call: Any, message: bytes) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the stream has ended
        await call.write(message)


async def _responses(call: Any) -> Any:
    try:
        while (message := await call.read()) is not grpc.aio.EOF:
            yield message
    except grpc.aio.AioRpcError:
        return
