"""The commands of Istio 1.0 to 1.5: manifests that come and go unchanged, endpoints of registered addresses, and tls-check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sailcloth.analysis import describe, manifests, offline, workloads
from sailcloth.api.meta import Finding, Key
from sailcloth.cli import legacy, legacy_manifests, legacy_objects, legacy_services
from sailcloth.injector.config import InjectorConfig
from sailcloth.injector.inject import inject_object

Object = dict[str, Any]
BOOKINFO = Path(__file__).parents[2] / "samples" / "bookinfo" / "platform" / "kube" / "bookinfo.yaml"
PROBED = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: job}
spec:
  jobTemplate:
    spec:
      template:
        metadata: {annotations: {note: kept}}
        spec:
          volumes: [{name: mine, emptyDir: {}}]
          containers:
            - name: a
              image: b
              livenessProbe: {httpGet: {path: /live, port: 8080}, periodSeconds: 3}
              readinessProbe: {tcpSocket: {port: 8080}}
"""
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {kubernetes.io/ingress.class: istio}}
spec: {rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 8080}]}
"""


def test_what_was_injected_comes_out_again() -> None:
    documents = [d for text in (BOOKINFO.read_text(), PROBED) for d in yaml.safe_load_all(text) if d]
    injected = [inject_object(d, InjectorConfig()) for d in documents]
    assert any(a != b for a, b in zip(documents, injected, strict=True))
    assert [legacy_manifests.uninjected(i) for i in injected] == documents
    assert [legacy_manifests.uninjected(d) for d in documents] == documents


def test_ingresses_become_gateways_and_rules(tmp_path: Path) -> None:
    file = tmp_path / "ingress.yaml"
    file.write_text(INGRESS)
    command = [sys.executable, "-m", "sailcloth.cli", "convert-ingress", "-f", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    gateway, rule = yaml.safe_load_all(done.stdout)
    assert (gateway["kind"], rule["kind"]) == ("Gateway", "VirtualService")
    assert rule["spec"]["hosts"] == ["a.example.com"]
    assert rule["spec"]["http"][0]["route"][0]["destination"]["port"] == {"number": 8080}
    assert "creationTimestamp" not in done.stdout


def test_addresses_of_registered_endpoints() -> None:
    http = legacy_services.ports_of(["http:8080"])
    one = legacy_services.with_address([], "192.0.2.1", http)
    two = legacy_services.with_address(one, "192.0.2.2", http)
    assert two == [{"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}], "ports": http}]
    assert legacy_services.with_address(two, "192.0.2.2", http) == two
    assert legacy_services.without_address(two, "192.0.2.1") == legacy_services.with_address([], "192.0.2.2", http)
    assert legacy_services.without_address(one, "192.0.2.1") == []
    other = legacy_services.with_address(one, "192.0.2.1", legacy_services.ports_of(["9090"]))
    assert other == [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "http", "port": 9090, "protocol": "TCP"}]}]


def test_machines_outside_are_entries_that_their_service_selects() -> None:
    service, entries = legacy_services.external(
        "vm", ["192.0.2.1", "192.0.2.2"], legacy_services.ports_of(["http:8080"]), {"tier": "b"}, {}, "runner", "shop"
    )
    objects, findings = manifests.load([yaml.safe_dump_all([service, *entries])])
    assert not findings
    proxy = offline.describe({"namespace": "shop"})
    dump = offline.config_dump(offline.resources(offline.mesh_of(objects), proxy))
    text = str([c for c in dump["configs"] if c["@type"].endswith("EndpointsConfigDump")])
    assert "192.0.2.1" in text
    assert "192.0.2.2" in text
    assert [e["metadata"]["name"] for e in entries] == ["mesh-expansion-vm-0", "mesh-expansion-vm-1"]


@pytest.mark.parametrize("word", ["virtualservice", "virtualservices", "vs", "virtual-service", "VirtualService"])
def test_words_for_a_kind(word: str) -> None:
    assert legacy_objects.kind_of(word).name == "VirtualService"


RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: plain, namespace: default}
spec: {host: reviews, trafficPolicy: {tls: {mode: DISABLE}}}
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
"""


@pytest.mark.parametrize(
    ("more", "row"),
    [
        ((), ["OK", "HTTP/mTLS", "mTLS", "(default)", "-"]),
        ((STRICT,), ["OK", "mTLS", "mTLS", "default/default", "-"]),
        ((RULE,), ["OK", "HTTP/mTLS", "HTTP", "(default)", "default/plain"]),
        ((RULE, STRICT), ["CONFLICT", "mTLS", "HTTP", "default/default", "default/plain"]),
    ],
)
def test_tls_check(more: tuple[str, ...], row: list[str]) -> None:
    texts = [BOOKINFO.read_text(), *more]
    objects, _ = manifests.load(texts)
    documents = [d for text in texts for d in manifests.documents(text)]
    pods = workloads.pods(documents)
    for document in (*pods, *workloads.endpoint_slices(documents, pods)):
        parsed = manifests.typed(document)
        objects += [parsed] if parsed is not None and not isinstance(parsed, Finding) else []
    snapshot = describe.snapshot_of(offline.mesh_of(objects), pods)
    rows = legacy.tls_rows(describe.service(snapshot, Key("Service", "default", "reviews")), "default")
    assert rows == [["reviews.default.svc.cluster.local:9080", *row]]
