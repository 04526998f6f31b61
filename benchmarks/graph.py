"""The incremental graph by itself: a read that hits, a change that is cut off, a change that passes through."""

from __future__ import annotations

import time
from typing import Any

from sailcloth.analysis import manifests, offline
from sailcloth.controlplane.connected_proxies import ConnectedProxies
from sailcloth.view.proxy import parse_node

from . import machine, meshes


class _Connection:
    """What proxies need of a connection, for a client that never asks."""

    def __init__(self) -> None:
        from sailcloth.xds.cache import ResponseCache
        from sailcloth.xds.stream import Stream

        self.stream = Stream(ResponseCache())

    def wake(self) -> None:
        """Nothing is sent."""


async def run() -> dict[str, Any]:
    """Milliseconds for one changed VirtualService by number of services, delivery left out."""
    out: dict[str, Any] = {}
    points = []
    for services in (100, 200, 400, 800, 1600):
        mesh = offline.mesh_of(manifests.load([meshes.text(services)])[0])

        async def nobody(_: dict[str, str]) -> str | None:
            return None

        proxies = ConnectedProxies(mesh, nobody)
        proxy = parse_node("sidecar~10.0.0.1~client.default~default.svc.cluster.local", {"NAMESPACE": "default"})
        proxies.join(_Connection(), proxy)  # type: ignore[arg-type]
        proxies.flush()
        took = []
        for number in range(30):
            changed = manifests.load([meshes.dump(meshes.virtual_service(0, number % 2 + 1))])[0]
            begin = time.perf_counter()
            for key, obj in changed:
                mesh.apply(key, obj)
            proxies.flush()
            took.append((time.perf_counter() - begin) * 1e3)
        out[f"one_change_ms_{services}"] = machine.spread(took[5:])
        points.append((services, machine.spread(took[5:])["p50"]))
    out["exponent"] = meshes.exponent(points)
    return out
