"""The startup options of a workload's proxy: the mesh's, overridden by ProxyConfigs. Injection reads them, so a change takes effect
when a pod starts. Source: istio.md 1.10."""

from __future__ import annotations

import json
from typing import Any

from sailcloth.api.meta import duration_ms
from sailcloth.api.workload_group import ProxyConfig
from sailcloth.lib.incremental import Graph

from . import registry, selection
from .model import MeshConfig

READ = frozenset(
    (
        "concurrency",
        "discoveryAddress",
        "drainDuration",
        "fileFlushInterval",
        "gatewayTopology",
        "holdApplicationUntilProxyStarts",
        "image",
        "proxyMetadata",
        "proxyStatsMatcher",
        "terminationDrainDuration",
    )
)
"""Names of the options that have an effect."""


def unread(options: dict[str, Any]) -> tuple[str, ...]:
    """Names of the options of a proxy that have no effect, sorted."""
    names = [str(name) for name in options if name not in READ and name != "tracing"]
    tracing = options.get("tracing")
    names += [f"tracing.{name}" for name in tracing if name != "sampling"] if isinstance(tracing, dict) else []
    return tuple(sorted(names))


def sampling(defaults: str) -> float | None:
    """The share of requests to trace, in percent, that a `defaultConfig` text names."""
    tracing = json.loads(defaults).get("tracing")
    share = tracing.get("sampling") if isinstance(tracing, dict) else None
    return min(100.0, max(0.0, float(share))) if isinstance(share, (int, float)) else None


def options(graph: Graph, namespace: str, labels: dict[str, str]) -> dict[str, Any]:
    """Options of a workload's proxy in the format of `defaultConfig`: the mesh's, overridden by the ProxyConfig of the root
    namespace, of the namespace, and the one that selects the workload; of several at a level the oldest is used."""
    config = registry.config(graph)
    merged: dict[str, Any] = json.loads(config.proxy_defaults)
    if given := _pushed_metrics(config) | _service_attributes(config):
        merged["proxyMetadata"] = {**given, **(merged.get("proxyMetadata") or {})}
    levels = graph.get(selection.levels, ProxyConfig, namespace, tuple(sorted(labels.items())))
    for key in dict.fromkeys((levels.mesh, levels.namespace, levels.workload)):
        obj = registry.read(graph, ProxyConfig, key) if key is not None else None
        if obj is not None:
            merged = _merge(merged, obj)
    return merged


def _pushed_metrics(config: MeshConfig) -> dict[str, str]:
    """OpenTelemetry's variables for the first of the default providers that metrics are pushed to; the agent reads them."""
    names = config.default_providers.metrics if config.default_providers is not None else ()
    providers = {p.name: p.opentelemetry_metrics for p in config.extension_providers}
    settings = next((s for name in names if (s := providers.get(name)) is not None), None)
    if settings is None:
        return {}
    host = settings.service.rpartition("/")[2]
    out = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://{host}:{settings.port}{settings.path}"}
    milliseconds = duration_ms(settings.interval)
    return out | ({"OTEL_METRIC_EXPORT_INTERVAL": f"{milliseconds:.0f}"} if milliseconds else {})


def _service_attributes(config: MeshConfig) -> dict[str, str]:
    """A variable for the agent, if an OpenTelemetry provider wants attributes by the semantic conventions."""
    wanted = "OTEL_SEMANTIC_CONVENTIONS"
    providers = (p.opentelemetry for p in config.extension_providers)
    enriched = any(p is not None and p.service_attribute_enrichment == wanted for p in providers)
    return {"SAILCLOTH_SERVICE_ATTRIBUTES": wanted} if enriched else {}


def _merge(options: dict[str, Any], obj: ProxyConfig) -> dict[str, Any]:
    merged = dict(options)
    if obj.spec.concurrency is not None:
        merged["concurrency"] = obj.spec.concurrency
    if obj.spec.image is not None and obj.spec.image.image_type:
        merged["image"] = {"imageType": obj.spec.image.image_type}
    if obj.spec.environment_variables:
        merged["proxyMetadata"] = {**(merged.get("proxyMetadata") or {}), **obj.spec.environment_variables}
    return merged
