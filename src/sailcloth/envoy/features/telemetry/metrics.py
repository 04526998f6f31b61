"""Istio's standard metrics, counted by Envoy's statistics access logger. Names: istio.md 4.3; costs: envoy.md 2, 4.

All labels are one text, its parts apart by `|`: each chain of each listener carries this configuration, and it is small so. The agent
writes them out as Istio names them, and adds what the proxy is itself (`agent.istio_metrics`, decision 19). The other side is named as
its endpoint's metadata (outbound) or its certificate (inbound) does.

The configuration travels as a TypedStruct, since its newer fields are not in `xds-protos`. All loggers of a proxy share one scope:
without it, counters would start again with each new version of a listener. `envoy --mode validate` ends with a fault because of
it, after it has said OK.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.data.accesslog.v3 import accesslog_pb2 as log_types
from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2 as grpc_stats
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from xds.type.v3 import typed_struct_pb2

from sailcloth.api.validation import envoy_cel
from sailcloth.envoy.protobuf import pack, typed
from sailcloth.mesh.kinds import Traffic

from .policy import MetricPlan

NAME = "envoy.access_loggers.stats"
_TYPE = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"
_PREFIX = "istiocustom"
_MAX_SETS = 1000  # label sets of a proxy; new ones are dropped beyond, and server.stats_overflow_counter counts them
_MAX_MESSAGES = 300  # label sets of gRPC message counts, which grow with what streams send
_FAILED = (
    "UF",
    "UH",
    "UO",
    "NR",
    "NC",
    "URX",
    "UPE",
    "DI",
    "RL",
    "UAEX",
)  # flags of connections without an upstream one

_SERVICES = "%CLUSTER_METADATA(istio:services)%"


def _first(*operators: tuple[str, str]) -> str:
    """The first of several commands that gives something."""
    texts = ",".join(f'{{"command":"{c}"' + (f',"param":"{p}"}}' if p else "}") for c, p in operators)
    return f'%COALESCE({{"operators":[{texts}]}})%'


_OF_CLUSTER, _OF_ROUTE = ("CLUSTER_METADATA", "istio:services"), ("METADATA", "ROUTE:istio:services")
# The host of a request counts only where the proxy's own application chooses it, and no service is known.
_SERVICE: dict[Traffic, str] = {
    "outbound": _first(_OF_CLUSTER, _OF_ROUTE, ("REQ", ":AUTHORITY")),
    "gateway": _first(_OF_CLUSTER, _OF_ROUTE),
    "inbound": _SERVICES,
}


def _labels(traffic: Traffic, tcp: bool) -> list[tuple[str, str]]:
    """The label of all labels: reporter, flags, code, gRPC status, the other side's workload and principal, service."""
    inbound = traffic == "inbound"
    reporter = "destination" if inbound else "source"
    codes = "-|-" if tcp else "%RESPONSE_CODE%|%GRPC_STATUS_NUMBER%"
    peer = "%DOWNSTREAM_PEER_DNS_SAN%" if inbound else "%UPSTREAM_METADATA(istio:workload)%"
    principal = "%DOWNSTREAM_PEER_URI_SAN%" if inbound else "%UPSTREAM_PEER_URI_SAN%"
    service = _SERVICES if tcp else _SERVICE[traffic]
    return [("labels", f"{reporter}|%RESPONSE_FLAGS%|{codes}|{peer}|{principal}|{service}")]


Changes = tuple[tuple[str, MetricPlan], ...]
"""Plans of the metrics that are not as Istio's defaults, by name."""


@lru_cache(maxsize=64)
def http(traffic: Traffic, changes: Changes = ()) -> tuple[accesslog_pb2.AccessLog, ...]:
    """The loggers of an HTTP connection manager."""
    labels = _labels(traffic, False)
    plans = _Plans(changes)
    requests = _logger(
        "istio",
        _MAX_SETS,
        counters=plans.kept(_counter("istio_requests_total", labels)),
        histograms=plans.kept(
            _histogram("istio_request_duration_milliseconds", labels, "Milliseconds", "%DURATION%"),
            _histogram("istio_request_bytes", labels, "Bytes", "%BYTES_RECEIVED%"),
            _histogram("istio_response_bytes", labels, "Bytes", "%BYTES_SENT%"),
        ),
    )
    counted = [*labels, ("messages", "%FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)%")]
    messages = _logger(
        "istio-messages", _MAX_MESSAGES, counters=plans.kept(_counter("istio_grpc_messages_total", counted))
    )
    for log in messages:
        log.filter.header_filter.header.name = "content-type"
        log.filter.header_filter.header.string_match.prefix = "application/grpc"
    return *requests, *messages


@lru_cache(maxsize=64)
def tcp(traffic: Traffic, changes: Changes = ()) -> tuple[accesslog_pb2.AccessLog, ...]:
    """The loggers of a TCP proxy. It logs a connection when it is connected upstream, and at its end."""
    labels = _labels(traffic, True)
    plans = _Plans(changes)
    opened = _logger("istio", _MAX_SETS, counters=plans.kept(_counter("istio_tcp_connections_opened_total", labels)))
    for log in opened:
        connected, failed = log.filter.or_filter.filters.add(), log.filter.or_filter.filters.add()
        connected.log_type_filter.types.append(log_types.TcpUpstreamConnected)
        failed.and_filter.filters.add().log_type_filter.types.append(log_types.TcpConnectionEnd)
        failed.and_filter.filters.add().response_flag_filter.flags.extend(_FAILED)
    closed = _logger(
        "istio",
        _MAX_SETS,
        counters=plans.kept(
            _counter("istio_tcp_connections_closed_total", labels),
            _counter("istio_tcp_received_bytes_total", labels, "%BYTES_RECEIVED%"),
            _counter("istio_tcp_sent_bytes_total", labels, "%BYTES_SENT%"),
        ),
    )
    for log in closed:
        log.filter.log_type_filter.types.append(log_types.TcpConnectionEnd)
    return *opened, *closed


@lru_cache(maxsize=1)
def message_counts() -> HttpFilter:
    """The filter that counts the messages of gRPC calls, for the logger."""
    return HttpFilter(**typed("envoy.filters.http.grpc_stats", grpc_stats.FilterConfig(emit_filter_state=True)))


def _stat(name: str, labels: list[tuple[str, str]]) -> dict[str, Any]:
    return {"name": name, "tags": [{"name": label, "value_format": value} for label, value in labels]}


def _counter(name: str, labels: list[tuple[str, str]], value: str = "") -> dict[str, Any]:
    return {"stat": _stat(name, labels), **({"value_format": value} if value else {"value_fixed": "1"})}


def _histogram(name: str, labels: list[tuple[str, str]], unit: str, value: str) -> dict[str, Any]:
    return {"stat": _stat(name, labels), "unit": unit, "value_format": value}


class _Plans:
    """Applies what Telemetry objects change."""

    def __init__(self, changes: Changes) -> None:
        self._by_name = dict(changes)

    def kept(self, *stats: dict[str, Any]) -> list[dict[str, Any]]:
        """The metrics that are not disabled, with changed tags."""
        return [self._changed(s, plan) for s in stats if not (plan := self._plan(s["stat"]["name"])).disabled]

    def _plan(self, name: str) -> MetricPlan:
        if name != "istio_grpc_messages_total":
            return self._by_name.get(name, MetricPlan())
        both = [
            self._by_name.get(n, MetricPlan())
            for n in ("istio_request_messages_total", "istio_response_messages_total")
        ]
        return MetricPlan(all(p.disabled for p in both), both[0].tags)

    @staticmethod
    def _changed(stat: dict[str, Any], plan: MetricPlan) -> dict[str, Any]:
        added = {
            n: e for n, v in plan.tags if v is not None and not envoy_cel.problem(e := envoy_cel.without_string(v))
        }
        dropped = [name for name, value in plan.tags if value is None]
        tags = [t for t in stat["stat"]["tags"] if t["name"] not in added]
        tags += [{"name": name, "value_format": _value(text)} for name, text in added.items()]
        tags += [{"name": "drop", "value_format": ",".join(dropped)}] if dropped else []
        return {**stat, "stat": {**stat["stat"], "tags": tags}}


def _value(expression: str) -> str:
    """The format of an expression's value; a text in quotes is itself."""
    quoted = len(expression) > 1 and expression[0] == expression[-1] and expression[0] in "'\""
    inner = expression[1:-1] if quoted else ""
    plain = quoted and expression[0] not in inner and "\\" not in inner
    return inner.replace("%", "%%") if plain else f"%CEL({expression})%"


def _logger(
    scope: str, most: int, counters: list[dict[str, Any]], histograms: list[dict[str, Any]] | None = None
) -> list[accesslog_pb2.AccessLog]:
    """At most one logger: none if there is nothing to count."""
    if not counters and not histograms:
        return []
    struct = typed_struct_pb2.TypedStruct(type_url=_TYPE)
    shared: dict[str, Any] = {
        "prefix": _PREFIX,
        "sharing_name": scope,
        "max_counters": 4 * most,
        "max_histograms": 3 * most,
        "enable_eviction": True,  # of label sets not used for a while, if the bootstrap has an interval
    }
    # As Envoy writes it in a config dump: 64-bit numbers as texts, and no empty lists.
    struct.value.update({"stats_scope": shared, "counters": counters})
    if histograms:
        struct.value.update({"histograms": histograms})
    return [accesslog_pb2.AccessLog(name=NAME, typed_config=pack(struct))]
