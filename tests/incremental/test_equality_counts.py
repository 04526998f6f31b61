"""A derived value may read of its arguments only what their equality counts: otherwise it keeps an answer to another question."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from sailcloth.analysis import manifests, offline
from sailcloth.lib.incremental import Graph

MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.96.0.10, selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec: {ingress: [{port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:8080"}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: only-new, namespace: default}
spec:
  configPatches:
    - applyTo: CLUSTER
      match: {proxy: {proxyVersion: '^1\\.32.*'}}
      patch: {operation: MERGE, value: {connect_timeout: 3s}}
"""


def _mesh() -> Any:
    objects, findings = manifests.load([MESH])
    assert not findings
    return offline.mesh_of(objects)


def _arguments(graph: Graph) -> list[Any]:
    return [a for key in graph._nodes if isinstance(key, tuple) and callable(key[0]) for a in key[1]]


def _ignored(value: Any, seen: set[int]) -> list[str]:
    """Names of the fields, anywhere in a value, that its equality does not count."""
    if id(value) in seen:
        return []
    seen.add(id(value))
    out: list[str] = []
    inner: list[Any] = []
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if not field.compare:
                out.append(f"{type(value).__name__}.{field.name}")
            inner.append(getattr(value, field.name))
        assert type(value).__eq__ is not object.__eq__, f"{type(value).__name__} is compared by identity"
    elif isinstance(value, msgspec.Struct):
        inner = [getattr(value, name) for name in value.__struct_fields__]
    elif isinstance(value, (tuple, list, frozenset)):
        inner = list(value)
    elif isinstance(value, dict):
        inner = list(value.values())
    return out + [text for each in inner for text in _ignored(each, seen)]


def test_equality_of_every_argument_of_derived_values_counts_all_its_fields() -> None:
    mesh = _mesh()
    for proxy in ({"labels": {"app": "reviews"}}, {"type": "router", "labels": {"istio": "ingressgateway"}}):
        offline.resources(mesh, offline.describe(proxy))
    arguments = _arguments(mesh.graph)
    assert len({type(a).__name__ for a in arguments}) > 8, "the walk sees what derived values are asked with"
    assert {text for a in arguments for text in _ignored(a, set())} == set()


def test_the_law_notices_a_field_that_equality_ignores() -> None:
    @dataclasses.dataclass(frozen=True)
    class Proxy:
        name: str
        metadata: str = dataclasses.field(default="", compare=False)

    assert _ignored((Proxy("a"),), set()) == ["Proxy.metadata"]


@pytest.mark.parametrize("order", [("1.31.0", "1.32.0"), ("1.32.0", "1.31.0")])
def test_a_proxy_that_comes_back_with_another_version_gets_that_versions_patches(order: tuple[str, str]) -> None:
    mesh = _mesh()
    for version in order:
        proxy = offline.describe({"id": "app-1.default", "metadata": {"ISTIO_VERSION": version}})
        found = {
            r.name: r for r in offline.resources(mesh, proxy)["type.googleapis.com/envoy.config.cluster.v3.Cluster"]
        }
        patched = found["outbound|80||reviews.default.svc.cluster.local"].applied
        assert bool(patched) == (version == "1.32.0")
