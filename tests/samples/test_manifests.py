"""Our manifests are written anew, yet apply the same objects as the published ones that share their file names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.cli.demos import DEMOS

OURS = Path(__file__).parents[2] / "samples"
PUBLISHED = Path(__file__).parents[3] / "shared" / "cases" / "samples" / "istio"
FILES = sorted(str(f.relative_to(OURS)) for f in OURS.rglob("*.yaml"))

# Ours alone: the published ones have other labels, and no rules, or other names; what is not among the stored samples.
OWN = (
    "bookinfo/trouble/",
    "catcatgo/",
    "sock-shop/",
    "httpbin/sample-client/",
    "tcp-echo/networking/",
    "tcp-echo/tcp-echo-versions.yaml",
    "egress/",
)

# Files of these names need an outside host, a certificate issuer or a second address family.
LEFT_OUT = {"certmanager-gateway.yaml", "egress-rule-google-apis.yaml"}

Object = dict[str, Any]


def objects(file: Path) -> dict[tuple[str, str], Object]:
    return {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(file.read_text()) if o}


def in_order(value: Any) -> Any:
    """A value whose lists of named things are sorted by name, so that only meaning is compared."""
    if isinstance(value, dict):
        return {k: in_order(v) for k, v in value.items()}
    if isinstance(value, list):
        items = [in_order(v) for v in value]
        return (
            sorted(items, key=lambda v: v["name"]) if all(isinstance(v, dict) and "name" in v for v in items) else items
        )
    return value


@pytest.mark.parametrize("name", [f for f in FILES if not f.startswith(OWN)])
@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published samples are not at hand")
def test_same_objects_as_published(name: str) -> None:
    ours, theirs = objects(OURS / name), objects(PUBLISHED / name)
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert in_order(ours[key]) == in_order(theirs[key]), key


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published samples are not at hand")
def test_no_published_route_is_missing() -> None:
    folder = "bookinfo/networking"
    published = {f.name for f in (PUBLISHED / folder).glob("*.yaml")} - LEFT_OUT
    assert published == {f.name for f in (OURS / folder).glob("*.yaml")}


SHOP = PUBLISHED.parent / "sock-shop" / "complete-demo.yaml"


def test_the_sock_shop_has_the_published_services() -> None:
    if not SHOP.exists():
        pytest.skip("the published manifest is not at hand")
    ours, theirs = objects(OURS / "sock-shop" / "platform" / "kube" / "sock-shop.yaml"), objects(SHOP)
    assert ours.keys() - theirs.keys() == {("Deployment", "front-end-v2")}
    assert theirs.keys() <= ours.keys()
    for (kind, name), published in theirs.items():
        if kind == "Deployment":
            images = [c["image"] for c in published["spec"]["template"]["spec"]["containers"]]
            assert ours[kind, name]["spec"]["template"]["spec"]["containers"][0]["image"] == images[0]
        if kind == "Service" and name != "rabbitmq":  # whose exporter we leave out
            assert [p["port"] for p in ours[kind, name]["spec"]["ports"]] == [
                p["port"] for p in published["spec"]["ports"]
            ]
            assert ours[kind, name]["spec"]["selector"] == published["spec"]["selector"]


@pytest.mark.parametrize("name", FILES)
def test_services_select_pods_of_the_samples(name: str) -> None:
    pods = [
        o["spec"]["template"]["metadata"]["labels"]
        for file in OURS.rglob("*.yaml")
        for (kind, _), o in objects(file).items()
        if kind == "Deployment"
    ]
    for (kind, service), o in objects(OURS / name).items():
        if kind == "Service":
            wanted = o["spec"]["selector"].items()
            assert any(wanted <= labels.items() for labels in pods), f"{service} selects no pod"


@pytest.mark.parametrize("name", sorted(DEMOS))
def test_a_demo_names_files_that_exist_and_pages_that_its_gateway_serves(name: str) -> None:
    demo = DEMOS[name]
    kinds = {kind for file in demo.files for kind, _ in objects(OURS / file)}
    assert {"Gateway", "VirtualService", "DestinationRule", "Deployment", "Service"} <= kinds
    namespaces = {
        o["metadata"].get("namespace", demo.namespace) for f in demo.files for o in objects(OURS / f).values()
    }
    assert namespaces == {demo.namespace}
    proposed = demo.next.rpartition(" ")[2]
    assert (OURS.parent / proposed).is_file()
