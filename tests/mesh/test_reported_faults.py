"""What users would have found: each test is one example of a kind of wrong answer, with the right one."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.analysis import manifests, offline
from sailcloth.api import validation
from sailcloth.api.meta import Key
from sailcloth.testing.world import World

STORE = """
apiVersion: v1
kind: Service
metadata: {name: store, namespace: default}
spec: {clusterIP: 10.96.0.10, selector: {app: store}, ports: [{name: http, port: 8080}]}
---
"""


def dump(text: str, proxy: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Resources by kind and name."""
    objects, findings = manifests.load([STORE + text])
    assert not findings
    found = offline.config_dump(offline.resources(offline.mesh_of(objects), offline.describe(proxy or {})))
    out: dict[str, dict[str, Any]] = {}
    for part in found["configs"]:
        for entry in next(v for k, v in part.items() if k != "@type"):
            active = entry.get("active_state", entry)
            ((kind, body),) = [(k, v) for k, v in active.items() if k != "version_info"]
            out.setdefault(kind, {})[body.get("name") or body["cluster_name"]] = body
    return out


def addresses(assignment: dict[str, Any]) -> set[str]:
    endpoints = (e for group in assignment.get("endpoints", ()) for e in group["lb_endpoints"])
    return {e["endpoint"]["address"]["socket_address"]["address"] for e in endpoints}


def entry(name: str, host: str, port: int, **spec: Any) -> str:
    import json

    body = {"hosts": [host], "ports": [{"number": port, "name": f"http-{port}", "protocol": "HTTP"}], **spec}
    metadata = {"name": name, "namespace": "default"}
    return json.dumps(
        {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata, "spec": body}
    )


def test_entries_of_one_host_keep_their_endpoints_apart() -> None:
    host = "mix.partner.example"
    one = entry("one", host, 8080, resolution="STATIC", endpoints=[{"address": "10.88.0.1"}])
    two = entry("two", host, 9000, resolution="STATIC", endpoints=[{"address": "10.88.0.2"}])
    more = entry("zmore", host, 9000, resolution="STATIC", endpoints=[{"address": "10.88.0.3"}])
    assignments = dump(f"{one}\n---\n{two}\n---\n{more}")["endpoint_config"]
    assert addresses(assignments[f"outbound|8080||{host}"]) == {"10.88.0.1"}
    assert addresses(assignments[f"outbound|9000||{host}"]) == {"10.88.0.2", "10.88.0.3"}


def test_entries_of_one_host_keep_resolution_addresses_and_location_apart() -> None:
    host = "bus.partner.example"
    direct = entry("bus-direct", host, 9093, resolution="NONE", addresses=["192.168.77.5"], location="MESH_INTERNAL")
    web = entry("bus-web", host, 443, resolution="DNS", location="MESH_EXTERNAL")
    web = web.replace('"HTTP"', '"HTTPS"')
    direct = direct.replace('"HTTP"', '"TLS"')
    found = dump(f"{direct}\n---\n{web}")
    assert found["cluster"][f"outbound|443||{host}"]["type"] == "STRICT_DNS"
    assert found["cluster"][f"outbound|9093||{host}"]["type"] == "ORIGINAL_DST"
    assert "192.168.77.5_9093" in found["listener"]
    assert not any(name.startswith("192.168.77.5_443") for name in found["listener"])
    assert "transport_socket_matches" not in found["cluster"][f"outbound|443||{host}"]


def test_a_target_port_holds_with_resolution_none() -> None:
    text = entry("ext", "mail.saas.example", 80, addresses=["203.0.113.7"], resolution="NONE")
    text = text.replace('"protocol": "HTTP"', '"protocol": "HTTP", "targetPort": 8443')
    cluster = dump(text)["cluster"]["outbound|80||mail.saas.example"]
    assert cluster["original_dst_lb_config"]["upstream_port_override"] == 8443
    plain = dump(entry("ext", "mail.saas.example", 80, resolution="NONE"))["cluster"]
    assert "original_dst_lb_config" not in plain["outbound|80||mail.saas.example"]


POD = """
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default, labels: {app: a}}
spec: {containers: [{name: app, image: a}]}
status: {phase: Running, podIP: 10.42.0.9, conditions: [{type: Ready, status: "True"}]}
---
"""


def test_an_empty_selector_selects_nothing_and_says_so() -> None:
    text = entry("one", "none.partner.example", 80, resolution="STATIC", workloadSelector={})
    found = dump(POD + text, {"labels": {"app": "a"}, "ip": "10.42.0.9"})
    assert addresses(found["endpoint_config"]["outbound|80||none.partner.example"]) == set()
    assert not any(name.startswith("inbound|80") for name in found["cluster"])
    findings = validation.check(manifests.documents(text)[0], "default")
    assert [(f.severity, f.path) for f in findings] == [("Warning", "spec.workloadSelector")]


ROOT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: default}
spec:
  hosts: [store]
  http:
    - delegate: {name: leaf}
      headers: {request: {set: {x-root: r, x-both: r}, remove: [x-a]}}
      fault: {delay: {fixedDelay: 1s, percentage: {value: 10}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: leaf, namespace: default}
spec:
  http:
    - route: [{destination: {host: store}}]
      headers: {request: {set: {x-leaf: l, x-both: l}, remove: [x-b]}, response: {add: {x-c: c}}}
      fault: {abort: {httpStatus: 500, percentage: {value: 5}}}
"""


def routes(found: dict[str, dict[str, Any]], config: str, host: str) -> list[dict[str, Any]]:
    hosts = found["route_config"][config]["virtual_hosts"]
    return next(list(h["routes"]) for h in hosts if host in h["domains"])


def test_a_delegate_adds_to_the_headers_and_faults_of_its_root() -> None:
    (route,) = routes(dump(ROOT), "8080", "store")
    added = {h["header"]["key"]: h["header"]["value"] for h in route["request_headers_to_add"]}
    assert added == {"x-root": "r", "x-leaf": "l", "x-both": "l"}
    assert set(route["request_headers_to_remove"]) == {"x-a", "x-b"}
    assert route["response_headers_to_add"][0]["header"]["key"] == "x-c"
    fault = route["typed_per_filter_config"]["envoy.filters.http.fault"]
    assert fault["delay"]["fixed_delay"] == "1s"
    assert fault["abort"]["http_status"] == 500


SNI = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: edge}
  servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: ["*.shop.example"], tls: {mode: PASSTHROUGH}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: ["*.shop.example"]
  gateways: [edge]
  tls: [{match: [{sniHosts: [NAMES]}], route: [{destination: {host: store, port: {number: 8080}}}]}]
"""


@pytest.mark.parametrize(
    ("names", "served"),
    [
        ('"*.example"', {"*.shop.example"}),
        ('"a.shop.example"', {"a.shop.example"}),
        ('"a.shop.example", "b.other.example"', {"a.shop.example"}),
        ('"b.other.example"', set()),
    ],
)
def test_server_names_of_tls_routes_are_cut_to_the_gateways(names: str, served: set[str]) -> None:
    proxy = {"type": "router", "labels": {"istio": "edge"}}
    listeners = dump(SNI.replace("NAMES", names), proxy).get("listener", {})
    chains = [c for listener in listeners.values() for c in listener["filter_chains"]]
    assert {n for c in chains for n in c["filter_chain_match"]["server_names"]} == served


ALIAS = """
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: default}
spec: {type: ExternalName, externalName: store.default.svc.cluster.local}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: default}
spec:
  hosts: [front.example]
  http:
    - route:
        - {destination: {host: alias, port: {number: 8080}}, weight: 50}
        - {destination: {host: store}, weight: 50}
      mirrors: [{destination: {host: alias}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: front, namespace: default}
spec: {hosts: [front.example], ports: [{number: 8080, name: http, protocol: HTTP}], resolution: DNS}
"""


def test_a_destination_that_is_an_external_name_is_the_service_behind_it() -> None:
    (route,) = routes(dump(ALIAS), "8080", "front.example")
    store = "outbound|8080||store.default.svc.cluster.local"
    assert [c["name"] for c in route["route"]["weighted_clusters"]["clusters"]] == [store, store]
    assert [m["cluster"] for m in route["route"]["request_mirror_policies"]] == [store]


FIRST = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: first, namespace: default, uid: g1, generation: 1, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {selector: {istio: edge}, servers: [{port: {number: 443, name: http, protocol: HTTP}, hosts: ['*']}]}
"""
SECOND = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: second, namespace: default, uid: g2, generation: 1, creationTimestamp: '2026-02-01T00:00:00Z'}
spec:
  selector: {istio: edge}
  servers:
    - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example], tls: {mode: SIMPLE, credentialName: c}}
"""


async def test_a_gateway_that_lost_to_another_says_to_which_and_why() -> None:
    async with World() as world:
        await world.connect({"type": "router", "namespace": "default", "labels": {"istio": "edge"}})
        await world.apply(STORE, FIRST, SECOND)
        key = Key("Gateway", "default", "second")
        accepted, programmed = world.condition(key, "Accepted"), world.condition(key, "Programmed")
        assert (accepted["status"], accepted["reason"]) == ("False", "Conflicted")
        assert "servers[0] (port 443)" in accepted["message"]
        assert "Gateway default/first" in accepted["message"]
        assert programmed["status"] == "False"
        await world.delete(Key("Gateway", "default", "first"))
        assert world.condition(key, "Accepted")["status"] == "True"


async def test_a_gateway_that_no_proxy_serves_says_so() -> None:
    async with World() as world:
        await world.connect({"type": "router", "namespace": "default", "labels": {"istio": "edge"}})
        await world.apply(STORE, FIRST.replace("istio: edge", "istio: nobody"))
        message = world.condition(Key("Gateway", "default", "first"), "Programmed")["message"]
        assert "no gateway proxy has the labels of the selector istio=nobody" in message


def _check(kind: str, spec: str) -> list[tuple[str, str]]:
    text = f"{{apiVersion: networking.istio.io/v1, kind: {kind}, metadata: {{name: a, namespace: b}}, spec: {spec}}}"
    return [(f.severity, f.path) for f in validation.check(manifests.documents(text)[0], "b")]


@pytest.mark.parametrize(
    ("kind", "spec", "path"),
    [
        (
            "VirtualService",
            "{hosts: [a], http: [{rewrite: {authority: x}, headers: {request: {set: {Host: y}}}, route: [{destination: {host: a}}]}]}",
            "spec.http[0].rewrite.authority",
        ),
        ("WorkloadGroup", "{template: {}, probe: {periodSeconds: 3}}", "spec.probe"),
        (
            "ServiceEntry",
            "{hosts: [a.b], resolution: DNS, ports: [{number: 80, name: http}], endpoints: [{address: 'unix:///a'}]}",
            "spec.endpoints[0].address",
        ),
        (
            "ServiceEntry",
            "{hosts: [a.b], resolution: STATIC, ports: [{number: 80, name: a}, {number: 81, name: b}], endpoints: [{address: 'unix:///a'}]}",
            "spec.endpoints[0].address",
        ),
        (
            "ServiceEntry",
            "{hosts: ['*.b.c'], resolution: DYNAMIC_DNS, addresses: [1.1.1.1], ports: [{number: 80, name: http, protocol: HTTP}]}",
            "spec.addresses",
        ),
        ("Sidecar", "{}", "spec"),
        (
            "VirtualService",
            r"{hosts: [a], http: [{rewrite: {uriRegexRewrite: {match: '/(a)/b', rewrite: '/\2'}}, route: [{destination: {host: a}}]}]}",
            "spec.http[0].rewrite.uriRegexRewrite.rewrite",
        ),
        (
            "VirtualService",
            r"{hosts: [a], http: [{rewrite: {uriRegexRewrite: {match: '/(a)', rewrite: '/\1\'}}, route: [{destination: {host: a}}]}]}",
            "spec.http[0].rewrite.uriRegexRewrite.rewrite",
        ),
        (
            "VirtualService",
            "{hosts: [a], http: [{headers: {response: {set: {x-node: '%HOSTNAM%'}}}, route: [{destination: {host: a}}]}]}",
            "spec.http[0].headers.response.set.x-node",
        ),
    ],
)
def test_what_istio_refuses_is_refused_with_the_field(kind: str, spec: str, path: str) -> None:
    assert ("Error", path) in _check(kind, spec)


HTTP_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: duo, namespace: default, creationTimestamp: '2026-02-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.21, selector: {app: duo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
"""
OTHER = """
apiVersion: v1
kind: Service
metadata: {name: duo-peers, namespace: default, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {clusterIP: None, selector: {app: duo}, ports: [{name: NAME, port: 8080}]}
"""


@pytest.mark.parametrize("name", ["tcp-peers", "peers", "https-peers"])
def test_a_port_that_an_older_service_calls_otherwise_takes_http2_from_sidecars(name: str) -> None:
    """Callers of the HTTP service send HTTP/2 between sidecars; the application gets HTTP/1.1, as its service declares."""
    found = dump(HTTP_SERVICE + OTHER.replace("NAME", name), {"labels": {"app": "duo"}, "ip": "10.42.0.9"})
    chains = [c for c in found["listener"]["virtualInbound"]["filter_chains"] if c["name"] == "0.0.0.0_8080"]
    kinds = {
        (p, c["filters"][-1]["name"].rpartition(".")[2])
        for c in chains
        for p in c["filter_chain_match"].get("application_protocols", ["-"])
    }
    assert ("istio-h2", "http_connection_manager") in kinds
    assert ("istio", "tcp_proxy") in kinds
    assert ("http/1.1", "http_connection_manager") in kinds
    options = found["cluster"]["inbound|8080||"].get("typed_extension_protocol_options", {})
    assert "use_downstream_protocol_config" not in str(options)
    assert "http2_protocol_options" not in str(options)


def test_references_of_http_routes_name_ports_that_exist() -> None:
    text = """
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: default}, spec: {parentRefs: [
  {group: "", kind: Service, name: store, port: 9999},
  {group: "", kind: Service, name: store, sectionName: nowhere},
  {group: "", kind: Service, name: store, sectionName: http, port: 81},
  {group: "", kind: Service, name: store, sectionName: http}],
  rules: [{backendRefs: [{name: store, port: 4711, weight: 1}, {name: store, port: 8080, weight: 3}]}]}}
"""
    objects, findings = manifests.load([STORE + text])
    assert not findings
    mesh = offline.mesh_of(objects)
    statuses = mesh.http_routes.status(Key("HTTPRoute", "default", "r"))
    assert [s.accepted[:2] for s in statuses] == [
        (False, "NoMatchingParent"),
        (False, "NoMatchingParent"),
        (False, "NoMatchingParent"),
        (True, "Accepted"),
    ]
    assert [s.accepted[2] for s in statuses][:2] == [
        "service default/store has no port 9999",
        "service default/store has no port named nowhere",
    ]
    assert {s.resolved[:2] for s in statuses} == {(False, "BackendNotFound")}
    (route,) = routes(dump(text), "8080", "store")
    assert route["typed_per_filter_config"]["envoy.filters.http.fault"]["abort"]["percentage"]["numerator"] == 250_000


def test_a_rule_for_one_host_of_a_wildcard_entry_holds_on_the_entrys_port() -> None:
    wild = entry("wild", "*.partner.example", 8080, resolution="NONE")
    rule = """
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: exact, namespace: default}, spec: {hosts: [api.partner.example],
 http: [{headers: {request: {set: {x-a: b}}}, route: [{destination: {host: api.partner.example, port: {number: 8080}}}]}]}}
"""
    found = dump(f"{wild}\n---\n{rule}")
    (route,) = routes(found, "8080", "api.partner.example")
    assert route["request_headers_to_add"][0]["header"] == {"key": "x-a", "value": "b"}
    assert route["route"]["cluster"] == "outbound|8080||*.partner.example"
    assert route["route"]["cluster"] in found["cluster"]
    (other,) = routes(found, "8080", "*.partner.example")
    assert "request_headers_to_add" not in other


def test_an_address_that_is_none_costs_its_own_endpoint_only() -> None:
    """Of an API server that admits it: Envoy refuses the whole assignment for one."""
    service = "{apiVersion: v1, kind: Service, metadata: {name: odd, namespace: default}, spec: {ports: [{name: http, port: 80}]}}"
    slice_ = """{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
        metadata: {name: odd, namespace: default, labels: {kubernetes.io/service-name: odd}},
        endpoints: [{addresses: [x]}, {addresses: [10.88.0.9]}], ports: [{name: http, port: 80}]}"""
    assignments = dump(f"{service}\n---\n{slice_}")["endpoint_config"]
    assert addresses(assignments["outbound|80||odd.default.svc.cluster.local"]) == {"10.88.0.9"}
