"""Providers outside the mesh that policies name: `extensionProviders` of the MeshConfig, as far as they are read."""

from __future__ import annotations

from .meta import Duration, Struct


class RequestBody(Struct):
    """How much of a request's body an authorizer gets."""

    max_request_bytes: int = 0
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


class ExtAuthzGrpc(Struct):
    """An authorizer with Envoy's gRPC API."""

    service: str = ""  # [namespace/]host
    port: int = 0
    timeout: Duration | None = None
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str = ""
    include_request_body_in_check: RequestBody | None = None


class ExtAuthzHttp(ExtAuthzGrpc):
    """An authorizer with plain HTTP: 200 allows. Names of headers may have a wildcard at one end."""

    path_prefix: str = ""
    include_request_headers_in_check: tuple[str, ...] = ()
    include_headers_in_check: tuple[str, ...] = ()  # deprecated name of the same
    include_additional_headers_in_check: dict[str, str] = {}
    headers_to_upstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_deny: tuple[str, ...] = ()
    headers_to_downstream_on_allow: tuple[str, ...] = ()


class ExtensionProvider(Struct):
    """One provider. Exactly one kind is set."""

    name: str = ""
    envoy_ext_authz_http: ExtAuthzHttp | None = None
    envoy_ext_authz_grpc: ExtAuthzGrpc | None = None
