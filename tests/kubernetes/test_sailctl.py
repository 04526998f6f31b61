"""Commands against a mesh on a real cluster, whose control plane is a pod and whose node is a kubelet."""

from __future__ import annotations

from . import conftest
from .node import Node


def sailctl(mesh: Node, *arguments: str) -> str:
    return conftest.sailctl(mesh.control_plane, *arguments)


def test_proxies_are_listed_and_compared(mesh: Node, namespace: str) -> None:
    (pod,) = mesh.control_plane.get("-n", namespace, "pods", "-l", "app=server")["items"]
    name = f"{pod['metadata']['name']}.{namespace}"
    assert name in sailctl(mesh, "proxy-status")
    assert "Clusters Match" in sailctl(mesh, "proxy-status", name)


def test_an_envoy_tells_its_configuration(mesh: Node, namespace: str) -> None:
    assert f"server.{namespace}.svc.cluster.local" in sailctl(
        mesh, "proxy-config", "clusters", "deployment/client", "-n", namespace
    )


def test_a_change_is_waited_for(mesh: Node, namespace: str) -> None:
    assert "Programmed" in sailctl(mesh, "wait", "--for=distribution", "virtualservice", f"server.{namespace}")


def test_the_installation_is_checked(mesh: Node, namespace: str) -> None:
    """All but the probe, whose image a registry would have."""
    said = conftest.sailctl(mesh.control_plane, "check", "--no-probe", check=False)
    assert "√ the control plane answers" in said
    assert [line for line in said.splitlines() if line.startswith("×")] == []


def test_the_installation_is_as_it_should_be(mesh: Node) -> None:
    sailctl(mesh, "verify-install")
    assert "istiod" in sailctl(mesh, "install", "--dry-run", "--set", "values.pilot.replicaCount=2")
