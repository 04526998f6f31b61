"""DestinationRule (networking.istio.io): policies for traffic to a host after routing, and its subsets."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .meta import D, Duration, Object, PercentNumber, PortSelector, Selector, Struct


class CookieAttribute(Struct):
    """An attribute of a cookie that the proxy sets."""

    name: Annotated[str, D("Name of the attribute, such as SameSite.")]
    value: Annotated[str | None, D("Value of the attribute.")] = None


class HTTPCookie(Struct):
    """A cookie to hash on. The proxy sets it if `ttl` is set and the request has none."""

    name: Annotated[str, D("Name of the cookie.")]
    path: Annotated[str | None, D("Path of the cookie.")] = None
    ttl: Annotated[Duration | None, D("Lifetime of a cookie that the proxy sets.")] = None
    attributes: Annotated[tuple[CookieAttribute, ...], D("Further attributes of a cookie that the proxy sets.")] = ()


class RingHash(Struct):
    """Ring hash."""

    minimum_ring_size: Annotated[int | None, D("Minimum number of points on the ring; default 1024.")] = None


class Maglev(Struct):
    """Maglev hash."""

    table_size: Annotated[int | None, D("Size of the table, a prime number.")] = None


class ConsistentHashLB(Struct):
    """Sends equal requests to the same endpoint."""

    http_header_name: Annotated[str | None, D("Hash on this header.")] = None
    http_cookie: Annotated[HTTPCookie | None, D("Hash on this cookie.")] = None
    use_source_ip: Annotated[bool | None, D("Hash on the source address.")] = None
    http_query_parameter_name: Annotated[str | None, D("Hash on this query parameter.")] = None
    ring_hash: Annotated[RingHash | None, D("Use a ring hash (default).")] = None
    maglev: Annotated[Maglev | None, D("Use Maglev.")] = None
    minimum_ring_size: Annotated[int | None, D("Deprecated: use ringHash.minimumRingSize.")] = None


class LocalityDistribute(Struct):
    """Weights of localities for traffic from one locality."""

    from_: Annotated[str, D("Origin, as region/zone/subzone.")] = ""
    to: Annotated[dict[str, int], D("Weights by locality; their sum must be 100.")] = {}


class LocalityFailover(Struct):
    """The region that takes over when a region's endpoints fail."""

    from_: Annotated[str, D("Region of the client.")] = ""
    to: Annotated[str, D("Region to fail over to.")] = ""


class LocalityLbSetting(Struct):
    """Locality-aware load balancing."""

    distribute: Annotated[tuple[LocalityDistribute, ...], D("Explicit weights.")] = ()
    failover: Annotated[tuple[LocalityFailover, ...], D("Explicit failover regions.")] = ()
    failover_priority: Annotated[tuple[str, ...], D("Labels by which endpoints are preferred.")] = ()
    enabled: Annotated[bool | None, D("Turns locality load balancing on or off.")] = None


class ZoneAwareLbSetting(Struct):
    """Zone-aware load balancing: endpoints of the client's own zone first, as far as they can take its share."""

    failover: Annotated[tuple[LocalityFailover, ...], D("Explicit failover regions.")] = ()
    failover_priority: Annotated[tuple[str, ...], D("Labels by which endpoints are preferred.")] = ()
    min_cluster_size: Annotated[int | None, D("Endpoints below which zones do not count.")] = None
    enabled: Annotated[bool | None, D("Turns zone-aware load balancing on or off.")] = None


class BackendUtilization(Struct):
    """Weights endpoints by the load that they report in their responses (ORCA)."""

    weight_update_period: Annotated[Duration | None, D("Time between recalculations of the weights.")] = None
    weight_stabilization_period: Annotated[
        Duration | None, D("Time after an endpoint's first report until its weight counts.")
    ] = None
    weight_expiration_period: Annotated[
        Duration | None, D("Time without a report after which an endpoint's weight is dropped.")
    ] = None
    error_utilization_penalty_percent: Annotated[
        int | None, D("Penalty for errors, in percent of the utilization.")
    ] = None
    metric_names_for_computing_utilization: Annotated[
        tuple[str, ...], D("Names of custom metrics that count as utilization.")
    ] = ()


class WarmupConfiguration(Struct):
    """Slow start: increases the traffic of new endpoints gradually."""

    duration: Annotated[Duration, D("Length of the warm-up.")]
    minimum_percent: Annotated[float | None, D("Minimum percentage of traffic at the start; default 10.")] = None
    aggression: Annotated[float | None, D("Shape of the increase; default 1.")] = None


class LoadBalancerSettings(Struct):
    """How endpoints are chosen."""

    simple: Annotated[
        Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"] | None,
        D("Algorithm; default LEAST_REQUEST."),
    ] = None
    consistent_hash: Annotated[ConsistentHashLB | None, D("Consistent hashing.")] = None
    locality_lb_setting: Annotated[LocalityLbSetting | None, D("Locality settings.")] = None
    zone_aware_lb_setting: Annotated[ZoneAwareLbSetting | None, D("Zone-aware settings.")] = None
    backend_utilization: Annotated[BackendUtilization | None, D("Weights by reported load.")] = None
    warmup_duration_secs: Annotated[Duration | None, D("Deprecated: use warmup.duration.")] = None
    warmup: Annotated[WarmupConfiguration | None, D("Slow start of new endpoints.")] = None


class TcpKeepalive(Struct):
    """TCP keepalive probes."""

    probes: Annotated[int | None, D("Unanswered probes until the connection is closed.")] = None
    time: Annotated[Duration | None, D("Idle time before the first probe.")] = None
    interval: Annotated[Duration | None, D("Time between probes.")] = None


class TCPSettings(Struct):
    """Limits for connections."""

    max_connections: Annotated[int | None, D("Maximum number of connections to all endpoints.")] = None
    connect_timeout: Annotated[Duration | None, D("Time to connect; default 10s.")] = None
    tcp_keepalive: Annotated[TcpKeepalive | None, D("Keepalive probes.")] = None
    max_connection_duration: Annotated[Duration | None, D("Maximum lifetime of a connection.")] = None
    idle_timeout: Annotated[Duration | None, D("Maximum idle time of a TCP connection.")] = None


class HTTP2KeepAlive(Struct):
    """Pings on HTTP/2 connections."""

    interval: Annotated[Duration | None, D("Time between pings.")] = None
    timeout: Annotated[Duration | None, D("Timeout for the response to a ping.")] = None


class HTTPSettings(Struct, names={"http2_keep_alive": "http2KeepAlive"}):
    """Limits for HTTP requests."""

    http1_max_pending_requests: Annotated[int | None, D("Maximum number of requests that wait for a connection.")] = (
        None
    )
    http2_max_requests: Annotated[int | None, D("Maximum number of concurrent requests to all endpoints.")] = None
    max_requests_per_connection: Annotated[int | None, D("Requests until a connection is closed; 0: no limit.")] = None
    max_retries: Annotated[int | None, D("Maximum number of concurrent retries.")] = None
    idle_timeout: Annotated[Duration | None, D("Maximum idle time of a connection.")] = None
    h2_upgrade_policy: Annotated[
        Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] | None, D("Whether HTTP/1.1 is upgraded to HTTP/2.")
    ] = None
    use_client_protocol: Annotated[bool | None, D("Use the protocol of the client.")] = None
    max_concurrent_streams: Annotated[
        int | None, D("Maximum number of concurrent streams on one HTTP/2 connection.")
    ] = None
    http2_keep_alive: Annotated[HTTP2KeepAlive | None, D("Pings on HTTP/2 connections.")] = None


class ConnectionPoolSettings(Struct):
    """Limits for connections and requests; traffic over a limit fails at once."""

    tcp: Annotated[TCPSettings | None, D("Limits for TCP and HTTP connections.")] = None
    http: Annotated[HTTPSettings | None, D("Limits for HTTP.")] = None


class OutlierDetection(Struct):
    """Ejects failing endpoints for a time."""

    split_external_local_origin_errors: Annotated[bool, D("Distinguish local failures from upstream errors.")] = False
    consecutive_local_origin_failures: Annotated[int | None, D("Local failures until ejection.")] = None
    consecutive_gateway_errors: Annotated[int | None, D("Responses 502, 503 and 504 until ejection.")] = None
    consecutive_5xx_errors: Annotated[int | None, D("5xx responses until ejection; default 5.")] = None
    consecutive_errors: Annotated[int | None, D("Deprecated: use consecutiveGatewayErrors.")] = None
    interval: Annotated[Duration | None, D("Time between checks; default 10s.")] = None
    base_ejection_time: Annotated[Duration | None, D("Minimum time of ejection; default 30s.")] = None
    max_ejection_percent: Annotated[PercentNumber | None, D("Maximum percentage of ejected endpoints; default 10.")] = (
        None
    )
    min_health_percent: Annotated[
        PercentNumber | None, D("Below this percentage of healthy endpoints, detection is off; default 0.")
    ] = None
    outlier_detection_http_error_codes: Annotated[
        tuple[Annotated[int, Meta(ge=100, le=599)], ...], D("Statuses that count as errors, instead of 5xx.")
    ] = ()


class ClientTLSSettings(Struct):
    """TLS to the host."""

    mode: Annotated[
        Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"],
        D("DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL (the mesh's own certificates)."),
    ] = "DISABLE"
    client_certificate: Annotated[str | None, D("File with the client certificate (MUTUAL).")] = None
    private_key: Annotated[str | None, D("File with the client key (MUTUAL).")] = None
    ca_certificates: Annotated[str | None, D("File with CA certificates; default: the system's.")] = None
    ca_crl: Annotated[str | None, D("File with a certificate revocation list.")] = None
    credential_name: Annotated[
        str | None, D("Secret with the certificates; at sidecars only in a rule with a workloadSelector.")
    ] = None
    subject_alt_names: Annotated[tuple[str, ...], D("Names of which the server's certificate must have one.")] = ()
    sni: Annotated[str | None, D("Server name sent in the handshake.")] = None
    insecure_skip_verify: Annotated[bool | None, D("Do not verify the server.")] = None


class RetryBudget(Struct):
    """Limits retries to a percentage of the active requests."""

    percent: Annotated[float | None, D("Percentage of active requests; default 20.")] = None
    min_retry_concurrency: Annotated[int | None, D("Retries that are always allowed; default 3.")] = None
    budget_interval: Annotated[Duration | None, D("Time over which requests are counted.")] = None


class PortTrafficPolicy(Struct):
    """A policy for one port, which replaces the host's policy."""

    port: Annotated[PortSelector | None, D("The port.")] = None
    load_balancer: Annotated[LoadBalancerSettings | None, D("How endpoints are chosen.")] = None
    connection_pool: Annotated[ConnectionPoolSettings | None, D("Limits.")] = None
    outlier_detection: Annotated[OutlierDetection | None, D("Ejection of failing endpoints.")] = None
    tls: Annotated[ClientTLSSettings | None, D("TLS towards the host.")] = None
    retry_budget: Annotated[RetryBudget | None, D("Bound for retries.")] = None


class TunnelSettings(Struct):
    """Tunnels TCP through HTTP CONNECT or POST."""

    protocol: Annotated[str | None, D("CONNECT (default) or POST.")] = None
    target_host: Annotated[str, D("Host to reach through the tunnel.")] = ""
    target_port: Annotated[int, D("Port to reach through the tunnel.")] = 0


class ProxyProtocol(Struct):
    """Sends a PROXY protocol header."""

    version: Annotated[Literal["V1", "V2"] | None, D("Version; default V1.")] = None


class TrafficPolicy(Struct):
    """Policies for traffic to a host."""

    load_balancer: Annotated[LoadBalancerSettings | None, D("How endpoints are chosen.")] = None
    connection_pool: Annotated[ConnectionPoolSettings | None, D("Limits for connections and requests.")] = None
    outlier_detection: Annotated[OutlierDetection | None, D("Ejection of failing endpoints.")] = None
    tls: Annotated[ClientTLSSettings | None, D("TLS to the host; default: mutual TLS if the endpoint accepts it.")] = (
        None
    )
    port_level_settings: Annotated[tuple[PortTrafficPolicy, ...], D("Policies for single ports.")] = ()
    tunnel: Annotated[TunnelSettings | None, D("Tunnel for TCP.")] = None
    proxy_protocol: Annotated[ProxyProtocol | None, D("PROXY protocol to the host.")] = None
    retry_budget: Annotated[RetryBudget | None, D("Bound for retries.")] = None


class Subset(Struct):
    """A named subset of the host's endpoints."""

    name: Annotated[str, D("Name, used in route rules.")]
    labels: Annotated[dict[str, str], D("Labels that an endpoint must all have.")] = {}
    traffic_policy: Annotated[TrafficPolicy | None, D("Overrides top-level fields of the host's policy.")] = None


class DestinationRuleSpec(Struct):
    """Policies and subsets of a host."""

    host: Annotated[str, D("Service name; a short name is completed with the rule's namespace.")]
    traffic_policy: Annotated[TrafficPolicy | None, D("Policies for all traffic to the host.")] = None
    subsets: Annotated[tuple[Subset, ...], D("Named versions of the host.")] = ()
    export_to: Annotated[tuple[str, ...], D("Namespaces that see it: `*` (default), `.` for its own, or names.")] = ()
    workload_selector: Annotated[Selector | None, D("Client workloads that it applies to.")] = None


class DestinationRule(Object):
    """Policies for traffic to a host after routing."""

    spec: DestinationRuleSpec  # type: ignore[misc]  # keyword-only, which the plugin-less checker cannot know
