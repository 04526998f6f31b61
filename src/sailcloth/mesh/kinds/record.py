"""The record of one kind: the slices that index its objects, and the parts that decide where they apply.

Must not know any particular kind; each has its own module in this package.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from sailcloth.api.attachment import PolicyTargetReference
from sailcloth.api.meta import Key, Object
from sailcloth.mesh.model import MeshConfig

T = TypeVar("T", bound=Object)

Traffic = Literal["inbound", "outbound", "gateway"]
"""What a proxy does with a connection: accepts it for its workload, sends it from there to others, or lets it into the mesh."""


class Slice(tuple[Hashable, ...], Generic[T]):
    """The name of an indexed set of objects of type T, such as "VirtualServices with this host".

    Only functions of a kind's module create slices, so that no code reads a slice that nothing fills.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Exports:
    """The hosts of the services that an object defines, the namespaces where they are visible (`*` for all), and the addresses that
    some of them have."""

    hosts: tuple[str, ...]
    namespaces: tuple[str, ...]
    addresses: tuple[str, ...] = ()


def nothing(*_: Any) -> tuple[()]:
    """No slices, no labels."""
    return ()


@dataclass(frozen=True)
class MeshKind(Generic[T]):
    """One kind. All functions are pure; `Key` is the key of the object.

    type: the API type; its name is the kind's.
    slices: the slices that contain an object.
    caller_labels: label keys of clients that an object matches on; they become part of a proxy's view.
    exports: the services that an object defines.
    head: the part of an object that decides where it applies; a change of the rest does not invalidate readers of the head.
    selector: of a policy: the labels that select workloads; empty for all of its namespace.
    targets: of a policy: the objects that it references instead (`targetRefs`).
    traffic: of a policy: the traffic that it affects.
    metadata_keys: of a policy: keys of a proxy's node metadata that it matches on.
    """

    type: type[T]
    slices: Callable[[Key, T, MeshConfig], Iterable[Slice[T]]] = nothing
    caller_labels: Callable[[T], Iterable[str]] = nothing
    exports: Callable[[Key, T, MeshConfig], Exports] | None = None
    head: Callable[[Key, T, MeshConfig], Hashable] | None = None
    selector: Callable[[T], Mapping[str, str]] | None = None
    targets: Callable[[T], tuple[PolicyTargetReference, ...]] = nothing
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
