"""Which objects of the mesh name each other, both ways. Pure; for links, not for judging: that is the analysis' part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .inventory import Inventory, Object
from .schema_edit import Reference

_SELECTORS = (("selector", "matchLabels"), ("workloadSelector", "labels"), ("workloadSelector",), ("selector",))
_SELECTING = (
    "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "Sidecar", "Telemetry", "EnvoyFilter",
    "RateLimit", "Gateway",
)  # fmt: skip


def of(obj: Object, inventory: Inventory) -> list[Reference]:
    """What an object names and what names it, each once."""
    out = dict.fromkeys(named(obj, inventory))
    own = (obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
    for other in inventory.config:
        if other is not obj and any((r.kind, r.namespace, r.name) == own for r in named(other, inventory)):
            metadata = other["metadata"]
            out[
                Reference(
                    kind=other["kind"], namespace=metadata.get("namespace", ""), name=metadata["name"], what="uses this"
                )
            ] = None
    return list(out)


def named(obj: Object, inventory: Inventory) -> Iterator[Reference]:
    """What an object names, or selects."""
    spec, namespace = obj.get("spec") or {}, obj["metadata"].get("namespace", "")
    for host, subset in _destinations(obj["kind"], spec):
        entry = next(
            (o for o in inventory.config if o["kind"] == "ServiceEntry" and host in (o["spec"].get("hosts") or ())),
            None,
        )
        if entry is not None:
            yield Reference(kind="ServiceEntry", namespace=_key(entry)[0], name=_key(entry)[1], what="sends to")
            continue
        service = service_of(host, namespace)
        yield Reference(
            kind="Service", namespace=service[0], name=service[1], what="sends to", exists=service in inventory.services
        )
        if subset:
            yield from _subsets(service, namespace, subset, inventory)
    for gateway in spec.get("gateways") or () if obj["kind"] == "VirtualService" else ():
        if gateway != "mesh":
            where, _, name = str(gateway).rpartition("/")
            key = (where or namespace, name)
            exists = any(o["kind"] == "Gateway" and _key(o) == key for o in inventory.config)
            yield Reference(kind="Gateway", namespace=key[0], name=name, what="bound to", exists=exists)
    selector = _selector(obj)
    if selector:
        for workload in inventory.workloads.values():
            near = workload.namespace == namespace or obj["kind"] == "Gateway" or namespace == "istio-system"
            if near and selector.items() <= workload.labels.items():
                yield Reference(kind=workload.kind, namespace=workload.namespace, name=workload.name, what="applies to")


def _destinations(kind: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(host, subset) of services that an object names."""
    if kind == "DestinationRule":
        yield str(spec.get("host", "")), ""
    if kind != "VirtualService":
        return
    for section in ("http", "tcp", "tls"):
        for rule in spec.get(section) or ():
            mirrors = [m.get("destination") for m in rule.get("mirrors") or ()]
            targets = [r.get("destination") for r in rule.get("route") or ()]
            for destination in (*targets, *mirrors, rule.get("mirror")):
                if destination:
                    yield str(destination.get("host", "")), str(destination.get("subset") or "")


def _subsets(service: tuple[str, str], namespace: str, subset: str, inventory: Inventory) -> Iterator[Reference]:
    rules = [
        o
        for o in inventory.config
        if o["kind"] == "DestinationRule" and service_of(str(o["spec"].get("host", "")), _key(o)[0]) == service
    ]
    for rule in rules:
        if any(s.get("name") == subset for s in rule["spec"].get("subsets") or ()):
            yield Reference(
                kind="DestinationRule", namespace=_key(rule)[0], name=_key(rule)[1], what=f"has subset {subset}"
            )
            return
    yield Reference(
        kind="DestinationRule", namespace=service[0], name=service[1], what=f"has subset {subset}", exists=False
    )


def _selector(obj: Object) -> Mapping[str, str] | None:
    """The labels by which an object selects workloads; none select all. None for kinds that select none."""
    if obj["kind"] not in _SELECTING:
        return None
    value: Any = obj.get("spec") or {}
    for path in _SELECTORS:
        found: Any = value
        for part in path:
            found = found.get(part) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping) and all(isinstance(v, str) for v in found.values()):
            return found
    return {}


def service_of(host: str, namespace: str) -> tuple[str, str]:
    """(namespace, name) of a host of the mesh, as rules of a namespace write it."""
    name, _, rest = host.partition(".")
    return (rest.split(".")[0] if rest else namespace, name)


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
