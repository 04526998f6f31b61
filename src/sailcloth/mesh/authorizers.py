"""External authorizers: the MeshConfig's `extensionProviders` that AuthorizationPolicies with the action CUSTOM name."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.extension_provider import ExtAuthzGrpc, ExtAuthzHttp
from sailcloth.api.meta import duration_ms
from sailcloth.lib.incremental import Graph

from . import extension_providers

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
    provider = extension_providers.find(graph, name)
    settings = provider.authorizer if provider is not None else None
    if settings is None:
        return f"no provider {name!r} in the MeshConfig's extensionProviders"
    host, problem = extension_providers.host(graph, name, settings.service, settings.port)
    if problem:
        return problem
    return Authorizer(name, host, settings.port, duration_ms(settings.timeout) or _TIMEOUT_MS, settings)
