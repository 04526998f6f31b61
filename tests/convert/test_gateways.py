"""Gateways of Istio as Gateways of the Gateway API: the same requests at the same pods have the same outcome."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sailcloth.analysis.simulate import Call

from .calls import SERVICES, outcome, simulator, texts

PODS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: istio.io/gateway-controller}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {clusterIP: 10.0.1.1, selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 8080}, {name: http2, port: 81, targetPort: 81}]}
---
apiVersion: v1
kind: Pod
metadata: {name: gateway, namespace: istio-system, labels: {istio: ingressgateway}}
spec: {containers: [{name: c}]}
status: {podIP: 10.1.0.1, phase: Running}
---
"""
ROUTER = {"type": "router", "namespace": "istio-system", "labels": {"istio": "ingressgateway"}, "ip": "10.1.0.1"}
HOSTS = ("a.example.com", "b.example.com", "other.org")


def document(kind: str, name: str, spec: dict[str, Any], namespace: str = "default") -> str:
    head = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    return str(yaml.safe_dump({**head, "spec": spec})) + "---\n"


def server(number: int, *names: str, **more: Any) -> dict[str, Any]:
    return {"port": {"number": number, "name": f"http-{number}", "protocol": "HTTP"}, "hosts": list(names), **more}


def unlike(*parts: str) -> tuple[list[str], list[str]]:
    """(requests with another outcome after the conversion, what is lost)."""
    text = SERVICES + PODS + "".join(parts)
    new, lost = texts(text, "gateway-api")
    assert "networking.istio.io" not in new
    before, after = (simulator(one, **ROUTER) for one in (text, new))
    different = []
    for port in (8080, 81):
        for host in HOSTS:
            for path in ("/", "/one", "/one/two", "/two"):
                call = Call(port=port, host=host, path=path, mode="gateway", address="0.0.0.0")
                one, other = (served(outcome(proxy, call)) for proxy in (before, after))
                if one != other:
                    different.append(f"{port} {host} {path}: {one} became {other}")
    return different, [one for one in lost if "whole segments" not in one]


def served(found: dict[str, Any]) -> dict[str, Any]:
    """An outcome in which all ways of not being served are one."""
    found["action"].pop("cluster_not_found_response_code", None)
    missing = not found["clusters"] and found["status"] in (0, 404) and "tls required" not in found["error"]
    moved = found["status"] == 301 or "tls required" in found["error"]
    if missing:
        return {"status": 404}
    return {"status": 301, "location": found["location"].partition("://")[2]} if moved else found


RULE = st.fixed_dictionaries(
    {"route": st.sampled_from("abc").map(lambda host: [{"destination": {"host": host, "port": {"number": 80}}}])},
    optional={
        "match": st.lists(st.sampled_from(({"uri": {"exact": "/one"}}, {"uri": {"prefix": "/one"}})), min_size=1, max_size=2),
        "timeout": st.just("2s"),
    },
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(("a.example.com", "*.example.com", "*")), min_size=1, max_size=2, unique=True),
    st.sampled_from((["a.example.com"], ["a.example.com", "b.example.com"], ["*.example.com"], ["*"])),
    st.lists(RULE, min_size=1, max_size=3),
    st.booleans(),
)
def test_requests(servers: list[str], names: list[str], rules: list[dict[str, Any]], twice: bool) -> None:
    gateway = {"selector": {"istio": "ingressgateway"}, "servers": [server(8080, *servers)]}
    if twice:
        gateway["servers"] = [server(8080, *servers), server(81, "*")]
    different, lost = unlike(
        document("Gateway", "edge", gateway),
        document("VirtualService", "web", {"hosts": names, "gateways": ["edge"], "http": rules}),
    )
    assert (different, lost) == ([], [])


@pytest.mark.parametrize("where", ["./a.example.com", "*/a.example.com", "default/a.example.com"])
def test_routes_of_the_namespaces_that_a_server_names(where: str) -> None:
    gateway = {"selector": {"istio": "ingressgateway"}, "servers": [server(8080, where)]}
    for namespace in ("default", "other"):
        route = [{"destination": {"host": "a.default.svc.cluster.local", "port": {"number": 80}}}]
        rules = {"hosts": ["a.example.com"], "gateways": ["default/edge"], "http": [{"route": route}]}
        assert unlike(document("Gateway", "edge", gateway), document("VirtualService", "web", rules, namespace)) == (
            [],
            [],
        )


def test_connections() -> None:
    """Of TLS that is passed on, by name, and of TCP."""
    servers = [
        {"port": {"number": 8080, "name": "tls", "protocol": "TLS"}, "hosts": ["*"], "tls": {"mode": "PASSTHROUGH"}},
        {"port": {"number": 81, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]},
    ]
    to = {name: [{"destination": {"host": name, "port": {"number": 80}}}] for name in "abc"}
    rules = {
        "hosts": ["a.example.com", "*.example.org"],
        "gateways": ["edge"],
        "tls": [
            {"match": [{"sniHosts": ["a.example.com"]}], "route": to["a"]},
            {"match": [{"sniHosts": ["*.example.org"], "port": 8080}], "route": to["b"]},
        ],
        "tcp": [{"match": [{"port": 81}], "route": [{**to["b"][0], "weight": 1}, {**to["c"][0], "weight": 3}]}],
    }
    text = SERVICES + PODS + document("Gateway", "edge", {"selector": {"istio": "ingressgateway"}, "servers": servers})
    text += document("VirtualService", "web", rules)
    new, lost = texts(text, "gateway-api")
    assert lost == []
    before, after = (simulator(one, **ROUTER) for one in (text, new))
    calls = [Call(port=81, protocol="tcp", mode="gateway", address="0.0.0.0")]
    for name in ("a.example.com", "x.example.org", "other.com"):
        calls.append(Call(port=8080, protocol="tcp", tls="tls", sni=name, mode="gateway", address="0.0.0.0"))
    found = [[proxy.run(call).clusters for call in calls] for proxy in (before, after)]
    assert found[0] == found[1]
    assert found[0][1] == ("outbound|80||a.default.svc.cluster.local",)
    assert [len(clusters) for clusters in found[0]] == [2, 1, 1, 0]


def test_a_server_that_sends_to_https() -> None:
    servers = [server(8080, "a.example.com", tls={"httpsRedirect": True}), server(81, "a.example.com")]
    rules = {
        "hosts": ["a.example.com"],
        "gateways": ["edge"],
        "http": [{"route": [{"destination": {"host": "a", "port": {"number": 80}}}]}],
    }
    different, lost = unlike(
        document("Gateway", "edge", {"selector": {"istio": "ingressgateway"}, "servers": servers}),
        document("VirtualService", "web", rules),
    )
    assert lost == []
    assert [one for one in different if "8080 a.example.com" not in one] == []
    assert all("'status': 301" in one.partition(" became ")[2] for one in different)
