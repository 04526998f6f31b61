"""Kinds of the Gateway API that the mesh reads if the cluster has them. The cluster installs their CRDs, so the types have no
descriptions or limits. Source: the API's specification, v1."""

from __future__ import annotations

from typing import Any

from .meta import Object, Struct

GROUP = "gateway.networking.k8s.io"


CONTROLLER = "istio.io/gateway-controller"
"""The name of this controller in classes and statuses: Istio's, so that published classes work."""


class GatewayClassSpec(Struct):
    controller_name: str = ""


class GatewayClass(Object):
    """A kind of gateways. Those of `CONTROLLER` are ours."""

    spec: GatewayClassSpec = GatewayClassSpec()


class RouteGroupKind(Struct):
    group: str = GROUP
    kind: str = ""


class RouteNamespaces(Struct):
    """`from_`: Same, All, None or Selector."""

    from_: str = "Same"
    selector: dict[str, Any] | None = None


class AllowedRoutes(Struct):
    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteGroupKind, ...] = ()


class SecretReference(Struct):
    group: str = ""
    kind: str = "Secret"
    name: str = ""
    namespace: str | None = None


class ListenerTLS(Struct):
    mode: str = "Terminate"
    certificate_refs: tuple[SecretReference, ...] = ()
    options: dict[str, str] = {}


class Listener(Struct):
    name: str = ""
    hostname: str | None = None
    port: int = 0
    protocol: str = ""
    tls: ListenerTLS | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewayAddress(Struct):
    type: str = "IPAddress"
    value: str = ""


class LocalReference(Struct):
    """Another object of the same namespace."""

    group: str = ""
    kind: str = ""
    name: str = ""


class GatewayInfrastructure(Struct):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    parameters_ref: LocalReference | None = None


class ClientValidation(Struct):
    """How clients' certificates are verified. `mode`: AllowValidOnly or AllowInsecureFallback."""

    ca_certificate_refs: tuple[SecretReference, ...] = ()
    mode: str = "AllowValidOnly"


class FrontendTLS(Struct):
    validation: ClientValidation | None = None


class PortFrontendTLS(Struct):
    port: int = 0
    tls: FrontendTLS = FrontendTLS()


class GatewayFrontend(Struct):
    default: FrontendTLS = FrontendTLS()
    per_port: tuple[PortFrontendTLS, ...] = ()


class GatewayBackendTLS(Struct):
    client_certificate_ref: SecretReference | None = None


class GatewayTLS(Struct):
    frontend: GatewayFrontend = GatewayFrontend()
    backend: GatewayBackendTLS = GatewayBackendTLS()


class ListenerNamespaces(RouteNamespaces):
    """`from_`: None, Same, All or Selector."""

    from_: str = "None"


class AllowedListeners(Struct):
    namespaces: ListenerNamespaces = ListenerNamespaces()


class GatewaySpec(Struct):
    gateway_class_name: str = ""
    listeners: tuple[Listener, ...] = ()
    allowed_listeners: AllowedListeners = AllowedListeners()
    tls: GatewayTLS = GatewayTLS()
    addresses: tuple[GatewayAddress, ...] = ()
    infrastructure: GatewayInfrastructure = GatewayInfrastructure()


class KubernetesGateway(Object):
    """A Gateway of the Gateway API; Istio's own kind of this name is `gateway.Gateway`."""

    spec: GatewaySpec = GatewaySpec()


class PolicyTarget(Struct):
    group: str = ""
    kind: str = ""
    name: str = ""
    section_name: str | None = None


class PolicyAltName(Struct):
    """`type`: Hostname or URI, and which of the fields is set."""

    type: str = ""
    hostname: str = ""
    uri: str = ""


class BackendTLSValidation(Struct, names={"well_known_ca_certificates": "wellKnownCACertificates"}):
    ca_certificate_refs: tuple[LocalReference, ...] = ()
    well_known_ca_certificates: str | None = None
    hostname: str = ""
    subject_alt_names: tuple[PolicyAltName, ...] = ()


class BackendTLSPolicySpec(Struct):
    target_refs: tuple[PolicyTarget, ...] = ()
    validation: BackendTLSValidation = BackendTLSValidation()


class BackendTLSPolicy(Object):
    """The TLS that gateways speak to services."""

    spec: BackendTLSPolicySpec = BackendTLSPolicySpec()


class ParentReference(Struct):
    """The parent that a route is attached to: a Gateway, a ListenerSet or a Service; or the Gateway of a ListenerSet."""

    group: str = GROUP
    kind: str = "Gateway"
    namespace: str | None = None
    name: str = ""
    section_name: str | None = None
    port: int | None = None


class ListenerSetSpec(Struct):
    parent_ref: ParentReference = ParentReference()
    listeners: tuple[Listener, ...] = ()


class ListenerSet(Object):
    """More listeners of a Gateway, which may be in another namespace."""

    spec: ListenerSetSpec = ListenerSetSpec()


class HTTPHeader(Struct):
    name: str
    value: str = ""


class ValueMatch(Struct):
    """A header or a query parameter to compare."""

    type: str = "Exact"
    name: str = ""
    value: str = ""


class HTTPPathMatch(Struct):
    type: str = "PathPrefix"
    value: str = "/"


class HTTPRouteMatch(Struct):
    path: HTTPPathMatch = HTTPPathMatch()
    headers: tuple[ValueMatch, ...] = ()
    query_params: tuple[ValueMatch, ...] = ()
    method: str | None = None


class HTTPHeaderFilter(Struct):
    set: tuple[HTTPHeader, ...] = ()
    add: tuple[HTTPHeader, ...] = ()
    remove: tuple[str, ...] = ()


class HTTPPathModifier(Struct):
    type: str = ""
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class BackendReference(Struct):
    group: str = ""
    kind: str = "Service"
    namespace: str | None = None
    name: str = ""
    port: int | None = None


class Fraction(Struct):
    numerator: int = 0
    denominator: int = 100


class HTTPMirrorFilter(Struct):
    backend_ref: BackendReference = BackendReference()
    percent: int | None = None
    fraction: Fraction | None = None


class HTTPRedirectFilter(Struct):
    scheme: str | None = None
    hostname: str | None = None
    path: HTTPPathModifier | None = None
    port: int | None = None
    status_code: int = 302


class HTTPRewriteFilter(Struct):
    hostname: str | None = None
    path: HTTPPathModifier | None = None


class HTTPCORSFilter(Struct):
    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool | None = None
    max_age: int | None = None


class HTTPRouteFilter(Struct):
    """One filter; `type` selects the field that is used."""

    type: str = ""
    request_header_modifier: HTTPHeaderFilter | None = None
    response_header_modifier: HTTPHeaderFilter | None = None
    request_mirror: HTTPMirrorFilter | None = None
    request_redirect: HTTPRedirectFilter | None = None
    url_rewrite: HTTPRewriteFilter | None = None
    cors: HTTPCORSFilter | None = None


class HTTPBackendReference(Struct):
    group: str = ""
    kind: str = "Service"
    namespace: str | None = None
    name: str = ""
    port: int | None = None
    weight: int = 1
    filters: tuple[HTTPRouteFilter, ...] = ()


class HTTPRouteTimeouts(Struct):
    request: str | None = None
    backend_request: str | None = None


class HTTPRouteRetry(Struct):
    codes: tuple[int, ...] = ()
    attempts: int | None = None
    backoff: str | None = None


class CookieConfig(Struct):
    lifetime_type: str = "Session"


class SessionPersistence(Struct):
    """`type`: Cookie or Header."""

    session_name: str = ""
    type: str = "Cookie"
    absolute_timeout: str | None = None
    idle_timeout: str | None = None
    cookie_config: CookieConfig = CookieConfig()


class HTTPRouteRule(Struct):
    name: str | None = None
    matches: tuple[HTTPRouteMatch, ...] = ()
    filters: tuple[HTTPRouteFilter, ...] = ()
    backend_refs: tuple[HTTPBackendReference, ...] = ()
    timeouts: HTTPRouteTimeouts | None = None
    retry: HTTPRouteRetry | None = None
    session_persistence: SessionPersistence | None = None


class HTTPRouteSpec(Struct):
    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[HTTPRouteRule, ...] = ()


class HTTPRoute(Object):
    """Routes of HTTP requests to its parents."""

    spec: HTTPRouteSpec = HTTPRouteSpec()


class TLSRoute(HTTPRoute):
    """Routes of TLS connections, by the names that clients ask for: an HTTPRoute whose rules have backends only."""


class TCPRoute(HTTPRoute):
    """Routes of connections: an HTTPRoute without host names, whose rules have backends only."""


class UDPRoute(HTTPRoute):
    """Routes of datagrams: an HTTPRoute without host names, whose rules have backends only."""


class GRPCMethodMatch(Struct):
    type: str = "Exact"
    service: str = ""
    method: str = ""


class GRPCRouteMatch(Struct):
    method: GRPCMethodMatch | None = None
    headers: tuple[ValueMatch, ...] = ()


class GRPCRouteRule(Struct):
    name: str | None = None
    session_persistence: SessionPersistence | None = None
    matches: tuple[GRPCRouteMatch, ...] = ()
    filters: tuple[HTTPRouteFilter, ...] = ()
    backend_refs: tuple[HTTPBackendReference, ...] = ()


class GRPCRouteSpec(Struct):
    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[GRPCRouteRule, ...] = ()


class GRPCRoute(Object):
    """Routes of gRPC calls to its parents."""

    spec: GRPCRouteSpec = GRPCRouteSpec()


class GrantFrom(Struct):
    group: str = ""
    kind: str = ""
    namespace: str = ""


class GrantTo(Struct):
    group: str = ""
    kind: str = ""
    name: str | None = None


class ReferenceGrantSpec(Struct):
    from_: tuple[GrantFrom, ...] = ()
    to: tuple[GrantTo, ...] = ()


class ReferenceGrant(Object):
    """Allows objects in other namespaces to refer to objects in this one."""

    spec: ReferenceGrantSpec = ReferenceGrantSpec()
