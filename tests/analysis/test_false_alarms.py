"""Published samples and configuration of real projects draw no finding that is not true of them."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sailcloth.analysis import manifests
from sailcloth.analysis.analyzers import ObjectSet, defaults, document, run

ROOT = Path(__file__).parents[2]
CASES = Path(os.environ.get("SAILCLOTH_CASES", ROOT.parent / "shared" / "cases"))
BOOKINFO = CASES / "samples" / "istio" / "bookinfo"

# Findings that are true of samples: (code, object, why).
TRUE = {
    ("IST0102", "Namespace sock-shop"): "the manifest has no label of the mesh",
    ("IST0129", "DestinationRule default/originate-tls-for-googleapis"): "it verifies no certificate",
    ("IST0130", "VirtualService default/details"): "the second rule has no match, as the first",
    (
        "IST0140",
        "VirtualService default/bookinfo",
    ): "productpage's route to v1 does not apply to requests from the gateway",
    ("IST0173", "DestinationRule default/details"): "v2 is deployed by a manifest of its own",
    ("IST0173", "DestinationRule default/ratings"): "v2-mysql-vm is deployed by a manifest of its own",
}

# What is said of documents of real projects, because the table has some files of each only, or because it is so.
INCOMPLETE = {
    "IST0101": "hosts, subsets, gateways and workloads that it refers to are in files that the table does not have",
    "IST0127": "the workloads are in other files",
    "IST0174": "the services are in other files",
    "SAIL1012": "the workloads are in other files",
    "SAIL1024": "the services are in other files",
    "IST0162": "the Service of Knative's gateway is in another file",
    "IST0002": "the fields are deprecated",
    "IST0106": "names are filled in by a tool, or the document is a patch (`test_validation_cases.UNFINISHED`)",
    "IST0130": "the first rule has no match, either",
    "IST0133": "a host is there twice; conditions of HTTP hold for all TCP connections",
    "IST0151": "the patches depend on others",
    "IST0155": "the patches depend on others, and on the version",
}


def _found(bodies: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    objects = ObjectSet([*defaults.documents(), *(document(body) for body in bodies)])
    return {(f.code, str(f.resource)) for f in run(objects)}


def _bodies(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [body for path in paths for body in manifests.documents(path.read_text())]


def _unnamed(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Without IST0118, which is true wherever it is said: the name of a port gives no protocol."""
    return {item for item in found if item[0] != "IST0118"}


def test_bookinfo() -> None:
    if not BOOKINFO.exists():
        pytest.skip("the samples are not at hand")
    names = (
        "bookinfo",
        "bookinfo-ratings-v2",
        "bookinfo-db",
        "bookinfo-details-v2",
        "bookinfo-mysql",
        "bookinfo-ratings-v2-mysql",
    )
    platform = [BOOKINFO / "platform" / "kube" / f"{name}.yaml" for name in names]
    networking = BOOKINFO / "networking"
    base = [*platform, networking / "bookinfo-gateway.yaml", networking / "destination-rule-all.yaml"]
    for path in [None, *sorted(networking.glob("*.yaml"))]:
        if path is not None and path.name == "certmanager-gateway.yaml":
            continue  # another Gateway with the name of the first
        assert _found(_bodies([*base, *([path] if path else [])])) <= set(TRUE), path


@pytest.mark.parametrize("sample", ["curl", "extauthz", "external", "grpc-echo", "health-check", "helloworld", "httpbin", "sleep",
                                    "tcp-echo", "websockets"])  # fmt: skip
def test_samples_of_istio(sample: str) -> None:
    folder = CASES / "samples" / "istio" / sample
    if not folder.exists():
        pytest.skip("the samples are not at hand")
    assert _found(_bodies(sorted(folder.rglob("*.y*ml")))) <= set(TRUE)


def test_sock_shop() -> None:
    folder = CASES / "samples" / "sock-shop"
    if not folder.exists():
        pytest.skip("the samples are not at hand")
    assert _unnamed(_found(_bodies(sorted(folder.rglob("*.y*ml"))))) <= set(TRUE)


def test_configuration_of_real_projects() -> None:
    path = CASES / "user_config.json"
    if not path.exists():
        pytest.skip("user_config.json is not at hand")
    files: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for case in json.loads(path.read_text())["cases"]:
        files[case["repo"], case["path"]].append(case["doc"])
    for place, bodies in files.items():
        unexpected = {item for item in _found(bodies) if item[0] not in INCOMPLETE}
        assert not unexpected, place


@pytest.mark.parametrize(
    "folder", sorted(p for p in (ROOT / "samples").iterdir() if list(p.rglob("*.yaml"))), ids=lambda p: p.name
)
def test_own_samples(folder: Path) -> None:
    """What runs of a sample, with each of its other files in turn."""
    files = sorted(folder.rglob("*.yaml"))
    base = [
        f
        for f in files
        if "networking" not in f.parts or f.name.endswith(("-gateway.yaml", "destination-rule-all.yaml"))
    ]
    for path in [None, *(f for f in files if f not in base)]:
        assert _unnamed(_found(_bodies([*base, *([path] if path else [])]))) <= set(TRUE), path
