"""The options that a workload's proxy starts with, from the whole to the part."""

from __future__ import annotations

import pytest

from sailcloth.agent.resource_attributes import ENRICHMENT, SEMANTIC_CONVENTIONS
from sailcloth.analysis import manifests, offline
from sailcloth.mesh import mesh_config, proxy_configs

MESH = "defaultConfig: {concurrency: 4, drainDuration: 9s, proxyMetadata: {A: mesh, B: mesh}}"


def config(name: str, namespace: str, spec: str, created: str = "2026-01-01T00:00:00Z") -> str:
    return f"""
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: "{created}"}}
spec: {spec}
"""


def test_each_is_over_the_one_before_it() -> None:
    objects, findings = manifests.load(
        [
            config(
                "root", "istio-system", "{environmentVariables: {B: root, C: root}, image: {imageType: distroless}}"
            ),
            config("shop", "shop", "{concurrency: 2, environmentVariables: {C: shop}}"),
            config("younger", "shop", "{concurrency: 7}", "2026-02-01T00:00:00Z"),
            config("web", "shop", "{selector: {matchLabels: {app: web}}, concurrency: 0}"),
            config("other", "other", "{concurrency: 9}"),
        ]
    )
    assert not findings
    graph = offline.mesh_of(objects, mesh_config.parse(MESH)).graph
    variables = {"A": "mesh", "B": "root", "C": "shop"}
    common = {"drainDuration": "9s", "image": {"imageType": "distroless"}}
    assert proxy_configs.options(graph, "shop", {"app": "db"}) == {
        **common,
        "concurrency": 2,
        "proxyMetadata": variables,
    }
    assert proxy_configs.options(graph, "shop", {"app": "web"})["concurrency"] == 0
    assert proxy_configs.options(graph, "third", {})["proxyMetadata"] == {**variables, "C": "root"}


def test_providers_set_variables_of_proxies() -> None:
    text = """
defaultProviders: {metrics: [prometheus, pushed, other]}
extensionProviders:
- name: other
  opentelemetryMetrics: {service: other.obs, port: 1}
- name: pushed
  opentelemetryMetrics: {service: obs/otel.obs.svc.cluster.local, port: 4318, interval: 15s}
"""
    graph = offline.mesh_of((), mesh_config.parse(text)).graph
    assert proxy_configs.options(graph, "shop", {})["proxyMetadata"] == {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://otel.obs.svc.cluster.local:4318/v1/metrics",
        "OTEL_METRIC_EXPORT_INTERVAL": "15000",
    }
    own = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://own:4318/"}
    given = mesh_config.parse(text + f"defaultConfig: {{proxyMetadata: {own}}}")
    assert proxy_configs.options(offline.mesh_of((), given).graph, "shop", {})["proxyMetadata"].items() >= own.items()
    enriched = "opentelemetry: {service: a.b, port: 1, serviceAttributeEnrichment: OTEL_SEMANTIC_CONVENTIONS}"
    config = mesh_config.parse(f"extensionProviders: [{{name: a, {enriched}}}]")
    variables = proxy_configs.options(offline.mesh_of((), config).graph, "shop", {})["proxyMetadata"]
    assert variables == {ENRICHMENT: SEMANTIC_CONVENTIONS}
    with pytest.raises(ValueError, match=r"\[a\]\.opentelemetryMetrics\.path"):
        mesh_config.parse("extensionProviders: [{name: a, opentelemetryMetrics: {service: a, port: 1, path: b}}]")
