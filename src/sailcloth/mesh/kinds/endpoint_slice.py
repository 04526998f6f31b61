"""EndpointSlice: indexed by its Service."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.core import EndpointSlice
from sailcloth.api.meta import Key
from sailcloth.mesh.model import MeshConfig

from .record import MeshKind, Slice

SERVICE_NAME = "kubernetes.io/service-name"


def by_service(namespace: str, service: str) -> Slice[EndpointSlice]:
    """EndpointSlices of one Service."""
    return Slice(("EndpointSlice", namespace, service))


def _slices(key: Key, slice_: EndpointSlice, config: MeshConfig) -> Iterator[Slice[EndpointSlice]]:
    if service := slice_.metadata.labels.get(SERVICE_NAME, ""):
        yield by_service(key.namespace, service)


KIND = MeshKind(EndpointSlice, slices=_slices)
