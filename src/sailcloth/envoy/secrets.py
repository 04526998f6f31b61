"""Secrets for gateway proxies, delivered like other resources to a proxy whose namespace is verified, from its namespace only."""

from __future__ import annotations

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import credentials

from . import names
from .protobuf import encode
from .resource import EnvoyResource, resource


@derived
def ids(graph: Graph, namespace: str) -> tuple[str, ...]:
    """Names in the namespace's Secrets that a proxy may ask for."""
    return graph.get(credentials.names, namespace)


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
