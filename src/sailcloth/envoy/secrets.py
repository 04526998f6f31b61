"""Builds the SDS secrets of proxies from the Secrets of their own namespace.

Must not decide on access: by a proxy's verified identity, `controlplane.secret_access` chooses between all Secrets of the
namespace and those that objects name which select its workload.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import backend_tls_settings, credentials, destination_rules
from sailcloth.mesh.gateway_listeners import GRANTED
from sailcloth.mesh.selection import Labels
from sailcloth.view import gateways
from sailcloth.view.proxy import Proxy

from . import names
from .protobuf import encode
from .resource import EnvoyResource, resource


@derived
def ids(graph: Graph, namespace: str) -> tuple[str, ...]:
    """SDS names for a gateway with access to all Secrets of its namespace: those, and the CA certificates of BackendTLSPolicies."""
    return (*graph.get(credentials.names, namespace), *_with_roots(graph.get(backend_tls_settings.credentials)))


@derived
def sidecar_ids(graph: Graph, namespace: str, labels: Labels) -> tuple[str, ...]:
    """SDS names for a sidecar: those in DestinationRules that select its workload."""
    return _with_roots(graph.get(destination_rules.credentials, namespace, labels))


@derived
def sidecar_secret(graph: Graph, namespace: str, labels: Labels, name: str) -> EnvoyResource | None:
    """One of them."""
    return graph.get(secret, namespace, name)


@derived
def gateway_ids(graph: Graph, proxy: Proxy) -> tuple[str, ...]:
    """SDS names for a gateway without access to all Secrets of its namespace: those in the Gateways that it serves, and those in
    its own DestinationRules and in BackendTLSPolicies. Empty for a proxy that serves no Gateway."""
    served = graph.get(gateways.credentials_of, proxy)
    if served is None:
        return ()
    rules = graph.get(destination_rules.credentials_in, proxy.namespace)
    own = (name for name in rules if not name.startswith(GRANTED))
    return _with_roots((*served, *own, *graph.get(backend_tls_settings.credentials)))


@derived
def gateway_secret(graph: Graph, proxy: Proxy, name: str) -> EnvoyResource | None:
    """One of them. A name of another namespace is among them only if that grants it."""
    return _granted(graph, name) if name.startswith(GRANTED) else graph.get(secret, proxy.namespace, name)


def _granted(graph: Graph, name: str) -> EnvoyResource | None:
    namespace, _, own = name.removeprefix(GRANTED).partition("/")
    return _secret(graph, namespace, own, name)


def _with_roots(names: Iterable[str]) -> tuple[str, ...]:
    """Each name, and the name of its CA certificates."""
    return tuple(
        dict.fromkeys(n for name in names for n in (name, name.removesuffix(credentials.ROOTS) + credentials.ROOTS))
    )


@derived
def secret(graph: Graph, namespace: str, name: str) -> EnvoyResource | None:
    """One secret; None if the Secret lacks the data that the name asks for. Of other namespaces only CA certificates of
    BackendTLSPolicies."""
    if name.removesuffix(credentials.ROOTS) in graph.get(backend_tls_settings.credentials):
        return _granted(graph, name)
    return _secret(graph, namespace, name, name)


def _secret(graph: Graph, namespace: str, name: str, called: str) -> EnvoyResource | None:
    credential = graph.get(credentials.credential, namespace, name)
    if credential is None:
        return None
    message = secret_pb2.Secret(name=names.credential(called))
    if credential.roots:
        message.validation_context.trusted_ca.inline_bytes = credential.roots
        if credential.revoked:
            message.validation_context.crl.inline_bytes = credential.revoked
    else:
        message.tls_certificate.certificate_chain.inline_bytes = credential.chain
        message.tls_certificate.private_key.inline_bytes = credential.key
    return resource(message.name, encode(message), sources=(credentials.source(namespace, name),))
