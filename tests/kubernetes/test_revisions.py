"""A canary upgrade from its begin to its end: a second control plane, a namespace that moves there by its label and by a tag, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from . import conftest
from .node import Node
from .requests import Requests
from .test_mesh import fetch

SYSTEM = ("-n", "istio-system")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def canary(mesh: Node) -> Iterator[Node]:
    """The cluster with a second control plane, which the ingress gateway belongs to; afterwards it is gone."""
    plane = mesh.control_plane
    conftest.install(plane, "--revision", "canary")
    yield mesh
    conftest.sailctl(plane, "tag", "remove", "default", "-y", check=False)
    conftest.install(plane)
    conftest.sailctl(plane, "uninstall", "--revision", "canary", "-y")
    kinds = ("deployments,services,configmaps,leases,serviceaccounts,pods", conftest.WHOLE, "roles,rolebindings")
    left = plane.kubectl("get", *SYSTEM, ",".join(kinds), "-o", "name")
    mesh.processes.wait("end of the canary's pods", lambda: "canary" not in plane.kubectl("get", *SYSTEM, "pods"))
    assert [line for line in left.split() if "canary" in line and not line.startswith("pod/")] == []


def revision(mesh: Node, namespace: str, app: str) -> str:
    """The revision that has injected the pods of an application that are not about to end, once there is only one."""
    pods = [p["metadata"] for p in mesh.control_plane.get("-n", namespace, "pods", "-l", f"app={app}")["items"]]
    found = {p["annotations"].get("istio.io/rev", "") for p in pods if "deletionTimestamp" not in p}
    return found.pop() if len(found) == 1 else ""


def control_planes_of(mesh: Node, pods: str) -> set[str]:
    """The Deployments of the control planes that pods are connected to, by the start of their names."""
    rows = [line.split() for line in conftest.sailctl(mesh.control_plane, "proxy-status").splitlines()]
    return {row[2].rsplit("-", 2)[0] for row in rows if row[0].startswith(pods)}


def move(mesh: Node, namespace: str, *labels: str) -> None:
    """Label the namespace, and start its server again."""
    plane = mesh.control_plane
    if labels:
        plane.kubectl("label", "--overwrite", "namespace", namespace, *labels)
    plane.kubectl("rollout", "restart", "-n", namespace, "deployment/server")
    plane.kubectl("rollout", "status", "-n", namespace, "deployment/server", "--timeout=60s")


def change(mesh: Node, namespace: str, status: int, count: str = "") -> str:
    """Change the rule, and wait until it holds and its status counts proxies, or until it has this count: that of other control planes comes
    later. Returns the count."""
    plane = mesh.control_plane
    patch = [{"op": "replace", "path": "/spec/http/0/directResponse/status", "value": status}]
    plane.kubectl("patch", "-n", namespace, "virtualservice", "server", "--type=json", "-p", json.dumps(patch))

    def programmed() -> str:
        rule = plane.get("-n", namespace, "virtualservice/server")
        conditions = {c["type"]: c for c in (rule.get("status") or {}).get("conditions") or ()}
        found = conditions.get("Programmed", {})
        current = found.get("observedGeneration") == rule["metadata"]["generation"] and found["status"] == "True"
        return str(found["message"]) if current and count in ("", found["message"]) else ""

    mesh.processes.wait(f"status of the rule {count}", programmed)
    assert fetch(mesh, namespace, "http://server/teapot") == f"{status} "
    return programmed()


def test_a_canary_comes_and_goes_and_no_request_fails(canary: Node, namespace: str) -> None:
    plane, wait = canary.control_plane, canary.processes.wait
    address = plane.get(*SYSTEM, "service/istio-ingressgateway")["spec"]["clusterIP"]
    wait("gateway of the canary", lambda: revision(canary, "istio-system", "istio-ingressgateway") == "canary")
    deployments = plane.kubectl("get", *SYSTEM, "deployments", "-o", "name")
    assert {"deployment.apps/istiod", "deployment.apps/istiod-canary"} <= set(deployments.split())
    with (
        Requests(lambda: fetch(canary, namespace, "http://server/")) as inside,
        Requests(lambda: canary.answer(f"http://{address}/"), "pod server-") as outside,
    ):
        assert revision(canary, namespace, "server") == "default"
        count = change(canary, namespace, 419)
        assert count.startswith(("2/2 proxies", "3/3 proxies")), "of the client, the server, perhaps a gateway"

        move(canary, namespace, "istio-injection-", "istio.io/rev=canary")
        assert revision(canary, namespace, "server") == "canary"
        wait("server at the canary", lambda: control_planes_of(canary, "server-") == {"istiod-canary"})
        assert control_planes_of(canary, "client-") == {"istiod"}
        change(canary, namespace, 418, count)

        conftest.sailctl(plane, "tag", "set", "prod", "--revision", "default")
        move(canary, namespace, "istio.io/rev=prod")
        assert revision(canary, namespace, "server") == "default"
        conftest.sailctl(plane, "tag", "set", "prod", "--revision", "canary", "--overwrite")
        move(canary, namespace)
        assert revision(canary, namespace, "server") == "canary"

        # The canary is the default now: it injects and writes what names no revision.
        conftest.sailctl(plane, "tag", "set", "default", "--revision", "canary")
        wait(
            "end of injection by the old one",
            lambda: (
                "never-match"
                in plane.kubectl("get", "mutatingwebhookconfiguration/istio-sidecar-injector", "-o", "yaml")
            ),
        )
        move(canary, namespace, "istio.io/rev-", "istio-injection=enabled")
        assert revision(canary, namespace, "server") == "canary"
        change(canary, namespace, 419, count)

        # Back.
        conftest.sailctl(plane, "tag", "remove", "default", "-y")
        conftest.sailctl(plane, "tag", "remove", "prod", "-y")
        wait(
            "injection by the old one",
            lambda: (
                "never-match"
                not in plane.kubectl("get", "mutatingwebhookconfiguration/istio-sidecar-injector", "-o", "yaml")
            ),
        )
        move(canary, namespace)
        assert revision(canary, namespace, "server") == "default"
        conftest.install(plane)
        plane.kubectl("rollout", "status", *SYSTEM, "deployment/istio-ingressgateway", "--timeout=60s")
        wait("gateway of the old one", lambda: revision(canary, "istio-system", "istio-ingressgateway") == "default")
        said = conftest.sailctl(plane, "uninstall", "--revision", "canary", "-y")
        assert "Deployment istio-system/istiod-canary is removed" in said
        change(canary, namespace, 418, count)
        conftest.install(plane, "--revision", "canary")  # for the end of the fixture
    assert (inside.failed, outside.failed) == ([], [])
    assert min(inside.answers, outside.answers) > 10


def test_objects_of_another_revision_are_left_alone(canary: Node, namespace: str) -> None:
    plane = canary.control_plane
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "canary-only", "labels": {"istio.io/rev": "canary"}},
        "spec": {"hosts": ["canary-only"], "http": [{"directResponse": {"status": 299}}]},
    }
    plane.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(rule))
    plane.kubectl("wait", "-n", namespace, "--for=condition=Programmed", "--timeout=20s", "virtualservice/canary-only")
    said = plane.get("-n", namespace, "virtualservice/canary-only")["status"]["conditions"]
    messages = {c["type"]: c["message"] for c in said}
    assert messages["Programmed"].startswith("0/0 proxies"), "the gateway, which is the canary's, has no route for it"
    bad = {**rule, "spec": {"hosts": ["canary-only"], "http": [{"timeout": "1us"}]}}
    refused = plane.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(bad), check=False)
    assert "configuration is invalid" in refused
    plane.kubectl("delete", "-n", namespace, "virtualservice/canary-only")
