"""VirtualService (networking.istio.io): how requests to a host are matched, modified and routed."""

from __future__ import annotations

from typing import Annotated

from .meta import D, Duration, Object, PercentNumber, PortNumber, PortSelector, StringMatch, Struct


class Destination(Struct):
    """A service, or a subset of it, that receives traffic."""

    host: Annotated[str, D("Service name; a short name is completed with the VirtualService's namespace.")]
    subset: Annotated[str | None, D("Name of a subset that a DestinationRule defines for this host.")] = None
    port: Annotated[PortSelector | None, D("Port of the service; needed only if the service has several.")] = None


class HeaderOperations(Struct):
    """Changes to headers: `set` overwrites, `add` appends, `remove` deletes."""

    set: Annotated[dict[str, str], D("Headers to overwrite with these values.")] = {}
    add: Annotated[dict[str, str], D("Values to append to headers.")] = {}
    remove: Annotated[tuple[str, ...], D("Names of headers to delete.")] = ()


class Headers(Struct):
    """Header changes on the way to the destination and back."""

    request: Annotated[HeaderOperations | None, D("Changes before the request goes to the destination.")] = None
    response: Annotated[HeaderOperations | None, D("Changes before the response goes to the client.")] = None


class HTTPRouteDestination(Struct):
    """One weighted destination of an HTTP route."""

    destination: Annotated[Destination, D("Where the request goes.")]
    weight: Annotated[int, D("Share of the traffic relative to the other weights.", ge=0)] = 0
    headers: Annotated[Headers | None, D("Header changes for this destination only.")] = None


class RouteDestination(Struct):
    """One weighted destination of a TCP or TLS route."""

    destination: Annotated[Destination, D("Where the connection goes.")]
    weight: Annotated[int, D("Share of the connections relative to the other weights.", ge=0)] = 0


class HTTPMatchRequest(Struct):
    """Conditions on a request; all that are set must match."""

    name: Annotated[str | None, D("Name of the match, joined to the route's name in Envoy.")] = None
    uri: Annotated[StringMatch | None, D("Path of the request.")] = None
    scheme: Annotated[StringMatch | None, D("Scheme: http or https.")] = None
    method: Annotated[StringMatch | None, D("HTTP method, such as GET.")] = None
    authority: Annotated[StringMatch | None, D("The Host or :authority header.")] = None
    headers: Annotated[
        dict[str, StringMatch], D("Headers by lower-case name; an empty match means that the header is present.")
    ] = {}
    without_headers: Annotated[dict[str, StringMatch], D("Headers that must not match.")] = {}
    query_params: Annotated[dict[str, StringMatch], D("Query parameters by name.")] = {}
    port: Annotated[PortNumber | None, D("Destination port of the request.")] = None
    source_labels: Annotated[dict[str, str], D("Labels of the calling workload.")] = {}
    source_namespace: Annotated[str | None, D("Namespace of the calling workload.")] = None
    gateways: Annotated[tuple[str, ...], D("Gateways that this match applies to; overrides spec.gateways.")] = ()
    ignore_uri_case: Annotated[bool, D("Match the path case-insensitively (exact and prefix only).")] = False
    stat_prefix: Annotated[str | None, D("Prefix for statistics of this route.")] = None


class HTTPRewrite(Struct):
    """Rewrites the path or the authority before the request is forwarded."""

    uri: Annotated[str | None, D("Replaces the matched path or prefix.")] = None
    authority: Annotated[str | None, D("Replaces the Host or :authority header.")] = None
    uri_regex_rewrite: Annotated[RegexRewrite | None, D("Rewrites the path with a regular expression.")] = None


class RegexRewrite(Struct):
    """A substitution by a regular expression."""

    match: Annotated[str | None, D("RE2 expression to find.")] = None
    rewrite: Annotated[str | None, D("Replacement; \\1 and so on refer to groups.")] = None


class HTTPRedirect(Struct):
    """Responds with a redirect instead of forwarding."""

    uri: Annotated[str | None, D("Path of the new location.")] = None
    authority: Annotated[str | None, D("Host of the new location.")] = None
    port: Annotated[PortNumber | None, D("Port of the new location.")] = None
    derive_port: Annotated[str | None, D("FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT.")] = None
    scheme: Annotated[str | None, D("Scheme of the new location.")] = None
    redirect_code: Annotated[int | None, D("Status: 301 (default), 302, 303, 307 or 308.")] = None
    prefix_rewrite: Annotated[str | None, D("Replaces the matched prefix of the path.")] = None


class HTTPBody(Struct):
    """A fixed body."""

    string: Annotated[str | None, D("Body as text.")] = None
    bytes: Annotated[str | None, D("Body as base64.")] = None


class HTTPDirectResponse(Struct):
    """Responds with a fixed response instead of forwarding."""

    status: Annotated[int, D("HTTP status.", ge=100, le=599)]
    body: Annotated[HTTPBody | None, D("Response body; up to 1 MB.")] = None


class Percent(Struct):
    """A percentage, 0 to 100."""

    value: Annotated[float, D("Percentage from 0.0 to 100.0.", ge=0, le=100)] = 0.0


class Delay(Struct):
    """Waits before forwarding."""

    fixed_delay: Annotated[Duration | None, D("How long to wait.")] = None
    exponential_delay: Annotated[Duration | None, D("Not supported.")] = None
    percentage: Annotated[Percent | None, D("Share of requests to delay.")] = None
    percent: Annotated[
        PercentNumber | None, D("Share of requests to delay, in whole percent (deprecated: use percentage).")
    ] = None


class Abort(Struct):
    """Ends requests with an error."""

    http_status: Annotated[int | None, D("HTTP status of the response.")] = None
    grpc_status: Annotated[str | None, D("gRPC status of the response, such as UNAVAILABLE.")] = None
    http2_error: Annotated[str | None, D("Not supported.")] = None
    percentage: Annotated[Percent | None, D("Share of requests to abort.")] = None


class HTTPFaultInjection(Struct):
    """Faults injected on the client's side, for testing."""

    delay: Annotated[Delay | None, D("Delay requests.")] = None
    abort: Annotated[Abort | None, D("Abort requests.")] = None


class HTTPRetry(Struct):
    """When and how often a failed request is retried."""

    attempts: Annotated[int, D("Number of retries; 0 disables retries.")] = 0
    per_try_timeout: Annotated[Duration | None, D("Timeout of each attempt; default: the route's timeout.")] = None
    retry_on: Annotated[
        str | None, D("Conditions as in Envoy's x-envoy-retry-on, and status codes, separated by commas.")
    ] = None
    retry_remote_localities: Annotated[bool | None, D("Whether retries may go to other localities.")] = None
    retry_ignore_previous_hosts: Annotated[
        bool | None, D("Whether retries avoid endpoints that were already tried.")
    ] = None
    backoff: Annotated[Duration | None, D("Base interval of the exponential back-off.")] = None


class HTTPMirrorPolicy(Struct):
    """A destination that receives copies of requests."""

    destination: Annotated[Destination, D("Destination of the copies; responses are discarded.")]
    percentage: Annotated[Percent | None, D("Share of requests to copy; default all.")] = None


class CorsPolicy(Struct):
    """Cross-origin resource sharing."""

    allow_origin: Annotated[tuple[str, ...], D("Exact origins (deprecated: use allowOrigins).")] = ()
    allow_origins: Annotated[tuple[StringMatch, ...], D("Origins that may call.")] = ()
    allow_methods: Annotated[tuple[str, ...], D("Methods that may be used.")] = ()
    allow_headers: Annotated[tuple[str, ...], D("Headers that may be sent.")] = ()
    expose_headers: Annotated[tuple[str, ...], D("Headers that the client may read.")] = ()
    max_age: Annotated[Duration | None, D("How long a preflight response may be cached.")] = None
    allow_credentials: Annotated[bool | None, D("Whether credentials may be sent.")] = None
    unmatched_preflights: Annotated[str | None, D("FORWARD (default) or IGNORE.")] = None


class Delegate(Struct):
    """Another VirtualService that has the routes."""

    name: Annotated[str | None, D("Name of the VirtualService.")] = None
    namespace: Annotated[str | None, D("Its namespace; default: the root's.")] = None


class HTTPRoute(Struct, names={"mirror_percent_deprecated": "mirror_percent"}):
    """One rule for HTTP requests; the first matching rule is used."""

    name: Annotated[str | None, D("Name of the route, shown in Envoy and access logs.")] = None
    match: Annotated[tuple[HTTPMatchRequest, ...], D("Matches, of which one must apply; default every request.")] = ()
    route: Annotated[tuple[HTTPRouteDestination, ...], D("Destinations of matching requests.")] = ()
    redirect: Annotated[HTTPRedirect | None, D("Respond with a redirect.")] = None
    direct_response: Annotated[HTTPDirectResponse | None, D("Respond with a fixed response.")] = None
    delegate: Annotated[Delegate | None, D("Take the routes from another VirtualService.")] = None
    rewrite: Annotated[HTTPRewrite | None, D("Rewrite path or authority.")] = None
    timeout: Annotated[Duration | None, D("Timeout of the whole request, including retries; default none.")] = None
    retries: Annotated[
        HTTPRetry | None, D("Retry policy; default two retries of requests that reached no application.")
    ] = None
    fault: Annotated[HTTPFaultInjection | None, D("Inject faults.")] = None
    mirror: Annotated[Destination | None, D("Copy requests to this destination.")] = None
    mirrors: Annotated[tuple[HTTPMirrorPolicy, ...], D("Copy requests to these destinations.")] = ()
    mirror_percent: Annotated[
        PercentNumber | None, D("Share of requests to copy, in whole percent (deprecated: use mirrorPercentage).")
    ] = None
    mirror_percent_deprecated: Annotated[
        PercentNumber | None, D("Share of requests to copy, under its first name (deprecated: use mirrorPercentage).")
    ] = None
    mirror_percentage: Annotated[Percent | None, D("Share of requests to copy.")] = None

    @property
    def mirrored_percent(self) -> float:
        """The share of requests to copy to `mirror`, from whichever field has it."""
        if self.mirror_percentage is not None:
            return self.mirror_percentage.value
        whole = self.mirror_percent if self.mirror_percent is not None else self.mirror_percent_deprecated
        return 100.0 if whole is None else float(whole)

    cors_policy: Annotated[CorsPolicy | None, D("Cross-origin policy.")] = None
    headers: Annotated[Headers | None, D("Header changes for all destinations.")] = None


class TLSMatchAttributes(Struct):
    """Conditions on a TLS connection that is passed through."""

    sni_hosts: Annotated[tuple[str, ...], D("Server names, exact or with a leading wildcard.")]
    destination_subnets: Annotated[tuple[str, ...], D("Destination addresses in CIDR form.")] = ()
    port: Annotated[PortNumber | None, D("Destination port.")] = None
    source_labels: Annotated[dict[str, str], D("Labels of the calling workload.")] = {}
    source_namespace: Annotated[str | None, D("Namespace of the calling workload.")] = None
    gateways: Annotated[tuple[str, ...], D("Gateways for which this match holds.")] = ()


class TLSRoute(Struct):
    """One rule for TLS connections, matched by server name."""

    match: Annotated[tuple[TLSMatchAttributes, ...], D("Matches, of which one must apply.")] = ()
    route: Annotated[tuple[RouteDestination, ...], D("Where the connections go.")] = ()


class L4MatchAttributes(Struct):
    """Conditions on a TCP connection."""

    destination_subnets: Annotated[tuple[str, ...], D("Destination addresses in CIDR form.")] = ()
    port: Annotated[PortNumber | None, D("Destination port.")] = None
    source_subnet: Annotated[str | None, D("Accepted, not used.")] = None
    source_labels: Annotated[dict[str, str], D("Labels of the calling workload.")] = {}
    source_namespace: Annotated[str | None, D("Namespace of the calling workload.")] = None
    gateways: Annotated[tuple[str, ...], D("Gateways for which this match holds.")] = ()


class TCPRoute(Struct):
    """One rule for TCP connections."""

    match: Annotated[
        tuple[L4MatchAttributes, ...], D("Matches, of which one must apply; default every connection.")
    ] = ()
    route: Annotated[tuple[RouteDestination, ...], D("Where the connections go.")] = ()


class VirtualServiceSpec(Struct):
    """How traffic to the hosts is routed."""

    hosts: Annotated[tuple[str, ...], D("Hosts whose traffic is routed: names, or names with a leading wildcard.")] = ()
    gateways: Annotated[tuple[str, ...], D("Gateways that apply the rules; `mesh` (default) means all sidecars.")] = ()
    http: Annotated[tuple[HTTPRoute, ...], D("Ordered rules for HTTP traffic.")] = ()
    tls: Annotated[tuple[TLSRoute, ...], D("Ordered rules for TLS traffic that is passed through.")] = ()
    tcp: Annotated[tuple[TCPRoute, ...], D("Ordered rules for other TCP traffic.")] = ()
    export_to: Annotated[
        tuple[str, ...], D("Namespaces that see it: `*` (default), `.` for its own, `~` none, or names.")
    ] = ()


class VirtualService(Object):
    """Routes traffic for one or more hosts."""

    spec: VirtualServiceSpec = VirtualServiceSpec()
