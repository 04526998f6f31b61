"""Selects the policy objects that apply to a workload, by selector or reference, namespace (or root namespace) and age.

All policy kinds use it. Must not know the content of policies or how several merge; the feature of each kind does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sailcloth.api.attachment import PolicyTargetReference
from sailcloth.api.meta import Key, Object
from sailcloth.lib.incremental import Graph, derived

from . import registry
from .kinds import KINDS, MeshKind

Labels = tuple[tuple[str, str], ...]
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"  # label of the pods of a Gateway API gateway


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
    root, label_map = registry.config(graph).root_namespace, dict(labels)
    return tuple(
        key
        for ns in dict.fromkeys((root, namespace))
        for key, scope in _oldest_first(graph, kind, ns)
        if scope.includes(label_map, ns == namespace)
    )


@derived
def levels(graph: Graph, kind: type[Object], namespace: str, labels: Labels) -> Levels:
    """The objects of a policy kind that apply to a workload at each level. For a workload in the root namespace, `namespace` is the
    mesh's object, and a selector selects workloads of that namespace only."""
    root, label_map = registry.config(graph).root_namespace, dict(labels)
    of_namespace = _oldest_first(graph, kind, namespace)
    shared = _oldest_first(graph, kind, root) if namespace != root else of_namespace
    return Levels(
        mesh=next((key for key, scope in shared if scope.is_namespace), None),
        namespace=next((key for key, scope in of_namespace if scope.is_namespace), None),
        workload=next(
            (key for key, scope in of_namespace if not scope.is_namespace and scope.includes(label_map, True)), None
        ),
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """The workloads of a policy: those with the labels of its selector, or, if it has references, the pods of those gateways."""

    selector: Mapping[str, str]
    targets: tuple[PolicyTargetReference, ...] = ()

    @property
    def is_namespace(self) -> bool:
        """Whether it includes all workloads of the policy's namespace."""
        return not self.selector and not self.targets

    def includes(self, labels: Mapping[str, str], same_namespace: bool) -> bool:
        """Whether it includes a workload. A reference is to an object of the policy's namespace."""
        if not self.targets:
            return matches(self.selector, labels)
        name = labels.get(GATEWAY_NAME)
        return same_namespace and name is not None and any(_is_gateway(t) and t.name == name for t in self.targets)


def scope_of(obj: Object) -> Scope:
    """The scope of a policy object."""
    record: MeshKind[Any] = KINDS[type(obj).__name__]
    assert record.selector is not None, f"{record.name} selects no workloads"
    return Scope(record.selector(obj), record.targets(obj))


def target_problem(graph: Graph, namespace: str, scope: Scope) -> str:
    """Why a policy with references applies to no workload; empty if it does, and without references."""
    if not scope.targets:
        return ""
    names = [target.name for target in scope.targets if _is_gateway(target)]
    if not names:
        return "targetRefs to other kinds than Gateway are for waypoint proxies, which this mesh has none of; use a selector"
    pods = registry.objects(graph, KINDS["Pod"].in_namespace(namespace))
    if any(scope.includes(pod.metadata.labels, True) for _, pod in pods):
        return ""
    return f"no pod in {namespace} has the label {GATEWAY_NAME}={' or '.join(sorted(names))} of its gateway"


def _is_gateway(target: PolicyTargetReference) -> bool:
    return target.kind == "Gateway" and target.group == "gateway.networking.k8s.io"


def _oldest_first(graph: Graph, kind: type[Object], namespace: str) -> list[tuple[Key, Scope]]:
    """A namespace's policies, oldest first."""
    objects = registry.objects(graph, KINDS[kind.__name__].in_namespace(namespace))
    objects.sort(key=lambda item: (item[1].metadata.creation_timestamp or "", item[0].name))
    return [(key, scope_of(obj)) for key, obj in objects]
