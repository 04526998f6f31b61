"""Policies from access logs: what a line says, what a policy names, and what it would have refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sailcloth.analysis import authorization, manifests, observed_requests, offline
from sailcloth.analysis.authorization import Call, Workload
from sailcloth.analysis.observed_requests import ObservedRequest

CART = "cluster.local/ns/shop/sa/cart"
PRINCIPALS = {"10.42.0.5": CART, "2001:db8::5": CART, "10.42.0.6": "cluster.local/ns/shop/sa/web"}


def line(
    request: str = "GET /products/17?x=1 HTTP/1.1",
    cluster: str = "inbound|9080||",
    remote: str = "10.42.0.5:41612",
    sni: str = "outbound_.9080_._.products.shop.svc.cluster.local",
) -> str:
    return (
        f'[2026-11-30T08:00:00.000Z] "{request}" 200 - via_upstream - "-" 0 17 3 2 "-" "curl/8" "f6b2" "products:9080" '
        f'"10.42.0.9:9080" {cluster} 127.0.0.6:4001 10.42.0.9:9080 {remote} {sni} default'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (line(), ObservedRequest(CART, "10.42.0.5", 9080, "GET", "/products/{*}")),
        (line(remote="[2001:db8::5]:1"), ObservedRequest(CART, "2001:db8::5", 9080, "GET", "/products/{*}")),
        (line(remote="10.9.9.9:1"), ObservedRequest("", "10.9.9.9", 9080, "GET", "/products/{*}")),
        (line(sni="-"), ObservedRequest("", "10.42.0.5", 9080, "GET", "/products/{*}")),
        (line("- - -"), ObservedRequest(CART, "10.42.0.5", 9080)),
        (line("POST /a b HTTP/2"), ObservedRequest(CART, "10.42.0.5", 9080, "POST", "/a b")),
        (line(cluster="outbound|9080||reviews.shop.svc.cluster.local"), None),
        (line(cluster="InboundPassthroughCluster"), None),
        (line().replace("200 - via_upstream", "403 - rbac_access_denied_matched_policy[none]"), None),
        ("2026-11-30 info starting", None),
        ("{", None),
        ("{}", None),
        (
            json.dumps(
                {
                    "method": "GET",
                    "path": "/x/123e4567-e89b-12d3-a456-426614174000",
                    "upstream_cluster": "inbound|80||",
                    "downstream_remote_address": "10.42.0.5:1",
                    "requested_server_name": "outbound_.80_._.x",
                }
            ),
            ObservedRequest(CART, "10.42.0.5", 80, "GET", "/x/{*}"),
        ),
    ],
)
def test_lines(text: str, expected: ObservedRequest | None) -> None:
    assert observed_requests.parse(text, PRINCIPALS) == expected


def test_what_a_gateway_lets_in_is_the_gateways() -> None:
    """Whatever address the client had, or claims to have."""
    for remote in ("203.0.113.7:0", "10.42.0.5:0"):
        found = observed_requests.parse(line(remote=remote), PRINCIPALS, "cluster.local/ns/istio-system/sa/gateway")
        assert found is not None
        assert found.principal == "cluster.local/ns/istio-system/sa/gateway"
        unknown = observed_requests.parse(line(remote=remote), PRINCIPALS)
        assert unknown is not None
        assert unknown.principal == ""


def test_the_policy_allows_what_was_observed_and_nothing_else() -> None:
    lines = [
        *[line(f"GET /products/{i} HTTP/1.1") for i in range(5)],
        line("POST /orders HTTP/1.1"),
        line("GET /orders HTTP/1.1"),
        line("GET /health HTTP/1.1", remote="10.42.0.6:2"),
        line("GET /products/1 HTTP/1.1", remote="10.9.9.9:1", sni="-"),
    ]
    requests = [one for text in lines if (one := observed_requests.parse(text, PRINCIPALS)) is not None]
    made, notes = observed_requests.policy("products", "shop", {"app": "products"}, requests)
    assert notes[1:] == ["1 of them would have been refused: from 10.9.9.9, without an identity"]
    assert notes[0].startswith("9 requests observed")
    ((key, obj),), findings = manifests.load([json.dumps(made)])
    assert not findings
    mesh = offline.mesh_of([(key, obj)])

    def allows(**call: Any) -> bool:
        workload = Workload("shop", {"app": "products"})
        return authorization.decide(mesh.graph, workload, Call(**{"port": 9080, **call})).decision == "allow"

    assert allows(principal=CART, path="/products/99")
    assert allows(principal=CART, path="/orders", method="POST")
    assert allows(principal="cluster.local/ns/shop/sa/web", path="/health")
    assert not allows(principal="cluster.local/ns/shop/sa/web", path="/orders")
    assert not allows(principal=CART, path="/products/1", method="POST")
    assert not allows(principal=CART, path="/orders", port=9090)
    assert not allows(path="/products/1")


def test_many_paths_are_not_told_apart() -> None:
    requests = [ObservedRequest(CART, "10.42.0.5", 80, "GET", f"/{chr(97 + i)}") for i in range(26)]
    made, notes = observed_requests.policy("x", "shop", {}, requests)
    assert made["spec"]["rules"][0]["to"] == [{"operation": {"ports": ["80"], "methods": ["GET"]}}]
    assert notes[1] == f"{CART}: 26 paths, so the rule names none"
    assert "selector" not in made["spec"]


def test_connections_need_their_port_only() -> None:
    made, _ = observed_requests.policy("x", "shop", {}, [ObservedRequest(CART, "10.42.0.5", 6379)])
    assert made["spec"]["rules"] == [
        {"from": [{"source": {"principals": [CART]}}], "to": [{"operation": {"ports": ["6379"]}}]}
    ]
