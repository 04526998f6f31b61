"""The incremental graph by itself: a read that hits, a change that is cut off, a change that passes through."""

from __future__ import annotations

import time
from typing import Any

from sailcloth.analysis import manifests, offline
from sailcloth.analysis.analyzers import live
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
    return out | _analysis()


def _analysis() -> dict[str, Any]:
    """The findings of the analysis as derived values: the first of all VirtualServices, then what one changed VirtualService, one changed
    Service and one more pod cost."""
    out: dict[str, Any] = {}
    for services in (100, 1600):
        mesh = offline.mesh_of(manifests.load([meshes.text(services)])[0])
        keys = [key for key in mesh.objects if key.kind == "VirtualService"]
        for key in keys:
            mesh.graph.watch(live.findings, key)
        begin = time.perf_counter()
        found = sum(len(mesh.graph.get(live.findings, key)) for key in keys)
        out[f"analysis_first_ms_{services}"] = round((time.perf_counter() - begin) * 1e3, 1)
        out[f"analysis_findings_{services}"] = found
        mesh.graph.touched()
        changes = {
            "rule": lambda n: meshes.virtual_service(0, n % 2 + 1),
            "service": lambda n: {**meshes.service(0), "spec": {**meshes.service(0)["spec"], "ports": _ports(n % 2)}},
            "pod": lambda n: {
                "apiVersion": "v1", "kind": "Pod", "spec": {},
                "metadata": {"name": f"extra-{n}", "namespace": "default", "labels": {"app": "service-0"}},
            },
        }  # fmt: skip
        for name, change in changes.items():
            took, again = [], 0
            for number in range(30):
                changed = manifests.load([meshes.dump(change(number))])[0]
                begin = time.perf_counter()
                for key, obj in changed:
                    mesh.apply(key, obj)
                touched = [args[0] for fn, args in mesh.graph.touched() if fn is live.findings]
                for key in touched:
                    mesh.graph.get(live.findings, key)
                took.append((time.perf_counter() - begin) * 1e3)
                again = max(again, len(touched) if number > 4 else 0)
            out[f"analysis_{name}_ms_{services}"] = machine.spread(took[5:])
            out[f"analysis_{name}_objects_{services}"] = again
    return out


def _ports(number: int) -> list[dict[str, Any]]:
    port = {"name": "http", "port": 80, "targetPort": 8080}
    return [port, {"name": "http-b", "port": 81, "targetPort": 8081}] if number else [port]
