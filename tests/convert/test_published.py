"""The published manifests of sample applications, when they are at hand: all convert, and what comes out is valid."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sailcloth.analysis.simulate import Call
from sailcloth.cli.convert import manifest_texts

from . import bodies, converted, lost
from .calls import outcome, simulator, texts

CASES = Path(os.environ.get("SAILCLOTH_CASES", Path(__file__).parents[3] / "shared" / "cases")) / "samples"
FILES = sorted(CASES.rglob("*.y*ml")) if CASES.is_dir() else []
LEFT = ("config.istio.io/v1alpha2", "authentication.istio.io", "rbac.istio.io", "smi-spec.io")

pytestmark = pytest.mark.skipif(not FILES, reason="the published samples are not at hand")


def read(path: Path) -> str:
    text = path.read_text()
    try:
        manifest_texts.split(text)
    except ValueError:
        pytest.skip("a template, or no objects of Kubernetes")
    return text


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CASES)))
def test_every_document_converts(path: Path) -> None:
    text = read(path)
    out = converted(text)
    assert not any(one in str(body["apiVersion"]) for body in bodies(out) for one in LEFT)
    assert bodies(converted(manifest_texts.printed(out))) == bodies(out)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CASES)))
def test_what_does_not_become_gateway_api_is_said(path: Path) -> None:
    text = read(path)
    out = converted(text, "gateway-api")
    left = [
        b for b in bodies(out) if b["apiVersion"].startswith("networking.istio.io") and b["kind"] == "VirtualService"
    ]
    assert not left or any("spec.hosts" in one for one in lost(out))


BOOKINFO = CASES / "istio" / "bookinfo"
PAIRS = {
    "virtual-service-all-v1": "route-all-v1",
    "virtual-service-reviews-v3": "route-reviews-v3",
    "virtual-service-reviews-50-v3": "route-reviews-50-v3",
    "virtual-service-reviews-90-10": "route-reviews-90-10",
}


@pytest.mark.parametrize("name", PAIRS)
def test_bookinfo_becomes_what_its_authors_wrote(name: str) -> None:
    """The same calls go to the same Services as by the HTTPRoutes that the samples have themselves."""
    platform = [BOOKINFO / "platform" / "kube" / f"{name}.yaml" for name in ("bookinfo", "bookinfo-versions")]
    services = "\n---\n".join(path.read_text() for path in platform)
    rules = (BOOKINFO / "networking" / "destination-rule-all.yaml").read_text()
    original = (BOOKINFO / "networking" / f"{name}.yaml").read_text()
    new, lost = texts("\n---\n".join((services, rules, original)), "gateway-api")
    assert lost == []
    assert "VirtualService\n" not in new
    theirs = "\n---\n".join((services, (BOOKINFO / "gateway-api" / f"{PAIRS[name]}.yaml").read_text()))
    one, other = (simulator(text) for text in (new, theirs))
    for host in ("reviews", "ratings", "details") if name == "virtual-service-all-v1" else ("reviews",):
        for path in ("/", f"/{host}/0"):
            call = Call(port=9080, host=host, path=path)
            assert outcome(one, call) == outcome(other, call)
