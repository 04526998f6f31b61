"""The security tasks of Istio 1.0 to 1.5, with the objects of that time, through real Envoys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ..tokens import Issuer
from .bookinfo import Cluster
from .lab import Lab, kind
from .test_authorization import expect

Object = dict[str, Any]
URL = "http://echo/path"
SHOP = Issuer("https://shop.example.com")
KINDS = "policies.authentication.istio.io,serviceroles,servicerolebindings"


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Iterator[Lab]:
    yield Lab(cluster, "legacy")
    cluster.kubectl("delete", "namespace", "legacy")


@pytest.fixture
def lab(made: Lab) -> Iterator[Lab]:
    yield made
    made.kubectl("delete", KINDS, "--all")
    made.clear()
    made.cluster.kubectl("delete", "clusterrbacconfigs", "--all")


def old(group: str, kind: str, name: str, **spec: Any) -> Object:
    return {"apiVersion": f"{group}.istio.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def programmed(lab: Lab, *names: str) -> None:
    lab.kubectl("wait", "--for=condition=Programmed", "--timeout=20s", *names)


def test_role_based_access_control(lab: Lab) -> None:
    """Turned on for a namespace, everything is refused; a role and a binding open one method to one identity."""
    config = old("rbac", "ClusterRbacConfig", "default", mode="ON_WITH_INCLUSION", inclusion={"namespaces": ["legacy"]})
    lab.put(config)
    expect(lab, [403], (URL,))
    lab.cluster.eventually(lambda: lab.ask(URL).body == "RBAC: access denied")
    role = old(
        "rbac", "ServiceRole", "viewer", rules=[{"services": ["echo.legacy.svc.cluster.local"], "methods": ["GET"]}]
    )
    me = {"user": "cluster.local/ns/legacy/sa/default"}
    binding = old(
        "rbac", "ServiceRoleBinding", "bind-viewer", subjects=[me], roleRef={"kind": "ServiceRole", "name": "viewer"}
    )
    lab.put(role, binding)
    programmed(lab, "servicerole/viewer", "servicerolebinding/bind-viewer")
    expect(lab, [200, 403], (URL,), ("-d", "x", URL))
    conditions = json.loads(lab.kubectl("get", "servicerolebinding", "bind-viewer", "-o", "json"))["status"][
        "conditions"
    ]
    assert next(c["message"] for c in conditions if c["type"] == "Programmed") == "2/2 proxies"
    lab.put(
        old(
            "rbac", "ServiceRoleBinding", "bind-viewer", subjects=[{"namespaces": ["else"]}], roleRef={"name": "viewer"}
        )
    )
    expect(lab, [403], (URL,))


def test_end_users(lab: Lab) -> None:
    jwt = {"issuer": SHOP.name, "jwks": SHOP.keys, "triggerRules": [{"excludedPaths": [{"prefix": "/public"}]}]}
    spec = {"targets": [{"name": "echo"}], "peers": [{"mtls": {"mode": "PERMISSIVE"}}], "origins": [{"jwt": jwt}]}
    lab.put(old("authentication", "Policy", "users", **spec))
    programmed(lab, "policy.authentication.istio.io/users")
    token = ("-H", f"Authorization: Bearer {SHOP.token()}")
    expect(
        lab,
        [403, 200, 200, 401],
        (URL,),
        (*token, URL),
        ("http://echo/public",),
        ("-H", "Authorization: Bearer x.y.z", URL),
    )
    assert "Bearer" in lab.ask(*token, URL).body, "the token goes on to the application, as it did"


def test_mutual_tls_by_service(lab: Lab) -> None:
    """A policy with peers demands it; one without peers wants plain text, which callers then send by themselves."""
    plain = kind("DestinationRule", "plain", host="echo", trafficPolicy={"tls": {"mode": "DISABLE"}})
    lab.put(old("authentication", "Policy", "echo", targets=[{"name": "echo"}], peers=[{"mtls": {}}]))
    programmed(lab, "policy.authentication.istio.io/echo")
    expect(lab, [200], (URL,))
    lab.apply(plain)
    expect(lab, [503], (URL,))
    lab.put(
        old("authentication", "Policy", "echo", targets=[{"name": "echo"}], peers=[{"mtls": {"mode": "PERMISSIVE"}}])
    )
    expect(lab, [200], (URL,))
    lab.put(old("authentication", "Policy", "echo", targets=[{"name": "echo"}]))
    lab.clear()
    expect(lab, [200], (URL,))


def test_a_quota_of_mixer(lab: Lab) -> None:
    """The walk-through of rate limits before 1.5, with its own objects: three requests an hour, told apart by a header."""

    def config(name: str, called: str, **spec: Any) -> Object:
        return {"apiVersion": "config.istio.io/v1alpha2", "kind": name, "metadata": {"name": called}, "spec": spec}

    dimensions = {
        "source": 'request.headers["x-user"] | "unknown"',
        "destination": 'destination.labels["app"] | "unknown"',
    }
    quotas = [{"name": "requestcount.instance.legacy", "maxAmount": 3, "validDuration": "3600s"}]
    service = {"name": "echo", "namespace": "legacy"}
    lab.put(
        config("instance", "requestcount", compiledTemplate="quota", params={"dimensions": dimensions}),
        config("handler", "quotahandler", compiledAdapter="memquota", params={"quotas": quotas}),
        config("rule", "quota", actions=[{"handler": "quotahandler", "instances": ["requestcount"]}]),
        config("QuotaSpec", "request-count", rules=[{"quotas": [{"charge": 1, "quota": "requestcount"}]}]),
        config("QuotaSpecBinding", "request-count", quotaSpecs=[{"name": "request-count"}], services=[service]),
    )
    try:
        lab.cluster.eventually(lambda: 429 in {answer.status for answer in lab.many(8, "-H", "x-user: warm-up", URL)})
        found = [answer.status for answer in lab.many(6, "-H", "x-user: ann", URL)]
        assert found == [200] * 3 + [429] * 3
        programmed(lab, "quotaspecbinding/request-count")
        warned = lab.cluster.kubectl(
            "-n",
            "legacy",
            "create",
            "-f",
            "-",
            "--dry-run=server",
            "-o",
            "name",
            stdin=json.dumps(config("prometheus", "x")),
        )
        assert "prometheus.config.istio.io/x" in warned
    finally:
        lab.kubectl("delete", "rules,handlers,instances,quotaspecs,quotaspecbindings", "--all")
