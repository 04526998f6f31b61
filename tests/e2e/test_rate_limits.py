"""Limits of requests and connections on real traffic: at the gateway, in one replica, over all replicas."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from .bookinfo import Cluster

Object = dict[str, Any]


@pytest.fixture
def limited(mesh: Cluster) -> Iterator[Cluster]:
    yield mesh
    for namespace in ("default", "istio-system"):
        mesh.kubectl("delete", "ratelimits", "--all", "-n", namespace)
    mesh.kubectl("scale", "deployment", "productpage-v1", "--replicas=1")
    mesh.eventually(lambda: mesh.get("/productpage").status == 200, 30)


def limit(mesh: Cluster, namespace: str, selector: dict[str, str], **spec: Any) -> None:
    made = {
        "apiVersion": "sailcloth.io/v1alpha1",
        "kind": "RateLimit",
        "metadata": {"name": "test", "namespace": namespace},
        "spec": {"workloadSelector": {"labels": selector}, **spec},
    }
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    mesh.kubectl("wait", "--for=condition=Programmed", "ratelimit/test", "-n", namespace, "--timeout=10s")


def test_a_gateway_answers_429_beyond_the_limit(limited: Cluster) -> None:
    limit(limited, "istio-system", {"istio": "ingressgateway"}, http=[{"limit": {"requests": 5, "per": "1h"}}])
    limited.eventually(lambda: limited.get("/productpage").status == 429)
    assert Counter(limited.get("/productpage").status for _ in range(5)) == {429: 5}


def test_only_what_matches_is_limited_and_each_user_apart(limited: Cluster) -> None:
    rule = {
        "match": {
            "path": {"exact": "/productpage"},
            "method": {"exact": "GET"},
            "headers": {"x-plan": {"exact": "free"}},
        },
        "by": [{"header": "x-user"}],
        "limit": {"requests": 3, "per": "1h"},
    }
    limit(limited, "default", {"app": "productpage"}, http=[rule])

    def statuses(path: str, user: str, plan: str) -> list[int]:
        return [limited.get(path, **{"x-user": user, "x-plan": plan}).status for _ in range(5)]

    limited.eventually(lambda: statuses("/productpage", "warm-up", "free")[-1] == 429)
    assert statuses("/productpage?u=test", "ann", "free") == [200, 200, 200, 429, 429]
    assert statuses("/productpage", "bob", "free") == [200, 200, 200, 429, 429]
    assert statuses("/productpage", "ann", "paid") == [200] * 5
    assert statuses("/api/v1/products", "ann", "free") == [200] * 5


def test_a_global_limit_holds_for_all_replicas_together(limited: Cluster) -> None:
    limited.kubectl("scale", "deployment", "productpage-v1", "--replicas=2")
    limited.kubectl("rollout", "status", "deployment/productpage-v1", "--timeout=60s")
    rule = {"limit": {"requests": 6, "per": "1h"}, "by": [{"header": "x-user"}], "scope": "GLOBAL"}
    limit(limited, "default", {"app": "productpage"}, http=[rule])
    limited.eventually(lambda: limited.get("/productpage", **{"x-user": "warm-up"}).status == 429, 30)
    found = [limited.get("/productpage", **{"x-user": "ann"}).status for _ in range(12)]
    assert found == [200] * 6 + [429] * 6


@pytest.fixture
def redis(limited: Cluster) -> Iterator[Cluster]:
    """The mesh, with GLOBAL limits counted in a Redis of the cluster."""
    limited.kubectl("create", "namespace", "store")
    limited.kubectl("create", "deployment", "redis", "--image=redis:7", "--port=6379", "-n", "store")
    limited.kubectl("expose", "deployment", "redis", "-n", "store")
    limited.kubectl("rollout", "status", "deployment/redis", "-n", "store", "--timeout=60s")
    address = limited.kubectl("get", "service", "redis", "-n", "store", "-o", "jsonpath={.spec.clusterIP}").strip()
    get = ("get", "configmap", "istio", "-n", "istio-system", "-o", "json")
    before = json.loads(limited.kubectl(*get)).get("data") or {}
    options = f"{before.get('mesh', '')}\nglobalRateLimitStore: redis://{address}:6379\n"
    patch = ("patch", "configmap", "istio", "-n", "istio-system", "--type=merge", "-p")
    limited.kubectl(*patch, json.dumps({"data": {"mesh": options}}))
    yield limited
    limited.kubectl(*patch, json.dumps({"data": {"mesh": before.get("mesh")}}))
    limited.kubectl("delete", "namespace", "store")


def test_a_global_limit_outlives_the_control_plane_where_redis_counts(redis: Cluster) -> None:
    rule = {"limit": {"requests": 4, "per": "1h"}, "by": [{"header": "x-user"}], "scope": "GLOBAL"}
    limit(redis, "default", {"app": "productpage"}, http=[rule])

    def statuses(user: str, times: int) -> list[int]:
        return [redis.get("/productpage", **{"x-user": user}).status for _ in range(times)]

    redis.eventually(lambda: statuses("warm-up", 1) == [429], 30)
    assert statuses("ann", 3) == [200] * 3
    redis.kill("sailcloth.controlplane")
    redis.eventually(lambda: statuses("warm-up", 1) == [429], 30)
    assert statuses("ann", 3) == [200, 429, 429]
    redis.kubectl("scale", "deployment", "redis", "-n", "store", "--replicas=0")
    redis.kubectl("wait", "pod", "-n", "store", "-l", "app=redis", "--for=delete", "--timeout=30s")
    assert statuses("ann", 3) == [200] * 3
    page = "/api/v1/namespaces/istio-system/services/http:istiod:http-monitoring/proxy/metrics"
    told = redis.kubectl("get", "--raw", page)
    [counted] = [line for line in told.splitlines() if line.startswith("sailcloth_rate_limit_store_failures_total ")]
    assert float(counted.split()[1]) >= 3


def test_new_connections_are_limited(limited: Cluster) -> None:
    limit(limited, "istio-system", {"istio": "ingressgateway"}, connections={"requests": 2, "per": "1h"})

    def refused() -> bool:
        try:
            return limited.get("/productpage").status != 200
        except OSError:
            return True

    limited.eventually(refused)
    assert all(refused() for _ in range(3))
