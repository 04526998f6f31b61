"""The TLS that gateways speak to services by BackendTLSPolicies, for views and secrets. `backend_tls` makes it."""

from __future__ import annotations

from sailcloth.api.destination_rule import ClientTLSSettings
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived

from . import backend_tls, registry
from .gateway_listeners import GatewayClient, client_key
from .selection import GATEWAY_NAME, Labels


@derived
def settings(graph: Graph, service: Key, port: str) -> ClientTLSSettings | None:
    """The settings for a port of a Service; None without a policy."""
    found = registry.read(graph, backend_tls.BackendTls, backend_tls.key_of(service))
    return None if found is None else found.ports.get(port) or found.ports.get("")


@derived
def client_certificate(graph: Graph, namespace: str, labels: Labels) -> str:
    """The name of the certificate that a gateway shows to such services, by its pod's labels; empty for none."""
    name = dict(labels).get(GATEWAY_NAME, "")
    found = registry.read(graph, GatewayClient, client_key(namespace, name)) if name else None
    return found.certificate if found is not None else ""


@derived
def credentials(graph: Graph) -> tuple[str, ...]:
    """The names of all CA certificates in policies."""
    found = registry.read(graph, backend_tls.BackendTlsNames, backend_tls.NAMES)
    return found.names if found is not None else ()
