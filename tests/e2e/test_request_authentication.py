"""End-user tokens through real Envoys: which are valid, where they may be, what becomes of their claims, and where keys come from."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ..tokens import Issuer
from .bookinfo import Cluster
from .lab import Lab, deployment, kind
from .test_authorization import apply, expect, policy
from .test_gateway_servers import gateway, get, server

Object = dict[str, Any]
URL = "http://echo/path"
ECHO = {"selector": {"matchLabels": {"app": "echo"}}}
KINDS = "requestauthentications,authorizationpolicies"
SHOP = Issuer("https://shop.example.com")
OTHER = Issuer("other@example.com", "RS256")


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Iterator[Lab]:
    yield Lab(cluster, "tokens")
    cluster.kubectl("delete", "namespace", "tokens")


@pytest.fixture
def lab(made: Lab) -> Iterator[Lab]:
    yield made
    made.kubectl("delete", KINDS, "--all")
    made.clear()


def authentication(*rules: Object, name: str = "users", **spec: Any) -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": name},
        "spec": {**ECHO, "jwtRules": list(rules), **spec},
    }


def enforce(lab: Lab, *objects: Object) -> None:
    """Apply, and wait until every proxy enforces it."""
    lab.put(*objects)
    names = [f"{o['kind'].lower()}/{o['metadata']['name']}" for o in objects]
    lab.kubectl("wait", "--for=condition=Programmed", "--timeout=20s", *names)


def rule(issuer: Issuer, **more: Any) -> Object:
    return {"issuer": issuer.name, "jwks": issuer.keys, **more}


def bearing(token: str, url: str = URL) -> tuple[str, ...]:
    return ("-H", f"Authorization: Bearer {token}", url)


def status(lab: Lab, name: str) -> Object:
    """The conditions of a RequestAuthentication by type."""
    obj = json.loads(lab.kubectl("get", "requestauthentication", name, "-o", "json"))
    return {c["type"]: c for c in obj["status"]["conditions"]}


def test_a_token_is_valid_or_refused(lab: Lab) -> None:
    """The way of Istio's task: tokens are checked, then demanded, then judged by their claims."""
    enforce(lab, authentication(rule(SHOP, audiences=["shop"])))
    assert status(lab, "users")["Programmed"]["message"] == "2/2 proxies"
    good, late = SHOP.token(aud="shop", groups=["staff"]), SHOP.token(aud="shop", exp=int(time.time()) - 120)
    expect(lab, [200, 200], (URL,), bearing(good))
    wrong = [late, Issuer(SHOP.name).token(aud="shop"), OTHER.token(aud="shop"), "garbage"]
    expect(lab, [401] * 4, *(bearing(token) for token in wrong))
    expect(lab, [403], bearing(SHOP.token(aud="else")))
    lab.cluster.eventually(lambda: "expired" in lab.ask(*bearing(late)).body)
    lab.cluster.eventually(lambda: "Bearer" not in lab.ask(*bearing(good)).body)

    demanded = policy("demanded", {"from": [{"source": {"notRequestPrincipals": ["*"]}}]}, action="DENY")
    apply(lab, demanded)
    expect(lab, [403, 200, 401], (URL,), bearing(good), bearing(late))

    staff = {
        "from": [{"source": {"requestPrincipals": [f"{SHOP.name}/me"]}}],
        "when": [{"key": "request.auth.claims[groups]", "values": ["staff"]}],
    }
    apply(lab, policy("staff", staff))
    guest = SHOP.token(aud="shop", groups="guest")
    expect(lab, [403, 200, 403], (URL,), bearing(good), bearing(guest))
    nested = {"when": [{"key": "request.auth.claims[org][team]", "values": ["blue"]}]}
    apply(lab, policy("staff", nested))
    blue = SHOP.token(aud="shop", org={"team": ["red", "blue"]})
    expect(lab, [200, 403], bearing(blue), bearing(good))
    scoped = {"when": [{"key": "request.auth.claims[scope]", "values": ["write"]}]}
    apply(lab, policy("staff", scoped))
    expect(lab, [200, 403], bearing(SHOP.token(aud="shop", scope="read write")), bearing(good))


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_every_kind_of_key_verifies(lab: Lab, algorithm: str) -> None:
    issuer = Issuer("kinds", algorithm)
    enforce(lab, authentication(rule(issuer)))
    expect(lab, [200, 401], bearing(issuer.token()), bearing(Issuer("kinds", algorithm).token()))


def test_tokens_are_found_where_the_rule_says(lab: Lab) -> None:
    places = {"fromHeaders": [{"name": "x-token", "prefix": "Token "}], "fromParams": ["t"], "fromCookies": ["session"]}
    demanded = rule(SHOP, presence="REQUIRED", forwardOriginalToken=True, **places)
    enforce(lab, authentication(demanded))
    token = SHOP.token()
    requests = [("-H", f"x-token: Token {token}", URL), (f"{URL}?t={token}",), ("-H", f"Cookie: session={token}", URL)]
    expect(lab, [200, 200, 200, 401, 401], *requests, (URL,), bearing(token))
    lab.cluster.eventually(lambda: "Jwt is missing" in lab.ask(URL).body)
    lab.cluster.eventually(lambda: token in lab.ask(*requests[0]).body)


def test_claims_become_headers_and_nobody_else_can_set_them(lab: Lab) -> None:
    copies = [{"header": "x-team", "claim": "org.team"}, {"header": "x-sub", "claim": "sub"}]
    enforce(lab, authentication(rule(SHOP, outputPayloadToHeader="x-payload", outputClaimToHeaders=copies)))
    token = SHOP.token(org={"team": "blue"})
    forged = ("-H", "x-team: red", "-H", "x-payload: e30")

    payload = base64.urlsafe_b64encode(base64.urlsafe_b64decode(token.split(".")[1] + "==")).rstrip(b"=").decode()

    def seen() -> list[list[str]]:
        answer = lab.ask(*forged, *bearing(token))
        headers = answer.told["headers"] if answer.status == 200 else {}
        by_name = {name.lower(): values for name, values in headers.items()}
        return [by_name.get(name, []) for name in ("x-team", "x-sub", "x-payload")]

    lab.cluster.eventually(lambda: seen() == [["blue"], ["me"], [payload]])


def test_two_issuers_in_two_policies(lab: Lab) -> None:
    enforce(lab, authentication(rule(SHOP)), authentication(rule(OTHER), name="others"))
    expect(lab, [200, 200, 200, 401], (URL,), bearing(SHOP.token()), bearing(OTHER.token()), bearing("x.y.z"))
    mixed = bearing(Issuer(OTHER.name).token())
    expect(lab, [401], mixed)


def test_keys_come_from_a_service_of_the_mesh(lab: Lab) -> None:
    """Fetched by the control plane; without keys every token is refused, and the status says why."""
    lab.put(
        deployment("issuer", {"app": "issuer"}, {"image": "docker.io/mccutchen/go-httpbin"}),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "issuer"},
            "spec": {"selector": {"app": "issuer"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        },
    )
    lab.ready()
    where = "http://issuer.tokens.svc.cluster.local"
    page = base64.urlsafe_b64encode(SHOP.keys.encode()).decode()
    enforce(lab, authentication({"issuer": SHOP.name, "jwksUri": f"{where}/base64/{page}"}))
    expect(lab, [200, 200, 401], (URL,), bearing(SHOP.token()), bearing(Issuer(SHOP.name).token()))
    assert status(lab, "users")["Accepted"]["status"] == "True"
    lab.put(authentication({"issuer": SHOP.name, "jwksUri": f"{where}/status/503"}))
    expect(lab, [401, 200], bearing(SHOP.token()), (URL,))
    accepted = status(lab, "users")["Accepted"]
    assert (accepted["status"], accepted["reason"]) == ("False", "KeysNotFound")
    assert f"{where}/status/503: status 503; tokens of it are refused" in accepted["message"]
    lab.put(authentication({"issuer": SHOP.name, "jwksUri": "http://127.0.0.1:8080/"}))
    lab.cluster.eventually(lambda: "127.0.0.1 is blocked" in status(lab, "users")["Accepted"]["message"])


def test_a_gateway_routes_by_claims(lab: Lab) -> None:
    spec = {"selector": {"matchLabels": {"istio": "ingressgateway"}}}
    at_gateway = authentication(rule(SHOP), name="at-gateway", **spec)
    lab.cluster.kubectl("-n", "istio-system", "apply", "-f", "-", stdin=json.dumps(at_gateway))
    try:
        blue = {"headers": {"@request.auth.claims.org.team": {"exact": "blue"}}}
        http = [
            {"match": [blue], "directResponse": {"status": 207}},
            {"match": [{"headers": {"@request.auth.claims.sub": {}}}], "directResponse": {"status": 208}},
            {"directResponse": {"status": 209}},
        ]
        routes = kind("VirtualService", "lab", hosts=["claims.example.com"], gateways=["lab"], http=http)
        lab.apply(gateway(server(80, "HTTP", ["claims.example.com"])), routes)

        def answers() -> list[int]:
            tokens = [SHOP.token(org={"team": "blue"}), SHOP.token(), "", "garbage"]
            return [get(lab, "claims.example.com", f"/?access_token={t}" if t else "/")[0] for t in tokens]

        lab.cluster.eventually(lambda: answers() == [207, 208, 209, 401])
    finally:
        lab.cluster.kubectl("-n", "istio-system", "delete", "requestauthentication", "at-gateway")
