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


@dataclass(frozen=True, slots=True)
class Origin:
    """A mode and what sets it: the level (default, mesh, namespace, workload or port) and the object, as its user wrote it."""

    mode: str = "PERMISSIVE"
    level: str = "default"
    source: Key | None = None


@derived
def modes(graph: Graph, policies: tuple[Key, ...]) -> MutualTlsModes:
    """The effective modes of some PeerAuthentications, in the order of `selection.for_workload`.

    UNSET inherits; the default is PERMISSIVE; the oldest object of a level is used. An object in the root namespace applies to the
    mesh; with a selector there it applies to no workload.
    """
    levels = _levels(graph, policies)
    mode, ports = _origins(levels)
    sources = tuple(source for _, key, policy in levels for source in legacy.sources(key, policy))
    return MutualTlsModes(mode.mode, tuple(sorted((port, o.mode) for port, o in ports.items())), sources)


def origins(graph: Graph, policies: tuple[Key, ...]) -> tuple[Origin, dict[int, Origin]]:
    """Why `modes` are what they are: for all ports, and for those with a mode of their own."""
    return _origins(_levels(graph, policies))


_Level = tuple[str, Key, PeerAuthentication]


def _levels(graph: Graph, policies: tuple[Key, ...]) -> list[_Level]:
    """The object in force at each level, the mesh's first."""
    root = registry.config(graph).root_namespace
    levels: dict[str, _Level] = {}
    for key in policies:
        policy = registry.read(graph, PeerAuthentication, key)
        selects = policy is not None and policy.spec.selector is not None and policy.spec.selector.match_labels
        if policy is None or (selects and key.namespace == root):
            continue
        level = "workload" if selects else "mesh" if key.namespace == root else "namespace"
        levels.setdefault(level, (level, key, policy))
    return [levels[level] for level in ("mesh", "namespace", "workload") if level in levels]


def _origins(levels: list[_Level]) -> tuple[Origin, dict[int, Origin]]:
    origin, ports = Origin(), dict[int, Origin]()
    for level, key, policy in levels:
        source = next(iter(legacy.sources(key, policy)), key)
        if policy.spec.mtls is not None and policy.spec.mtls.mode != "UNSET":
            origin = Origin(policy.spec.mtls.mode, level, source)
        if level == "workload":
            port_modes = policy.spec.port_level_mtls.items()
            ports = {
                int(port): origin if m.mode == "UNSET" else Origin(m.mode, "port", source)
                for port, m in port_modes
                if port.isdigit()
            }
    return origin, ports
