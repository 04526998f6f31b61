"""Which host has a domain that several could have, against the plain definition: claims of all hosts, compared with each other."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks import meshes
from sailcloth.analysis import manifests, offline
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import registry
from sailcloth.view import proxy as proxies
from sailcloth.view import routes, scope
from sailcloth.view.proxy import View

Object = dict[str, Any]
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::A", "fd00::a"])
NAMESPACES = st.sampled_from(["default", "other"])
HOSTS = st.sampled_from(
    ["a", "a.default", "b.other", "b.other.svc", "10.0.0.1", "*.a", "*.b.other", "c.default.svc.cluster.local", "x.com", "*.com"]
)  # fmt: skip


def _object(kind: str, name: str, namespace: str, spec: Object, version: str = "networking.istio.io/v1") -> Object:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _service(name: str, namespace: str, address: str, port: int) -> Object:
    spec = {"clusterIP": address, "ports": [{"name": "http", "port": port}]}
    return _object("Service", name, namespace, spec, "v1")


def _entry(number: int, namespace: str, hosts: list[str], addresses: list[str], port: int) -> Object:
    ports = [{"number": port, "name": "http", "protocol": "HTTP"}]
    spec = {"hosts": hosts, "addresses": addresses, "ports": ports, "resolution": "STATIC"}
    return _object("ServiceEntry", f"e{number}", namespace, spec)


def _rule(number: int, hosts: list[str]) -> Object:
    route = [{"route": [{"destination": {"host": "x.com"}}]}]
    return _object("VirtualService", f"r{number}", "default", {"hosts": hosts, "http": route})


PORTS = st.sampled_from([80, 81])
SERVICES = st.builds(_service, st.sampled_from("abc"), NAMESPACES, ADDRESSES | st.just("None"), PORTS)
ENTRIES = st.builds(
    _entry, st.integers(0, 5), NAMESPACES, st.lists(HOSTS, min_size=1, max_size=2), st.lists(ADDRESSES, max_size=2), PORTS
)  # fmt: skip
RULES = st.builds(_rule, st.integers(0, 2), st.lists(HOSTS, min_size=1, max_size=2))


def _by_definition(graph: Graph, view: View, port: int) -> set[tuple[str, str]]:
    """(host, domain) of domains that a host loses: full names come first, then the first host in order."""
    domain = registry.config(graph).domain
    owner: dict[str, tuple[bool, str]] = {}
    claims = []
    for host in graph.get(routes.virtual_hosts, view, port):
        svc = scope.service_at(graph, view, host, port)
        names = routes.service_domains(svc, view, domain) if svc else routes._rule_domains(host, view, domain)
        for name in names:
            claim = (name != routes._as_host(host), host)
            claims.append((name, claim))
            owner[name] = min(owner.get(name, claim), claim)
    return {(claim[1], name) for name, claim in claims if owner[name] != claim}


@example([], [_entry(0, "default", ["10.0.0.1", "*.com"], ["10.0.0.1"], 80)])
@given(st.lists(SERVICES | ENTRIES | RULES, max_size=9), st.lists(SERVICES | ENTRIES, max_size=3))
@settings(max_examples=300, deadline=None)
def test_a_host_loses_what_the_definition_says(objects: list[Object], later: list[Object]) -> None:
    mesh = offline.mesh_of(manifests.load([meshes.dump(o) for o in objects])[0])
    graph = mesh.graph
    view = graph.get(proxies.view, offline.describe({}))
    for changes in ([], later):
        for key, obj in manifests.load([meshes.dump(o) for o in changes])[0]:
            mesh.apply(key, obj)
        for port in (80, 81):
            hosts = graph.get(routes.virtual_hosts, view, port)
            found = {(h, name) for h in hosts for name in graph.get(routes.lost_domains, view, port, h)}
            assert found == _by_definition(graph, view, port)
