"""What does not answer for a while: the control plane, the API server, and changes that nobody can watch any more. Requests go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from . import conftest
from .node import Node
from .requests import Requests
from .test_mesh import fetch

SYSTEM = ("-n", "istio-system")


@pytest.fixture
def scaled(mesh: Node, namespace: str) -> Iterator[Callable[[int], None]]:
    """Sets the number of control planes, and waits; one again afterwards."""
    plane = mesh.control_plane

    def scale(number: int) -> None:
        plane.kubectl("scale", *SYSTEM, "deployment/istiod", f"--replicas={number}")
        pods = ("get", *SYSTEM, "pods", "-l", "app=istiod", "-o", "name")
        if number:
            plane.kubectl("rollout", "status", *SYSTEM, "deployment/istiod", "--timeout=60s")
        else:
            mesh.processes.wait("end of the control plane", lambda: not plane.kubectl(*pods))

    yield scale
    scale(1)
    conftest.sailctl(plane, "upgrade", "-y", "--force")  # the number of replicas is the installation's again


def teapot(mesh: Node, namespace: str, status: int) -> None:
    patch = [{"op": "replace", "path": "/spec/http/0/directResponse/status", "value": status}]
    mesh.control_plane.kubectl(
        *("patch", "-n", namespace, "virtualservice", "server", "--type=json", "-p", json.dumps(patch))
    )


def test_without_a_control_plane_rules_can_be_written_and_no_pod_starts_bare(
    mesh: Node, namespace: str, scaled: Callable[[int], None]
) -> None:
    plane = mesh.control_plane
    scaled(0)
    with Requests(lambda: fetch(mesh, namespace, "http://server/")) as requests:
        teapot(mesh, namespace, 420)  # admitted: the webhook's failurePolicy is Ignore
        mesh.processes.wait("requests", lambda: requests.answers > 5)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}}
        spec = {"containers": [{"name": "web", "image": "docker.io/sailcloth/web:test"}]}
        manifest = json.dumps({**pod, "spec": spec})
        said = plane.kubectl("apply", "-n", namespace, "-f", "-", input=manifest, check=False)
        assert "failed calling webhook" in said, "a pod without its sidecar would be outside the mesh"
        scaled(1)
        mesh.processes.wait("change", lambda: fetch(mesh, namespace, "http://server/teapot") == "420 ")
        teapot(mesh, namespace, 418)
        mesh.processes.wait("change", lambda: fetch(mesh, namespace, "http://server/teapot") == "418 ")
    assert requests.failed == []


def test_an_api_server_that_is_away_for_a_while(mesh: Node, namespace: str) -> None:
    """What is watched is compacted afterwards, so that the control plane may have to list again (410)."""
    plane = mesh.control_plane
    (pod,) = mesh.control_plane.get("-n", namespace, "pods", "-l", "app=server")["items"]
    url = f"http://{plane.get(*SYSTEM, 'service/istio-ingressgateway')['spec']['clusterIP']}/"
    mesh.processes.wait("gateway", lambda: mesh.answer(url).startswith("pod server-"))
    with Requests(lambda: mesh.answer(url), "pod server-") as requests:
        plane.processes.stop("kube-apiserver", grace_s=0)
        answers = requests.answers
        mesh.processes.wait("requests without an API server", lambda: requests.answers > answers + 20, seconds=60)
        plane.start_process("kube-apiserver")
        plane.processes.wait("ready API server", plane.is_ready)
        teapot(mesh, namespace, 421)
        plane.compact()
        mesh.processes.wait("change", lambda: fetch(mesh, namespace, "http://server/teapot") == "421 ")
        teapot(mesh, namespace, 418)
        mesh.processes.wait("change", lambda: fetch(mesh, namespace, "http://server/teapot") == "418 ")
    assert requests.failed == []
    assert pod["metadata"]["name"] in mesh.answer(url)
