"""The CNI plugin on a real node: pods of a namespace with Pod Security `restricted` are in the mesh, and a node goes on without the plugin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .conftest import HERE, install
from .node import Node
from .test_mesh import fetch

_DAEMON_SET = "daemonset/istio-cni-node"
_RESTRICTED = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_CLOSED = {"pod-security.kubernetes.io/enforce": "restricted", "istio-injection": "enabled"}


def configuration(mesh: Node) -> Path:
    return mesh.folder / "cni" / "10-bridge.conflist"


def plugins(mesh: Node) -> list[str]:
    return [p["type"] for p in json.loads(configuration(mesh).read_text())["plugins"]]


@pytest.fixture(scope="module")
def plugin(mesh: Node) -> Iterator[Node]:
    """The mesh with the plugin; at the end the mesh and the node are as they were."""
    before = configuration(mesh).read_bytes()
    asked = (
        "components.cni.enabled=true",
        f"values.cni.cniConfDir={mesh.folder}/cni",
        f"values.cni.cniBinDir={mesh.folder}/plugins",
    )
    install(mesh.control_plane, *(word for each in asked for word in ("--set", each)))
    yield mesh
    install(mesh.control_plane)
    mesh.processes.wait("configuration as it was", lambda: configuration(mesh).read_bytes() == before)
    mesh.processes.wait("no plugin", lambda: not (mesh.folder / "plugins" / "istio-cni").exists())
    with mesh.control_plane.namespace() as name:
        start(mesh, name, "server")


def objects() -> list[dict[str, object]]:
    """Those of the mesh's tests, with what Pod Security asks of pods."""
    made = list(yaml.safe_load_all((HERE / "manifests" / "web.yaml").read_text()))
    for obj in made:
        if obj["kind"] == "Deployment":
            spec = obj["spec"]["template"]["spec"]
            spec["securityContext"] = _RESTRICTED
            spec["containers"][0]["securityContext"] = _CONTAINER
    return made


def start(mesh: Node, namespace: str, *deployments: str) -> None:
    """Apply the objects, and wait for the pods of these."""
    plane = mesh.control_plane
    plane.kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump_all(objects()))
    for name in deployments:
        plane.kubectl("rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=75s")


@pytest.fixture(scope="module")
def restricted(plugin: Node) -> Iterator[str]:
    """A namespace that allows pods no rights, with a server and a client of the mesh."""
    plane = plugin.control_plane
    with plane.namespace() as name:
        plane.kubectl("label", "namespace", name, *(f"{k}={v}" for k, v in _CLOSED.items()))
        start(plugin, name, "server", "client")
        yield name


def test_pods_without_rights_are_in_the_mesh(plugin: Node, restricted: str) -> None:
    (pod,) = plugin.control_plane.get("-n", restricted, "pods", "-l", "app=server")["items"]
    containers = [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
    assert [c["name"] for c in containers] == ["istio-validation", "istio-proxy", "web"]
    assert {json.dumps(c["securityContext"]["capabilities"]) for c in containers} == {'{"drop": ["ALL"]}'}
    assert fetch(plugin, restricted, "http://server/").startswith("200 pod server-")


def test_their_traffic_is_mutual_tls(plugin: Node, restricted: str) -> None:
    """STRICT, so a request from outside of the mesh, at the application's own port, is refused."""
    (pod,) = plugin.control_plane.get("-n", restricted, "pods", "-l", "app=server")["items"]
    assert plugin.answer(f"http://{pod['status']['podIP']}:8080/") == ""
    assert fetch(plugin, restricted, "http://server/teapot") == "418 "


def test_a_rewritten_configuration_is_chained_again(plugin: Node) -> None:
    document = json.loads(configuration(plugin).read_text())
    document["plugins"] = [p for p in document["plugins"] if p["type"] != "istio-cni"]
    configuration(plugin).write_text(json.dumps(document, indent=1))
    plugin.processes.wait("chained configuration", lambda: plugins(plugin)[-1] == "istio-cni", 10)


def test_a_pod_that_started_without_the_plugin_is_repaired(plugin: Node, restricted: str) -> None:
    """The configuration lacks the plugin while the DaemonSet's process does not run."""
    plane = plugin.control_plane
    never = {"spec": {"template": {"spec": {"nodeSelector": {"never": "there"}}}}}
    plane.kubectl("patch", "-n", "istio-system", _DAEMON_SET, "--type=merge", "-p", json.dumps(never))
    plane.kubectl("wait", "-n", "istio-system", "--for=delete", "pod", "-l", "k8s-app=istio-cni-node", "--timeout=60s")
    assert plugins(plugin)[-1] == "istio-cni", "it is only replaced, so the plugin stays"

    # A pod of the mesh waits, one of none starts.
    plane.kubectl("delete", "pod", "-n", restricted, "-l", "app=server", "--wait=false")

    def reasons() -> str:
        return plane.kubectl("get", "events", "-n", restricted, "-o=jsonpath={.items[*].message}")

    plugin.processes.wait("reason of a pod that waits", lambda: "istio-cni-node does not answer" in reasons())
    with plane.namespace() as other:
        start(plugin, other, "server")

    # Without the plugin it starts, and finds that nothing captures its traffic.
    document = json.loads(configuration(plugin).read_text())
    document["plugins"] = [p for p in document["plugins"] if p["type"] != "istio-cni"]
    configuration(plugin).write_text(json.dumps(document, indent=1))

    def exit_codes() -> str:
        path = "-o=jsonpath={.items[*].status.initContainerStatuses[0]}"
        return plane.kubectl("get", "pods", "-n", restricted, "-l", "app=server", path)

    plugin.processes.wait("failed validation", lambda: '"exitCode":126' in exit_codes())
    everywhere = [{"op": "remove", "path": "/spec/template/spec/nodeSelector/never"}]
    plane.kubectl("patch", "-n", "istio-system", _DAEMON_SET, "--type=json", "-p", json.dumps(everywhere))
    plane.kubectl("rollout", "status", "-n", restricted, "deployment/server", "--timeout=75s")
    plugin.processes.wait("answer", lambda: fetch(plugin, restricted, "http://server/").startswith("200 pod server-"))
