"""Policies with `targetRefs`: they apply to the pods of the gateways that they name, in their own namespace."""

from __future__ import annotations

from typing import Any

import pytest

from sailcloth.analysis import manifests, offline
from sailcloth.api.authorization_policy import AuthorizationPolicy
from sailcloth.api.telemetry import Telemetry
from sailcloth.mesh import selection

WEB = (("app", "web"), (selection.GATEWAY_NAME, "web"))
OTHER = (("app", "other"), (selection.GATEWAY_NAME, "other"))
PLAIN = (("app", "web"),)
MANIFESTS = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-gateway, namespace: edge}
spec: {rules: [{}], targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-either, namespace: edge}
spec:
  rules: [{}]
  targetRefs:
  - {group: gateway.networking.k8s.io, kind: Gateway, name: web}
  - {group: gateway.networking.k8s.io, kind: Gateway, name: other}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: older, namespace: edge}
spec: {rules: [{}], targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: other}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-service, namespace: edge}
spec: {rules: [{}], targetRefs: [{kind: Service, name: web}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-all, namespace: edge}
spec: {rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-root, namespace: istio-system}
spec: {rules: [{}], targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: of-gateway, namespace: edge}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: of-all, namespace: edge}
spec: {}
"""


def mesh() -> Any:
    objects = [manifests.typed(document) for document in manifests.documents(MANIFESTS)]
    return offline.mesh_of([item for item in objects if isinstance(item, tuple)])


@pytest.mark.parametrize(
    ("namespace", "labels", "names"),
    [
        ("edge", WEB, ["of-all", "of-either", "of-gateway"]),
        ("edge", OTHER, ["of-all", "of-either", "older"]),
        ("edge", PLAIN, ["of-all"]),
        ("istio-system", WEB, ["of-root"]),
        ("elsewhere", WEB, []),
    ],
)
def test_a_reference_selects_the_pods_of_a_gateway(
    namespace: str, labels: tuple[tuple[str, str], ...], names: list[str]
) -> None:
    keys = mesh().graph.get(selection.for_workload, AuthorizationPolicy, namespace, labels)
    assert [key.name for key in keys] == names


def test_a_reference_is_narrower_than_a_namespace() -> None:
    graph = mesh().graph
    for labels, name in ((WEB, "of-gateway"), (PLAIN, "of-all")):
        levels = graph.get(selection.levels, Telemetry, "edge", labels)
        assert levels.narrowest is not None
        assert (levels.narrowest.name, levels.namespace.name) == (name, "of-all")
