"""What the mesh knows of one kind of object: by which questions its objects are found, and what of them decides where they hold.

Must not know any particular kind: each has a module of its own beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from sailcloth.api.meta import Key, Object
from sailcloth.mesh.model import MeshConfig

T = TypeVar("T", bound=Object)

Traffic = Literal["inbound", "outbound", "gateway"]
"""What a proxy does with a connection: takes it for its workload, brings it from there to others, or lets it into the mesh."""


class Slice(tuple[Hashable, ...], Generic[T]):
    """Names a set of objects of type T that is kept up to date as an index, such as "VirtualServices that name this host".

    Made only by the functions of a kind's module, so that nobody reads a slice that nothing fills.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Exports:
    """The host names that an object gives to services, and the namespaces that see them (`*` for all)."""

    hosts: tuple[str, ...]
    namespaces: tuple[str, ...]


def nothing(*_: Any) -> tuple[()]:
    """No slices, no labels."""
    return ()


@dataclass(frozen=True)
class MeshKind(Generic[T]):
    """One kind. Every function is pure; `Key` names the object that is given.

    type: the API type; its name is the kind's.
    slices: in which slices an object is.
    caller_labels: label keys by which an object tells calling workloads apart; they become part of a proxy's view.
    exports: the services that an object defines.
    head: what decides where an object holds, without the rest; equal heads wake nobody who reads only the head.
    selector: of a policy: the labels of the workloads that it holds for; empty for all of its namespace, None for no workload.
    traffic: of a policy: what it has a say in.
    metadata_keys: of a policy: keys of a proxy's node metadata by which it tells proxies apart.
    """

    type: type[T]
    slices: Callable[[Key, T, MeshConfig], Iterable[Slice[T]]] = nothing
    caller_labels: Callable[[T], Iterable[str]] = nothing
    exports: Callable[[Key, T, MeshConfig], Exports] | None = None
    head: Callable[[Key, T, MeshConfig], Hashable] | None = None
    selector: Callable[[T], Mapping[str, str] | None] | None = None
    traffic: frozenset[Traffic] = frozenset()
    metadata_keys: Callable[[T], Iterable[str]] = nothing

    @property
    def name(self) -> str:
        return self.type.__name__

    def in_namespace(self, namespace: str) -> Slice[T]:
        """The objects of one namespace. Every policy is in it."""
        return of_namespace(self.type, namespace)


def of_namespace(kind: type[T], namespace: str) -> Slice[T]:
    """The objects of a kind in one namespace, for kinds that keep that slice."""
    return Slice(("namespace", kind.__name__, namespace))
