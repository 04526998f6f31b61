"""The unit of delivery: one Envoy resource as bytes, with what delivery needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

from sailcloth.api.meta import Key

PREFIX = "type.googleapis.com/envoy.config."
CLUSTER = PREFIX + "cluster.v3.Cluster"
ENDPOINTS = PREFIX + "endpoint.v3.ClusterLoadAssignment"
LISTENER = PREFIX + "listener.v3.Listener"
ROUTES = PREFIX + "route.v3.RouteConfiguration"
EXTENSION = PREFIX + "core.v3.TypedExtensionConfig"
NAMES = "type.googleapis.com/istio.networking.nds.v1.NameTable"  # for agents that answer DNS
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True, slots=True)
class EnvoyResource:
    """Serialised bytes with a content-hash version. `clusters` are those that it refers to, `sources` the user objects
    that it came from. Equal bytes have equal versions."""

    name: str
    version: str
    body: bytes = field(repr=False)
    clusters: frozenset[str] = frozenset()
    sources: tuple[Key, ...] = ()
    endpoints: str = ""  # a cluster's name in the endpoint service, empty if its endpoints come otherwise
    patched: tuple[
        tuple[Key, int], ...
    ] = ()  # users' patches that took effect: EnvoyFilter and place in it, once for each time


def version_of(body: bytes) -> str:
    """Content hash of serialised bytes, 16 hexadecimal digits."""
    return blake2b(body, digest_size=8).hexdigest()


def resource(
    name: str, body: bytes, clusters: frozenset[str] = frozenset(), sources: tuple[Key, ...] = (), endpoints: str = ""
) -> EnvoyResource:
    """A resource from its bytes."""
    return EnvoyResource(name, version_of(body), body, clusters, tuple(dict.fromkeys(sources)), endpoints)
