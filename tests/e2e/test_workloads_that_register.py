"""A workload that joins a WorkloadGroup by itself is found behind the services that select the group's labels."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .bookinfo import Cluster

SAMPLES = Path(__file__).parents[2] / "samples" / "tcp-echo"
NAMESPACE = "machines"
GROUP = f"""
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: echo, namespace: {NAMESPACE}}}
spec:
  metadata: {{labels: {{role: machine}}}}
  template: {{serviceAccount: default, ports: {{tcp: 9000}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: echo, namespace: {NAMESPACE}}}
spec:
  hosts: [echo.machines.internal]
  addresses: [10.200.1.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 4000, name: tcp, protocol: TCP}}]
  workloadSelector: {{labels: {{role: machine}}}}
"""
DIAL = """
import socket
with socket.create_connection(("10.200.1.1", 4000), 5) as s:
    s.sendall(b"hello\\n")
    print(s.makefile().readline().strip())
"""


@pytest.fixture
def machines(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("label", "namespace", NAMESPACE, "istio-injection=enabled")
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE)


def test_a_workload_registers_itself_and_is_reached(machines: Cluster) -> None:
    machines.kubectl("apply", "-f", "-", stdin=GROUP)
    machines.kubectl("wait", "-n", NAMESPACE, "--for=condition=Accepted", "workloadgroup/echo", "--timeout=10s")
    options = {"proxyMetadata": {"ISTIO_META_AUTO_REGISTER_GROUP": "echo"}}
    container = {"name": "echo", "image": "docker.io/istio/tcp-echo-server:1.3", "args": ["9000", "joined"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "machine",
            "namespace": NAMESPACE,
            "labels": {"app": "anything"},
            "annotations": {"proxy.istio.io/config": json.dumps(options)},
        },
        "spec": {"containers": [{**container, "ports": [{"containerPort": 9000}]}]},
    }
    machines.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    machines.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/machine", "--timeout=30s")
    ip = machines.kubectl("get", "pod", "machine", "-n", NAMESPACE, "-o", "jsonpath={.status.podIP}").strip()
    name = f"echo-{ip}"
    machines.eventually(lambda: name in machines.kubectl("get", "workloadentries", "-n", NAMESPACE))
    ask = ("exec", "deploy/ratings-v1", "-c", "ratings", "--", "python3", "-c", DIAL)

    def joined() -> bool:
        try:
            return machines.kubectl(*ask).strip() == "joined hello"
        except AssertionError:
            return False

    machines.eventually(joined)
    machines.kubectl("delete", "pod", "machine", "-n", NAMESPACE)
    machines.eventually(lambda: name not in machines.kubectl("get", "workloadentries", "-n", NAMESPACE), 30)


def test_a_machine_gets_the_files_to_join_with(machines: Cluster, tmp_path: Path) -> None:
    group = (
        "x",
        "workload",
        "group",
        "create",
        "--name",
        "vm",
        "-n",
        NAMESPACE,
        "--labels",
        "app=vm",
        "--ports",
        "http=8080",
    )
    machines.kubectl("apply", "-f", "-", stdin=machines.sailctl(*group))
    folder = tmp_path / "files"
    entry = ("x", "workload", "entry", "configure", "--name", "vm", "-n", NAMESPACE, "-o", str(folder))
    told = machines.sailctl(*entry, "--autoregister", "--ingressIP", "192.0.2.9")
    assert str(folder) in told
    assert {f.name for f in folder.iterdir()} == {"cluster.env", "mesh.yaml", "hosts", "root-cert.pem", "istio-token"}
    assert (folder / "hosts").read_text() == "192.0.2.9 istiod.istio-system.svc\n"
    assert (folder / "istio-token").stat().st_mode & 0o777 == 0o600
    claims = json.loads(base64.urlsafe_b64decode((folder / "istio-token").read_text().split(".")[1] + "=="))
    assert claims["aud"] == ["istio-ca"]
    assert claims["sub"] == f"system:serviceaccount:{NAMESPACE}:default"
    path = "jsonpath={.data.root-cert\\.pem}"
    root = machines.kubectl("get", "configmap", "istio-ca-root-cert", "-n", NAMESPACE, "-o", path)
    assert (folder / "root-cert.pem").read_text().strip() == root.strip()
    shell = f"set -a; . {folder}/cluster.env; echo $ISTIO_META_AUTO_REGISTER_GROUP $ISTIO_SERVICE $ISTIO_INBOUND_PORTS"
    assert subprocess.check_output(["sh", "-c", shell], text=True).strip() == f"vm vm.{NAMESPACE} 8080"
    options = yaml.safe_load((folder / "mesh.yaml").read_text())["defaultConfig"]
    assert options["discoveryAddress"] == "istiod.istio-system.svc:15012"
    assert json.loads(options["proxyMetadata"]["ISTIO_METAJSON_LABELS"])["service.istio.io/canonical-name"] == "vm"
