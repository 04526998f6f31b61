"""Debug pages over discovery, as istioctl asks for them: who sees what, and in which form."""

from __future__ import annotations

import asyncio
import json

import grpc
import orjson
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2

from sailcloth.analysis import manifests, offline
from sailcloth.controlplane import debug_requests
from sailcloth.controlplane.change_log import ChangeLog
from sailcloth.controlplane.connected_proxies import ConnectedProxies
from sailcloth.controlplane.debug_pages import DebugPages
from sailcloth.controlplane.identity import Caller
from sailcloth.lib.grpc_server import GrpcServer
from sailcloth.xds.cache import ResponseCache
from sailcloth.xds.server import SERVICE, Connection, Server
from sailcloth.xds.stream import Stream

OBJECTS = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}"
)
SYNC, DUMP, PAGE = "istio.io/debug/syncz", "istio.io/debug/config_dump", "istio.io/debug"


async def namespace_of_token(metadata: dict[str, str]) -> Caller | None:
    token = metadata.get("authorization", "")
    if not token:
        raise PermissionError("no service-account token was sent")
    return Caller(token, "default", "")


@pytest.fixture
def proxies() -> ConnectedProxies:
    objects, _ = manifests.load([OBJECTS])
    made = ConnectedProxies(offline.mesh_of(objects), namespace_of_token)
    for namespace in ("shop", "other"):
        connection = Connection(Stream(ResponseCache()), namespace)
        made.join(connection, offline.describe({"namespace": namespace, "labels": {"app": namespace}}))
    pages = DebugPages(made, ChangeLog(), "istiod")
    made.debug = lambda *asked: debug_requests.respond(pages, *asked)
    return made


async def ask(proxies: ConnectedProxies, namespace: str, url: str, *names: str) -> discovery_pb2.DiscoveryResponse:
    request = discovery_pb2.DiscoveryRequest(type_url=url, resource_names=names)
    answer = await proxies.query(request, {"authorization": namespace})
    assert answer
    return discovery_pb2.DiscoveryResponse.FromString(answer)


@pytest.mark.parametrize(("namespace", "seen"), [("istio-system", 2), ("shop", 1), ("third", 0)])
async def test_a_caller_sees_the_proxies_of_its_namespace(proxies: ConnectedProxies, namespace: str, seen: int) -> None:
    answer = await ask(proxies, namespace, SYNC)
    assert answer.type_url == SYNC
    configs = [csds_pb2.ClientConfig.FromString(r.value) for r in answer.resources]
    assert len(configs) == seen
    for config in configs:
        assert {"CLUSTER_ID", "ISTIO_VERSION"} <= set(config.node.metadata.fields)
        assert [c.type_url.rpartition(".")[2] for c in config.generic_xds_configs] == [
            "Cluster",
            "ClusterLoadAssignment",
            "Listener",
            "RouteConfiguration",
        ]
        assert {c.config_status for c in config.generic_xds_configs} == {csds_pb2.NOT_SENT}


async def test_the_control_plane_names_itself(proxies: ConnectedProxies) -> None:
    identifier = json.loads((await ask(proxies, "shop", SYNC)).control_plane.identifier)
    assert (identifier["Component"], identifier["ID"]) == ("istiod", "istiod")
    assert set(identifier["Info"]) == {"version", "revision", "golang_version", "sailcloth", "status", "tag"}


async def test_a_page_by_its_name(proxies: ConnectedProxies) -> None:
    (resource,) = (await ask(proxies, "shop", PAGE, "syncz")).resources
    assert resource.type_url == PAGE
    assert [row["name"] for row in orjson.loads(resource.value)] == [c.proxy.id for c in proxies.clients.values()][:1]


async def test_a_configuration_as_envoy_dumps_it(proxies: ConnectedProxies) -> None:
    name = next(c.proxy.id for c in proxies.clients.values() if c.proxy.namespace == "shop")
    dumped = {r.type_url.rpartition(".")[2] for r in (await ask(proxies, "shop", DUMP, name)).resources}
    assert {"ClustersConfigDump", "ListenersConfigDump"} <= dumped
    with pytest.raises(ValueError, match=r"shows the proxies of that namespace only"):
        await ask(proxies, "other", DUMP, name)


async def test_pages_with_a_query_as_internal_debug_asks(proxies: ConnectedProxies) -> None:
    for url, names in ((PAGE, ("edsz?proxyID=app.shop",)), (f"{PAGE}/edsz", ("proxyID=app.shop",))):
        (resource,) = (await ask(proxies, "shop", url, *names)).resources
        assert resource.type_url == PAGE
        assert orjson.loads(resource.value) == []
    (resource,) = (await ask(proxies, "istio-system", PAGE)).resources
    assert "/debug/edsz" in orjson.loads(resource.value)
    with pytest.raises(ValueError, match="only tokens of the installation's namespace may see configz"):
        await ask(proxies, "shop", PAGE, "configz")


@pytest.mark.parametrize(("url", "names"), [("istio.io/debug/secrets", ()), (PAGE, ("secretz",))])
async def test_unknown_pages_are_refused(proxies: ConnectedProxies, url: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="unknown"):
        await ask(proxies, "istio-system", url, *names)


async def test_over_the_wire_it_subscribes_to_nothing(proxies: ConnectedProxies) -> None:
    server = GrpcServer(streaming=Server(proxies).methods())
    listening = await asyncio.get_running_loop().create_server(server.protocol, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stream = channel.stream_stream(f"/{SERVICE}/StreamAggregatedResources")
            request = discovery_pb2.DiscoveryRequest(type_url=SYNC, node={"id": "debug~0.0.0.0~istioctl~cluster.local"})
            call = stream(metadata=(("authorization", "shop"),))
            await call.write(request.SerializeToString())
            answer = discovery_pb2.DiscoveryResponse.FromString(await call.read())
            assert len(answer.resources) == 1
            request.response_nonce = answer.nonce
            await call.write(request.SerializeToString())  # acknowledged, and not answered again
            request.response_nonce = ""
            await call.write(request.SerializeToString())
            assert discovery_pb2.DiscoveryResponse.FromString(await call.read()).nonce == answer.nonce
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert len(proxies.clients) == 2, "it is no proxy"
            anonymous = stream()
            await anonymous.write(request.SerializeToString())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anonymous.read()
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    finally:
        listening.close()
        await server.close()
