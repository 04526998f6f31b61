"""Which policy objects hold for a workload.

The one place that knows how: the object's selector, its namespace or the root namespace, and age. Every kind of policy uses it;
what the objects say, and how several are joined, is the business of each kind's feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sailcloth.api.meta import Key, Object
from sailcloth.lib.incremental import Graph, derived

from . import registry
from .kinds import KINDS, MeshKind

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Levels:
    """Of a kind of which one object holds at each level: the oldest for the mesh, for the workload's namespace, and of those
    that select the workload in its own namespace."""

    mesh: Key | None = None
    namespace: Key | None = None
    workload: Key | None = None

    @property
    def narrowest(self) -> Key | None:
        """The object that holds where only one does."""
        return self.workload or self.namespace or self.mesh


def matches(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels hold every wanted pair."""
    return all(labels.get(k) == v for k, v in wanted.items())


def has_labels(wanted: Mapping[str, str], labels: Labels) -> bool:
    """The same, for labels as pairs."""
    return not wanted or matches(wanted, dict(labels))


@derived
def for_workload(graph: Graph, kind: type[Object], namespace: str, labels: Labels) -> tuple[Key, ...]:
    """Objects of a policy kind that hold for a workload: those of the root namespace, then those of its own, in each the oldest
    first."""
    root = registry.config(graph).root_namespace
    out: list[Key] = []
    for ns in dict.fromkeys((root, namespace)):
        out += [key for key, wanted in _oldest_first(graph, kind, ns) if has_labels(wanted, labels)]
    return tuple(out)


@derived
def levels(graph: Graph, kind: type[Object], namespace: str, labels: Labels) -> Levels:
    """The objects of a policy kind that hold for a workload at each level. In the root namespace itself `namespace` is the
    mesh's object, and a selector there means workloads of that namespace only."""
    root = registry.config(graph).root_namespace
    own = _oldest_first(graph, kind, namespace)
    shared = _oldest_first(graph, kind, root) if namespace != root else own
    return Levels(
        mesh=next((key for key, wanted in shared if not wanted), None),
        namespace=next((key for key, wanted in own if not wanted), None),
        workload=next((key for key, wanted in own if wanted and has_labels(wanted, labels)), None),
    )


def _oldest_first(graph: Graph, kind: type[Object], namespace: str) -> list[tuple[Key, Mapping[str, str]]]:
    """A namespace's objects that select any workload, each with the labels that it asks for."""
    record: MeshKind[Any] = KINDS[kind.__name__]
    assert record.selector is not None, f"{kind.__name__} selects no workloads"
    found = registry.objects(graph, record.in_namespace(namespace))
    found.sort(key=lambda item: (item[1].metadata.creation_timestamp or "", item[0].name))
    return [(key, wanted) for key, obj in found if (wanted := record.selector(obj)) is not None]
