"""What the console's API answers about the whole mesh. The OpenAPI document and the page's TypeScript types come from here.

Rates are per second, times in milliseconds, shares between 0 and 1, moments in seconds since the epoch.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["Failure", "Degraded", "NotReady", "Healthy", "NA"]
GraphType = Literal["versionedApp", "app", "workload", "service"]
NodeKind = Literal["workload", "app", "service", "serviceEntry", "unknown"]


# Each is frozen, and has its names in camelCase in JSON; without gc where a graph has thousands
Struct = msgspec.Struct


class Judgement(Struct, frozen=True, rename="camel", kw_only=True, gc=False):
    """One rule applied to requests of one direction: why a status is what it is."""

    status: Status
    direction: Literal["inbound", "outbound"]
    protocol: str
    codes: str  # the rule's pattern
    share: float
    degraded_from: float
    failure_from: float
    rate: float


class Replicas(Struct, frozen=True, rename="camel", kw_only=True, gc=False):
    desired: int
    current: int
    available: int
    synced: int | None = None  # proxies that have everything; absent without sidecars


class Health(Struct, frozen=True, rename="camel", kw_only=True, gc=False):
    """`window`: what requests were looked back on, such as 5m."""

    status: Status
    window: str
    judgements: list[Judgement] = []
    replicas: Replicas | None = None
    replicas_status: Status = "NA"


class Traffic(Struct, frozen=True, rename="camel", kw_only=True, gc=False):
    """Requests of one protocol, or bytes of connections (`tcp`)."""

    protocol: str
    rate: float = 0.0
    error_share: float = 0.0
    bytes: float = 0.0
    codes: dict[str, float] = {}  # rate by response code; `-`: no response


class Node(Struct, frozen=True, rename="camel", kw_only=True, gc=False):
    """`id` is stable between answers. `badges`: circuitBreaker, faultInjection, gateway, mirroring, missingSidecar, requestTimeout,
    trafficShifting, requestRouting, trafficSource, workloadEntry. `reason`: why it is unknown, and what to do."""

    id: str
    kind: NodeKind
    namespace: str
    name: str
    version: str = ""
    app: str = ""
    workload: str = ""
    service: str = ""
    health: Health
    inbound: list[Traffic] = []
    outbound: list[Traffic] = []
    badges: list[str] = []
    outside: bool = False  # of a namespace that was not asked for
    idle: bool = False
    reason: str = ""
    labels: dict[str, str] = {}  # those that all of its workloads have, or its service


class Edge(Struct, frozen=True, rename="camel", kw_only=True, gc=False):
    id: str
    source: str
    target: str
    traffic: Traffic
    status: Status
    hosts: list[str] = []
    share: float | None = None  # of what its source sends by this protocol
    mutual_tls_share: float | None = None  # absent: no destination has reported
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    server_p95: float | None = (
        None  # as the destination measures it: the rest is the way, and what the source's proxy adds
    )


class Graph(Struct, frozen=True, rename="camel", kw_only=True):
    """`number` rises with each change, for deltas."""

    number: int
    type: GraphType
    window: str
    at: float
    namespaces: list[str]
    nodes: list[Node]
    edges: list[Edge]
    notes: list[str] = []  # why it is empty, or what is missing


class GraphDelta(Struct, frozen=True, rename="camel", kw_only=True):
    """What changes a graph of number `since` into one of `number`."""

    since: int
    number: int
    at: float
    nodes: list[Node] = []
    edges: list[Edge] = []
    removed_nodes: list[str] = []
    removed_edges: list[str] = []
    notes: list[str] = []


class Namespace(Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    injected: bool
    control_plane: bool = False
    health: Health


class Item(Struct, frozen=True, rename="camel", kw_only=True):
    """A row of a list: an application, workload or service. `kind`: App, Deployment, StatefulSet, …, Service."""

    kind: str
    namespace: str
    name: str
    health: Health
    labels: dict[str, str] = {}
    versions: list[str] = []
    sidecar: bool = True
    rate: float = 0.0
    error_share: float = 0.0
    p95: float | None = None


class ConfigItem(Struct, frozen=True, rename="camel", kw_only=True):
    """An object of the mesh. `proxies`: how many have it, of how many. `errors`, `warnings`: how many findings of the analysis."""

    kind: str
    api_version: str
    namespace: str
    name: str
    accepted: bool
    reason: str = ""
    message: str = ""
    proxies: str = ""
    created: str = ""
    errors: int = 0
    warnings: int = 0


class Counted(Struct, frozen=True, rename="camel", kw_only=True):
    status: Status
    count: int


class Insight(Struct, frozen=True, rename="camel", kw_only=True):
    namespace: str
    name: str
    value: float


class ControlPlane(Struct, frozen=True, rename="camel", kw_only=True):
    version: str
    proxies: int
    stale: list[str]  # proxies that do not have everything
    push_ms: float | None = None  # median of the last changes


class Certificate(Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    ends: float


class Overview(Struct, frozen=True, rename="camel", kw_only=True):
    window: str
    applications: list[Counted]
    inbound_rate: float
    error_rates: list[Insight]  # share of errors, worst first
    slowest: list[Insight]  # p95 in milliseconds, slowest first
    busiest: list[Insight]  # requests a second, most first
    config: list[ConfigItem]  # what is not accepted, or not on all its proxies
    config_count: int
    control_plane: ControlPlane
    certificates: list[Certificate]  # the next to end first


class Session(Struct, frozen=True, rename="camel", kw_only=True):
    user: str
    read_only: bool
    version: str
    cluster: str


class LoginMethods(Struct, frozen=True, rename="camel", kw_only=True):
    """How to log in besides with a token. `openid`: at /api/openid/login."""

    openid: bool


class Problem(Struct, frozen=True, rename="camel", kw_only=True):
    """The body of every error. `fix`: what to do."""

    error: str
    fix: str = ""


def parameter(name: str, text: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """A parameter of the query, in OpenAPI."""
    return {"name": name, "in": "query", "description": text, "schema": schema or {"type": "string"}}


_NAMESPACES = parameter("namespaces", "Names, apart by commas; all that the user may read by default.")
_WINDOW = parameter("window", "What is looked back on, such as 30s, 5m or 1h.")
_AT = parameter("at", "The end of the window, in seconds since the epoch; now by default.", {"type": "number"})
GRAPH = (
    _NAMESPACES,
    _WINDOW,
    _AT,
    parameter("type", "What a node is.", {"enum": ["versionedApp", "app", "workload", "service"]}),
    parameter("services", "Whether services are nodes of their own.", {"type": "boolean"}),
    parameter(
        "idle",
        "Whether nodes without traffic are shown, and edges that had some in the last six hours.",
        {"type": "boolean"},
    ),
)
PATHS: tuple[tuple[str, str, tuple[dict[str, Any], ...], Any], ...] = (
    ("/api/session", "Who is logged in.", (), Session),
    ("/api/login/methods", "How to log in.", (), LoginMethods),
    (
        "/api/overview",
        "Health, insights, configuration, control plane, certificates.",
        (_NAMESPACES, _WINDOW),
        Overview,
    ),
    ("/api/namespaces", "Namespaces that the user may read.", (_WINDOW,), list[Namespace]),
    ("/api/graph", "The traffic graph.", GRAPH, Graph),
    ("/api/apps", "Applications: workloads by their label app.", (_NAMESPACES, _WINDOW), list[Item]),
    ("/api/workloads", "Workloads.", (_NAMESPACES, _WINDOW), list[Item]),
    ("/api/services", "Services.", (_NAMESPACES, _WINDOW), list[Item]),
    ("/api/config", "Objects of the mesh, with where they are in force.", (_NAMESPACES,), list[ConfigItem]),
)
"""(path, what it answers, parameters, type) of all GET requests that answer with JSON."""
