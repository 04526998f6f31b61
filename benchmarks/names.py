"""What DNS capture costs: a change by size of the mesh with it and without, the agent's memory, and an answer."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import time
import tracemalloc
from typing import Any

from sailcloth.agent.dns import DnsServer, Resolver
from sailcloth.agent.name_tables import NameTables
from sailcloth.agent.netns import PodSockets
from sailcloth.analysis import manifests, offline
from sailcloth.api.meta import Key
from sailcloth.controlplane.addresses import Pool, current
from sailcloth.controlplane.connected_proxies import ConnectedProxies
from sailcloth.lib import dnsmessage
from sailcloth.view.proxy import parse_node
from sailcloth.xds.types import NAMES

from . import machine, meshes
from .graph import _Connection

_PODS = 20
_QUERIES, _WINDOW = 20_000, 64


def _entry(number: int, port: int = 3306, address: str = "") -> dict[str, Any]:
    host = f"e{number}.example.com"
    made: dict[str, Any] = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": f"e{number}", "namespace": "default"},
        "spec": {
            "hosts": [host],
            "resolution": "DNS",
            "ports": [{"number": port, "name": "tcp", "protocol": "TCP"}],
        },
    }
    if address:
        made["status"] = {"addresses": [{"value": address, "host": host}]}
    return made


def _change(services: int, captures: bool) -> tuple[dict[str, float], int]:
    """(milliseconds from an address to what is sent for it, names sent) in a mesh of so many services."""
    mesh = offline.mesh_of(manifests.load([meshes.text(services)])[0])

    async def nobody(_: dict[str, str]) -> str | None:
        return None

    proxies = ConnectedProxies(mesh, nobody)
    metadata = {"NAMESPACE": "default", **({"DNS_CAPTURE": "true"} if captures else {})}
    proxy = parse_node("sidecar~10.0.0.1~client.default~default.svc.cluster.local", metadata)
    client = proxies.join(_Connection(), proxy)  # type: ignore[arg-type]
    for key, obj in manifests.load([meshes.dump(_entry(1, address="240.240.9.9"))])[0]:
        mesh.apply(key, obj)
    proxies.flush()
    took, sent = [], 0
    for number in range(30):
        changed = manifests.load([meshes.dump(_entry(1, address=f"240.240.9.{number % 2 + 1}"))])[0]
        before = [live.seq for live in client.collections.get(NAMES, ())]
        begin = time.perf_counter()
        for key, obj in changed:
            mesh.apply(key, obj)
        proxies.flush()
        took.append((time.perf_counter() - begin) * 1e3)
        for live, seq in zip(client.collections.get(NAMES, ()), before, strict=True):
            sent = max(sent, len(live.since(seq) or ()))
    return machine.spread(took[5:]), sent


def _memory(services: int) -> tuple[float, float]:
    """(kB of a node's first pod, kB of each further one) for the names of so many services."""
    mesh = offline.mesh_of(manifests.load([meshes.text(services)])[0])
    metadata = {"NAMESPACE": "default", "DNS_CAPTURE": "true"}
    proxy = parse_node("sidecar~10.0.0.1~client.default~default.svc.cluster.local", metadata)
    tables = {r.name: (r.version, r.body) for r in offline.resources(mesh, proxy)[NAMES]}
    gc.collect()
    tracemalloc.start()
    pods, sizes = [], []
    for _ in range(_PODS):
        before = tracemalloc.get_traced_memory()[0]
        one = NameTables(["default.svc.cluster.local"])
        # As from the wire: strings and bytes of its own, which sharing has to make up for.
        one.update({n[:1] + n[1:]: (v[:1] + v[1:], bytes(bytearray(b))) for n, (v, b) in tables.items()})
        pods.append(one)
        gc.collect()
        sizes.append((tracemalloc.get_traced_memory()[0] - before) / 1024)
    tracemalloc.stop()
    assert len(pods[0]) == services
    return round(sizes[0], 1), round(sum(sizes[1:]) / (_PODS - 1), 1)


def _allocation(entries: int) -> float:
    """Milliseconds to give addresses to so many entries at once."""
    found = manifests.load([meshes.dump(_entry(n)) for n in range(entries)])[0]
    pool, begin = Pool(), time.perf_counter()
    given = [pool.status(key, obj, 0.0) for key, obj in found]  # type: ignore[arg-type]
    took = (time.perf_counter() - begin) * 1e3
    assert len({a["value"] for each in given for a in each}) == 2 * entries
    assert not any(current(obj) for _, obj in found)  # type: ignore[arg-type]
    assert isinstance(found[0][0], Key)
    return round(took, 2)


class _Asker(asyncio.DatagramProtocol):
    """Keeps a number of queries under way."""

    def __init__(self, query: bytes, count: int, window: int) -> None:
        self._query, self._left, self._window = query, count, window
        self._open = 0
        self.done = asyncio.get_running_loop().create_future()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        for _ in range(self._window):
            self._send()

    def _send(self) -> None:
        if self._left:
            self._left -= 1
            self._open += 1
            self._transport.sendto(self._query)

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._open -= 1
        self._send()
        if not self._open and not self.done.done():
            self.done.set_result(None)


async def _answers(services: int) -> dict[str, float]:
    names = NameTables(["default.svc.cluster.local", "svc.cluster.local", "cluster.local"])
    mesh = offline.mesh_of(manifests.load([meshes.text(services)])[0])
    proxy = parse_node(
        "sidecar~10.0.0.1~client.default~default.svc.cluster.local", {"NAMESPACE": "default", "DNS_CAPTURE": "true"}
    )
    names.update({r.name: (r.version, r.body) for r in offline.resources(mesh, proxy)[NAMES]})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    resolver = Resolver(-1, "127.0.0.1", 0, 1)
    server = DnsServer(PodSockets(-1), port, resolver, names)
    await resolver.start()
    await server.start()
    name = dnsmessage.encode_name("s7.default.svc.cluster.local")
    query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
    out = {}
    loop = asyncio.get_running_loop()
    for what, window in (("serial", 1), ("pipelined", _WINDOW)):
        begin = time.perf_counter()
        transport, asker = await loop.create_datagram_endpoint(
            lambda w=window: _Asker(query, _QUERIES, w), remote_addr=("127.0.0.1", port)
        )
        await asyncio.wait_for(asker.done, 60)
        out[what] = round((time.perf_counter() - begin) / _QUERIES * 1e6, 1)
        transport.close()
    parsed = dnsmessage.Query.parse(query)
    assert parsed is not None
    begin = time.perf_counter()
    for _ in range(_QUERIES):
        again = dnsmessage.Query.parse(query)
        assert again is not None
        server.answer(again)
    out["answer_alone"] = round((time.perf_counter() - begin) / _QUERIES * 1e6, 1)
    await server.close()
    resolver.close()
    await asyncio.sleep(0)
    return out


async def run() -> dict[str, Any]:
    """See the module; asker and server of the answers share one event loop, so an answer alone is cheaper."""
    out: dict[str, Any] = {}
    for services in (100, 400, 1600):
        plain, _ = _change(services, captures=False)
        with_names, sent = _change(services, captures=True)
        out[f"address_change_ms_{services}"] = plain
        out[f"address_change_with_names_ms_{services}"] = with_names
        out[f"names_sent_{services}"] = sent
    for services in (1000, 10_000):
        first, further = _memory(services)
        out[f"first_pod_kb_{services}"], out[f"further_pod_kb_{services}"] = first, further
    out["allocation_ms_1000"] = _allocation(1000)
    out["allocation_ms_10000"] = _allocation(10_000)
    out["answer_us"] = await _answers(1000)
    return out
