"""Where calls go, scenario by scenario: what users write, for whom, and what each call meets."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.analysis import manifests, offline
from sailcloth.analysis.simulate import Call, Result, Simulator
from sailcloth.mesh import mesh_config
from sailcloth.testing import validate

SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {{name: {0}, namespace: default}}
spec: {{clusterIP: 10.0.0.{1}, selector: {{app: {0}}}, ports: [{{name: http, port: 80}}]}}
"""
SERVICES = "".join(SERVICE.format(name, index + 1) for index, name in enumerate("abcd"))


def rule(name: str, spec: str, kind: str = "VirtualService", namespace: str = "default") -> str:
    head = f"apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return f"\n---\n{head}\nspec: {spec}\n"


def dump(*texts: str, options: str = "", **proxy: Any) -> dict[str, Any]:
    objects, findings = manifests.load([SERVICES, *texts])
    assert not findings, [str(f) for f in findings]
    mesh = offline.mesh_of(objects, mesh_config.parse(options))
    return offline.config_dump(offline.resources(mesh, offline.describe(proxy)))


def simulator(*texts: str, options: str = "", **proxy: Any) -> Simulator:
    """What Envoy accepts of the objects, to be asked where calls go."""
    made = dump(*texts, options=options, **proxy)
    assert validate.envoy_error(validate.static_bootstrap(made, proxy.get("type", "sidecar"))) == ""
    return Simulator(made)


def to(host: str) -> str:
    return f"route: [{{destination: {{host: {host}}}}}]"


def cluster(host: str, port: int = 80, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}.default.svc.cluster.local"


def ask(found: Simulator, path: str = "/", host: str = "a", **call: Any) -> Result:
    return found.run(Call(**{"port": 80, "host": host, "path": path, **call}))


def test_conditions_of_a_match() -> None:
    matches = (
        ("{uri: {prefix: /Case}, ignoreUriCase: true}", "b"),
        ("{queryParams: {k: {exact: '1'}}}", "c"),
        ("{queryParams: {any: {}}}", "d"),
        ("{withoutHeaders: {x-user: {exact: jason}}}", "a"),
    )
    rules = ", ".join(f"{{match: [{match}], {to(host)}}}" for match, host in matches)
    found = simulator(rule("a", f"{{hosts: [a], http: [{rules}]}}"))
    assert ask(found, "/cASE/1").cluster == cluster("b")
    assert ask(found, "/?k=1&k=2").cluster == cluster("c")
    assert ask(found, "/?any").cluster == cluster("d")
    assert ask(found, "/?k=2").cluster == cluster("a")
    assert ask(found, headers={"X-User": "jason"}).error == "no route matched"


@pytest.mark.parametrize(
    ("spec", "status", "location"),
    [
        ("{}", 301, "http://a/p/x?q"),
        ("{uri: /new, redirectCode: 307}", 307, "http://a/new?q"),
        ("{authority: b.com, scheme: https, port: 8443}", 301, "https://b.com:8443/p/x?q"),
        ("{derivePort: FROM_REQUEST_PORT, scheme: http}", 301, "http://a/p/x?q"),
        ("{uri: '%PREFIX()%/other'}", 301, "http://a/other/x?q"),
    ],
)
def test_redirects(spec: str, status: int, location: str) -> None:
    found = simulator(rule("a", f"{{hosts: [a], http: [{{match: [{{uri: {{prefix: /p}}}}], redirect: {spec}}}]}}"))
    result = ask(found, "/p/x?q")
    assert (result.status, result.location) == (status, location)


def test_a_delegate_may_narrow_every_condition() -> None:
    root = f"{{hosts: [a], http: [{{match: [{{method: {{prefix: P}}}}], delegate: {{name: inner}}}}, {{{to('b')}}}]}}"
    inner = f"{{http: [{{match: [{{method: {{exact: PUT}}}}], {to('c')}}}, {{match: [{{method: {{exact: GET}}}}], {to('d')}}}]}}"
    found = simulator(rule("a", root), rule("inner", inner))
    assert ask(found, method="PUT").cluster == cluster("c")
    assert ask(found, method="POST").cluster == cluster("b")
    assert ask(found, method="GET").cluster == cluster("b"), "it does not fit into the root's match"


def test_hosts_are_the_same_in_capitals_and_with_a_dot_at_the_end() -> None:
    first = rule("first", f"{{hosts: [Shop.example.com], http: [{{match: [{{uri: {{prefix: /1}}}}], {to('b')}}}]}}")
    second = rule("second", f"{{hosts: [shop.example.com., A], http: [{{{to('C.Default.svc.cluster.local.')}}}]}}")
    found = simulator(first, second)
    assert ask(found, "/1", "SHOP.example.com").cluster == cluster("b")
    assert ask(found, "/2", "shop.example.com").cluster == cluster("c")
    assert ask(found).cluster == cluster("c")


def entry(name: str, spec: str) -> str:
    return rule(name, f"{{location: MESH_EXTERNAL, {spec}}}", "ServiceEntry")


@pytest.mark.parametrize(
    "texts",
    [
        [entry(n, f"hosts: [{h}], resolution: DNS, ports: [{{number: 80, name: http, protocol: HTTP}}]") for n, h in (("x", "E.com"), ("y", "e.com"))],
        [entry("x", "hosts: [E.com, e.com], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]")],
        [entry("x", "hosts: ['*e.com'], ports: [{number: 443, name: tls, protocol: TLS}]")],
        [entry(n, f"hosts: [{n}.com], addresses: [{a}], ports: [{{number: 90, name: tcp, protocol: TCP}}]") for n, a in (("x", "5.5.5.1/24"), ("y", "5.5.5.2/24"))],
        [
            entry("x", "hosts: [x.com], addresses: ['2001:DB8::5'], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]"),
            rule("v", f"{{hosts: ['2001:db8::5'], http: [{{{to('b')}}}]}}"),
        ],
    ],
)  # fmt: skip
def test_entries_that_overlap_do_not_spoil_the_port_for_others(texts: list[str]) -> None:
    simulator(*texts)


def test_addresses_of_version_6_are_named_in_brackets() -> None:
    text = "hosts: [six.com], addresses: ['2001:db8::5'], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]"
    found = simulator(entry("six", text))
    assert ask(found, host="[2001:db8::5]", address="9.9.9.9").cluster == "outbound|80||six.com"


CONNECTIONS = """
---
apiVersion: v1
kind: Service
metadata: {name: store, namespace: default}
spec: {clusterIP: 10.0.1.1, ports: [{name: tcp, port: 90}, {name: tls, port: 443}]}
"""


def test_of_tcp_rules_for_the_same_addresses_the_first_holds() -> None:
    matches = (("10.0.1.7/24", "store"), ("10.0.1.9/24", "a"))
    rules = ", ".join(f"{{match: [{{port: 90, destinationSubnets: [{s}]}}], {to(h)}}}" for s, h in matches)
    found = simulator(CONNECTIONS, rule("v", f"{{hosts: [store], tcp: [{rules}]}}"))
    assert ask(found, port=90, protocol="tcp", address="10.0.1.1").cluster == cluster("store", 90)


PASSTHROUGH_MODES = rule(
    "g",
    "{servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}]}",
    "Gateway",
)


def test_of_tls_rules_for_the_same_names_the_first_holds() -> None:
    names = (("X.com, x.com, y.com, '*z.com'", "a"), ("y.com, v.com", "b"))
    rules = ", ".join(f"{{match: [{{sniHosts: [{n}]}}], {to(h)}}}" for n, h in names)
    found = simulator(
        PASSTHROUGH_MODES, rule("v", f"{{hosts: ['*.com'], gateways: [g], tls: [{rules}]}}"), type="router"
    )
    asked = {
        n: ask(found, port=443, protocol="tcp", tls="tls", sni=n, mode="gateway") for n in ("x.com", "y.com", "v.com")
    }
    assert [r.cluster for r in asked.values()] == [cluster("a"), cluster("a"), cluster("b")]


def test_a_server_may_name_a_host_twice() -> None:
    hosts = "[default/x.com, other/x.com, X.com]"
    server = f"{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: {hosts}, tls: {{mode: SIMPLE, credentialName: c}}}}"
    texts = (
        rule("g", f"{{servers: [{server}]}}", "Gateway"),
        rule("v", f"{{hosts: [x.com], gateways: [g], http: [{{{to('b')}}}]}}"),
    )
    found = simulator(*texts, type="router")
    assert ask(found, host="x.com", port=443, tls="tls", sni="x.com", mode="gateway").cluster == cluster("b")


def test_an_entry_for_some_namespaces_comes_before_an_older_one_for_all() -> None:
    spec = "hosts: [e.com], location: MESH_EXTERNAL, ports: [{{number: {0}, name: http, protocol: HTTP}}], exportTo: ['{1}']"
    texts = (
        rule("a", f"{{{spec.format(80, '*')}}}", "ServiceEntry", "one"),
        rule("b", f"{{{spec.format(81, '.')}}}", "ServiceEntry", "two"),
    )
    own, other = (simulator(*texts, namespace=n) for n in ("two", "three"))
    assert ask(own, host="e.com", port=81).cluster == "outbound|81||e.com"
    assert ask(own, host="e.com").cluster == "PassthroughCluster"
    assert ask(other, host="e.com").cluster == "outbound|80||e.com"


def test_weights_that_exceed_envoys_sum_are_cut() -> None:
    places = "{address: 1.2.3.4, weight: 1}, {address: x.com, weight: 4294967295}, {address: y.com, weight: 4294967295}"
    port = "ports: [{number: 80, name: http, protocol: HTTP}]"
    found = simulator(entry("heavy", f"hosts: [heavy.com], resolution: DNS, {port}, endpoints: [{places}]"))
    assert ask(found, host="heavy.com").cluster == "outbound|80||heavy.com"
