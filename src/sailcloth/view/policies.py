"""All policies of a workload's traffic, as one value in the view and in the inbound plan.

Holds keys of objects. Must not know their content: the feature of each kind resolves them (`envoy.features`), so that a new
policy kind changes nothing here. Equal values mean equal policies, for any pod.
"""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.meta import Key, Object
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import registry, selection
from sailcloth.mesh.kinds import KINDS, POLICIES, Traffic
from sailcloth.mesh.selection import Labels

from .metadata import NodeMetadata

_Keys = tuple[tuple[str, tuple[Key, ...]], ...]


@dataclass(frozen=True, slots=True)
class Policies:
    """Keys of the policy objects by kind, in the order of `selection.for_workload`, and the pairs of the proxy's node metadata
    that some of them match on."""

    keys: _Keys = ()
    metadata: tuple[tuple[str, str], ...] = ()

    def of(self, kind: type[Object]) -> tuple[Key, ...]:
        """The objects of one kind."""
        return next((keys for name, keys in self.keys if name == kind.__name__), ())


NO_POLICIES = Policies()


def of_proxy(graph: Graph, namespace: str, labels: Labels, metadata: NodeMetadata, traffic: Traffic) -> Policies:
    """The policies for a proxy's traffic."""
    keys = graph.get(_selected, namespace, labels, traffic)
    metadata_keys = graph.get(_metadata_keys, keys)
    return Policies(keys, tuple((k, metadata[k]) for k in metadata_keys if k in metadata)) if keys else NO_POLICIES


@derived
def _selected(graph: Graph, namespace: str, labels: Labels, traffic: Traffic) -> _Keys:
    selected = (
        (kind.name, graph.get(selection.for_workload, kind.type, namespace, labels))
        for kind in POLICIES
        if traffic in kind.traffic
    )
    return tuple((name, keys) for name, keys in selected if keys)


@derived
def _metadata_keys(graph: Graph, selected: _Keys) -> tuple[str, ...]:
    metadata_keys: set[str] = set()
    for name, keys in selected:
        kind = KINDS[name]
        for key in keys:
            obj = registry.read(graph, kind.type, key)
            metadata_keys.update(kind.metadata_keys(obj) if obj is not None else ())
    return tuple(sorted(metadata_keys))
