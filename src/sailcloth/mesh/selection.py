"""Selects the policy objects that apply to a workload, by selector, namespace (or root namespace) and age.

All policy kinds use it. Must not know the content of policies or how several merge; the feature of each kind does.
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
    """For a kind with one effective object per level: the oldest for the mesh, for the workload's namespace, and the oldest in that
    namespace that selects the workload."""

    mesh: Key | None = None
    namespace: Key | None = None
    workload: Key | None = None

    @property
    def narrowest(self) -> Key | None:
        """The object of the most specific level, for kinds of which only one applies."""
        return self.workload or self.namespace or self.mesh


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels include all pairs of a selector."""
    return all(labels.get(k) == v for k, v in selector.items())


def matches_labels(selector: Mapping[str, str], labels: Labels) -> bool:
    """The same, for labels as a tuple of pairs."""
    return not selector or matches(selector, dict(labels))


@derived
def for_workload(graph: Graph, kind: type[Object], namespace: str, labels: Labels) -> tuple[Key, ...]:
    """Objects of a policy kind that apply to a workload: those of the root namespace, then those of its own namespace, each oldest
    first."""
    root = registry.config(graph).root_namespace
    keys: list[Key] = []
    for ns in dict.fromkeys((root, namespace)):
        keys += [key for key, selector in _oldest_first(graph, kind, ns) if matches_labels(selector, labels)]
    return tuple(keys)


@derived
def levels(graph: Graph, kind: type[Object], namespace: str, labels: Labels) -> Levels:
    """The objects of a policy kind that apply to a workload at each level. For a workload in the root namespace, `namespace` is the
    mesh's object, and a selector selects workloads of that namespace only."""
    root = registry.config(graph).root_namespace
    of_namespace = _oldest_first(graph, kind, namespace)
    shared = _oldest_first(graph, kind, root) if namespace != root else of_namespace
    return Levels(
        mesh=next((key for key, selector in shared if not selector), None),
        namespace=next((key for key, selector in of_namespace if not selector), None),
        workload=next((key for key, selector in of_namespace if selector and matches_labels(selector, labels)), None),
    )


def _oldest_first(graph: Graph, kind: type[Object], namespace: str) -> list[tuple[Key, Mapping[str, str]]]:
    """A namespace's objects that select any workload, oldest first, each with its selector."""
    record: MeshKind[Any] = KINDS[kind.__name__]
    assert record.selector is not None, f"{kind.__name__} selects no workloads"
    objects = registry.objects(graph, record.in_namespace(namespace))
    objects.sort(key=lambda item: (item[1].metadata.creation_timestamp or "", item[0].name))
    return [(key, selector) for key, obj in objects if (selector := record.selector(obj)) is not None]
