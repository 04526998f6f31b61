"""The mutual TLS mode that holds for a workload's port: mesh, then namespace, then workload, then port."""

from __future__ import annotations

from sailcloth.api.meta import Key
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.lib.incremental import Graph, derived

from . import endpoints, registry

Labels = tuple[tuple[str, str], ...]


@derived
def modes(graph: Graph, namespace: str, labels: Labels) -> tuple[str, tuple[tuple[int, str], ...], tuple[Key, ...]]:
    """(mode for all ports, modes of single ports, objects they came from). Source: istio.md 2.9.

    UNSET inherits; nothing at all means PERMISSIVE; at each level the oldest object counts.
    """
    root = registry.config(graph).root_namespace
    levels: list[tuple[Key, PeerAuthentication] | None] = [
        _oldest(graph, root, None),
        _oldest(graph, namespace, None) if namespace != root else None,
        _oldest(graph, namespace, labels) if namespace != root else None,
    ]
    mode, ports, sources = "PERMISSIVE", {}, []
    for level in levels:
        if level is None:
            continue
        key, policy = level
        sources.append(key)
        if policy.spec.mtls is not None and policy.spec.mtls.mode != "UNSET":
            mode = policy.spec.mtls.mode
    workload = levels[2]
    if workload is not None:
        for port, own in workload[1].spec.port_level_mtls.items():
            if port.isdigit():
                ports[int(port)] = mode if own.mode == "UNSET" else own.mode
    return mode, tuple(sorted(ports.items())), tuple(sources)


def mode_at(found: tuple[str, tuple[tuple[int, str], ...], tuple[Key, ...]], port: int) -> str:
    """The mode for one port of the workload."""
    return dict(found[1]).get(port, found[0])


def _oldest(graph: Graph, namespace: str, labels: Labels | None) -> tuple[Key, PeerAuthentication] | None:
    best: tuple[str, str, Key, PeerAuthentication] | None = None
    for key in registry.select(graph, ("peer-authentications", namespace)):
        policy: PeerAuthentication | None = registry.read(graph, key)
        if policy is None:
            continue
        selector = policy.spec.selector.match_labels if policy.spec.selector is not None else {}
        if (labels is None) == bool(selector) or (labels is not None and not endpoints.has_labels(selector, labels)):
            continue
        candidate = (policy.metadata.creation_timestamp or "", key.name, key, policy)
        if best is None or candidate[:2] < best[:2]:
            best = candidate
    return (best[2], best[3]) if best else None
