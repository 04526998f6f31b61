"""The TLS that gateways speak to services by BackendTLSPolicies, for views and secrets. `backend_tls` makes it."""

from __future__ import annotations

from sailcloth.api.destination_rule import ClientTLSSettings
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived

from . import backend_tls, registry


@derived
def settings(graph: Graph, service: Key, port: str) -> ClientTLSSettings | None:
    """The settings for a port of a Service; None without a policy."""
    found = registry.read(graph, backend_tls.BackendTls, backend_tls.key_of(service))
    return None if found is None else found.ports.get(port) or found.ports.get("")


@derived
def credentials(graph: Graph) -> tuple[str, ...]:
    """The names of all CA certificates in policies."""
    found = registry.read(graph, backend_tls.BackendTlsNames, backend_tls.NAMES)
    return found.names if found is not None else ()
