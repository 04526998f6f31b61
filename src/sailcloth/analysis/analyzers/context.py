"""What a check of one object may ask about the others. Must not find anything.

Both sets of objects implement it: those of a command (`objects.ObjectSet`) and those of a running control plane (`live.LiveObjects`). So
a check that takes a `Context` runs in both, and in a control plane its findings are a derived value, computed again when something that
it has asked for changes. A check that needs more takes an `ObjectSet` and runs in commands only.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sailcloth.api import validation
from sailcloth.api.meta import Finding, Key
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import hosts, services
from sailcloth.mesh.model import MeshConfig, Service

from . import unstructured
from .unstructured import Object


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object stands: a file, the index of its YAML document, and its path in it if that is a List."""

    file: str
    document: int
    prefix: str = ""


@dataclass(frozen=True, eq=False)
class Document:
    """One object. `key.namespace` is that of the command for objects without one."""

    key: Key
    group: str
    body: Object
    origin: Origin | None = None

    @property
    def spec(self) -> Object:
        return unstructured.mapping(self.body, "spec")

    @functools.cached_property
    def admission(self) -> tuple[Finding, ...]:
        """What admission says of it."""
        return tuple(validation.check(self.body, self.key.namespace))

    @functools.cached_property
    def labels(self) -> dict[str, str]:
        return unstructured.labels(self.body, "metadata", "labels")

    @functools.cached_property
    def annotations(self) -> dict[str, str]:
        return unstructured.labels(self.body, "metadata", "annotations")


class Context(abc.ABC):
    """The objects, the mesh's options, and what the mesh makes of them.

    root: the namespace of the mesh's control plane.
    """

    root: str

    @property
    @abc.abstractmethod
    def graph(self) -> Graph:
        """The mesh with all objects that match their schema."""

    @property
    @abc.abstractmethod
    def config(self) -> MeshConfig:
        """The MeshConfig; the default one if it is invalid."""

    @abc.abstractmethod
    def get(self, kind: str, namespace: str, name: str, group: str | None = None) -> Document | None:
        """One object; without a group, of the one that the mesh reads."""

    @abc.abstractmethod
    def pod_labels(self, selector: Mapping[str, str], namespace: str = "") -> Iterable[Mapping[str, str]]:
        """The labels of the pods that have all labels of a selector, in a namespace or in all. Sorted; equal ones once."""

    @abc.abstractmethod
    def machine_labels(self, namespace: str) -> Iterable[Mapping[str, str]]:
        """The labels of the WorkloadEntries of a namespace, and of the entries that its WorkloadGroups make, where those are known."""

    def selects(self, selector: Mapping[str, str], namespace: str = "") -> bool:
        """Whether some pod has all labels of a selector, in a namespace or in all."""
        return any(True for _ in self.pod_labels(selector, namespace))

    def host(self, name: str, namespace: str) -> str:
        """The full name of a host in an object of a namespace."""
        return hosts.resolve(name, namespace, self.config.domain)

    def service(self, host: str, namespace: str) -> Service | None:
        """The service that clients in a namespace reach by a full host name, which may be covered by a wildcard of a ServiceEntry."""
        for name in (host, *hosts.wildcards(host)):
            found = self.graph.get(services.by_host, name, namespace)
            if found is not None:
                return found
        return None
