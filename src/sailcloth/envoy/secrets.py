"""Secrets for proxies, delivered like other resources, from a proxy's own namespace only. What a proxy may ask for is decided by who it
has proved to be (`controlplane.secret_access`): a whole namespace, or what objects name that select its workload.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import credentials, destination_rules
from sailcloth.mesh.selection import Labels
from sailcloth.view import gateways
from sailcloth.view.proxy import Proxy

from . import names
from .protobuf import encode
from .resource import EnvoyResource, resource


@derived
def ids(graph: Graph, namespace: str) -> tuple[str, ...]:
    """Names in the namespace's Secrets that a proxy may ask for."""
    return graph.get(credentials.names, namespace)


@derived
def sidecar_ids(graph: Graph, namespace: str, labels: Labels) -> tuple[str, ...]:
    """Names that a sidecar may ask for: those in DestinationRules that select its workload."""
    return _with_roots(graph.get(destination_rules.credentials, namespace, labels))


@derived
def sidecar_secret(graph: Graph, namespace: str, labels: Labels, name: str) -> EnvoyResource | None:
    """One of them."""
    return graph.get(secret, namespace, name)


@derived
def gateway_ids(graph: Graph, proxy: Proxy) -> tuple[str, ...]:
    """Names that a gateway may ask for without access to its namespace's Secrets: those in the Gateways that it serves, and those
    that its own DestinationRules name. A proxy that serves no Gateway is none."""
    served = graph.get(gateways.credentials_of, proxy)
    if served is None:
        return ()
    rules = graph.get(destination_rules.credentials_in, proxy.namespace)
    return _with_roots((*served, *rules))


@derived
def gateway_secret(graph: Graph, proxy: Proxy, name: str) -> EnvoyResource | None:
    """One of them."""
    return graph.get(secret, proxy.namespace, name)


def _with_roots(names: Iterable[str]) -> tuple[str, ...]:
    """Each name, and that of its roots."""
    return tuple(
        dict.fromkeys(n for name in names for n in (name, name.removesuffix(credentials.ROOTS) + credentials.ROOTS))
    )


@derived
def secret(graph: Graph, namespace: str, name: str) -> EnvoyResource | None:
    """One secret; None if the Secret lacks what its name promises."""
    found = graph.get(credentials.credential, namespace, name)
    if found is None:
        return None
    out = secret_pb2.Secret(name=names.credential(name))
    if found.roots:
        out.validation_context.trusted_ca.inline_bytes = found.roots
        if found.revoked:
            out.validation_context.crl.inline_bytes = found.revoked
    else:
        out.tls_certificate.certificate_chain.inline_bytes = found.chain
        out.tls_certificate.private_key.inline_bytes = found.key
    source = Key("Secret", namespace, name.removesuffix(credentials.ROOTS))
    return resource(out.name, encode(out), sources=(source,))
