"""The mutual TLS modes of a workload's ports, by mesh, namespace, workload and port. Source: istio.md 2.9."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.meta import Key
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.lib.incremental import Graph, derived

from . import registry
from .legacy import service as legacy


@dataclass(frozen=True, slots=True)
class MutualTlsModes:
    """DISABLE, PERMISSIVE or STRICT for all ports and for single ports, and the objects that set them."""

    mode: str = "PERMISSIVE"
    ports: tuple[tuple[int, str], ...] = ()
    sources: tuple[Key, ...] = ()

    def mode_of_port(self, port: int) -> str:
        """The mode of one port of the workload."""
        return dict(self.ports).get(port, self.mode)


@derived
def modes(graph: Graph, policies: tuple[Key, ...]) -> MutualTlsModes:
    """The effective modes of some PeerAuthentications, in the order of `selection.for_workload`.

    UNSET inherits; the default is PERMISSIVE; the oldest object of a level is used. An object in the root namespace applies to the
    mesh; with a selector there it applies to no workload.
    """
    root = registry.config(graph).root_namespace
    levels: dict[str, tuple[Key, PeerAuthentication]] = {}
    for key in policies:
        policy = registry.read(graph, PeerAuthentication, key)
        selects = policy is not None and policy.spec.selector is not None and policy.spec.selector.match_labels
        if policy is None or (selects and key.namespace == root):
            continue
        level = "workload" if selects else "mesh" if key.namespace == root else "namespace"
        levels.setdefault(level, (key, policy))
    mode, ports = "PERMISSIVE", {}
    sources: list[Key] = []
    for level in ("mesh", "namespace", "workload"):
        if level not in levels:
            continue
        key, policy = levels[level]
        sources += legacy.sources(key, policy)
        if policy.spec.mtls is not None and policy.spec.mtls.mode != "UNSET":
            mode = policy.spec.mtls.mode
        if level == "workload":
            port_modes = policy.spec.port_level_mtls.items()
            ports = {int(p): mode if m.mode == "UNSET" else m.mode for p, m in port_modes if p.isdigit()}
    return MutualTlsModes(mode, tuple(sorted(ports.items())), tuple(sources))
