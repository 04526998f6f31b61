"""The telemetry of a workload: what its Telemetry objects and the MeshConfig say, merged for each direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sailcloth.api.extension_provider import ExtensionProvider, FileAccessLog, LogFormat
from sailcloth.api.meta import Key
from sailcloth.api.telemetry import AccessLogging, CustomTag, Metrics, ModeMatch, ProviderRef, Telemetry, Tracing
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import extension_providers, proxy_configs, registry, selection
from sailcloth.mesh.kinds import Traffic
from sailcloth.mesh.model import MeshConfig
from sailcloth.view.policies import Policies
from sailcloth.view.routes import ClusterId

BUILT_IN = {
    "envoy": ExtensionProvider(name="envoy", envoy_file_access_log=FileAccessLog(path="/dev/stdout")),
    "prometheus": ExtensionProvider(name="prometheus", prometheus={}),
}
"""Providers that need no definition, as in Istio."""
_LEGACY = "accessLogFile"  # the log of the MeshConfig's options, as a provider
_DEFAULT_SAMPLING = 1.0  # percent

METRICS = {
    "REQUEST_COUNT": "istio_requests_total",
    "REQUEST_DURATION": "istio_request_duration_milliseconds",
    "REQUEST_SIZE": "istio_request_bytes",
    "RESPONSE_SIZE": "istio_response_bytes",
    "TCP_OPENED_CONNECTIONS": "istio_tcp_connections_opened_total",
    "TCP_CLOSED_CONNECTIONS": "istio_tcp_connections_closed_total",
    "TCP_SENT_BYTES": "istio_tcp_sent_bytes_total",
    "TCP_RECEIVED_BYTES": "istio_tcp_received_bytes_total",
    "GRPC_REQUEST_MESSAGES": "istio_request_messages_total",
    "GRPC_RESPONSE_MESSAGES": "istio_response_messages_total",
}
"""The standard metrics by their names in Telemetry objects."""


@dataclass(frozen=True)
class LogPlan:
    """One access log: the provider, and the CEL filter (empty: all requests). `json`: the format's text is a JSON object."""

    provider: ExtensionProvider
    filter: str = ""
    json: bool = False


@dataclass(frozen=True)
class MetricPlan:
    """Changes to one metric. `tags`: name to CEL expression; None removes the tag."""

    disabled: bool = False
    tags: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True)
class TracePlan:
    """Where spans go, and of which requests. `sampling` in percent; `tags` by name. `propagated`: requests get trace headers."""

    provider: ExtensionProvider | None = None
    sampling: float = _DEFAULT_SAMPLING
    reported: bool = True
    tags: tuple[tuple[str, CustomTag], ...] = ()
    by_request_id: bool = True
    istio_tags: bool = True
    propagated: bool = True


@dataclass(frozen=True)
class Direction:
    """The telemetry of one direction. `changed`: plans of the metrics that are not Istio's defaults, by name."""

    logs: tuple[LogPlan, ...] = ()
    metrics: bool = True
    changed: tuple[tuple[str, MetricPlan], ...] = ()
    trace: TracePlan = TracePlan()


@dataclass(frozen=True)
class WorkloadTelemetry:
    """The telemetry of a workload or gateway."""

    client: Direction = Direction()
    server: Direction = Direction()
    sources: tuple[Key, ...] = ()
    clusters: tuple[ClusterId, ...] = ()

    def of(self, traffic: Traffic) -> Direction:
        """The direction of a kind of traffic."""
        return self.server if traffic == "inbound" else self.client


def resolve(graph: Graph, policies: Policies) -> WorkloadTelemetry:
    """The merged telemetry of a workload."""
    config = registry.config(graph)
    levels = _levels(graph, policies, config.root_namespace)
    specs = [obj.spec for _, obj in levels]
    names: dict[str, None] = {}

    def direction(mode: str) -> Direction:
        logs = _logs(config, [[e for e in s.access_logging if _in(e.match, mode)] for s in specs])
        on, changed = _metrics(config, mode, [s.metrics for s in specs])
        trace = _trace(config, [next((e for e in s.tracing if _in(e.match, mode)), None) for s in specs])
        names.update(dict.fromkeys([*(name for name, _ in logs), trace[0]]))
        found = ((_provider(graph, config, name), wanted) for name, wanted in logs)
        plans = tuple(
            LogPlan(p, wanted, p.name == _LEGACY and config.access_log_json)
            for p, wanted in found
            if p is not None and p.logs is not None
        )
        provider = _provider(graph, config, trace[0])
        with_traces = provider if provider is not None and provider.traces is not None else None
        return Direction(plans, on, changed, replace(trace[1], provider=with_traces))

    client, server = direction("CLIENT"), direction("SERVER")
    used = [_provider(graph, config, name) for name in names]
    services = [service for provider in used if provider is not None for service in provider.services]
    clusters = tuple(dict.fromkeys(ClusterId(s.service.rpartition("/")[2], s.port) for s in services))
    return WorkloadTelemetry(client, server, tuple(key for key, _ in levels), clusters)


def _levels(graph: Graph, policies: Policies, root: str) -> list[tuple[Key, Telemetry]]:
    """The objects in force, the widest first: the oldest of the root namespace, of the namespace, and for the workload."""
    by_level: dict[int, tuple[Key, Telemetry]] = {}
    for key in policies.of(Telemetry):
        obj = registry.read(graph, Telemetry, key)
        if obj is not None:
            selects = not selection.scope_of(obj).is_namespace
            by_level.setdefault(2 if selects else 0 if key.namespace == root else 1, (key, obj))
    return [by_level[level] for level in sorted(by_level)]


def _in(match: ModeMatch | None, mode: str) -> bool:
    return match is None or match.mode in (None, "CLIENT_AND_SERVER", mode)


def _names(providers: Sequence[ProviderRef]) -> list[str]:
    return [provider.name for provider in providers]


def _logs(config: MeshConfig, levels: Sequence[Sequence[AccessLogging]]) -> tuple[tuple[str, str], ...]:
    """(provider, filter) of each access log."""
    defaults = list(config.default_providers.access_logging) if config.default_providers is not None else []
    current = dict.fromkeys(defaults or ([_LEGACY] if config.access_log_file else []), "")
    known = dict(current)  # also those that are disabled, which a narrower level may enable
    for entries in levels:
        named = [name for entry in entries for name in _names(entry.providers)]
        if named:
            known = {name: known.get(name, "") for name in named}
            current = dict(known)
        for entry in entries:
            for name in _names(entry.providers) or list(known):
                if entry.disabled:
                    current.pop(name, None)
                else:
                    wanted = entry.filter.expression or "" if entry.filter is not None else known.get(name, "")
                    known[name] = current[name] = wanted
    return tuple(current.items())


def _metrics(
    config: MeshConfig, mode: str, levels: Sequence[Sequence[Metrics]]
) -> tuple[bool, tuple[tuple[str, MetricPlan], ...]]:
    """(whether metrics are kept, changes by metric)."""
    providers = list(config.default_providers.metrics) if config.default_providers is not None else []
    plans: dict[str, MetricPlan] = {}
    for entries in levels:
        named = [name for entry in entries for name in _names(entry.providers)]
        providers = named or providers
        for entry in entries:
            if entry.providers and not _counted(config, _names(entry.providers)):
                continue
            for override in entry.overrides:
                match = override.match
                if match is not None and (match.custom_metric or match.mode not in (None, "CLIENT_AND_SERVER", mode)):
                    continue
                metric = match.metric if match is not None else None
                for name in METRICS.values() if metric in (None, "ALL_METRICS") else [METRICS[str(metric)]]:
                    old = plans.get(name, MetricPlan())
                    tags = {
                        tag: None if change.operation == "REMOVE" else change.value or ""
                        for tag, change in override.tag_overrides.items()
                    }
                    plans[name] = MetricPlan(
                        old.disabled if override.disabled is None else override.disabled,
                        tuple(sorted({**dict(old.tags), **tags}.items())),
                    )
    on = not providers or _counted(config, providers)
    return on, tuple(sorted((name, plan) for name, plan in plans.items() if plan != MetricPlan()))


def _counted(config: MeshConfig, names: Sequence[str]) -> bool:
    """Whether one of the providers is for metrics. All of them get the same series."""
    of_metrics = {p.name for p in config.extension_providers if p.metrics is not None}
    return any(name == "prometheus" or name in of_metrics for name in names)


def _trace(config: MeshConfig, levels: Sequence[Tracing | None]) -> tuple[str, TracePlan]:
    """(provider, the plan without it)."""
    defaults = config.default_providers.tracing if config.default_providers is not None else ()
    provider = defaults[0] if defaults else ""
    sampling = proxy_configs.sampling(config.proxy_defaults)
    plan = TracePlan(sampling=_DEFAULT_SAMPLING if sampling is None else sampling)
    for entry in levels:
        if entry is None:
            continue
        provider = entry.providers[0].name if entry.providers else provider
        changes: dict[str, Any] = {}
        if entry.random_sampling_percentage is not None:
            changes["sampling"] = entry.random_sampling_percentage
        if entry.disable_span_reporting is not None:
            changes["reported"] = not entry.disable_span_reporting
        if entry.use_request_id_for_trace_sampling is not None:
            changes["by_request_id"] = entry.use_request_id_for_trace_sampling
        if entry.enable_istio_tags is not None:
            changes["istio_tags"] = entry.enable_istio_tags
        if entry.disable_context_propagation is not None:
            changes["propagated"] = not entry.disable_context_propagation
        if entry.custom_tags:
            changes["tags"] = tuple(sorted(entry.custom_tags.items(), key=lambda item: item[0]))
        plan = replace(plan, **changes)
    return provider, plan


def _provider(graph: Graph, config: MeshConfig, name: str) -> ExtensionProvider | None:
    """A provider that can be used; None also if its service does not exist."""
    if name == _LEGACY:
        settings = FileAccessLog(path=config.access_log_file, log_format=LogFormat(text=config.access_log_format))
        return ExtensionProvider(name=name, envoy_file_access_log=settings)
    found = extension_providers.find(graph, name) or BUILT_IN.get(name)
    return None if found is None or problem(graph, found) else found


def problem(graph: Graph, provider: ExtensionProvider) -> str:
    """Why a provider cannot be used; empty if it can."""
    problems = (extension_providers.host(graph, provider.name, s.service, s.port)[1] for s in provider.services)
    return next((text for text in problems if text), "")
