"""Where what is converted holds: for callers of which namespaces, at which port, in which listener."""

from __future__ import annotations

import pytest

from sailcloth.analysis.simulate import Call

from .calls import SERVICES, outcome, simulator, texts

CALLS = [Call(port=80, host=host, path=path) for host in ("a.default", "b.default") for path in ("/", "/one")]
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a, namespace: {0}}}
spec:
  hosts: [a.default.svc.cluster.local]
  exportTo: {1}
  http:
  - match: [{{uri: {{exact: /one}}}}]
    route: [{{destination: {{host: b.default.svc.cluster.local}}}}]
  - route: [{{destination: {{host: c.{2}.svc.cluster.local}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: c, namespace: other}}
spec: {{clusterIP: 10.0.2.1, selector: {{app: c}}, ports: [{{name: http, port: 80}}]}}
---
"""


@pytest.mark.parametrize("of_c", ["default", "other"])
@pytest.mark.parametrize(
    ("namespace", "export"), [("default", "['*']"), ("default", "[]"), ("other", "['*']"), ("other", "['.']")]
)
def test_callers_of_all_namespaces(namespace: str, export: str, of_c: str) -> None:
    text = SERVICES + RULE.format(namespace, export, of_c)
    new, lost = texts(text, "gateway-api")
    assert lost == []
    for caller in ("default", "other", "third"):
        before, after = (simulator(one, namespace=caller) for one in (text, new))
        for call in CALLS:
            assert outcome(after, call) == outcome(before, call), (caller, call)


def test_rules_for_one_namespace_alone_are_a_loss() -> None:
    _, lost = texts(SERVICES + RULE.format("default", "['.']", "default"), "gateway-api")
    assert len(lost) == 1
    assert "spec.exportTo" in lost[0]


PORTS = """
apiVersion: v1
kind: Service
metadata: {name: two, namespace: default}
spec: {clusterIP: 10.0.3.1, selector: {app: two}, ports: [{name: http, port: 80}, {name: http-admin, port: 90}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two, namespace: default}
spec:
  hosts: [two]
  http:
  - match: [{port: 90, uri: {exact: /x}}]
    redirect: {uri: /y}
  - match: [{uri: {prefix: /b}, port: 80}]
    route: [{destination: {host: b}}]
  - route: [{destination: {host: two}}]
---
"""


def test_ports_of_requests() -> None:
    new, lost = texts(SERVICES + PORTS, "gateway-api")
    assert [one for one in lost if "whole segments" not in one] == []
    before, after = simulator(SERVICES + PORTS), simulator(new)
    for port in (80, 90):
        for path in ("/", "/x", "/b"):
            call = Call(port=port, host="two", path=path)
            assert outcome(after, call) == outcome(before, call), call


GRPC = """
apiVersion: v1
kind: Service
metadata: {name: greeter, namespace: default}
spec: {clusterIP: 10.0.5.1, selector: {app: greeter}, ports: [{name: grpc, port: 50051}]}
---
apiVersion: v1
kind: Service
metadata: {name: second, namespace: other}
spec: {clusterIP: 10.0.5.2, selector: {app: second}, ports: [{name: grpc, port: 50051}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: greeter, namespace: default}
spec:
  hosts: [greeter]
  http:
  - match: [{headers: {x-user: {exact: jason}}}]
    route: [{destination: {host: second.other.svc.cluster.local}}]
  - match: [{uri: {exact: /pkg.Greeter/SayHello}}]
    route: [{destination: {host: second.other.svc.cluster.local}, weight: 1}, {destination: {host: greeter}, weight: 3}]
  - match: [{uri: {prefix: /pkg.Greeter/}}]
    route: [{destination: {host: greeter}}]
---
"""


def test_calls_of_grpc() -> None:
    new, lost = texts(SERVICES + GRPC, "gateway-api")
    assert "kind: GRPCRoute" in new
    assert [one for one in lost if "whole segments" not in one] == []
    before, after = simulator(SERVICES + GRPC), simulator(new)
    for path in ("/pkg.Greeter/SayHello", "/pkg.Greeter/Other", "/pkg.Another/SayHello"):
        for headers in ({}, {"x-user": "jason"}):
            call = Call(port=50051, host="greeter", path=path, method="POST", headers=headers, protocol="http2")
            one, other = (simulated.run(call) for simulated in (before, after))
            assert (one.clusters, one.status, one.error) == (other.clusters, other.status, other.error), call


FILTERS = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {clusterIP: 10.0.4.1, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews, namespace: shop, labels: {app: reviews}}
spec: {containers: [{name: c, ports: [{containerPort: 9080}]}]}
status: {podIP: 10.1.1.1, phase: Running}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: lua, namespace: shop}
spec:
  workloadLabels: {app: reviews}
  filters:
  - listenerMatch: {portNumber: 9080, listenerType: SIDECAR_INBOUND}
    filterName: envoy.lua
    filterType: HTTP
    filterConfig: {inlineCode: "function envoy_on_request(handle) end"}
  - listenerMatch: {listenerType: SIDECAR_INBOUND}
    insertPosition: {index: FIRST}
    filterName: envoy.buffer
    filterType: HTTP
    filterConfig: {maxRequestBytes: 1024}
"""


def test_filters_are_in_the_listeners_that_they_name() -> None:
    new, lost = texts(FILTERS)
    assert lost == []
    reviews = simulator(new, namespace="shop", ip="10.1.1.1", labels={"app": "reviews"})
    for listener in reviews.listeners:
        for chain in listener.get("filter_chains", []):
            managers = [f for f in chain["filters"] if "HttpConnectionManager" in f["typed_config"]["@type"]]
            for manager in managers:
                names = [f["name"] for f in manager["typed_config"]["http_filters"]]
                inbound = listener["name"] == "virtualInbound"
                assert ("envoy.filters.http.buffer" in names) == inbound
                if inbound and chain.get("filter_chain_match", {}).get("destination_port") == 9080:
                    assert (names[0], names[-2]) == ("envoy.filters.http.buffer", "envoy.filters.http.lua")
    assert "envoy.filters.http.lua" in str(reviews.listeners)
    other = simulator(new, namespace="shop", ip="10.1.1.2", labels={"app": "other"})
    assert "envoy.filters.http.lua" not in str(other.listeners)
