"""The mesh on a real node: injected sidecars out of our image, mutual TLS between them, rules, and the ingress gateway."""

from __future__ import annotations

import json

from .node import Node


def fetch(mesh: Node, namespace: str, url: str) -> str:
    """Status and body of what the client gets."""
    command = ("exec", "-n", namespace, "deployment/client", "-c", "web", "--", "/web", url)
    return mesh.control_plane.kubectl(*command)


def test_a_client_reaches_a_server_through_their_sidecars(mesh: Node, namespace: str) -> None:
    assert fetch(mesh, namespace, "http://server/").startswith("200 pod server-")
    assert fetch(mesh, namespace, "http://server/teapot") == "418 "


def test_a_server_refuses_who_has_no_certificate(mesh: Node, namespace: str) -> None:
    (pod,) = mesh.control_plane.get("-n", namespace, "pods", "-l", "app=server")["items"]
    assert mesh.answer(f"http://{pod['status']['podIP']}:8080/") == ""


def test_the_sidecar_is_native_and_not_root(mesh: Node, namespace: str) -> None:
    (pod,) = mesh.control_plane.get("-n", namespace, "pods", "-l", "app=server")["items"]
    (sidecar,) = (c for c in pod["spec"]["initContainers"] if c["name"] == "istio-proxy")
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["securityContext"]["readOnlyRootFilesystem"]
    assert sidecar["securityContext"]["runAsUser"] == 1337


def test_the_control_plane_counts_proxies(mesh: Node, namespace: str) -> None:
    wait = ("wait", "-n", namespace, "--for=condition=Programmed", "--timeout=20s", "virtualservice/server")
    mesh.control_plane.kubectl(*wait)


def test_the_gateway_leads_into_the_mesh(mesh: Node, namespace: str) -> None:
    plane = mesh.control_plane
    address = plane.get("-n", "istio-system", "service/istio-ingressgateway")["spec"]["clusterIP"]
    mesh.processes.wait("answer of the gateway", lambda: mesh.answer(f"http://{address}/").startswith("pod server-"))


def test_a_gateway_of_the_gateway_api_gets_a_deployment(mesh: Node, namespace: str) -> None:
    plane = mesh.control_plane
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "edge"}}
    listener = {"name": "http", "port": 8080, "protocol": "HTTP"}
    gateway = {**kind, "spec": {"gatewayClassName": "istio", "listeners": [listener]}}
    plane.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(gateway))
    plane.kubectl("wait", "-n", namespace, "--for=create", "--timeout=20s", "deployment/edge-istio")
    plane.kubectl("rollout", "status", "-n", namespace, "deployment/edge-istio", "--timeout=60s")


def test_a_pod_without_its_label_gets_no_requests(mesh: Node, namespace: str) -> None:
    """The EndpointSlice of a Service without pods has null for a list of them."""
    plane = mesh.control_plane
    selector = ("patch", "-n", namespace, "service", "server", "--type=merge", "-p")
    plane.kubectl(*selector, '{"spec": {"selector": {"app": "nobody"}}}')
    mesh.processes.wait("no endpoint", lambda: fetch(mesh, namespace, "http://server/").startswith("503 "))
    plane.kubectl(*selector, '{"spec": {"selector": {"app": "server"}}}')
    mesh.processes.wait("endpoint", lambda: fetch(mesh, namespace, "http://server/").startswith("200 "))


def test_the_mesh_outlives_the_api_server(mesh: Node, namespace: str) -> None:
    plane = mesh.control_plane
    plane.processes.stop("kube-apiserver", grace_s=0)
    plane.start_process("kube-apiserver")
    plane.processes.wait("ready API server", plane.is_ready)
    change = [{"op": "replace", "path": "/spec/http/0/directResponse/status", "value": 419}]
    plane.kubectl("patch", "-n", namespace, "virtualservice", "server", "--type=json", "-p", json.dumps(change))
    mesh.processes.wait("change", lambda: fetch(mesh, namespace, "http://server/teapot") == "419 ")
    change[0]["value"] = 418
    plane.kubectl("patch", "-n", namespace, "virtualservice", "server", "--type=json", "-p", json.dumps(change))
    mesh.processes.wait("change", lambda: fetch(mesh, namespace, "http://server/teapot") == "418 ")
