"""HTTPRoutes attached to services: what they amount to, whom they hold for, and what is said of those that cannot work."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from sailcloth.analysis import manifests
from sailcloth.api import virtual_service as vs
from sailcloth.api.meta import Key, StringMatch
from sailcloth.mesh import virtual_services
from sailcloth.mesh.extended_routes import Session, session_of
from sailcloth.mesh.registry import Mesh

Object = dict[str, Any]
HOST = "web.shop.svc.cluster.local"
ROUTE = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
PARENT = {"group": "", "kind": "Service", "name": "web", "namespace": "shop"}


def service(name: str, namespace: str = "shop") -> Object:
    spec = {"ports": [{"name": "http", "port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def route(
    name: str, *rules: Object, namespace: str = "shop", created: str = "2026-01-01T00:00:00Z", **parent: Any
) -> Object:
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created}
    return {**ROUTE, "metadata": metadata, "spec": {"parentRefs": [{**PARENT, **parent}], "rules": list(rules)}}


def to(target: str, /, **more: Any) -> Object:
    return {"backendRefs": [{"name": target, "port": 80}], **more}


def mesh(*objects: Object) -> Mesh:
    made = Mesh()
    put(made, service("web"), service("one"), service("two"), *objects)
    return made


def put(made: Mesh, *objects: Object) -> None:
    found, findings = manifests.load([json.dumps(o) for o in objects])
    assert not findings
    for key, obj in found:
        made.apply(key, obj)


def rules(made: Mesh, caller: str = "shop") -> list[vs.HTTPRoute]:
    """The routes for the service as a namespace sees them."""
    keys = made.graph.get(virtual_services.for_host, HOST, caller)
    found = [made.objects[k] for k in keys]
    return [r for o in found if isinstance(o, vs.VirtualService) for r in o.spec.http]


def test_an_expression_that_envoy_would_refuse_is_no_match_and_told() -> None:
    bad = {"path": {"type": "RegularExpression", "value": "/[a"}}
    good = {"path": {"type": "PathPrefix", "value": "/good"}}
    made = mesh(route("r", to("one", matches=[bad, good]), to("two")))
    assert [(m.uri, r.direct_response) for r in rules(made) for m in r.match] == [
        (StringMatch(prefix="/good"), vs.HTTPDirectResponse(status=500))
    ]
    (status,) = made.http_routes.status(Key("HTTPRoute", "shop", "r"))
    assert status.accepted[:2] == (False, "UnsupportedValue")
    assert "/[a" in status.accepted[2]


def test_a_line_break_in_a_header_is_told() -> None:
    step = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-a", "value": "b\n"}]}}
    made = mesh(route("r", to("one", filters=[step])))
    (rule,) = rules(made)
    assert rule.direct_response == vs.HTTPDirectResponse(status=500)
    (status,) = made.http_routes.status(Key("HTTPRoute", "shop", "r"))
    assert status.accepted[:2] == (False, "UnsupportedValue")


def test_a_per_cent_sign_in_a_header_stands_for_itself() -> None:
    headers = [{"name": "x-a", "value": "50%"}, {"name": "x-b", "value": "%REQ(x-c)%"}]
    step = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": headers}}
    (rule,) = rules(mesh(route("r", to("one", filters=[step]))))
    assert rule.headers is not None
    assert rule.headers.request is not None
    assert rule.headers.request.set == {"x-a": "50%%", "x-b": "%%REQ(x-c)%%"}


def plain(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def hosts(routes: list[vs.HTTPRoute]) -> list[str]:
    return [d.destination.host.split(".")[0] for r in routes for d in r.route]


def condition(made: Mesh, name: str, namespace: str = "shop") -> tuple[str, str]:
    (status,) = made.http_routes.status(Key("HTTPRoute", namespace, name))
    return status.accepted[1], status.resolved[1]


def test_rules_stand_in_the_order_that_the_api_sets() -> None:
    def at(**match: Any) -> Object:
        return {"matches": [match]}

    made = mesh(
        route(
            "young",
            to("one", name="all"),
            to("one", name="short", **at(path={"type": "PathPrefix", "value": "/a"})),
            to("one", name="long", **at(path={"type": "PathPrefix", "value": "/a/b"})),
            to("one", name="exact", **at(path={"type": "Exact", "value": "/a"})),
            to("one", name="regex", **at(path={"type": "RegularExpression", "value": "/a.*"})),
            to("one", name="method", **at(path={"type": "PathPrefix", "value": "/a"}, method="POST")),
            to(
                "one",
                name="header",
                **at(path={"type": "PathPrefix", "value": "/a"}, headers=[{"name": "x", "value": "1"}]),
            ),
            created="2026-02-01T00:00:00Z",
        ),
        route("old", to("two", name="older", **at(path={"type": "PathPrefix", "value": "/a"}))),
    )
    assert [r.name for r in rules(made)] == ["exact", "long", "method", "header", "older", "short", "regex", "all"]


def test_every_field_has_its_counterpart() -> None:
    filters = [
        {
            "type": "RequestHeaderModifier",
            "requestHeaderModifier": {"set": [{"name": "a", "value": "1"}], "remove": ["b"]},
        },
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "c", "value": "2"}]}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "two", "port": 80}, "percent": 25}},
        {
            "type": "URLRewrite",
            "urlRewrite": {"hostname": "h", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/n"}},
        },
        {"type": "CORS", "cors": {"allowOrigins": ["https://*.x.org"], "maxAge": 9}},
    ]
    match = {
        "path": {"type": "PathPrefix", "value": "/p/"},
        "queryParams": [{"name": "q", "value": "v.*", "type": "RegularExpression"}],
    }
    weighed = [{"name": "one", "port": 80, "weight": 3}, {"name": "two", "port": 80, "weight": 1}]
    rule = {
        "matches": [match],
        "filters": filters,
        "backendRefs": weighed,
        "timeouts": {"request": "3s", "backendRequest": "1s"},
        "retry": {"codes": [503], "attempts": 4, "backoff": "20ms"},
    }
    (found,) = rules(mesh(route("r", rule, port=80)))
    assert plain(found) == {
        "name": "shop.r.0",
        "match": [{"uri": {"prefix": "/p"}, "queryParams": {"q": {"regex": "v.*"}}, "port": 80}],
        "route": [
            {"destination": {"host": f"{n}.shop.svc.cluster.local", "port": {"number": 80}}, "weight": w}
            for n, w in (("one", 3), ("two", 1))
        ],
        "timeout": "3s",
        "retries": {
            "attempts": 4,
            "perTryTimeout": "1s",
            "retryOn": "connect-failure,refused-stream,reset-before-request,503",
            "backoff": "20ms",
        },
        "mirrors": [
            {
                "destination": {"host": "two.shop.svc.cluster.local", "port": {"number": 80}},
                "percentage": {"value": 25.0},
            }
        ],
        "corsPolicy": {
            "allowOrigins": [{"regex": r"https://.*\.x\.org"}],
            "maxAge": "9s",
            "unmatchedPreflights": "IGNORE",
        },
        "headers": {"request": {"set": {"a": "1"}, "remove": ["b"]}, "response": {"add": {"c": "2"}}},
        "rewrite": {"uri": "/n", "authority": "h"},
    }


@pytest.mark.parametrize(
    ("prefix", "path", "expected"),
    [
        ("/p", {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}, {"match": "^/p(/?)(.*)", "rewrite": "/\\2"}),
        ("/", {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/n"}, {"match": "^/(.*)", "rewrite": "/n/\\1"}),
        ("/p", {"type": "ReplaceFullPath", "replaceFullPath": "/whole"}, {"match": "/.*", "rewrite": "/whole"}),
    ],
)
def test_rewrites_that_need_an_expression(prefix: str, path: Object, expected: Object) -> None:
    rule = to("one", matches=[{"path": {"type": "PathPrefix", "value": prefix}}])
    rule["filters"] = [{"type": "URLRewrite", "urlRewrite": {"path": path}}]
    (found,) = rules(mesh(route("r", rule)))
    assert plain(found.rewrite) == {"uriRegexRewrite": expected}


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        (
            {"scheme": "https", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/n"}},
            {"uri": "%PREFIX()%/n", "scheme": "https", "redirectCode": 302, "derivePort": "FROM_PROTOCOL_DEFAULT"},
        ),
        ({"hostname": "h"}, {"authority": "h", "redirectCode": 302, "derivePort": "FROM_REQUEST_PORT"}),
        ({"port": 8443, "statusCode": 301}, {"port": 8443, "redirectCode": 301}),
    ],
)
def test_redirects(redirect: Object, expected: Object) -> None:
    (found,) = rules(mesh(route("r", {"filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]})))
    assert plain(found.redirect) == expected


def test_a_callers_own_routes_hold_for_it_alone_and_instead_of_the_services() -> None:
    made = mesh(
        route("producer", to("one")),
        route("consumer", {"backendRefs": [{"name": "web", "port": 80}]}, namespace="front"),
    )
    put(made, service("web", "front"))
    assert hosts(rules(made, "shop")) == ["one"]
    assert hosts(rules(made, "third")) == ["one"]
    assert [d.destination.host for r in rules(made, "front") for d in r.route] == ["web.front.svc.cluster.local"]
    made.apply(Key("HTTPRoute", "front", "consumer"), None)
    assert hosts(rules(made, "front")) == ["one"]


def test_what_is_missing_answers_500_for_its_share_until_it_is_there() -> None:
    made = mesh(route("r", {"backendRefs": [{"name": "one", "port": 80, "weight": 3}, {"name": "late", "port": 80}]}))
    (found,) = rules(made)
    assert hosts([found]) == ["one"]
    assert plain(found.fault) == {"abort": {"httpStatus": 500, "percentage": {"value": 25.0}}}
    assert condition(made, "r") == ("Accepted", "BackendNotFound")
    put(made, service("late"))
    assert hosts(rules(made)) == ["one", "late"]
    assert condition(made, "r") == ("Accepted", "ResolvedRefs")
    made.apply(Key("Service", "shop", "one"), None)
    made.apply(Key("Service", "shop", "late"), None)
    (found,) = rules(made)
    assert plain(found.direct_response) == {"status": 500}


def test_a_route_waits_for_its_service() -> None:
    made = Mesh()
    put(made, service("one"), route("r", to("one")))
    assert rules(made) == []
    assert condition(made, "r")[0] == "NoMatchingParent"
    put(made, service("web"))
    assert hosts(rules(made)) == ["one"]
    assert condition(made, "r")[0] == "Accepted"


def test_other_namespaces_services_need_a_grant() -> None:
    rule = {"backendRefs": [{"name": "db", "namespace": "data", "port": 80}]}
    made = mesh(service("db", "data"), route("r", rule))
    assert condition(made, "r") == ("Accepted", "RefNotPermitted")
    source = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop"}
    grant = {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": "g", "namespace": "data"},
        "spec": {"from": [source], "to": [{"group": "", "kind": "Service", "name": "db"}]},
    }
    put(made, grant)
    assert hosts(rules(made)) == ["db"]
    made.apply(Key("ReferenceGrant", "data", "g"), None)
    assert plain(rules(made)[0].direct_response) == {"status": 500}


def test_a_consumers_route_needs_no_grant_for_the_service_that_it_is_for() -> None:
    """For its own clients, who call the service anyway; at a Gateway it would let in others, so there it does."""
    own = {"backendRefs": [{"name": "web", "namespace": "shop", "port": 80}]}
    other = {"backendRefs": [{"name": "one", "namespace": "shop", "port": 80}]}
    made = mesh(
        route("mine", own, namespace="consumer"),
        route("theirs", other, namespace="another"),
    )
    key = Key("HTTPRoute", "consumer", "mine")
    assert hosts(rules(made, "consumer")) == ["web"]
    assert plain(rules(made, "another")[0].direct_response) == {"status": 500}
    assert [s.resolved[1] for s in made.http_routes.status(key)] == ["ResolvedRefs"]
    both = route("mine", own, namespace="consumer")
    both["spec"]["parentRefs"].append({"name": "gateway"})
    put(made, both)
    assert [s.resolved[1] for s in made.http_routes.status(key)] == ["RefNotPermitted"]


@pytest.mark.parametrize(
    ("rule", "accepted", "resolved"),
    [
        ({"backendRefs": [{"group": "x.org", "kind": "Thing", "name": "t"}]}, "Accepted", "InvalidKind"),
        (to("one", filters=[{"type": "ExtensionRef"}]), "UnsupportedValue", "ResolvedRefs"),
        ({"backendRefs": [{"name": "one"}]}, "UnsupportedValue", "ResolvedRefs"),
    ],
)
def test_what_cannot_work_is_told_and_answers_500(rule: Object, accepted: str, resolved: str) -> None:
    made = mesh(route("r", rule))
    assert condition(made, "r") == (accepted, resolved)
    assert plain(rules(made)[0].direct_response) == {"status": 500}


def test_a_route_to_a_gateway_is_left_to_others() -> None:
    obj = route("r", to("one"))
    obj["spec"]["parentRefs"] = [{"name": "gateway"}]
    made = mesh(obj)
    assert rules(made) == []
    assert made.http_routes.status(Key("HTTPRoute", "shop", "r")) == []


ENTRY = {
    "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "out", "namespace": "shop"},
    "spec": {"hosts": ["api.example.com", "*.shop.example.com"], "resolution": "NONE",
             "ports": [{"name": "http", "number": 80, "protocol": "HTTP"}, {"name": "tls", "number": 443, "protocol": "TLS"}]},
}  # fmt: skip
OUT = {"group": "networking.istio.io", "kind": "ServiceEntry", "name": "out"}
OUTSIDE = {"backendRefs": [{"group": "networking.istio.io", "kind": "Hostname", "name": "api.example.com", "port": 80}]}


def virtual_services_of(made: Mesh) -> dict[str, vs.VirtualServiceSpec]:
    return {h: o.spec for o in made.objects.values() if isinstance(o, vs.VirtualService) for h in o.spec.hosts}


def states(made: Mesh, name: str, kind: str = "HTTPRoute") -> list[tuple[str, str]]:
    return [(s.accepted[1], s.resolved[1]) for s in made.http_routes.status(Key(kind, "shop", name))]


def at_entry(name: str, kind: str = "HTTPRoute", hostnames: tuple[str, ...] = (), **parent: Any) -> Object:
    spec = {"parentRefs": [{**OUT, **parent}], "hostnames": list(hostnames), "rules": [OUTSIDE]}
    return {**ROUTE, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def test_service_entries_are_parents_host_by_host() -> None:
    made = mesh(ENTRY, at_entry("all", port=80), at_entry("some", hostnames=("a.shop.example.com",), port=80))
    found = virtual_services_of(made)
    assert found.keys() == {"api.example.com", "*.shop.example.com", "a.shop.example.com"}
    destinations = [(r.route[0].destination.host, r.match[0].port) for r in found["a.shop.example.com"].http]
    assert destinations == [("api.example.com", 80), ("*.shop.example.com", 443)]  # the second as without any route
    assert states(made, "all") == states(made, "some") == [("Accepted", "ResolvedRefs")]


def test_routes_follow_the_hosts_of_their_service_entry() -> None:
    made = mesh(at_entry("r"))
    assert states(made, "r") == [("NoMatchingParent", "ResolvedRefs")]
    assert not virtual_services_of(made)
    made.http_routes.reevaluated.clear()
    put(made, ENTRY)
    assert virtual_services_of(made).keys() == {"api.example.com", "*.shop.example.com"}
    assert made.http_routes.reevaluated == {Key("HTTPRoute", "shop", "r")}
    put(made, {**ENTRY, "spec": {**ENTRY["spec"], "hosts": ["api.example.com"]}})
    assert virtual_services_of(made).keys() == {"api.example.com"}
    made.apply(Key("ServiceEntry", "shop", "out"), None)
    assert not virtual_services_of(made)
    made.apply(Key("HTTPRoute", "shop", "r"), None)
    assert not list(made.http_routes._members)
    assert not made.http_routes._members.of(Key("HTTPRoute", "shop", "r"))


def test_a_route_without_a_host_in_common_with_its_service_entry() -> None:
    made = mesh(ENTRY, at_entry("r", hostnames=("elsewhere.example.com",)))
    assert states(made, "r") == [("NoMatchingListenerHostname", "ResolvedRefs")]
    assert not virtual_services_of(made)


def test_connections_are_routed_at_services_too() -> None:
    tls = at_entry("tls", "TLSRoute", hostnames=("api.example.com",), port=443)
    tcp = {
        **route(
            "tcp", {"backendRefs": [{"name": "one", "port": 80, "weight": 3}, {"name": "two", "port": 80}]}, port=80
        ),
        "kind": "TCPRoute",
    }
    made = mesh(ENTRY, tls, tcp)
    found = virtual_services_of(made)
    (rule,) = found["api.example.com"].tls
    assert (rule.match[0].sni_hosts, rule.match[0].port) == (("api.example.com",), 443)
    (connections,) = found[HOST].tcp
    assert connections.match[0].port == 80
    assert [(d.destination.host.split(".")[0], d.weight) for d in connections.route] == [("one", 3), ("two", 1)]
    assert states(made, "tls", "TLSRoute") == states(made, "tcp", "TCPRoute") == [("Accepted", "ResolvedRefs")]


def rewriting(path: str) -> list[Object]:
    return [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": path}}}]


def test_a_backends_own_rewrite_or_redirect_is_a_share_of_the_rule() -> None:
    redirect = [{"type": "RequestRedirect", "requestRedirect": {"hostname": "elsewhere"}}]
    backends = [
        {"name": "one", "port": 80, "weight": 2, "filters": rewriting("/own")},
        {"name": "two", "port": 80, "weight": 1},
        {"name": "nobody", "port": 80, "weight": 1},
        {"name": "one", "port": 80, "weight": 4, "filters": redirect},
        {"name": "two", "port": 80, "weight": 0},
    ]
    found = rules(mesh(route("r", {"filters": rewriting("/all"), "backendRefs": backends})))
    assert [getattr(r, "share", 100.0) for r in found] == [25.0, 37.5, 50.0, 100.0]
    first, second, third, last = found
    assert first.rewrite is not None
    assert second.rewrite is not None
    assert [r.rewrite.uri_regex_rewrite.rewrite for r in (first, second)] == ["/own", "/all"]  # type: ignore[union-attr]
    assert first.route[0].destination.host == "one.shop.svc.cluster.local"
    assert third.direct_response is not None
    assert last.redirect is not None
    assert last.redirect.authority == "elsewhere"


@pytest.mark.parametrize(
    ("persistence", "expected"),
    [
        ({}, Session(name="session-r-0")),
        ({"sessionName": "s", "cookieConfig": {"lifetimeType": "Permanent"}, "absoluteTimeout": "2m"}, Session(name="s", lifetime_ms=120_000)),
        ({"sessionName": "s", "type": "Header"}, Session(name="s", header=True)),
    ],
)  # fmt: skip
def test_sessions(persistence: Object, expected: Session) -> None:
    made = mesh(route("r", to("one", sessionPersistence=persistence)))
    assert [session_of(r) for r in rules(made)] == [expected]
    assert condition(made, "r") == ("Accepted", "ResolvedRefs")


@pytest.mark.parametrize(
    "persistence",
    [{"idleTimeout": "5s"}, {"type": "Header"}, {"absoluteTimeout": "5s"}, {"type": "Magic"}, {"cookieConfig": {"lifetimeType": "Permanent"}}],
)  # fmt: skip
def test_a_session_that_cannot_be_kept_is_told(persistence: Object) -> None:
    assert condition(mesh(route("r", to("one", sessionPersistence=persistence))), "r") == (
        "UnsupportedValue",
        "ResolvedRefs",
    )
