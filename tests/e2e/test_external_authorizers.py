"""External authorizers (action CUSTOM) through real Envoys: what they are asked about, what they see, and what they decide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ..tokens import Issuer
from .bookinfo import Cluster
from .lab import Lab, deployment
from .test_authorization import apply, expect, policy
from .test_request_authentication import authentication, bearing, enforce, rule

Object = dict[str, Any]
URL = "http://echo/admin"
HOST = "ext-authz.asked.svc.cluster.local"
ALLOW = ("-H", "x-ext-authz: allow")
PROVIDERS: list[Object] = [
    {
        "name": "web",
        "envoyExtAuthzHttp": {
            "service": HOST,
            "port": 8000,
            "includeRequestHeadersInCheck": ["x-ext-authz"],
            "includeAdditionalHeadersInCheck": {"x-ext-authz-additional-header-override": "by-the-mesh"},
            "headersToUpstreamOnAllow": ["x-ext-authz-check-*", "x-ext-authz-additional-header-override"],
            "headersToDownstreamOnDeny": ["x-ext-authz-check-result"],
            "includeRequestBodyInCheck": {"maxRequestBytes": 64, "allowPartialMessage": True},
        },
    },
    {"name": "calls", "envoyExtAuthzGrpc": {"service": f"asked/{HOST}", "port": 9000, "timeout": "5s"}},
    {"name": "absent", "envoyExtAuthzGrpc": {"service": HOST, "port": 9009, "timeout": "1s"}},
    {
        "name": "open",
        "envoyExtAuthzHttp": {"service": HOST, "port": 8001, "timeout": "1s", "failOpen": True},
    },
    {
        "name": "closed",
        "envoyExtAuthzHttp": {"service": HOST, "port": 8001, "timeout": "1s", "statusOnError": "503"},
    },
]


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Iterator[Lab]:
    lab = Lab(cluster, "asked")
    ports = [{"name": n, "port": p, "targetPort": p} for n, p in (("http", 8000), ("grpc", 9000), ("http-none", 8001))]
    service = {"selector": {"app": "ext-authz"}, "ports": ports}
    lab.put(
        deployment("ext-authz", {"app": "ext-authz"}, {"image": "gcr.io/istio-testing/ext-authz:latest"}),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ext-authz"}, "spec": service},
    )
    lab.ready()
    get = ("get", "configmap", "istio", "-n", "istio-system", "-o", "json")
    before = (json.loads(cluster.kubectl(*get)).get("data") or {}).get("mesh", "")
    options = yaml.safe_dump({**(yaml.safe_load(before) or {}), "extensionProviders": PROVIDERS})
    patch = ("patch", "configmap", "istio", "-n", "istio-system", "--type=merge", "-p")
    cluster.kubectl(*patch, json.dumps({"data": {"mesh": options}}))
    yield lab
    cluster.kubectl(*patch, json.dumps({"data": {"mesh": before}}))
    cluster.kubectl("delete", "namespace", "asked")


@pytest.fixture
def lab(made: Lab) -> Iterator[Lab]:
    yield made
    made.kubectl("delete", "authorizationpolicies,requestauthentications,sidecars", "--all")


def asking(provider: str, name: str = "ask", **rules: Any) -> Object:
    """A policy that asks about requests to /admin."""
    paths = {"to": [{"operation": {"paths": ["/admin*"]}}]}
    return policy(name, rules or paths, action="CUSTOM", provider={"name": provider})


def seen(lab: Lab, header: str, *request: str) -> list[str] | None:
    """The values of a header that the application gets; None if the request does not get there, or without the header."""
    answer = lab.ask(*request)
    headers = answer.told["headers"] if answer.status == 200 else {}
    return {name.lower(): values for name, values in headers.items()}.get(header)


@pytest.mark.parametrize("provider", ["web", "calls"])
def test_it_is_asked_about_what_a_rule_matches(lab: Lab, provider: str) -> None:
    apply(lab, asking(provider))
    expect(lab, [403, 200, 200], (URL,), (*ALLOW, URL), ("http://echo/public",))
    lab.cluster.eventually(lambda: "denied by ext_authz" in lab.ask(URL).body)
    lab.cluster.eventually(lambda: lab.ask(URL).header("x-ext-authz-check-result") == "denied")
    lab.cluster.eventually(lambda: seen(lab, "x-ext-authz-check-result", *ALLOW, URL) == ["allowed"])
    override = {"web": "by-the-mesh", "calls": "grpc-additional-header-override-value"}[provider]
    lab.cluster.eventually(lambda: seen(lab, "x-ext-authz-additional-header-override", *ALLOW, URL) == [override])
    assert seen(lab, "x-ext-authz-check-result", "http://echo/public") is None


def test_it_sees_the_start_of_the_body(lab: Lab) -> None:
    apply(lab, asking("web"))
    posted = (*ALLOW, "-d", "x" * 100, URL)
    wanted = f"body: [{'x' * 64}]"
    lab.cluster.eventually(lambda: wanted in str(seen(lab, "x-ext-authz-check-received", *posted)))


def test_a_sidecar_that_does_not_see_the_authorizer_asks_it_all_the_same(lab: Lab) -> None:
    """Its service is none of the application's business, so a Sidecar need not name it."""
    spec = {"workloadSelector": {"labels": {"app": "echo"}}, "egress": [{"hosts": ["./echo.asked.svc.cluster.local"]}]}
    lab.put({"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": "few"}, "spec": spec})
    apply(lab, asking("calls"))
    expect(lab, [403, 200], (URL,), (*ALLOW, URL))


def test_two_authorizers_and_then_the_other_policies(lab: Lab) -> None:
    """Both must allow; a refusal by DENY stands, whatever they say."""
    deny = policy("not-this", {"to": [{"operation": {"paths": ["/admin/secret"]}}]}, action="DENY")
    apply(lab, asking("web"), asking("calls", "ask-too"), deny)
    requests = ((*ALLOW, URL), (URL,), (*ALLOW, "http://echo/admin/secret"))
    expect(lab, [200, 403, 403], *requests)
    lab.cluster.eventually(lambda: lab.ask(*requests[2]).body == "RBAC: access denied")


def test_it_is_asked_before_tokens_are_judged(lab: Lab) -> None:
    issuer = Issuer("shop")
    apply(lab, asking("web"))
    enforce(lab, authentication(rule(issuer)))
    expect(
        lab,
        [403, 401, 200],
        bearing("x.y.z", URL),
        (*ALLOW, *bearing("x.y.z", URL)),
        (*ALLOW, *bearing(issuer.token(), URL)),
    )


@pytest.mark.parametrize(("provider", "status"), [("open", 200), ("closed", 503)])
def test_an_authorizer_that_does_not_answer(lab: Lab, provider: str, status: int) -> None:
    apply(lab, asking(provider))
    expect(lab, [status, 200], (URL,), ("http://echo/public",))


@pytest.mark.parametrize(("provider", "reason"), [("nobody", "no provider 'nobody'"), ("absent", "no port 9009")])
def test_an_authorizer_that_nobody_knows_refuses_everything_and_says_so(lab: Lab, provider: str, reason: str) -> None:
    lab.put(asking(provider))
    expect(lab, [403], ("http://echo/public",))
    conditions = json.loads(lab.kubectl("get", "authorizationpolicy", "ask", "-o", "json"))["status"]["conditions"]
    accepted = next(c for c in conditions if c["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "ProviderNotFound")
    assert reason in accepted["message"]
    lab.put(asking("web"))
    expect(lab, [403, 200, 200], (URL,), (*ALLOW, URL), ("http://echo/public",))
