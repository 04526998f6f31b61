"""`meshConfig.discoverySelectors`: what is in a namespace that they do not select is not in the mesh, until a label or they change."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from .bookinfo import Cluster

MAP = ("configmap", "istio", "-n", "istio-system")
OTHER = "other"
ROOTS = "istio-ca-root-cert"


@pytest.fixture
def selecting(mesh: Cluster) -> Iterator[Cluster]:
    """The mesh, of which only namespaces with the label `mesh: in` are a part; another namespace is not, and has a Service."""
    before = json.loads(mesh.kubectl("get", *MAP, "-o", "json"))["data"]["mesh"]
    mesh.kubectl("create", "namespace", OTHER)
    mesh.kubectl("label", "namespace", "default", "mesh=in")
    mesh.kubectl("create", "service", "clusterip", "web", "--tcp=8000:8000", "-n", OTHER)
    try:
        mesh.eventually(lambda: ROOTS in configmaps(mesh) and listed(mesh))
        selectors = [{"matchLabels": {"mesh": "in"}}]
        configure(mesh, yaml.safe_dump({**yaml.safe_load(before), "discoverySelectors": selectors}))
        yield mesh
    finally:
        configure(mesh, before)
        mesh.kubectl("label", "namespace", "default", "mesh-")
        mesh.kubectl("delete", "namespace", OTHER)


def configure(mesh: Cluster, options: str) -> None:
    mesh.kubectl("patch", *MAP, "--type=merge", "-p", json.dumps({"data": {"mesh": options}}))


def configmaps(mesh: Cluster, namespace: str = OTHER) -> str:
    return mesh.kubectl("get", "configmaps", "-n", namespace, "-o", "name")


def listed(mesh: Cluster) -> bool:
    """Whether the proxy of productpage has a cluster for the other namespace's Service."""
    clusters = mesh.sailctl("proxy-config", "cluster", "deployment/productpage-v1", "-o", "json")
    return f"outbound|8000||web.{OTHER}.svc.cluster.local" in clusters


def test_proxies_know_what_is_selected_and_labels_and_selectors_change_it(selecting: Cluster) -> None:
    mesh = selecting
    mesh.eventually(lambda: not listed(mesh))
    assert mesh.get("/productpage").status == 200

    for namespace in (OTHER, "default"):
        mesh.kubectl("delete", "configmap", ROOTS, "-n", namespace)
    mesh.eventually(lambda: ROOTS in configmaps(mesh, "default"))  # which was deleted later
    assert ROOTS not in configmaps(mesh)

    mesh.kubectl("label", "namespace", OTHER, "mesh=in")
    mesh.eventually(lambda: listed(mesh) and ROOTS in configmaps(mesh))
    mesh.kubectl("label", "namespace", OTHER, "mesh-")
    mesh.eventually(lambda: not listed(mesh))
