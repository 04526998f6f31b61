"""What a change wakes does not depend on how large the mesh is."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import meshes
from sailcloth.analysis import manifests, offline
from sailcloth.controlplane.connected_proxies import ConnectedProxies
from sailcloth.lib.buckets import BUCKETS
from sailcloth.view.proxy import parse_node
from sailcloth.xds.cache import ResponseCache
from sailcloth.xds.server import Connection
from sailcloth.xds.stream import Stream
from sailcloth.xds.types import LISTENER


def _woken(services: int, changed: dict[str, object], **metadata: str) -> int:
    """How many derived values a change marks in a mesh of so many services and one sidecar."""

    async def nobody(_: dict[str, str]) -> str | None:
        return None

    mesh = offline.mesh_of(manifests.load([meshes.text(services)])[0])
    proxies = ConnectedProxies(mesh, nobody)
    proxy = parse_node(
        "sidecar~10.0.0.1~client.default~default.svc.cluster.local", {"NAMESPACE": "default", **metadata}
    )

    async def join() -> None:
        proxies.join(Connection(Stream(ResponseCache()), "test"), proxy)

    asyncio.run(join())
    proxies.flush()
    for key, obj in manifests.load([meshes.dump(changed)])[0]:
        assert mesh.apply(key, obj)
    return mesh.graph.stale


@pytest.mark.parametrize(
    "changed",
    [meshes.virtual_service(0, 7), meshes.endpoints(1, 9)],
    ids=["routes of a VirtualService", "an endpoint"],
)
def test_a_change_wakes_as_many_values_in_a_large_mesh_as_in_a_small_one(changed: dict[str, object]) -> None:
    small, large = _woken(20, changed), _woken(200, changed)
    assert 0 < small == large


def test_an_endpoint_wakes_no_name_and_an_address_wakes_its_own() -> None:
    """With DNS capture: what is answered for a service does not depend on who serves it."""
    plain = _woken(200, meshes.endpoints(1, 9))
    assert plain == _woken(200, meshes.endpoints(1, 9), DNS_CAPTURE="true")
    moved = meshes.service(1)
    moved["spec"]["clusterIP"] = "10.96.200.200"
    for services in (20, 200):
        assert _woken(services, moved, DNS_CAPTURE="true") == _woken(services, moved) + 1


def _tcp_service(number: int, address: str) -> dict[str, object]:
    made = meshes.service(number)
    made["spec"] |= {"clusterIP": address, "ports": [{"name": "tcp-db", "port": 3306}]}
    return made


def test_a_tcp_service_that_moves_makes_its_own_listeners_anew_and_no_others() -> None:
    services = [_tcp_service(n, f"10.96.1.{n}") for n in range(1, 60)]
    mesh = offline.mesh_of(manifests.load([meshes.dump(s) for s in services])[0])
    proxy = offline.describe({})
    offline.resources(mesh, proxy)
    made: list[str] = []
    mesh.graph.trace = made.append
    for key, obj in manifests.load([meshes.dump(_tcp_service(7, "10.96.2.7"))])[0]:
        assert mesh.apply(key, obj)
    names = {r.name for r in offline.resources(mesh, proxy)[LISTENER]}
    assert "10.96.2.7_3306" in names
    assert "10.96.1.7_3306" not in names
    assert len([m for m in made if m.startswith("listener(")]) == 1, made


@pytest.mark.parametrize(
    "port",
    [{"name": "http", "port": 80}, {"name": "tcp-db", "port": 3306}, {"name": "x", "port": 9000}],
    ids=lambda p: p["name"],
)
def test_a_service_that_moves_is_computed_anew_and_the_mesh_is_not(port: dict[str, object]) -> None:
    def service(number: int, address: str) -> dict[str, object]:
        made = meshes.service(number)
        made["spec"] |= {"clusterIP": address, "ports": [port]}
        return made

    computed = []
    for services in (300, 900):
        made = [service(n, f"10.96.{n // 250}.{n % 250 + 1}") for n in range(services)]
        mesh = offline.mesh_of([o for s in made for o in manifests.load([meshes.dump(s)])[0]])
        proxy = offline.describe({})
        offline.resources(mesh, proxy)
        before = mesh.graph.computed
        for key, obj in manifests.load([meshes.dump(service(7, "10.97.0.1"))])[0]:
            assert mesh.apply(key, obj)
        offline.resources(mesh, proxy)
        computed.append(mesh.graph.computed - before)
    assert computed[1] <= computed[0] + 2 * 600 // BUCKETS + 3, "what was and is in two buckets"
    assert computed[1] < 150, "each bucket, and what is of the service"
