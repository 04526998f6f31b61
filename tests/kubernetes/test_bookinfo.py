"""Bookinfo on a real cluster, by `sailctl demo`, and its walk: all to one version, then a part to another one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

import sailcloth_samples

from . import conftest, samples
from .node import Node

BOOKINFO = sailcloth_samples.ROOT / "bookinfo"
NETWORKING = BOOKINFO / "networking"


@pytest.fixture(scope="module")
def page(mesh: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of Bookinfo's page at the gateway."""
    plane = mesh.control_plane
    manifest = BOOKINFO / "platform" / "kube" / "bookinfo.yaml"
    samples.import_images(mesh, manifest, tmp_path_factory.mktemp("samples"))
    before = set(plane.kubectl("get", "all,serviceaccounts,virtualservices,gateways", "-o", "name").split())
    said = conftest.sailctl(plane, "demo", "bookinfo", "--no-load", "--kubeconfig", str(plane.kubeconfig))
    assert "port-forward service/istio-ingressgateway 8080:80" in said
    address = plane.get("-n", "istio-system", "service/istio-ingressgateway")["spec"]["clusterIP"]
    url = f"http://{address}/productpage"
    mesh.processes.wait("page of Bookinfo", lambda: "Comedy of Errors" in mesh.answer(url))
    yield url
    files = (NETWORKING / "bookinfo-gateway.yaml", NETWORKING / "destination-rule-all.yaml", manifest)
    plane.kubectl("delete", *(word for file in files for word in ("-f", file)))
    plane.kubectl("delete", "virtualservices", "--all")
    plane.kubectl("label", "namespace", "default", "istio-injection-")
    names = ("get", "all,serviceaccounts,virtualservices,gateways", "-o", "name")
    mesh.processes.wait("end of Bookinfo", lambda: set(plane.kubectl(*names).split()) <= before, seconds=60)


def versions(mesh: Node, url: str, count: int) -> Counter[str]:
    """How often the page had each version of the reviews, by the colour of their stars; "" without stars."""
    seen: Counter[str] = Counter()
    for _ in range(count):
        text = mesh.answer(url)
        assert "Comedy of Errors" in text
        colours = re.search(r'color="?(black|red)|text-(black|red)-', text)
        seen[next(filter(None, colours.groups())) if colours else ""] += 1
    return seen


def apply(mesh: Node, name: str) -> None:
    """Apply a file, and wait until all proxies have what it says."""
    plane = mesh.control_plane
    plane.kubectl("apply", "-f", NETWORKING / name)
    plane.kubectl("wait", "--for=condition=Programmed", "--timeout=30s", "-f", NETWORKING / name)


def test_the_walk_through_bookinfo(mesh: Node, page: str) -> None:
    assert set(versions(mesh, page, 30)) == {"", "black", "red"}
    apply(mesh, "virtual-service-all-v1.yaml")
    assert versions(mesh, page, 20) == {"": 20}
    apply(mesh, "virtual-service-reviews-50-v3.yaml")
    assert set(versions(mesh, page, 40)) == {"", "red"}
    apply(mesh, "virtual-service-reviews-v3.yaml")
    assert versions(mesh, page, 20) == {"red": 20}
    assert "0/0 proxies" not in mesh.control_plane.kubectl("get", "virtualservices")
