"""The bootstrap that a pod's annotations ask for; real Envoy accepts it."""

from __future__ import annotations

from sailcloth.agent.bootstrap import STATISTICS, ProxyIdentity, bootstrap
from sailcloth.agent.node_agent import environment
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


def test_spans_have_the_attributes_of_the_environment() -> None:
    who = ProxyIdentity("sidecar", "a", "shop", "10.42.0.5", "default", labels={"app": "web"})
    plain = environment(who, {})["OTEL_RESOURCE_ATTRIBUTES"]
    assert plain == "service.name=web.shop"
    given = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test, service.name=web,,x"}
    joined = environment(who, given)["OTEL_RESOURCE_ATTRIBUTES"]
    assert joined == "service.name=web,deployment.environment.name=test"


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
