"""What proxies get after any sequence of changes is what they would get from the objects alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import meshes
from sailcloth.analysis import manifests, offline
from sailcloth.api.meta import Key

from . import test_domains as objects

Object = dict[str, Any]
PROXIES = (
    {"labels": {"app": "client"}},
    {"namespace": "other", "metadata": {"DNS_CAPTURE": "true"}},
    {"type": "router", "labels": {"istio": "ingressgateway"}},
)


def _service(name: str, namespace: str, address: str, ports: list[tuple[str, int]], alias: str) -> Object:
    spec: Object = {"clusterIP": address, "ports": [{"name": n, "port": p} for n, p in dict(ports).items()]}
    if alias:
        spec = {"type": "ExternalName", "externalName": alias, "ports": spec["ports"]}
    return objects._object("Service", name, namespace, spec, "v1")


def _endpoints(name: str, namespace: str, address: str) -> Object:
    metadata = {"name": f"{name}-x", "namespace": namespace, "labels": {"kubernetes.io/service-name": name}}
    ports = [{"name": n, "port": 8080} for n in ("http", "tcp", "x")]
    endpoints = [{"addresses": [address], "conditions": {"ready": True}}]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    }


def _sidecar(hosts: list[str], port: int) -> Object:
    egress: list[Object] = [{"hosts": hosts}]
    if port:
        egress.append({"hosts": ["*/*"], "port": {"number": port, "protocol": "HTTP", "name": "http"}})
    return objects._object("Sidecar", "default", "default", {"egress": egress})


def _gateway(hosts: list[str]) -> Object:
    servers = [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": hosts}]
    return objects._object("Gateway", "edge", "default", {"selector": {"istio": "ingressgateway"}, "servers": servers})


def _bound(number: int, host: str, prefix: str) -> Object:
    route = {"match": [{"uri": {"prefix": prefix}}], "route": [{"destination": {"host": "a"}}]}
    return objects._object(
        "VirtualService", f"g{number}", "default", {"hosts": [host], "gateways": ["edge", "mesh"], "http": [route]}
    )


NAMES = st.sampled_from("abc")
PORTS = st.lists(
    st.tuples(st.sampled_from(["http", "tcp", "x"]), st.sampled_from([80, 81, 9000])), min_size=1, max_size=3
)
ALIASES = st.sampled_from(["", "", "", "a.default.svc.cluster.local", "x.com"])
CHANGES = st.one_of(
    st.builds(_service, NAMES, objects.NAMESPACES, objects.ADDRESSES | st.just("None"), PORTS, ALIASES),
    st.builds(_endpoints, NAMES, objects.NAMESPACES, st.sampled_from(["10.1.0.1", "10.1.0.2"])),
    objects.ENTRIES,
    objects.RULES,
    st.builds(_sidecar, st.lists(st.sampled_from(["./*", "other/*", "*/a.default", "~/*"]), min_size=1), st.sampled_from([0, 80])),
    st.builds(_gateway, st.lists(objects.HOSTS, min_size=1, max_size=2)),
    st.builds(_bound, st.integers(0, 3), objects.HOSTS, st.sampled_from(["/a", "/b"])),
)  # fmt: skip


def _all(mesh: Any) -> list[Any]:
    return [
        {url: {r.name: (r.version, r.body) for r in resources} for url, resources in offline.resources(mesh, p).items()}
        for p in map(offline.describe, PROXIES)
    ]


@given(st.lists(st.tuples(CHANGES, st.booleans(), st.booleans()), max_size=14))
@settings(max_examples=120, deadline=None)
def test_any_sequence_of_changes_gives_what_the_objects_give(steps: list[tuple[Object, bool, bool]]) -> None:
    mesh, present = offline.mesh_of([]), dict[Key, Any]()
    for change, removed, look in steps:
        for key, obj in manifests.load([meshes.dump(change)])[0]:
            present.pop(key, None)
            if not removed:
                present[key] = obj
            mesh.apply(key, None if removed else obj)
        if look:
            assert _all(mesh) == _all(offline.mesh_of(list(present.items())))
