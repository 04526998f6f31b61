"""External authorizers: the MeshConfig's `extensionProviders` that AuthorizationPolicies with the action CUSTOM name."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.extension_provider import ExtAuthzGrpc, ExtAuthzHttp
from sailcloth.api.meta import duration_ms
from sailcloth.lib.incremental import Graph

from . import registry, services

_TIMEOUT_MS = 600_000.0


@dataclass(frozen=True, slots=True)
class Authorizer:
    """One authorizer, and the service that it is. `settings` of the class ExtAuthzHttp: it speaks HTTP, else gRPC."""

    name: str
    host: str
    port: int
    timeout_ms: float
    settings: ExtAuthzGrpc

    @property
    def http(self) -> ExtAuthzHttp | None:
        return self.settings if isinstance(self.settings, ExtAuthzHttp) else None


def find(graph: Graph, name: str) -> Authorizer | str:
    """The authorizer with a name; a text: why there is none."""
    provider = next((p for p in registry.config(graph).extension_providers if p.name == name), None)
    settings = (provider.envoy_ext_authz_http or provider.envoy_ext_authz_grpc) if provider is not None else None
    if settings is None:
        return f"no provider {name!r} in the MeshConfig's extensionProviders"
    namespace, _, host = settings.service.rpartition("/")
    defined = [graph.get(services.service, s) for s in registry.services_of_host(graph, host)]
    found = [s for s in defined if s is not None and namespace in ("", s.namespace)]
    if not found:
        return f"the service {settings.service!r} of the provider {name!r} does not exist"
    if all(service.port(settings.port) is None for service in found):
        return f"the service {settings.service!r} of the provider {name!r} has no port {settings.port}"
    return Authorizer(name, host, settings.port, duration_ms(settings.timeout) or _TIMEOUT_MS, settings)
