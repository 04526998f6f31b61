"""The findings about one object of a running control plane, as a derived value of the mesh's graph.

What a check asks of other objects becomes a dependency, so that a change costs the checks of the objects that it concerns. Runs the checks of
single objects (`pipeline.Each`); those of whole sets run in commands only. Must not read anything but the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import msgspec

from sailcloth.api import kinds
from sailcloth.api.meta import Finding, Key, Object
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import registry, selection
from sailcloth.mesh.kinds import workload_entry
from sailcloth.mesh.model import MeshConfig

from .context import Context, Document
from .pipeline import ANALYZERS, Each, order

_CHECKS = {
    kind.name: tuple(
        dict.fromkeys(a.check.check for a in ANALYZERS if isinstance(a.check, Each) and kind.name in a.check.kinds)
    )
    for kind in kinds.BY_GROUP_KIND.values()
}
_GROUPS = {kind.name: kind.group for kind in reversed(kinds.BY_GROUP_KIND.values())}
_API_VERSIONS = {k.name: f"{k.group}/{k.versions[0]}".lstrip("/") for k in reversed(kinds.BY_GROUP_KIND.values())}


def received(graph: Graph, key: Key, obj: Object | None) -> Object | None:
    """Tell the last valid version of an object, which is analyzed although the mesh may still have the version before. Returns that of
    before."""
    previous = cast("Object | None", graph.read(("received object", key)))
    if obj is None:
        graph.unset(("received object", key))
    else:
        graph.set(("received object", key), obj)
    return previous


@derived
def findings(graph: Graph, key: Key) -> tuple[Finding, ...]:
    """The findings about an object, worst first; none if it is not in the mesh."""
    objects = LiveObjects(graph)
    latest = cast("Object | None", graph.read(("received object", key)))
    one = objects.get(*key) if latest is None else _document(key, latest)
    if one is None:
        return ()
    found = (f for check in _CHECKS.get(key.kind, ()) for f in check(objects, one))
    return tuple(sorted(dict.fromkeys(found), key=order))


class LiveObjects(Context):
    """The objects of the mesh, read through its graph. All of them match their schema."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    @property
    def graph(self) -> Graph:
        return self._graph

    @property
    def config(self) -> MeshConfig:
        return registry.config(self._graph)

    @property
    def root(self) -> str:  # type: ignore[override]
        return self.config.root_namespace

    def get(self, kind: str, namespace: str, name: str, group: str | None = None) -> Document | None:
        key = Key(kind, namespace, name)
        obj = registry.read(self._graph, Object, key) if group in (None, _GROUPS.get(kind)) else None
        return _document(key, obj) if obj is not None else None

    def pod_labels(self, selector: Mapping[str, str], namespace: str = "") -> Iterator[Mapping[str, str]]:
        for pairs in registry.pod_labels(self._graph, namespace):
            labels = dict(pairs)
            if selection.matches(selector, labels):
                yield labels

    def machine_labels(self, namespace: str) -> Iterable[Mapping[str, str]]:
        entries = registry.objects(self._graph, workload_entry.by_label(namespace, None))
        return [workload_entry.labels(entry) for _, entry in entries]


def _document(key: Key, obj: Object) -> Document:
    """An object in JSON form."""
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(obj))
    return Document(key, _GROUPS[key.kind], {"apiVersion": _API_VERSIONS[key.kind], "kind": key.kind, **body})
