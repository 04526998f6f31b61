"""Builds Envoy's bootstrap: node, xDS and SDS clusters, statistics. Pure."""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import dataclass, field
from typing import Any

from sailcloth.api.meta import duration_ms

from . import external_sds, secure_metrics
from .secure_metrics import SecureMetrics

log = logging.getLogger(__name__)

ENVOY_STATISTICS = "/stats/envoy"
"""The agent's page with Envoy's metrics, at its status port."""
_PAGE = "/stats/prometheus"
ADMIN_PORT, STATUS_PORT, HEALTH_PORT, PROMETHEUS_PORT = 15000, 15020, 15021, 15090

# Statistics that a sidecar keeps by default; everything else is never created.
_STAT_PREFIXES = ("cluster_manager", "listener_manager", "server", "cluster.xds-grpc", "component", "istio")
STATISTICS = (*({"prefix": prefix} for prefix in _STAT_PREFIXES), {"contains": ".rbac."})
"""The statistics that every proxy keeps: Istio's, and what policies have decided."""
# Less than Envoy's own 19 for each: a label set of HTTP has 45 series.
_BUCKETS = {
    "istiocustom.istio_request_duration_milliseconds": (
        *(0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000),
    ),
    "istiocustom.istio_re": (64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1 << 20, 1 << 22, 1 << 24),
}
_FLUSH_S = 5.0  # Envoy's default
# Istio's label of clusters, which its dashboards name; Envoy's own is envoy_cluster_name.
_TAGS = [{"tag_name": "cluster_name", "regex": r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"}]
_TYPE = "type.googleapis.com/envoy."
# Behind the socket is the agent on this machine. Envoy's own 0.5 to 30 s would leave a proxy behind long after a short outage.
_RECONNECT = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "2s"}}


@dataclass(frozen=True)
class ProxyIdentity:
    """Who a proxy is."""

    kind: str  # sidecar or router
    name: str
    namespace: str
    ip: str
    service_account: str
    labels: dict[str, str] = field(default_factory=dict)
    domain: str = "cluster.local"
    metadata: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)  # of ProxyConfig, by name

    @property
    def node_id(self) -> str:
        return f"{self.kind}~{self.ip}~{self.name}.{self.namespace}~{self.namespace}.svc.{self.domain}"

    @property
    def node_cluster(self) -> str:
        app = self.labels.get("service.istio.io/canonical-name") or self.labels.get("app") or self.name
        return f"{app}.{self.namespace}"


def bootstrap(
    proxy: ProxyIdentity,
    socket: str,
    *,
    mark: int = 0,
    dns_port: int = 0,
    secrets: str = "",
    metrics: SecureMetrics | None = None,
) -> dict[str, Any]:
    """The bootstrap as JSON-able data. `socket` is the agent's UNIX socket for xDS and SDS, `secrets` that of another server of the
    workload's certificate; `mark` is set as SO_MARK on the
    proxy's own connections, where it is told from the application by that and not by its user id. At `dns_port` of the loopback
    the proxy finds the pod's resolver where the application's queries are captured: its own would be, too, as Envoy does not
    mark them, and then it would find its own listeners instead of what is outside."""
    metrics = metrics or SecureMetrics()
    metadata = {
        "NAMESPACE": proxy.namespace,
        "LABELS": proxy.labels,
        "NAME": proxy.name,
        "INSTANCE_IPS": proxy.ip,
        "SERVICE_ACCOUNT": proxy.service_account,
        "WORKLOAD_NAME": proxy.metadata.get("WORKLOAD_NAME", proxy.name),
        "CLUSTER_ID": "Kubernetes",
        "MESH_ID": "cluster.local",
        "ISTIO_VERSION": "1.30.0",
        **proxy.metadata,
    }
    if mark:
        metadata["SAILCLOTH_MARK"] = mark
    if secrets:
        metadata |= external_sds.METADATA
    if proxy.options:
        metadata["PROXY_CONFIG"] = proxy.options
    out: dict[str, Any] = {
        "node": {"id": proxy.node_id, "cluster": proxy.node_cluster, "metadata": metadata},
        "admin": {"address": _address("127.0.0.1", ADMIN_PORT)},
        "stats_config": {
            "stats_tags": _TAGS,
            "stats_matcher": {"inclusion_list": {"patterns": _statistics(proxy)}},
            "histogram_bucket_settings": _buckets(proxy),
        },
        **_intervals(proxy),
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "layered_runtime": {
            "layers": [
                {
                    "name": "static",
                    "static_layer": {
                        "envoy.reloadable_features.http_reject_path_with_fragment": False,
                        "re2.max_program_size.error_level": 32768,
                        "re2.max_program_size.warn_level": 1024,
                    },
                },
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "dynamic_resources": {
            "lds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "set_node_on_first_message_only": True,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc", "retry_policy": _RECONNECT}}],
            },
        },
        "static_resources": {
            "listeners": [
                _status_listener(HEALTH_PORT, "/healthz/ready", "/ready", "prometheus_stats"),
                _status_listener(
                    PROMETHEUS_PORT,
                    _PAGE,
                    ENVOY_STATISTICS,
                    "agent_status",
                    address="127.0.0.1" if metrics.local_only else "0.0.0.0",
                ),
                *(
                    _status_listener(port, _PAGE, page, "agent_status", tls=True)
                    for port, page in ((metrics.envoy, ENVOY_STATISTICS), (metrics.merged, _PAGE))
                    if port
                ),
            ],
            "clusters": [
                _pipe_cluster("xds-grpc", socket),
                _pipe_cluster("sds-grpc", secrets or socket),
                {
                    "name": "prometheus_stats",
                    "type": "STATIC",
                    "connect_timeout": "0.250s",
                    "load_assignment": _assignment("prometheus_stats", _address("127.0.0.1", ADMIN_PORT)),
                },
                {
                    "name": "agent_status",  # writes out the labels of Istio's metrics
                    "type": "STATIC",
                    "connect_timeout": "0.250s",
                    "load_assignment": _assignment("agent_status", _address("127.0.0.1", STATUS_PORT)),
                },
            ],
        },
    }
    if mark:
        option = {"description": "SO_MARK", "level": 1, "name": 36, "int_value": mark, "state": "STATE_PREBIND"}
        out["cluster_manager"] = {"upstream_bind_config": {"socket_options": [option]}}
    if dns_port:
        out["typed_dns_resolver_config"] = {
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": _TYPE + "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                "resolvers": [_address("127.0.0.1", dns_port)],
            },
        }
    return out


def _statistics(proxy: ProxyIdentity) -> list[dict[str, Any]]:
    """The statistics to include: the defaults, and those of proxyStatsMatcher and `sidecar.istio.io/statsInclusion*`."""
    matcher = proxy.options.get("proxyStatsMatcher") or {}
    out: list[dict[str, Any]] = [*STATISTICS]
    for name, make in (
        ("Prefixes", lambda text: {"prefix": text}),
        ("Suffixes", lambda text: {"suffix": text}),
        ("Regexps", lambda text: {"safe_regex": {"regex": text}}),
    ):
        wanted = proxy.annotations.get(f"sidecar.istio.io/statsInclusion{name}", "").split(",")
        given = matcher.get(f"inclusion{name}") if isinstance(matcher, dict) else None
        texts = [str(text).strip() for text in (*(given if isinstance(given, list) else ()), *wanted)]
        out += [make(text) for text in texts if text and _valid(name, text)]
    return out


def _intervals(proxy: ProxyIdentity) -> dict[str, str]:
    """How often statistics are merged (`sidecar.istio.io/statsFlushInterval`), and after how long without a request a label set is
    evicted (`statsEvictionInterval`; never by default), which Envoy takes in multiples of the former only."""
    flush = _interval(proxy, "Flush", 300)
    eviction = _interval(proxy, "Eviction", 86_400)
    step = flush or _FLUSH_S
    return {
        **({"stats_flush_interval": f"{flush:g}s"} if flush else {}),
        **({"stats_eviction_interval": f"{math.ceil(eviction / step) * step:g}s"} if eviction else {}),
    }


def _interval(proxy: ProxyIdentity, name: str, most: float) -> float:
    """Seconds of an annotation; 0 if it is not there, or not understood."""
    text = proxy.annotations.get(f"sidecar.istio.io/stats{name}Interval", "")
    try:
        seconds = (duration_ms(text) or 0.0) / 1000 if text else 0.0
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= most:
        log.warning("stats%sInterval: %r is not a time of at most %g s, such as 10s", name, text, most)
    return seconds if 0.001 <= seconds <= most else 0.0


def _buckets(proxy: ProxyIdentity) -> list[dict[str, Any]]:
    """Bounds of histograms' buckets: those of `sidecar.istio.io/statsHistogramBuckets` ({"prefix": [bounds]}), then ours."""
    text = proxy.annotations.get("sidecar.istio.io/statsHistogramBuckets", "")
    wanted: Any = {}
    try:
        wanted = json.loads(text) if text else {}
        settings = [
            {
                "match": {"prefix": str(prefix)},
                "buckets": sorted({float(bound) for bound in bounds if float(bound) > 0}),
            }
            for prefix, bounds in wanted.items()
        ]
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        log.warning("buckets of histograms: %r is not understood: %s", text, error)
        settings = []
    settings = [one for one in settings if one["buckets"]]
    return [*settings, *({"match": {"prefix": prefix}, "buckets": [*bounds]} for prefix, bounds in _BUCKETS.items())]


def _valid(kind: str, text: str) -> bool:
    """Whether a regular expression is valid. An invalid one is dropped, because Envoy would not start with it."""
    if kind != "Regexps":
        return True
    try:
        re.compile(text)
    except re.error as error:
        log.warning("statistics to include: %r is no regular expression: %s", text, error)
        return False
    return True


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _assignment(name: str, address: dict[str, Any]) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def _pipe_cluster(name: str, path: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": _assignment(name, {"pipe": {"path": path}}),
    }


def _status_listener(
    port: int,
    path: str,
    rewrite: str,
    cluster: str,
    address: str = "0.0.0.0",
    tls: bool = False,
) -> dict[str, Any]:
    """A listener that serves one path of a cluster; with TLS to those who have a certificate of the mesh."""
    return {
        "name": f"status_{port}",
        "address": _address(address, port),
        "filter_chains": [
            {
                **({"transport_socket": secure_metrics.TRANSPORT} if tls else {}),
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": _TYPE
                            + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                            "stat_prefix": "agent",
                            "route_config": {
                                "virtual_hosts": [
                                    {
                                        "name": "backend",
                                        "domains": ["*"],
                                        "routes": [
                                            {
                                                "match": {"path": path},
                                                "route": {"cluster": cluster, "prefix_rewrite": rewrite},
                                            }
                                        ],
                                    }
                                ]
                            },
                            "http_filters": [
                                {
                                    "name": "envoy.filters.http.router",
                                    "typed_config": {"@type": _TYPE + "extensions.filters.http.router.v3.Router"},
                                }
                            ],
                        },
                    }
                ],
            }
        ],
    }
