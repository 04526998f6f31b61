"""Secrets for proxies, delivered like other resources to a proxy whose namespace is verified, from its namespace only: all that
a gateway asks for, and to a sidecar those that DestinationRules for its workload name.
"""

from __future__ import annotations

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import credentials, destination_rules
from sailcloth.view.proxy import View

from . import names
from .protobuf import encode
from .resource import EnvoyResource, resource


@derived
def ids(graph: Graph, namespace: str) -> tuple[str, ...]:
    """Names in the namespace's Secrets that a proxy may ask for."""
    return graph.get(credentials.names, namespace)


@derived
def own_ids(graph: Graph, view: View) -> tuple[str, ...]:
    """Names that a sidecar may ask for."""
    named = graph.get(destination_rules.credentials, view.namespace, view.labels)
    return tuple(n for name in named for n in (name, name.removesuffix(credentials.ROOTS) + credentials.ROOTS))


@derived
def own_secret(graph: Graph, view: View, name: str) -> EnvoyResource | None:
    """One of them."""
    return graph.get(secret, view.namespace, name)


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
