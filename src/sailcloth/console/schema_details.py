"""What the API answers about one workload, service, application or namespace: its parts, charts, logs, traces, and its proxies'
configuration. Units as in `schema`.
"""

from __future__ import annotations

from typing import Any, Literal

from .schema import ConfigItem, Health, Item, Struct, parameter

Kind = Literal["workload", "service", "app"]


class Related(Struct, frozen=True, rename="camel", kw_only=True):
    kind: Kind
    namespace: str
    name: str


class PodRow(Struct, frozen=True, rename="camel", kw_only=True):
    """A pod. `containers`: ready ones of all, such as 2/2. `synced`: whether its proxy has everything; absent without a proxy.
    `reason`: why it is not ready."""

    namespace: str
    name: str
    phase: str
    ready: bool
    containers: str
    restarts: int
    node: str
    ip: str
    sidecar: bool
    synced: bool | None = None
    reason: str = ""
    created: str = ""


class PortRow(Struct, frozen=True, rename="camel", kw_only=True):
    """A port of a service. `clients`: how they secure requests to it, and by what."""

    name: str
    number: int
    protocol: str
    target: str
    clients: list[str] = []


class EndpointRow(Struct, frozen=True, rename="camel", kw_only=True):
    address: str
    pod: str
    node: str
    ready: bool


class MeshObject(Struct, frozen=True, rename="camel", kw_only=True):
    """An object of the mesh that concerns the subject. `note`: what it does to it."""

    kind: str
    namespace: str
    name: str
    note: str = ""
    accepted: bool = True


class MutualTls(Struct, frozen=True, rename="camel", kw_only=True):
    """What the workload's proxies accept at a port; port 0: at all others. `source`: the object that says so; empty: the default."""

    port: int
    mode: str
    source: str = ""


class EventRow(Struct, frozen=True, rename="camel", kw_only=True):
    """An event of Kubernetes. `type`: Normal or Warning."""

    type: str
    reason: str
    message: str
    kind: str
    name: str
    count: int
    last: str


class Details(Struct, frozen=True, rename="camel", kw_only=True):
    """A workload, service or application. `type`: Deployment, Service, App, …. `related`: its services, workloads and application."""

    kind: Kind
    type: str
    namespace: str
    name: str
    health: Health
    labels: dict[str, str]
    selector: dict[str, str] = {}
    versions: list[str] = []
    created: str = ""
    rate: float = 0.0
    error_share: float = 0.0
    p95: float | None = None
    pods: list[PodRow] = []
    related: list[Related] = []
    ports: list[PortRow] = []
    endpoints: list[EndpointRow] = []
    objects: list[MeshObject] = []
    mutual_tls: list[MutualTls] = []
    warnings: list[str] = []
    events: list[EventRow] = []
    notes: list[str] = []  # what could not be read, and why


class NamespaceDetails(Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    injected: bool
    control_plane: bool
    health: Health
    labels: dict[str, str]
    created: str
    apps: list[Item]
    workloads: list[Item]
    services: list[Item]
    config: list[ConfigItem]
    events: list[EventRow] = []
    notes: list[str] = []


# -- charts -------------------------------------------------------------------------------------


class Line(Struct, frozen=True, rename="camel", kw_only=True):
    """`values`: one for each time of the charts; null where there was nothing to measure."""

    label: str
    values: list[float | None]


class Chart(Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    unit: Literal["requests/s", "ms", "bytes", "bytes/s", "cores", "count"]
    lines: list[Line]
    dropped: int = 0  # smaller lines that are not among these


class Charts(Struct, frozen=True, rename="camel", kw_only=True):
    """`times`: seconds since the epoch, `step` apart."""

    times: list[float]
    step: float
    reporter: str
    charts: list[Chart]


class Runtime(Struct, frozen=True, rename="camel", kw_only=True):
    """The dashboard of a runtime that is there."""

    name: str
    charts: list[Chart]


class Runtimes(Struct, frozen=True, rename="camel", kw_only=True):
    times: list[float]
    runtimes: list[Runtime]


# -- logs ---------------------------------------------------------------------------------------


class LogLine(Struct, frozen=True, rename="camel", kw_only=True):
    """`time`: RFC 3339. `access`: whether it is a line of an access log. `level`: what the line says of itself, or else info."""

    time: str
    pod: str
    container: str
    text: str
    access: bool = False
    level: Literal["error", "warning", "info"] = "info"


class LogLines(Struct, frozen=True, rename="camel", kw_only=True):
    """`containers`: names that can be chosen. `problems`: containers that cannot be read, and why. `dropped`: older lines than the
    most that were asked for."""

    lines: list[LogLine]
    containers: list[str] = []
    problems: list[str] = []
    dropped: int = 0


class AccessLogLine(Struct, frozen=True, rename="camel", kw_only=True):
    line: str


class AccessLogField(Struct, frozen=True, rename="camel", kw_only=True):
    """`meaning`: of this value, or else of the field."""

    name: str
    value: str
    meaning: str


class AccessLog(Struct, frozen=True, rename="camel", kw_only=True):
    """A line of an access log, field by field. `summary`: one sentence about what happened."""

    summary: str
    fields: list[AccessLogField]


# -- traces -------------------------------------------------------------------------------------


class TraceRow(Struct, frozen=True, rename="camel", kw_only=True):
    """A trace: when its first span began, its duration, and its spans. `own`: the longest span of the subject that it is listed for, of
    requests that it received (`inbound`) and sent (`outbound`)."""

    id: str
    start: float
    duration: float
    operation: str
    services: list[str]
    spans: int
    errors: int
    own: dict[str, float] = {}


class Traces(Struct, frozen=True, rename="camel", kw_only=True):
    """The latest first. `hidden`: traces with spans of namespaces that the user may not read."""

    traces: list[TraceRow]
    hidden: int = 0


class Span(Struct, frozen=True, rename="camel", kw_only=True):
    """`start`: milliseconds after the trace's. `depth`: 0 for a root; spans come in the order of the tree."""

    id: str
    parent: str
    depth: int
    service: str
    operation: str
    kind: str
    start: float
    duration: float
    error: bool
    tags: dict[str, str]


class Trace(Struct, frozen=True, rename="camel", kw_only=True):
    id: str
    start: float
    duration: float
    spans: list[Span]


class SpanRank(Struct, frozen=True, rename="camel", kw_only=True):
    """A span among others of its operation. `faster`: the share of them that took less time. `quantiles`: p50, p75, p95 and p99."""

    count: int
    faster: float
    quantiles: list[float]


class SimilarTrace(Struct, frozen=True, rename="camel", kw_only=True):
    """`likeness`: the share of operations in common, 1 for all."""

    trace: TraceRow
    likeness: float


class TraceComparison(Struct, frozen=True, rename="camel", kw_only=True):
    """`spans`: in the order of the trace's; null for one without others of its operation. `looked`: with how many traces it is compared."""

    looked: int
    spans: list[SpanRank | None]
    similar: list[SimilarTrace]


# -- proxies ------------------------------------------------------------------------------------


class ProxyRow(Struct, frozen=True, rename="camel", kw_only=True):
    """`origin`: the object that the row was generated from."""

    cells: list[str]
    origin: MeshObject | None = None


class ProxyTable(Struct, frozen=True, rename="camel", kw_only=True):
    """`hidden`: rows about namespaces that the user may not read."""

    part: Literal["cluster", "listener", "route", "endpoint"]
    columns: list[str]
    rows: list[ProxyRow]
    hidden: int = 0


class ProxyConfig(Struct, frozen=True, rename="camel", kw_only=True):
    """What the control plane gives a pod's proxy. `sync`: SYNCED, STALE, … by type of resource. `whole`: whether the user may see the
    JSON, which names all namespaces."""

    pod: str
    sync: dict[str, str]
    tables: list[ProxyTable]
    whole: bool


class ProxyDifference(Struct, frozen=True, rename="camel", kw_only=True):
    """How what an Envoy has differs from what it is to have, as lines of a unified diff; `cut`: lines that are left out."""

    part: Literal["cluster", "listener", "route"]
    lines: list[str]
    cut: int = 0


class LogLevel(Struct, frozen=True, rename="camel", kw_only=True):
    """A level for one of the loggers of a pod's Envoy, or for all."""

    namespace: str
    pod: str
    level: str
    logger: str = ""


class LogLevels(Struct, frozen=True, rename="camel", kw_only=True):
    """Levels by Envoy's loggers."""

    levels: dict[str, str]


def _required(name: str, text: str, example: str, choices: tuple[str, ...] = ()) -> dict[str, Any]:
    schema = {"type": "string", "enum": list(choices)} if choices else {"type": "string"}
    return {**parameter(name, text, schema), "required": True, "example": example}


_KINDS = ("workload", "service", "app")
_SUBJECT = (
    _required("kind", "What is asked for.", "workload", _KINDS),
    _required("namespace", "Its namespace.", "shop"),
    _required("name", "Its name.", "web-v1"),
)
_POD = (_required("namespace", "The pod's namespace.", "shop"), _required("pod", "Its name.", "web-v1-abc-1"))
_WINDOW = parameter("window", "What is looked back on, such as 30s, 5m or 1h.")
LOGS = (
    *_SUBJECT,
    parameter("containers", "Names of containers, apart by commas; all by default."),
    parameter("pods", "Names of pods, apart by commas; all by default."),
    parameter("lines", "The most lines, of all containers together.", {"type": "integer", "minimum": 1}),
)
PATHS: tuple[tuple[str, str, tuple[dict[str, Any], ...], Any], ...] = (
    ("/api/details", "A workload, service or application.", (*_SUBJECT, _WINDOW), Details),
    (
        "/api/details/namespace",
        "A namespace.",
        (_required("name", "Its name.", "shop"), _WINDOW),
        NamespaceDetails,
    ),
    (
        "/api/series",
        "Charts of the traffic of a workload, service or application.",
        (
            *_SUBJECT,
            _WINDOW,
            parameter("direction", "Whose requests.", {"enum": ["inbound", "outbound"]}),
            parameter(
                "reporter", "Whose proxies have measured; by default its own.", {"enum": ["source", "destination"]}
            ),
            parameter("by", "What a line is.", {"enum": ["none", "workload", "version", "code", "flags", "mtls"]}),
            parameter("quantile", "Of durations and sizes.", {"enum": ["all", "p50", "p95", "p99", "avg"]}),
        ),
        Charts,
    ),
    ("/api/runtimes", "Dashboards of what its pods run in.", (*_SUBJECT, _WINDOW), Runtimes),
    ("/api/logs", "Lines of the logs of its pods, ordered by time.", LOGS, LogLines),
    (
        "/api/traces",
        "Traces that it takes part in.",
        (
            *_SUBJECT,
            _WINDOW,
            parameter("limit", "The most traces.", {"type": "integer", "minimum": 1}),
            parameter("errors", "Only traces with errors.", {"type": "boolean"}),
        ),
        Traces,
    ),
    ("/api/traces/spans", "One trace.", (_required("id", "Hexadecimal.", "00000000000000000000000000000001"),), Trace),
    (
        "/api/traces/comparison",
        "One trace against those of the window.",
        (_required("id", "Hexadecimal.", "00000000000000000000000000000001"), _WINDOW),
        TraceComparison,
    ),
    ("/api/proxy-config", "What a pod's proxy is given, in tables.", _POD, ProxyConfig),
    ("/api/proxy-config/json", "The same as JSON, without secrets.", _POD, dict[str, Any]),
    ("/api/proxy-config/difference", "What its Envoy has against what it is to have.", _POD, list[ProxyDifference]),
    ("/api/proxy-config/logging", "The levels of its Envoy's loggers.", _POD, LogLevels),
)
POSTS = (
    ("/api/logs/explain", "A line of an access log in words.", AccessLogLine, AccessLog),
    ("/api/proxy-config/logging", "Set a level of its Envoy's loggers.", LogLevel, LogLevels),
)
STREAMS = (
    (
        "/api/logs/events",
        "Lines of the logs of its pods as they are written, as server-sent events.",
        LOGS,
        "Events `lines` with a LogLines each; the first of a connection says which containers there are.",
    ),
)
