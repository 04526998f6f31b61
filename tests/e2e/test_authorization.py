"""Who may access a workload, through real Envoys: each test fails if its policy, or a part of it, is not enforced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .bookinfo import Cluster
from .lab import Lab

Object = dict[str, Any]
URL = "http://echo/path"
ECHO = {"selector": {"matchLabels": {"app": "echo"}}}


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Iterator[Lab]:
    yield Lab(cluster, "authorization")
    cluster.kubectl("delete", "namespace", "authorization")


@pytest.fixture
def lab(made: Lab) -> Iterator[Lab]:
    yield made
    made.kubectl("delete", "authorizationpolicies,peerauthentications", "--all")


def policy(name: str, *rules: Object, action: str = "ALLOW", annotations: Object | None = None, **spec: Any) -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {**ECHO, "action": action, "rules": list(rules), **spec},
    }


def apply(lab: Lab, *policies: Object) -> None:
    """Apply policies, and wait until every proxy enforces them."""
    lab.put(*policies)
    names = [f"authorizationpolicy/{p['metadata']['name']}" for p in policies]
    lab.kubectl("wait", "--for=condition=Programmed", "--timeout=20s", *names)


def expect(lab: Lab, statuses: list[int], *requests: tuple[str, ...]) -> None:
    """Connections that were open when policies changed bring a request by the old ones; then all are judged by the new."""
    lab.cluster.eventually(lambda: [lab.ask(*request).status for request in requests] == statuses)


def caller(lab: Lab, **source: Any) -> list[Object]:
    return [{"source": source or {"principals": [f"cluster.local/ns/{lab.namespace}/sa/default"]}}]


def test_nothing_is_allowed_and_then_more_and_more(lab: Lab) -> None:
    """The way of Istio's task: deny all, allow GET of one path to one identity, then the rest; without policies all is open."""
    expect(lab, [200], (URL,))
    apply(lab, policy("nothing"))
    lab.cluster.eventually(lambda: lab.ask(URL).body == "RBAC: access denied")
    expect(lab, [403], (URL,))
    condition = json.loads(lab.kubectl("get", "authorizationpolicy", "nothing", "-o", "json"))["status"]["conditions"]
    assert [c["message"] for c in condition if c["type"] == "Programmed"] == ["2/2 proxies"]
    get = {"from": caller(lab), "to": [{"operation": {"methods": ["GET"], "paths": ["/path*"]}}]}
    apply(lab, policy("viewer", get))
    expect(lab, [200, 403, 403], (URL,), ("http://echo/other",), ("-d", "x", URL))
    post = {"from": caller(lab, namespaces=[lab.namespace]), "to": [{"operation": {"methods": ["POST"]}}]}
    apply(lab, policy("writer", post))
    expect(lab, [200, 403], ("-d", "x", "http://echo/other"), ("-X", "PUT", URL))
    apply(lab, policy("not-this", {"to": [{"operation": {"paths": ["/path/secret"]}}]}, action="DENY"))
    expect(lab, [200, 403, 403], (URL,), ("http://echo/path/secret",), ("http://echo/path/secret?q=/path",))
    lab.kubectl("delete", "authorizationpolicies", "--all")
    expect(lab, [200], ("-X", "PUT", URL))


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ({"to": [{"operation": {"hosts": ["ECHO"]}}]}, (URL,), ("http://echo.authorization/path",)),
        ({"to": [{"operation": {"ports": ["3000"]}}]}, (URL,), ()),
        ({"to": [{"operation": {"ports": ["80"]}}]}, (), (URL,)),
        ({"to": [{"operation": {"notPaths": ["/no*"]}}]}, (URL,), ("http://echo/nowhere",)),
        (
            {"to": [{"operation": {"paths": ["/a/{*}/c/{**}"]}}]},
            ("http://echo/a/b/c/d/e",),
            ("http://echo/a/b/b/c/d",),
        ),
        ({"to": [{"operation": {"paths": ["*.png"]}}]}, ("http://echo/x.png?v=1",), ("http://echo/x.gif?v=.png",)),
        (
            {"when": [{"key": "request.headers[x-team]", "values": ["blue-*"], "notValues": ["blue-9"]}]},
            ("-H", "x-team: blue-1", URL),
            ("-H", "x-team: blue-9", URL),
        ),
        ({"when": [{"key": "request.headers[x-team]", "values": ["*"]}]}, ("-H", "x-team: any", URL), (URL,)),
        ({"from": [{"source": {"serviceAccounts": ["default"]}}]}, (URL,), ()),
        ({"from": [{"source": {"serviceAccounts": ["default/default"]}}]}, (), (URL,)),
        ({"from": [{"source": {"trustDomains": ["cluster.local"]}}]}, (URL,), ()),
        ({"from": [{"source": {"notTrustDomains": ["cluster.*"]}}]}, (), (URL,)),
        ({"from": [{"source": {"ipBlocks": ["10.42.0.0/16"]}}]}, (URL,), ()),
        ({"from": [{"source": {"notIpBlocks": ["10.42.0.0/16"]}}]}, (), (URL,)),
        ({"from": [{"source": {"notPrincipals": ["*"]}}]}, (), (URL,)),
        ({"from": [{"source": {"requestPrincipals": ["*"]}}]}, (), (URL,)),
        ({"when": [{"key": "connection.sni", "values": ["outbound_.80_._.echo.*"]}]}, (URL,), ()),
        ({"when": [{"key": "source.namespace", "values": ["auth*"]}]}, (URL,), ()),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_rule_allows_what_it_matches(lab: Lab, rule: Object, yes: tuple[str, ...], no: tuple[str, ...]) -> None:
    apply(lab, policy("one", rule))
    requests = [(request, status) for request, status in ((yes, 200), (no, 403)) if request]
    expect(lab, [status for _, status in requests], *(request for request, _ in requests))
    expect(lab, [status for _, status in requests] * 3, *(request for request, _ in requests * 3))


def test_a_dry_run_refuses_nothing_and_says_so(lab: Lab) -> None:
    apply(lab, policy("tryout", {}, action="DENY", annotations={"istio.io/dry-run": "true"}))
    expect(lab, [200], (URL,))
    shown = lab.kubectl("get", "authorizationpolicy", "tryout", "-o", "json")
    assert "dry run: requests are counted, none is refused" in shown


def test_what_nobody_can_ask_for_is_refused(lab: Lab) -> None:
    lab.put(policy("ask", {}, action="CUSTOM", provider={"name": "nobody"}))
    expect(lab, [403], (URL,))
    assert "ProviderNotFound" in lab.kubectl("get", "authorizationpolicy", "ask", "-o", "json")


def test_sailctl_says_which_policy_decides(lab: Lab) -> None:
    get = {"from": caller(lab), "to": [{"operation": {"methods": ["GET"], "paths": ["/path*"]}}]}
    apply(lab, policy("viewer", get), policy("secret", {"to": [{"operation": {"paths": ["/path/s"]}}]}, action="DENY"))
    to = ("x", "authz", "explain", "--to", f"{lab.namespace}/echo-v1", "--port", "3000", "-o", "json")
    me = ("--from", f"{lab.namespace}/default")
    for arguments, request, expected in (
        ((*me, "--path", "/path"), (URL,), ("allow", f"{lab.namespace}/viewer", 200)),
        ((*me, "--path", "/path/s"), (f"{URL}/s",), ("deny", f"{lab.namespace}/secret", 403)),
        ((*me, "--path", "/path", "--method", "PUT"), ("-X", "PUT", URL), ("deny", None, 403)),
    ):
        decision, by, status = expected
        found = json.loads(lab.cluster.sailctl(*to, *arguments))
        assert (found["decision"], found["policy"]) == (decision, by)
        expect(lab, [status], request)
    pod = lab.kubectl("get", "pods", "-l", "version=v1", "-o", "jsonpath={.items[0].metadata.name}")
    shown = lab.cluster.sailctl("x", "authz", "check", f"{pod}.{lab.namespace}").splitlines()
    assert [line.split() for line in shown] == [
        ["ACTION", "AuthorizationPolicy", "RULES"],
        ["DENY", f"secret.{lab.namespace}", "1"],
        ["ALLOW", f"viewer.{lab.namespace}", "1"],
    ]
    rows = json.loads(lab.cluster.sailctl("x", "authz", "check", f"{pod}.{lab.namespace}", "-v", "-o", "json"))
    before = {row["policy"]: row["requests"] for row in rows}
    lab.many(20, f"{URL}/s")
    lab.many(20, URL)

    def counted() -> dict[str, int]:
        found = json.loads(lab.cluster.sailctl("x", "authz", "check", f"{pod}.{lab.namespace}", "-v", "-o", "json"))
        return {row["policy"]: row["requests"] - before[row["policy"]] for row in found}

    assert all(0 < count <= 20 for count in counted().values()), "two pods share the requests"


def test_a_policy_is_suggested_from_what_was_observed(lab: Lab) -> None:
    """Applied, it allows the same again and refuses the rest."""
    mine = "/seen/42"
    lab.many(10, f"http://echo{mine}")
    suggested = ""

    def both() -> bool:
        nonlocal suggested
        try:
            suggested = lab.cluster.sailctl(
                "x", "authz", "suggest", "deployment/echo-v1", "-n", lab.namespace, "-o", "json"
            )
        except AssertionError:  # Envoy has not written its log yet
            return False
        return "/seen/{*}" in suggested

    lab.cluster.eventually(both)
    made = json.loads(suggested)
    made["spec"]["selector"] = {"matchLabels": {"app": "echo"}}  # both versions
    made["spec"]["rules"] = [
        rule for rule in made["spec"]["rules"] if "/seen/{*}" in rule["to"][0]["operation"].get("paths", ())
    ]
    apply(lab, made)
    expect(
        lab,
        [200, 200, 403, 403],
        (f"http://echo{mine}",),
        ("http://echo/seen/7",),
        ("http://echo/else",),
        ("-d", "x", f"http://echo{mine}"),
    )
