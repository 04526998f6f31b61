"""What is said of pods and services: the facts come from the mesh, and what is likely wrong is warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sailcloth.analysis import describe, manifests, offline
from sailcloth.analysis.describe import MeshSnapshot
from sailcloth.api import core
from sailcloth.api.meta import Key
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.cli import describe as cli
from sailcloth.mesh import mesh_config, peer_authentication, selection
from sailcloth.mesh.model import MeshConfig
from sailcloth.view.proxy import Proxy

Object = dict[str, Any]


def pod(name: str, address: str, namespace: str = "default", sidecar: bool = True, **labels: str) -> Object:
    labels = {"security.istio.io/tlsMode": "istio", **labels} if sidecar else labels
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"serviceAccountName": f"{name}-account", "containers": [{"name": "app", "ports": []}]},
        "status": {"podIP": address, "phase": "Running"},
    }


def service(name: str, *addresses: str, port: str = "http", target: Any = 9080, **extra: Any) -> list[Object]:
    made: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "clusterIP": "10.96.0.7",
            "selector": {"app": name},
            "ports": [{"name": port, "port": 9080, "targetPort": target, **extra}],
        },
    }
    slices: Object = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": 9080}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
    }
    return [made, slices]


def obj(kind: str, name: str, namespace: str = "default", **spec: Any) -> Object:
    group = "security" if kind.endswith(("Authentication", "Policy")) else "networking"
    version = {"RateLimit": "sailcloth.io/v1alpha1", "EnvoyFilter": "networking.istio.io/v1alpha3"}.get(kind)
    return {
        "apiVersion": version or f"{group}.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


REVIEWS = [
    pod("reviews-v1", "10.0.0.1", app="reviews", version="v1"),
    pod("reviews-v2", "10.0.0.2", app="reviews", version="v2"),
    *service("reviews", "10.0.0.1", "10.0.0.2"),
]
SUBSETS = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2")]
RULE = obj("DestinationRule", "reviews", host="reviews", subsets=SUBSETS)
GATEWAY = pod("gateway", "10.0.0.9", "istio-system", sidecar=False, istio="ingressgateway")


def setting(*objects: Object, config: str = "") -> MeshSnapshot:
    typed, findings = manifests.load([yaml.safe_dump_all(objects)])
    assert not findings
    mesh = offline.mesh_of(typed, mesh_config.parse(config) if config else None)
    proxies: dict[Key, Proxy] = {}
    for key, one in mesh.objects.items():
        if isinstance(one, core.Pod) and (key.name == "gateway" or "security.istio.io/tlsMode" in one.metadata.labels):
            kind: Any = "router" if key.name == "gateway" else "sidecar"
            proxies[key] = describe.proxy_of(key, one, kind, {}, "cluster.local")
    return MeshSnapshot(mesh, proxies)


def of(*objects: Object, name: str = "reviews-v1", config: str = "") -> describe.PodDescription:
    return describe.pod(setting(*objects, config=config), Key("Pod", "default", name))


def strict(name: str = "default", namespace: str = "default", mode: str = "STRICT", **spec: Any) -> Object:
    return obj("PeerAuthentication", name, namespace, mtls={"mode": mode}, **spec)


def route(*targets: tuple[str, int], **fields: Any) -> Object:
    return {"route": [{"destination": {"host": "reviews", "subset": s}, "weight": w} for s, w in targets], **fields}


SELECTOR = {"matchLabels": {"app": "reviews"}}


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([], ("PERMISSIVE", "default", "")),
        ([strict(namespace="istio-system")], ("STRICT", "mesh", "PeerAuthentication istio-system/default")),
        ([strict(namespace="istio-system"), strict(mode="DISABLE")], ("DISABLE", "namespace", "PeerAuthentication default/default")),
        ([strict(), strict("one", mode="UNSET", selector=SELECTOR)], ("STRICT", "namespace", "PeerAuthentication default/default")),
        ([strict(), strict("one", mode="PERMISSIVE", selector=SELECTOR)], ("PERMISSIVE", "workload", "PeerAuthentication default/one")),
        ([strict("one", selector=SELECTOR, portLevelMtls={9080: {"mode": "DISABLE"}})], ("DISABLE", "port", "PeerAuthentication default/one")),
    ],
)  # fmt: skip
def test_the_mode_of_a_port_and_what_sets_it(objects: list[Object], expected: tuple[str, str, str]) -> None:
    one = next(m for m in of(*REVIEWS, *objects).mutual_tls if m.port == 9080)
    assert (one.mode, one.level, one.source) == expected


MODES = st.sampled_from(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"])


@given(st.lists(st.tuples(st.sampled_from(["istio-system", "default"]), MODES, st.booleans(), st.dictionaries(st.sampled_from([80, 90]), MODES, min_size=1)), max_size=4))  # fmt: skip
def test_what_sets_a_mode_is_what_proxies_get(policies: list[tuple[str, str, bool, dict[int, str]]]) -> None:
    objects = [
        strict(f"p{i}", namespace, mode, **({"selector": SELECTOR} if selects else {}),
               portLevelMtls={p: {"mode": m} for p, m in ports.items()})
        for i, (namespace, mode, selects, ports) in enumerate(policies)
    ]  # fmt: skip
    graph = setting(*REVIEWS, *objects).graph
    keys = graph.get(selection.for_workload, PeerAuthentication, "default", (("app", "reviews"),))
    shared, single = peer_authentication.origins(graph, keys)
    modes = graph.get(peer_authentication.modes, keys)
    for port in (80, 90, 100):
        assert single.get(port, shared).mode == modes.mode_of_port(port)


@pytest.mark.parametrize(
    ("objects", "config", "expected"),
    [
        ([], "", ("mutual TLS", "auto mTLS")),
        ([strict(mode="DISABLE")], "", ("plain text", "auto mTLS")),
        ([], "enableAutoMtls: false", ("plain text", "MeshConfig enableAutoMtls")),
        (
            [RULE, obj("DestinationRule", "tls", host="reviews", trafficPolicy={"tls": {"mode": "DISABLE"}})],
            "",
            ("plain text", "DestinationRule default/tls"),
        ),
        (
            [obj("DestinationRule", "tls", host="*.local", trafficPolicy={"tls": {"mode": "SIMPLE"}})],
            "",
            ("TLS (SIMPLE)", "DestinationRule default/tls"),
        ),
        (
            [obj("DestinationRule", "tls", host="reviews", trafficPolicy={"tls": {"mode": "ISTIO_MUTUAL"}})],
            "",
            ("mutual TLS", "DestinationRule default/tls"),
        ),
    ],
)
def test_what_clients_use(objects: list[Object], config: str, expected: tuple[str, str]) -> None:
    (port,) = of(*REVIEWS, *objects, config=config).services[0].ports
    assert [(c.tls, c.by) for c in port.clients] == [expected]


def test_clients_of_other_namespaces_and_of_subsets_are_told_apart() -> None:
    subset = {**SUBSETS[0], "trafficPolicy": {"tls": {"mode": "DISABLE"}}}
    own = obj("DestinationRule", "reviews", host="reviews", subsets=[subset, SUBSETS[1]])
    full = "reviews.default.svc.cluster.local"
    other = obj("DestinationRule", "theirs", "shop", host=full, trafficPolicy={"tls": {"mode": "DISABLE"}})
    (port,) = of(*REVIEWS, own, other).services[0].ports
    assert {(c.namespaces, c.subset, c.tls) for c in port.clients} == {
        (("default",), "", "mutual TLS"),
        (("default", "shop"), "v1", "plain text"),  # theirs inherits the subset
        (("shop",), "", "plain text"),
    }


@pytest.mark.parametrize(
    ("port", "extra", "expected"),
    [
        ("grpc-api", {}, ("GRPC", "name")),
        ("web", {"appProtocol": "http"}, ("HTTP", "appProtocol")),
        ("web", {}, ("AUTO", "detection")),
    ],
)
def test_what_chose_a_ports_protocol(port: str, extra: Object, expected: tuple[str, str]) -> None:
    pods = [o for o in REVIEWS if o["kind"] == "Pod"]
    described = of(*pods, *service("reviews", "10.0.0.1", port=port, **extra))
    (one,) = described.services[0].ports
    assert (one.protocol, one.chosen_by) == expected
    assert any("says no protocol" in w for w in described.warnings) == (expected[1] == "detection")


def test_policies_by_action_and_the_scope() -> None:
    dry = obj("AuthorizationPolicy", "dry", action="DENY", rules=[{}])
    dry["metadata"]["annotations"] = {"istio.io/dry-run": "true"}
    described = of(
        *REVIEWS,
        obj("AuthorizationPolicy", "readers", rules=[{}]),
        obj("AuthorizationPolicy", "others", selector={"matchLabels": {"app": "x"}}, rules=[{}]),
        dry,
        obj("RequestAuthentication", "users", "istio-system", jwtRules=[{"issuer": "a", "jwksUri": "https://a"}]),
        obj("Sidecar", "default", egress=[{"hosts": ["./*"]}]),
        obj("RateLimit", "limit", http=[{"limit": {"requests": 5, "per": "60s"}}]),
        obj("EnvoyFilter", "patch", "istio-system", configPatches=[]),
    )
    assert [(p.kind, p.name, p.action, p.dry_run) for p in described.policies] == [
        ("AuthorizationPolicy", "default/dry", "DENY", True),
        ("AuthorizationPolicy", "default/readers", "ALLOW", False),
        ("RequestAuthentication", "istio-system/users", "", False),
        ("RateLimit", "default/limit", "", False),
        ("EnvoyFilter", "istio-system/patch", "", False),
    ]
    assert (described.sidecar, described.egress, described.visible_hosts) == ("default/default", ("./*",), 1)
    assert described.identity == "spiffe://cluster.local/ns/default/sa/reviews-v1-account"


def test_routes_that_lead_to_a_pod() -> None:
    jason = {"headers": {"end-user": {"exact": "jason"}}}
    rule = obj("VirtualService", "reviews", hosts=["reviews"], http=[
        route(("v2", 0), match=[jason]), route(("v1", 75), ("v2", 25)), route(("v2", 0), name="late"),
    ])  # fmt: skip
    described = of(*REVIEWS, RULE, rule)
    (routed,) = described.services[0].routes
    assert [(r.place, r.when, r.percent) for r in routed.routes] == [
        ("http[0]", "header end-user jason", 0.0),
        ("http[1]", "every request", 75.0),
        ("http[2] late", "every request", 0.0),
    ]
    assert described.warnings == (
        "http[2] late of VirtualService default/reviews is not reached (never: http[1] takes every request)",
    )
    assert [(s.name, s.matches, s.endpoints) for s in described.services[0].rules[0].subsets] == [
        ("v1", True, 1),
        ("v2", False, 1),
    ]


def test_routes_of_other_hosts_and_mirrors() -> None:
    shop = obj("VirtualService", "shop", hosts=["shop.example"], http=[route(("v1", 0))])
    copies = obj("VirtualService", "reviews", hosts=["reviews"], http=[route(("v2", 0), mirror={"host": "reviews", "subset": "v1"})])  # fmt: skip
    described = of(*REVIEWS, RULE, copies, *service("shop.example"[:4]), shop)
    found = {r.virtual_service: r.routes[0] for r in described.services[0].routes}
    assert found["default/reviews"].targets[-1] == "mirrored"


@pytest.mark.parametrize(("served", "tls"), [(True, ""), (False, ""), (True, "SIMPLE")])
def test_gateways_that_expose_a_service(served: bool, tls: str) -> None:
    selector = {"istio": "ingressgateway" if served else "nobody"}
    server: Object = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["shop.example"]}
    if tls:
        server |= {
            "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
            "tls": {"mode": tls, "credentialName": "c"},
        }
    rule = obj("VirtualService", "shop", hosts=["shop.example"], gateways=["shop"], http=[route(("v1", 0))])
    described = of(*REVIEWS, RULE, GATEWAY, obj("Gateway", "shop", selector=selector, servers=[server]), rule)
    exposures = described.services[0].gateways
    assert [(e.gateway, e.tls, e.hosts, e.virtual_services) for e in exposures] == (
        [("default/shop", tls, ("shop.example",), ("default/shop",))] if served else []
    )
    expected = [] if served else ["VirtualService default/shop: no proxy serves a route of it at Gateway default/shop"]
    assert list(described.warnings) == expected


def connections(*targets: tuple[str, int], **fields: Any) -> Object:
    return {"route": route(*targets)["route"], **fields}


TCP = [REVIEWS[0], REVIEWS[1], *service("reviews", "10.0.0.1", "10.0.0.2", port="tcp")]


def test_routes_of_connections() -> None:
    rule = obj("VirtualService", "r", hosts=["reviews"], tcp=[
        connections(("v2", 0), match=[{"destinationSubnets": ["10.96.0.0/16"]}]), connections(("v1", 20), ("v2", 80)),
    ])  # fmt: skip
    (routed,) = of(*TCP, RULE, rule).services[0].routes
    assert [(r.place, r.when, r.percent) for r in routed.routes] == [
        ("tcp", "to 10.96.0.0/16", 0.0),
        ("tcp", "every connection", 20.0),
    ]


@pytest.mark.parametrize(
    ("server", "rules", "expected"),
    [
        (
            {"port": {"number": 31400, "name": "tcp", "protocol": "TCP"}},
            {"tcp": [connections(("v1", 0))]},
            ("TCP", "", 31400),
        ),
        (
            {"port": {"number": 443, "name": "tls", "protocol": "TLS"}, "tls": {"mode": "PASSTHROUGH"}},
            {"tls": [connections(("v1", 0), match=[{"sniHosts": ["shop.example"]}])]},
            ("TLS", "PASSTHROUGH", 443),
        ),
    ],
)
def test_gateways_that_pass_connections_on(server: Object, rules: Object, expected: tuple[str, str, int]) -> None:
    gateway = obj(
        "Gateway", "shop", selector={"istio": "ingressgateway"}, servers=[{**server, "hosts": ["shop.example"]}]
    )
    rule = obj("VirtualService", "shop", hosts=["shop.example"], gateways=["shop"], **rules)
    described = of(*TCP, RULE, GATEWAY, gateway, rule)
    assert [(e.protocol, e.tls, e.port) for e in described.services[0].gateways] == [expected]
    assert [(r.via, r.routes[0].percent) for r in described.services[0].routes] == [("default/shop", 100.0)]
    assert not any("no route" in w for w in described.warnings)


TLS_OFF = obj("DestinationRule", "tls", host="reviews", trafficPolicy={"tls": {"mode": "DISABLE"}})
TLS_ON = obj("DestinationRule", "tls", host="reviews", trafficPolicy={"tls": {"mode": "ISTIO_MUTUAL"}})
PLAIN = [pod("reviews-v1", "10.0.0.1", sidecar=False, app="reviews", version="v1"), *service("reviews", "10.0.0.1")]


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (PLAIN, "no sidecar"),
        ([*PLAIN, strict()], "PeerAuthentication default/default selects the pod and is not enforced"),
        ([*PLAIN, TLS_ON], "the pod has no sidecar: they are refused"),
        ([*REVIEWS, TLS_OFF, strict()], "PeerAuthentication default/default makes it STRICT: they are refused"),
        ([*REVIEWS, TLS_ON, strict(mode="DISABLE")], "makes it DISABLE: they are refused"),
        ([REVIEWS[0]], "no Service selects the pod"),
        ([REVIEWS[0], *service("reviews", "10.0.0.1", target="web")], "no port of the pod's containers by that name"),
        ([*REVIEWS, obj("DestinationRule", "r", host="reviews", subsets=[{"name": "v9", "labels": {"version": "v9"}}])], "subset v9 of DestinationRule default/r matches no pod: none has version=v9"),
        ([*REVIEWS, obj("VirtualService", "r", hosts=["reviews"], http=[route(("v7", 0))])], "goes to subset v7, which no DestinationRule defines"),
        ([*REVIEWS, RULE, obj("VirtualService", "r", hosts=["reviews"], http=[route(("v2", 0))])], "no route of VirtualService default/r (mesh) leads to this pod: the pod is in subset v1"),
        ([*REVIEWS, strict("a"), strict("b")], "PeerAuthentication default/b: the older PeerAuthentication default/a holds instead"),
        ([*REVIEWS, obj("AuthorizationPolicy", "x", action="CUSTOM", provider={"name": "nosuch"}, rules=[{}])], "AuthorizationPolicy default/x"),
    ],
)  # fmt: skip
def test_warnings(objects: list[Object], words: str) -> None:
    assert any(words in w for w in of(*objects).warnings), of(*objects).warnings


def test_what_is_well_has_no_warning() -> None:
    assert of(*REVIEWS, RULE, strict(), TLS_ON).warnings == ()


def test_a_service_with_its_workloads() -> None:
    only_v2 = strict("v2", mode="DISABLE", selector={"matchLabels": {"version": "v2"}})
    described = describe.service(setting(*REVIEWS, RULE, strict(), only_v2), Key("Service", "default", "reviews"))
    facts = described.service
    assert (facts.endpoints, facts.healthy, facts.with_sidecar) == (2, 2, 2)
    assert [(w.pods, w.mutual_tls[0].mode) for w in described.workloads] == [
        (("reviews-v1.default",), "STRICT"),
        (("reviews-v2.default",), "DISABLE"),
    ]
    assert facts.ports[0].clients[0].tls == "mutual TLS to 1 of 2 endpoints"
    assert msgspec.to_builtins(described)["service"]["withSidecar"] == 2


GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("feature", sorted(p.name for p in GOLDEN.iterdir() if p.is_dir() and p.name != "__pycache__"))
def test_every_golden_can_be_described(feature: str) -> None:
    shared = list(yaml.safe_load_all((GOLDEN / "mesh.yaml").read_text()))
    for path in sorted((GOLDEN / feature).rglob("input.yaml")):
        made = setting(*shared, GATEWAY, *(o for o in yaml.safe_load_all(path.read_text()) if o))
        for key, one in list(made.mesh.objects.items()):
            if isinstance(one, core.Pod):
                text = "\n".join(cli.pod_text(describe.pod(made, key), {}))
                assert text.startswith(f"Pod: {key.name}.{key.namespace}")
            elif isinstance(one, core.Service) and one.spec.ports:
                assert "\n".join(cli.service_text(describe.service(made, key))).startswith(f"Service: {key.name}.")


def test_what_is_not_there() -> None:
    with pytest.raises(KeyError):
        of(*REVIEWS, name="absent")
    with pytest.raises(KeyError):
        describe.service(setting(*REVIEWS), Key("Service", "default", "absent"))


def test_the_default_options_of_a_mesh_are_those_of_the_control_plane() -> None:
    assert setting(*REVIEWS).mesh.config == MeshConfig()
