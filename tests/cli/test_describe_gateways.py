"""What `x describe gateway` and `x describe route` say, from objects as a controller leaves them."""

from __future__ import annotations

from typing import Any

from sailcloth.cli.describe_gateways import gateway_text, route_text

Object = dict[str, Any]


def condition(kind: str, reason: str = "", message: str = "") -> Object:
    return {"type": kind, "status": "False" if reason else "True", "reason": reason or kind, "message": message}


def gateway() -> Object:
    listeners = [
        {"name": "http", "port": 80, "protocol": "HTTP"},
        {"name": "tls", "port": 443, "protocol": "HTTPS", "hostname": "books.example.com",
         "allowedRoutes": {"namespaces": {"from": "All"}}},
    ]  # fmt: skip
    status = {
        "addresses": [{"type": "IPAddress", "value": "127.1.1.1"}],
        "conditions": [condition("Accepted"), condition("Programmed")],
        "listeners": [
            {"name": "http", "supportedKinds": [{"kind": "HTTPRoute"}],
             "conditions": [condition(c) for c in ("Accepted", "ResolvedRefs", "Programmed")]},
            {"name": "tls", "supportedKinds": [{"kind": "HTTPRoute"}], "conditions": [condition("Accepted"), condition("Programmed", "Invalid"),
                                           condition("ResolvedRefs", "RefNotPermitted", "no grant in certs")]},
        ],
    }  # fmt: skip
    metadata = {"name": "edge", "namespace": "default"}
    return {"metadata": metadata, "spec": {"gatewayClassName": "sailcloth", "listeners": listeners}, "status": status}


def route(name: str, namespace: str, parent: Object, *conditions: Object, **spec: Any) -> Object:
    told = [{"parentRef": parent, "conditions": list(conditions)}] if conditions else []
    return {
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"parentRefs": [parent], **spec},
        "status": {"parents": told},
    }


EDGE = {"name": "edge", "namespace": "default"}
BOOKS = route(
    "books", "default", {"name": "edge", "sectionName": "http"}, condition("Accepted"), condition("ResolvedRefs"),
    hostnames=["books.example.com"],
    rules=[
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/p"}, "headers": [{"name": "user", "value": "j"}]}],
            "filters": [{"type": "URLRewrite"}],
            "backendRefs": [{"name": "a", "port": 80, "weight": 9}, {"name": "b", "namespace": "x", "port": 80}],
        }
    ],
)  # fmt: skip


def test_a_gateway_with_what_is_attached_and_what_is_not() -> None:
    refused = condition("Accepted", "NotAllowedByListeners", "allowedRoutes has no HTTPRoutes of namespace other")
    dangling = route("dangling", "default", EDGE, condition("Accepted"), condition("ResolvedRefs", "BackendNotFound"))
    routes = [BOOKS, dangling, route("far", "other", EDGE, refused), route("new", "default", EDGE)]
    assert list(gateway_text(gateway(), routes, ["edge-1"])) == [
        "Gateway: edge.default (class sailcloth)",
        "   Addresses: 127.1.1.1",
        "   Pods: edge-1",
        "Listener http: HTTP port 80, all host names, routes of its own namespace",
        "   HTTPRoute books.default: books.example.com",
        "   HTTPRoute dangling.default",
        "Listener tls: HTTPS port 443, books.example.com, routes of all namespaces",
        "   references: RefNotPermitted: no grant in certs",
        "   not programmed: Invalid",
        "   HTTPRoute dangling.default",
        "Warning: HTTPRoute dangling.default references: BackendNotFound",
        "Warning: HTTPRoute far.other not accepted: NotAllowedByListeners: allowedRoutes has no HTTPRoutes of namespace other",
        "Warning: HTTPRoute new.default not accepted: no controller has said so yet",
    ]


def listener_set(name: str, *conditions: Object, created: str = "") -> Object:
    listeners = [{"name": "more", "port": 81, "protocol": "HTTP"}]
    good = [condition(c) for c in ("Accepted", "ResolvedRefs", "Programmed")]
    told = [{"name": "more", "supportedKinds": [{"kind": "HTTPRoute"}], "conditions": good}]
    return {
        "kind": "ListenerSet",
        "metadata": {"name": name, "namespace": "team", "creationTimestamp": created},
        "spec": {"parentRef": EDGE, "listeners": listeners},
        "status": {"conditions": list(conditions), "listeners": told},
    }


def test_the_listener_sets_of_a_gateway() -> None:
    parent = {"kind": "ListenerSet", "name": "more", "namespace": "team"}
    attached = route("r", "team", parent, condition("Accepted"), condition("ResolvedRefs"))
    lost = route("lost", "team", {**parent, "port": 9}, condition("Accepted", "NoMatchingParent", "no port 9"))
    good = listener_set("more", condition("Accepted"), condition("Programmed"), created="2026-01-01T00:00:00Z")
    late = listener_set(
        "also", condition("Accepted", "NotAllowed"), condition("Programmed", "NotAllowed"), created="2027"
    )
    text = list(gateway_text(gateway(), [attached, lost], [], [late, good]))
    assert text[text.index("ListenerSet: more.team") :] == [
        "ListenerSet: more.team",
        "Listener more: HTTP port 81, all host names, routes of its own namespace",
        "   HTTPRoute r.team",
        "ListenerSet: also.team",
        "   not accepted: NotAllowed",
        "   not programmed: NotAllowed",
        "Listener more: HTTP port 81, all host names, routes of its own namespace",
        "   no routes",
        "Warning: HTTPRoute lost.team not accepted: NoMatchingParent: no port 9",
    ]
    assert list(route_text(attached, [gateway()], [good]))[-2:] == [
        "Parent: ListenerSet more.team",
        "   attached to more (HTTP port 81, all host names, routes of its own namespace) at 127.1.1.1",
    ]
    assert list(route_text(attached, []))[-1] == "   there is no such ListenerSet"


def test_a_route_with_its_parents() -> None:
    assert list(route_text(BOOKS, [gateway()])) == [
        "HTTPRoute: books.default",
        "   Host names: books.example.com",
        "   Rule 1: paths under /p header user=j to a.default:80 90 %, b.x:80 10 %",
        "      Filters: URLRewrite",
        "Parent: Gateway edge.default listener http",
        "   attached to http (HTTP port 80, all host names, routes of its own namespace) at 127.1.1.1",
    ]
    lost = route("lost", "default", {"name": "nowhere"}, rules=[{"backendRefs": []}])
    assert list(route_text(lost, []))[2:] == [
        "   Rule 1: everything to no backend",
        "Parent: Gateway nowhere.default",
        "   there is no such Gateway",
    ]
    service = {"group": "", "kind": "Service", "name": "reviews"}
    mesh = route("mesh", "default", service, condition("Accepted"), condition("ResolvedRefs"))
    assert list(route_text(mesh, []))[-1] == "   attached: it decides for clients in the mesh"
    other = {"name": "edge", "namespace": "elsewhere"}
    two = route("two", "default", EDGE, condition("Accepted"), condition("ResolvedRefs"))
    two["spec"]["parentRefs"].append(other)
    assert list(route_text(two, [gateway()]))[-1] == "   there is no such Gateway"


def test_datagrams_are_for_their_own_listeners() -> None:
    edge = gateway()
    edge["spec"]["listeners"].append({"name": "dns", "port": 53, "protocol": "UDP"})
    taken = [condition(c) for c in ("Accepted", "ResolvedRefs", "Programmed")]
    edge["status"]["listeners"].append({"name": "dns", "supportedKinds": [{"kind": "UDPRoute"}], "conditions": taken})
    rules = [{"backendRefs": [{"name": "dns", "port": 53}]}]
    dns = route("dns", "default", EDGE, condition("Accepted"), condition("ResolvedRefs"), rules=rules)
    dns["kind"] = "UDPRoute"
    lines = list(gateway_text(edge, [dns], []))
    assert lines[-2:] == ["Listener dns: UDP port 53, routes of its own namespace", "   UDPRoute dns.default"]
    assert sum("UDPRoute" in line for line in lines) == 1
    assert list(route_text(dns, [edge])) == [
        "UDPRoute: dns.default",
        "   Rule 1: everything to dns.default:53",
        "Parent: Gateway edge.default",
        "   attached to dns (UDP port 53, routes of its own namespace) at 127.1.1.1",
    ]
