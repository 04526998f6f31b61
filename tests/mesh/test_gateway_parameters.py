"""Parameters of a Gateway: patches of what is made for it, and what is said of those that cannot be used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sailcloth.api.meta import Key
from sailcloth.controlplane import gateway_deployments
from sailcloth.mesh.registry import Mesh

from .test_kubernetes_gateways import EDGE, HTTP, apply, gateway, mesh_of

Object = dict[str, Any]
REFERENCE = '{parametersRef: {group: "", kind: ConfigMap, name: options}}'


def options(**data: str) -> str:
    metadata = {"name": "options", "namespace": "default"}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def made(mesh: Mesh) -> dict[str, Object]:
    state = mesh.gateways.states[EDGE]
    return {o["kind"]: o for o in gateway_deployments.objects(state, state.listeners)}


def test_patches_shape_what_is_made() -> None:
    deployment = (
        "spec: {replicas: 3, template: {spec: {containers: [{name: istio-proxy, resources: {limits: {cpu: 1}}}]}}}"
    )
    service = "spec: {type: ClusterIP, selector: {app: others}, ports: [{port: 80, nodePort: 30080}]}"
    mesh = mesh_of(
        gateway(HTTP, infrastructure=REFERENCE),
        options(
            deployment=deployment,
            service=service,
            serviceAccount="metadata: {name: others, annotations: {a: b}}",
            horizontalPodAutoscaler="spec: {maxReplicas: 5}",
            podDisruptionBudget="spec: {minAvailable: 1}",
        ),
    )
    assert mesh.gateways.states[EDGE].accepted[0]
    found = made(mesh)
    assert found["Deployment"]["spec"]["replicas"] == 3
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["resources"]) == ("auto", {"limits": {"cpu": 1}})
    assert found["Service"]["spec"]["type"] == "ClusterIP"
    assert {p["port"]: p.get("nodePort") for p in found["Service"]["spec"]["ports"]} == {15021: None, 80: 30080}
    assert found["Service"]["spec"]["selector"] == {"gateway.networking.k8s.io/gateway-name": "edge"}
    assert found["ServiceAccount"]["metadata"]["name"] == "edge-istio"
    assert found["ServiceAccount"]["metadata"]["annotations"] == {"a": "b"}
    assert found["HorizontalPodAutoscaler"]["spec"] == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "edge-istio"},
        "maxReplicas": 5,
    }
    assert found["PodDisruptionBudget"]["spec"]["minAvailable"] == 1
    assert all(o["metadata"]["ownerReferences"] for o in found.values())


def test_without_parameters_nothing_more_is_made() -> None:
    assert made(mesh_of(gateway(HTTP))).keys() == {"ServiceAccount", "Service", "Deployment"}


@pytest.mark.parametrize(
    ("config_map", "text"),
    [
        ("", "ConfigMap options does not exist"),
        (options(deploiment="{}"), "deploiment is unknown; use deployment"),
        (options(deployment="[1]"), "deployment: an object is expected"),
        (options(deployment="{a: ["), "deployment: while parsing"),
        (
            options(service="spec: {ports: [{name: x}]}"),
            "service: ports: each item must be an object with containerPort or port",
        ),
    ],
)
def test_parameters_that_cannot_be_used_are_told(config_map: str, text: str) -> None:
    mesh = mesh_of(gateway(HTTP, infrastructure=REFERENCE), *([config_map] if config_map else []))
    accepted = mesh.gateways.states[EDGE].accepted
    assert (accepted[0], accepted[1]) == (False, "InvalidParameters")
    assert text in accepted[2]


def test_a_gateway_follows_its_parameters() -> None:
    mesh = mesh_of(gateway(HTTP, infrastructure=REFERENCE))
    assert not mesh.gateways.states[EDGE].accepted[0]
    mesh.gateways.gateways_evaluated.clear()
    apply(mesh, options(deployment="spec: {replicas: 2}"))
    assert mesh.gateways.states[EDGE].accepted[0]
    assert mesh.gateways.gateways_evaluated == {EDGE}
    apply(mesh, options(deployment="spec: {replicas: 4}"))
    assert made(mesh)["Deployment"]["spec"]["replicas"] == 4
    mesh.apply(Key("ConfigMap", "default", "options"), None)
    assert not mesh.gateways.states[EDGE].accepted[0]
