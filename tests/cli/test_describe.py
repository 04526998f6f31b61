"""`sailctl x describe` from manifests: what is printed, and how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sailcloth.cli.describe import certificate_of

BOOKINFO = Path(__file__).parents[2] / "samples" / "bookinfo"
FILES = (
    BOOKINFO / "platform",
    BOOKINFO / "networking" / "bookinfo-gateway.yaml",
    BOOKINFO / "networking" / "destination-rule-all.yaml",
    BOOKINFO / "networking" / "virtual-service-reviews-jason-v2-v3.yaml",
)
GATEWAY = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  template:
    metadata: {labels: {istio: ingressgateway}, annotations: {inject.istio.io/templates: gateway}}
    spec: {containers: [{name: istio-proxy, image: auto}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: legacy}
spec: {template: {metadata: {labels: {app: legacy, sidecar.istio.io/inject: "false"}}, spec: {containers: [{name: a}]}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    gateway = tmp_path / "gateway.yaml"
    gateway.write_text(GATEWAY)
    return [word for path in (*FILES, gateway) for word in ("-f", str(path))]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sailcloth.cli", "x", "describe", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_pod(files: list[str]) -> None:
    done = run("pod", "deployment/reviews-v2", "--offline", *files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Pod: reviews-v2.default",
        "   Proxy: sidecar",
        "   Identity: spiffe://cluster.local/ns/default/sa/bookinfo-reviews",
        "Mutual TLS:",
        "   port 9080: STRICT (PeerAuthentication istio-system/default, mesh level)",
        "   other ports: STRICT (PeerAuthentication istio-system/default, mesh level)",
        "Calls: 10 hosts (no Sidecar object)",
        "--------------------",
        "Service: reviews.default (3 of 3 endpoints healthy, 3 with a sidecar)",
        "   Port: http 9080/HTTP (by name) targets pod port 9080",
        "      Clients in default: mutual TLS (auto mTLS)",
        "   DestinationRule: default/reviews (clients in default)",
        "      Matching subsets: v2",
        "      Non-matching subsets: v1 (1 endpoint), v3 (1 endpoint)",
        "      Traffic policy: none",
        "   VirtualService: default/reviews (hosts reviews; in the mesh)",
        "      http[0]: 100 % of header end-user jason (to reviews.default.svc.cluster.local subset v2)",
        "      http[1]: 0 % of every request (to reviews.default.svc.cluster.local subset v3)",
        "--------------------",
        "Service: reviews-v2.default (1 of 1 endpoint healthy, 1 with a sidecar)",
        "   Port: http 9080/HTTP (by name) targets pod port 9080",
        "      Clients in default: mutual TLS (auto mTLS)",
    ]


def test_a_service_that_is_exposed(files: list[str]) -> None:
    text = run("svc", "productpage", "--offline", *files).stdout
    assert "   Exposed by Gateway default/bookinfo-gateway: port 8080/HTTP, hosts * (VirtualService default/bookinfo; istio-ingressgateway.istio-system)" in text  # fmt: skip
    assert "Warning" not in text
    found = json.loads(run("service", "productpage.default", "--offline", *files, "-o", "json").stdout)
    assert [w["mutualTls"][0]["mode"] for w in found["workloads"]] == ["STRICT"]
    assert found["warnings"] == [], "no key is left out"


def test_a_pod_without_a_sidecar(files: list[str]) -> None:
    text = run("pod", "legacy", "--offline", *files).stdout
    assert "   Proxy: none" in text
    assert "Warning: no sidecar: no policy applies to requests to the pod" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("pod", "absent", "--offline"), 65, "no pod or workload default/absent in the manifests"),
        (("service", "absent", "--offline"), 65, "no service default/absent in the manifests"),
        (("pod", "a"), 64, "--offline and -f FILE"),
    ],
)
def test_what_is_wrong_is_told(files: list[str], arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run(*arguments, *files)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_the_certificate_of_a_workload_is_the_one_with_a_spiffe_name() -> None:
    leaf = {
        "subject_alt_names": [{"uri": "spiffe://a/ns/b/sa/c"}],
        "serial_number": "1",
        "valid_from": "x",
        "expiration_time": "y",
    }
    other = {"subject_alt_names": [{"dns": "a"}], "serial_number": "2"}
    listed = {"certificates": [{"ca_cert": [other]}, {"cert_chain": [other]}, {"cert_chain": [leaf]}]}
    assert certificate_of(listed) == {
        "identity": "spiffe://a/ns/b/sa/c",
        "serial": "1",
        "notBefore": "x",
        "notAfter": "y",
    }
    assert certificate_of({}) == {}
