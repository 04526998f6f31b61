"""What a change does, in words: over two services with a sidecar each, before and after one manifest."""

from __future__ import annotations

import pytest

from sailcloth.analysis import describe, manifests, offline, workloads
from sailcloth.analysis.change_effects import Effect, effects
from sailcloth.api.meta import Finding

MESH = """
{apiVersion: v1, kind: Service, metadata: {name: shop, namespace: default}, spec: {clusterIP: 10.96.0.1, selector: {app: shop}, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: client, namespace: default}, spec: {clusterIP: 10.96.0.2, selector: {app: client}, ports: [{name: http, port: 80}]}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: shop, namespace: default},
 spec: {host: shop, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: shop, namespace: default},
 spec: {hosts: [shop], http: [{route: [{destination: {host: shop, subset: v1}}]}]}}
"""
POD = """
{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s, namespace: default}, spec: {template: {metadata: {labels: {app: %s}},
 spec: {containers: [{name: app, image: a}, {name: istio-proxy, image: p}]}}}}
"""


def snapshot(*texts: str) -> describe.MeshSnapshot:
    documents = {
        (d["kind"], d["metadata"]["name"]): d
        for text in (MESH, *(POD % (n, n) for n in ("shop", "client")), *texts)
        for d in manifests.documents(text)
    }
    pods = workloads.pods(list(documents.values()))
    parsed = [manifests.typed(d) for d in (*documents.values(), *pods)]
    mesh = offline.mesh_of([p for p in parsed if p is not None and not isinstance(p, Finding)])
    return describe.snapshot_of(mesh, pods)


def rule(http: str) -> str:
    return f"{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: shop, namespace: default}}, spec: {{hosts: [shop], http: [{http}]}}}}"


V1, V2 = "{destination: {host: shop, subset: v1}, weight: %d}", "{destination: {host: shop, subset: v2}, weight: %d}"
CASES = {
    "nothing": (rule(f"{{route: [{V1 % 100}]}}"), []),
    "a canary": (
        rule(f"{{route: [{V1 % 90}, {V2 % 10}]}}"),
        ["shop.default:80: 10 % of the requests move from v1 to v2"],
    ),
    "all to another": (rule(f"{{route: [{V2 % 100}]}}"), ["shop.default:80: all requests move from v1 to v2"]),
    "settings": (
        rule(f"{{timeout: 2s, retries: {{attempts: 0}}, route: [{V1 % 100}]}}"),
        [
            "shop.default:80: retries none (before: 2 on connect-failure,refused-stream,reset-before-request,retriable-status-codes)",
            "shop.default:80: timeout 2s (before: none)",
        ],
    ),
    "a fault": (
        rule(f"{{fault: {{abort: {{httpStatus: 503, percentage: {{value: 5}}}}}}, route: [{V1 % 100}]}}"),
        ["shop.default:80: faults 5 % are answered with 503 (before: none)"],
    ),
    "a route for some": (
        rule(f"{{match: [{{headers: {{user: {{exact: jason}}}}}}], route: [{V2 % 100}]}}, {{route: [{V1 % 100}]}}"),
        ["shop.default:80/* header user=jason: a route appears, to v2"],
    ),
    "subsets and a policy of connections": (
        """{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: shop, namespace: default},
            spec: {host: shop, trafficPolicy: {loadBalancer: {simple: RANDOM}, outlierDetection: {consecutive5xxErrors: 3}},
                   subsets: [{name: v1, labels: {version: v1}}, {name: v3, labels: {version: v3}}]}}""",
        [
            "shop.default:80 subset v1: load balancing, outlier detection change",
            "shop.default:80 subset v2 disappears",
            "shop.default:80 subset v3 appears",
            "shop.default:80: load balancing, outlier detection change",
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_effects_on_clients(name: str) -> None:
    text, expected = CASES[name]
    found = effects(snapshot(), snapshot(text))
    assert sorted(e.text for e in found) == sorted(expected)
    assert all(e.proxies == ("client.default", "shop.default") for e in found), found


def test_effects_on_the_workload_itself() -> None:
    policy = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: p, namespace: default}, spec: {selector: {matchLabels: {app: shop}}}}"
    assert effects(snapshot(), snapshot(policy)) == [
        Effect("inbound requests: access logs, authorization change", ("shop.default",))
    ]


def test_a_service_that_is_new() -> None:
    service = "{apiVersion: v1, kind: Service, metadata: {name: other, namespace: default}, spec: {clusterIP: 10.96.0.3, ports: [{name: http, port: 80}]}}"
    assert [e.text for e in effects(snapshot(), snapshot(service))] == [
        "other.default:80 appears",
        "other.default:80: routes appear",
    ]


def test_a_filter_chain_less_changes_only_what_it_had_differently() -> None:
    """Of two equal sets of filters one goes: that is no change of each of the filters."""
    strict = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: a, namespace: default}, spec: {mtls: {mode: STRICT}}}"
    texts = [e.text for e in effects(snapshot(), snapshot(strict)) if e.text.startswith("inbound requests")]
    assert texts
    assert all("filter chains" in t and "CORS" not in t and "filter router" not in t for t in texts)


def test_the_same_change_of_many_listeners_is_one_text() -> None:
    services = [
        f"{{apiVersion: v1, kind: Service, metadata: {{name: db{i}, namespace: default}}, spec: {{clusterIP: 10.96.1.{i}, ports: [{{name: tcp, port: 3306}}]}}}}"
        for i in range(5)
    ]
    telemetry = "{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: t, namespace: default}, spec: {accessLogging: [{providers: [{name: envoy}]}]}}"
    found = effects(snapshot(*services), snapshot(*services, telemetry))
    shown = "0.0.0.0_80, 10.96.1.0_3306, 10.96.1.1_3306 and 3 more"
    assert f"listeners {shown}: access logs change" in [e.text for e in found]
