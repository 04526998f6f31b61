"""The security kinds of Istio 1.0 to 1.5, converted to AuthorizationPolicies, PeerAuthentications and RequestAuthentications.

They were about services, today's are about workloads, so each service gets objects with its selector. Later layers must not know the
legacy kinds. The generated objects have names that users cannot choose, and name the objects that they come from. Source: istio.md 1.14.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sailcloth.api import core, kinds
from sailcloth.api.meta import Key, Object
from sailcloth.lib.incremental import Graph
from sailcloth.mesh.model import MeshConfig
from sailcloth.mesh.verdict import Verdict

from . import authentication, mixer, rbac
from .service import Converted, LegacyService

KINDS = frozenset(kind.name for kind in kinds.LEGACY_KINDS)

_NOTES = "legacy-notes"


class Legacy:
    """All legacy objects. `put` applies a generated object, or (None) its removal."""

    def __init__(self, graph: Graph, put: Callable[[Key, Object | None], bool]) -> None:
        self._graph, self._put = graph, put
        self._objects: dict[Key, Object] = {}
        self._generated: set[Key] = set()

    def __bool__(self) -> bool:
        return bool(self._objects or self._generated)

    def apply(self, key: Key, obj: Object | None) -> None:
        """Add, replace or remove an object. `convert` follows."""
        if obj is None:
            self._objects.pop(key, None)
            self._graph.unset((_NOTES, key))
        else:
            self._objects[key] = obj

    def convert(self, services: Iterable[tuple[Key, core.Service]], config: MeshConfig) -> bool:
        """Generate the objects that all legacy objects stand for. Returns whether any changed."""
        known = [LegacyService.of(key, obj, config.domain) for key, obj in services if obj.spec.selector]
        converted = Converted()
        authentication.convert(self._objects, known, config, converted)
        rbac.convert(self._objects, known, converted)
        mixer.convert(self._objects, known, config, converted)
        for key in self._objects:
            self._graph.set((_NOTES, key), tuple(converted.notes.get(key, ())))
        outdated = self._generated - converted.objects.keys()
        self._generated = set(converted.objects)
        changed = [self._put(key, None) for key in outdated]
        changed += [self._put(key, obj) for key, obj in converted.objects.items()]
        return any(changed)

    def objects(self) -> Mapping[Key, Object]:
        """The legacy objects."""
        return self._objects


def verdict(graph: Graph, key: Key) -> Verdict:
    """What of a legacy object does not hold as it says."""
    return Verdict(notes=graph.read((_NOTES, key)) or ())
