"""The interface of a resource that discovery needs, and the type URLs that it orders.

Must not know what a resource means.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2


def _url(message: type) -> str:
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"  # type: ignore[attr-defined]


CLUSTER = _url(cluster_pb2.Cluster)
ENDPOINTS = _url(endpoint_pb2.ClusterLoadAssignment)
LISTENER = _url(listener_pb2.Listener)
ROUTES = _url(route_pb2.RouteConfiguration)
SECRET = _url(secret_pb2.Secret)
EXTENSION = _url(extension_pb2.TypedExtensionConfig)
NAMES = "type.googleapis.com/istio.networking.nds.v1.NameTable"  # for the DNS proxy of agents; Istio's NameTable
SHORT = {CLUSTER: "CDS", ENDPOINTS: "EDS", LISTENER: "LDS", ROUTES: "RDS", NAMES: "NDS", SECRET: "SDS"}


class Resource(Protocol):
    """One resource: serialised bytes with a version. Equal versions mean equal bytes."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def clusters(self) -> frozenset[str]:
        """Names of the clusters that the resource refers to."""

    @property
    def endpoints(self) -> str:
        """Of an EDS cluster: its service name in EDS; else empty."""

    @property
    def sources(self) -> tuple[Hashable, ...]:
        """Keys of the user objects that the resource is derived from."""

    @property
    def applied(self) -> tuple[tuple[Hashable, int], ...]:
        """Parts of user objects that took effect in the resource: (key, index of the part), repeated for each time."""
