"""The bootstrap that a pod's annotations ask for; real Envoy accepts it."""

from __future__ import annotations

import dataclasses

import pytest

from sailcloth.agent.bootstrap import STATISTICS, ProxyIdentity, bootstrap
from sailcloth.agent.resource_attributes import ENRICHMENT, SEMANTIC_CONVENTIONS, resource_attributes
from sailcloth.agent.secure_metrics import LOCAL_ONLY, SecureMetrics
from sailcloth.testing import validate


def patterns(**annotations: str) -> list[dict[str, object]]:
    named = {f"sidecar.istio.io/statsInclusion{k}": v for k, v in annotations.items()}
    who = ProxyIdentity("sidecar", "a", "default", "10.42.0.5", "default", annotations=named)
    made = bootstrap(who, "/nowhere/agent.sock")
    assert validate.envoy_error(made) == ""
    found = made["stats_config"]["stats_matcher"]["inclusion_list"]["patterns"]
    assert found[: len(STATISTICS)] == [*STATISTICS]
    return list(found[len(STATISTICS) :])


def test_annotations_add_statistics() -> None:
    assert patterns() == []
    assert patterns(Prefixes="cluster.outbound, http", Suffixes="upstream_rq_5xx", Regexps="listener.*") == [
        {"prefix": "cluster.outbound"},
        {"prefix": "http"},
        {"suffix": "upstream_rq_5xx"},
        {"safe_regex": {"regex": "listener.*"}},
    ]


def test_options_add_statistics_and_are_told_to_the_control_plane() -> None:
    options = {"proxyStatsMatcher": {"inclusionPrefixes": ["http"], "inclusionRegexps": ["tcp.*"]}, "concurrency": 2}
    who = ProxyIdentity("router", "a", "default", "10.42.0.5", "default", options=options)
    made = bootstrap(who, "/nowhere/agent.sock")
    assert validate.envoy_error(made) == ""
    found = made["stats_config"]["stats_matcher"]["inclusion_list"]["patterns"]
    assert found[len(STATISTICS) :] == [{"prefix": "http"}, {"safe_regex": {"regex": "tcp.*"}}]
    assert made["node"]["metadata"]["PROXY_CONFIG"] == options


@pytest.mark.parametrize(
    ("annotations", "flush", "eviction"),
    [
        ({}, None, None),
        ({"Flush": "10s"}, "10s", None),
        ({"Eviction": "1m"}, None, "60s"),
        ({"Eviction": "7s"}, None, "10s"),  # a multiple of Envoy's 5 s
        ({"Flush": "2s", "Eviction": "7s"}, "2s", "8s"),
        ({"Flush": "250ms", "Eviction": "1s"}, "0.25s", "1s"),
        ({"Flush": "6m", "Eviction": "soon"}, None, None),
        ({"Flush": "-1s", "Eviction": "48h"}, None, None),
        ({"Flush": "0s", "Eviction": "0"}, None, None),
    ],
)
def test_annotations_set_the_intervals_of_statistics(
    annotations: dict[str, str], flush: str | None, eviction: str | None
) -> None:
    named = {f"sidecar.istio.io/stats{name}Interval": text for name, text in annotations.items()}
    who = ProxyIdentity("sidecar", "a", "default", "10.42.0.5", "default", annotations=named)
    config = bootstrap(who, "/nowhere/agent.sock")
    assert validate.envoy_error(config) == ""
    assert (config.get("stats_flush_interval"), config.get("stats_eviction_interval")) == (flush, eviction)


def test_spans_have_the_attributes_of_the_environment() -> None:
    who = ProxyIdentity("sidecar", "a", "shop", "10.42.0.5", "default", labels={"app": "web"})
    assert resource_attributes(who, {}, ()) == "service.name=web.shop"
    given = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test, service.name=web,,x"}
    assert resource_attributes(who, given, ()) == "service.name=web,deployment.environment.name=test"


@pytest.mark.parametrize(
    ("labels", "annotations", "image", "name", "version"),
    [
        ({"app": "a"}, {}, "example.com:5000/web:1.2", "web-v1", "1.2"),
        ({"app.kubernetes.io/name": "shop"}, {}, "web@sha256:ab", "shop", "sha256:ab"),
        ({"app.kubernetes.io/instance": "eu", "app.kubernetes.io/name": "shop"}, {}, "web", "eu", None),
        ({"app.kubernetes.io/version": "7"}, {"resource.opentelemetry.io/service.name": "own"}, "web:1", "own", "7"),
        ({}, {"resource.opentelemetry.io/service.name": "a,b=c"}, "web:1", "web-v1", "1"),
    ],
)
def test_attributes_of_the_service_by_the_conventions(
    labels: dict[str, str], annotations: dict[str, str], image: str, name: str, version: str | None
) -> None:
    metadata = {"WORKLOAD_NAME": "web-v1"}
    who = ProxyIdentity("sidecar", "web-1", "shop", "10.42.0.5", "default", labels=labels, annotations=annotations)
    who = dataclasses.replace(who, metadata=metadata)
    text = resource_attributes(
        who, {ENRICHMENT: SEMANTIC_CONVENTIONS}, [{"name": "main", "image": image}, {"name": "istio-proxy"}]
    )
    expected = {"service.name": name, "service.namespace": "shop", "service.instance.id": "shop.web-1.main"}
    assert dict(pair.split("=") for pair in text.split(",")) == expected | (
        {"service.version": version} if version else {}
    )


def test_metrics_with_mutual_tls_have_ports_of_their_own() -> None:
    who = ProxyIdentity("sidecar", "a", "shop", "10.42.0.5", "default")
    env = {"ENVOY_SECURE_METRICS_PORT": "15091", "ENVOY_SECURE_MERGED_METRICS_PORT": "15092"}
    made = bootstrap(who, "/nowhere/agent.sock", metrics=SecureMetrics.from_env({**env, LOCAL_ONLY: "true"}))
    assert validate.envoy_error(made) == ""
    listeners = {one["address"]["socket_address"]["port_value"]: one for one in made["static_resources"]["listeners"]}
    assert set(listeners) == {15021, 15090, 15091, 15092}
    secured = {port for port, one in listeners.items() if "transport_socket" in one["filter_chains"][0]}
    assert secured == {15091, 15092}
    assert listeners[15090]["address"]["socket_address"]["address"] == "127.0.0.1"
    for wrong in ("http", "70000", "-1"):
        assert SecureMetrics.from_env({"ENVOY_SECURE_METRICS_PORT": wrong}) == SecureMetrics()


def test_a_wrong_expression_does_not_keep_the_proxy_from_starting() -> None:
    assert patterns(Regexps="(") == []
