"""A pod whose traffic is not captured (`interceptionMode: NONE`): its Sidecar says where the proxy listens."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from .bookinfo import Cluster

NAMESPACE = "uncaptured"
MANIFESTS = f"""
apiVersion: v1
kind: Service
metadata: {{name: echo, namespace: {NAMESPACE}}}
spec:
  selector: {{app: echo}}
  ports: [{{name: tcp, port: 8000, targetPort: 8000}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: echo, namespace: {NAMESPACE}}}
spec:
  workloadSelector: {{labels: {{app: echo}}}}
  ingress:
  - port: {{number: 8000, protocol: TCP, name: tcp}}
    defaultEndpoint: 127.0.0.1:9000
  egress:
  - port: {{number: 9080, protocol: HTTP, name: http}}
    bind: 127.0.0.1
    hosts: ["default/*"]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: {NAMESPACE}}}
spec: {{mtls: {{mode: STRICT}}}}
"""
DIAL = """
import socket, sys
with socket.create_connection((sys.argv[1], 8000), 5) as s:
    s.sendall(b"hello\\n")
    print(s.makefile().readline().strip())
"""
GET = """
import urllib.request
asked = urllib.request.Request("http://127.0.0.1:9080/ratings/0", headers={"Host": "ratings.default:9080"})
print(urllib.request.urlopen(asked, timeout=5).read().decode())
"""


@pytest.fixture
def uncaptured(mesh: Cluster) -> Iterator[Cluster]:
    mesh.kubectl("create", "namespace", NAMESPACE)
    mesh.kubectl("label", "namespace", NAMESPACE, "istio-injection=enabled")
    yield mesh
    mesh.kubectl("delete", "namespace", NAMESPACE)


def test_the_proxy_is_dialled_in_and_out_with_the_meshs_tls(uncaptured: Cluster) -> None:
    uncaptured.kubectl("apply", "-f", "-", stdin=MANIFESTS)
    container = {"name": "echo", "image": "docker.io/istio/tcp-echo-server:1.3", "args": ["9000", "direct"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "echo",
            "namespace": NAMESPACE,
            "labels": {"app": "echo"},
            "annotations": {"sidecar.istio.io/interceptionMode": "NONE"},
        },
        "spec": {"containers": [{**container, "ports": [{"containerPort": 9000}]}]},
    }
    uncaptured.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    uncaptured.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/echo", "--timeout=30s")
    ask = ("exec", "deploy/ratings-v1", "-c", "ratings", "--", "python3", "-c", DIAL, f"echo.{NAMESPACE}")

    def answered() -> bool:
        try:
            return uncaptured.kubectl(*ask).strip() == "direct hello"
        except AssertionError:
            return False

    uncaptured.eventually(answered)
    ip = uncaptured.kubectl("get", "pod", "echo", "-n", NAMESPACE, "-o", "jsonpath={.status.podIP}").strip()
    plain = ("exec", "-n", "kube-system", "plain", "--", "python3", "-c", DIAL, ip)
    uncaptured.kubectl("run", "plain", "-n", "kube-system", "--image=alpine", "--", "sleep", "1000")
    try:
        uncaptured.kubectl("wait", "-n", "kube-system", "--for=condition=Ready", "pod/plain", "--timeout=30s")
        assert "direct hello" not in uncaptured.kubectl(*plain, fails=True)
    finally:
        uncaptured.kubectl("delete", "pod", "plain", "-n", "kube-system", "--grace-period=0", "--force")
    out = ("exec", "-n", NAMESPACE, "echo", "-c", "echo", "--", "python3", "-c", GET)
    uncaptured.eventually(lambda: "ratings" in uncaptured.kubectl(*out))
