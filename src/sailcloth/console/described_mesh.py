"""The mesh as the control plane sees it, from the objects that the console watches, for descriptions of workloads and services.

Only objects that have changed since the last look are read again. Must not know a request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sailcloth.analysis import describe, manifests
from sailcloth.analysis.describe import Description, MeshSnapshot, PodDescription
from sailcloth.api.meta import Finding, Key
from sailcloth.kube.resources import ENDPOINTSLICES, NAMESPACES, PODS, SERVICES
from sailcloth.mesh import mesh_config
from sailcloth.mesh.registry import Mesh

from . import schema_details as schema
from .schema_details import MeshObject

Object = Mapping[str, Any]
_READ = (NAMESPACES, PODS, SERVICES, ENDPOINTSLICES)
_BATCH = 200  # objects, before other requests have their turn


class DescribedMesh:
    """Keeps the mesh of the cluster's objects."""

    def __init__(self) -> None:
        self._mesh, self._options = Mesh(), ""
        self._known: dict[tuple[str, str, str], Object] = {}
        self._lock = asyncio.Lock()

    async def snapshot(
        self, lists: Mapping[str, Sequence[Object]], config: Sequence[Object], options: str = ""
    ) -> MeshSnapshot:
        """The mesh of these objects, with its proxies. options: the MeshConfig in YAML; one that is not valid changes nothing."""
        async with self._lock:
            if options != self._options:
                self._options = options
                with contextlib.suppress(ValueError):
                    self._mesh.configure(mesh_config.parse(options))
            current = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in config}
            heads: dict[tuple[str, str, str], Object] = {}
            for resource in _READ:
                head = {"kind": resource.kind, "apiVersion": resource.api_version}
                for obj in lists.get(resource.plural, ()):
                    key = (resource.kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
                    current[key], heads[key] = obj, head
            for gone in self._known.keys() - current.keys():
                self._mesh.apply(Key(*gone), None)
                del self._known[gone]
            changed = [key for key, obj in current.items() if self._known.get(key) is not obj]
            for count, key in enumerate(changed, 1):
                parsed = manifests.typed({**current[key], **heads.get(key, {})})
                if parsed is not None and not isinstance(parsed, Finding):
                    self._mesh.apply(*parsed)
                self._known[key] = current[key]
                if not count % _BATCH:
                    await asyncio.sleep(0)
            return describe.snapshot_of(self._mesh, (p for p in lists.get("pods", ()) if "spec" in p))


def of_pod(snapshot: MeshSnapshot, namespace: str, name: str) -> PodDescription | None:
    """The description of a pod; None if the mesh does not know it."""
    try:
        return describe.pod(snapshot, Key("Pod", namespace, name))
    except KeyError:
        return None


def of_service(snapshot: MeshSnapshot, namespace: str, name: str) -> Description | None:
    """The description of a service; None if the mesh does not know it."""
    try:
        return describe.service(snapshot, Key("Service", namespace, name))
    except KeyError:
        return None


def objects(pods: Iterable[PodDescription], services: Iterable[Description]) -> Iterator[MeshObject]:
    """The objects of the mesh that the descriptions name, each with what it does."""
    seen: dict[tuple[str, str, str], MeshObject] = {}

    def put(kind: str, name: str, note: str) -> None:
        namespace, _, short = name.partition("/")
        seen.setdefault((kind, namespace, short), MeshObject(kind=kind, namespace=namespace, name=short, note=note))

    for pod in pods:
        for policy in pod.policies:
            put(policy.kind, policy.name, f"{policy.action}{' (dry run)' if policy.dry_run else ''}")
        if pod.sidecar:
            put("Sidecar", pod.sidecar, ", ".join(pod.egress))
        for name in pod.serves:
            put("Gateway", name, "")
    descriptions = [facts for pod in pods for facts in pod.services] + [one.service for one in services]
    for one in services:
        for workload in one.workloads:
            for policy in workload.policies:
                put(policy.kind, policy.name, policy.action)
    for facts in descriptions:
        for routes in facts.routes:
            via = "" if routes.via == "mesh" else f" at Gateway {routes.via}"
            put("VirtualService", routes.virtual_service, f"hosts {', '.join(routes.hosts)}{via}")
        for rule in facts.rules:
            for name in rule.names:
                subsets = [s.name for s in rule.subsets]
                put(
                    "DestinationRule",
                    name,
                    "; ".join((*rule.settings, *([f"subsets {', '.join(subsets)}"] if subsets else ()))),
                )
        for exposed in facts.gateways:
            put("Gateway", exposed.gateway, f"port {exposed.port}, hosts {', '.join(exposed.hosts)}")
    yield from (seen[key] for key in sorted(seen))


def ports(description: Description, readable: frozenset[str]) -> list[schema.PortRow]:
    """The ports of a service, with how clients of readable namespaces secure requests to them."""
    return [
        schema.PortRow(
            name=port.name,
            number=port.number,
            protocol=port.protocol,
            target=port.target,
            clients=[
                f"{', '.join(names)}{f' to subset {c.subset}' if c.subset else ''}: {c.tls} ({c.by})"
                for c in port.clients
                if (names := [n for n in c.namespaces if n in readable])
            ],
        )
        for port in description.service.ports
    ]


def modes(pods: Iterable[PodDescription], hides: Callable[[str], bool]) -> list[schema.MutualTls]:
    """The modes of mutual TLS of some pods. hides: whether the name of a source is not for the user."""
    found = {(m.port, m.mode, "" if hides(m.source) else m.source) for pod in pods for m in pod.mutual_tls}
    ordered = sorted(found, key=lambda m: (m[0] == 0, m))
    return [schema.MutualTls(port=port, mode=mode, source=source) for port, mode, source in ordered]
