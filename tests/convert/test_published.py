"""The published manifests of sample applications, when they are at hand: all convert, and what comes out is valid."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sailcloth.cli.convert import manifest_texts

from . import bodies, converted, lost

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
