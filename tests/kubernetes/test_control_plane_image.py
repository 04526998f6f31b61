"""The image of the control plane, as a Deployment on the real node: without root, on a file system that it cannot write to."""

from __future__ import annotations

import json
from typing import Any

from .node import Node

RULE: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "web"},
    "spec": {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web"}}]}]},
}


def test_it_serves(mesh: Node) -> None:
    address = mesh.control_plane.get("-n", "istio-system", "service/istiod")["spec"]["clusterIP"]
    assert mesh.answer(f"http://{address}:15014/version")
    said = mesh.control_plane.kubectl("logs", "-n", "istio-system", "deployment/istiod").splitlines()
    # Warnings of an API server that other tests kill are none of the image's.
    assert [line for line in said if any(w in line for w in (" ERROR ", "Traceback", "has no effect"))] == []


def test_it_asks_for_nothing_that_it_may_not(mesh: Node) -> None:
    """Of its rights, for a namespace that is being deleted refuses new objects with the same status."""
    # Of this one: other parts and revisions come and go in other tests, and their rights go with them.
    account = "system:serviceaccount:istio-system:istiod"
    requests = [r for r in mesh.control_plane.requests_of_the_mesh() if r["user"]["username"] == account]
    decisions = [(r.get("annotations", {}).get("authorization.k8s.io/decision"), r["requestURI"]) for r in requests]
    assert "allow" in dict(decisions)
    assert [uri for decision, uri in decisions if decision == "forbid"] == []


def test_the_api_server_asks_it_about_objects(mesh: Node) -> None:
    plane = mesh.control_plane
    with plane.namespace() as namespace:
        plane.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(RULE))
        wrong = {**RULE, "metadata": {"name": "wrong"}, "spec": {**RULE["spec"], "gateways": ["a/b/c"]}}
        said = plane.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(wrong), check=False)
        assert 'admission webhook "validation.istio.io" denied the request' in said


def test_it_writes_the_status_of_a_rule(mesh: Node) -> None:
    plane = mesh.control_plane
    with plane.namespace() as namespace:
        plane.kubectl("create", "-n", namespace, "service", "clusterip", "web", "--tcp=80")
        plane.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(RULE))
        plane.kubectl("wait", "-n", namespace, "--for=condition=Accepted", "--timeout=20s", "virtualservice/web")


def test_every_namespace_has_the_roots(mesh: Node) -> None:
    plane = mesh.control_plane
    with plane.namespace() as namespace:
        plane.kubectl("wait", "-n", namespace, "--for=create", "--timeout=20s", "configmap/istio-ca-root-cert")
        roots = plane.get("-n", namespace, "configmap/istio-ca-root-cert")["data"]["root-cert.pem"]
        assert roots.startswith("-----BEGIN CERTIFICATE-----")
