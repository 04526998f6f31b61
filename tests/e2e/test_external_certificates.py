"""Pods whose certificates come from a server in a volume, as SPIRE's agent provides them, and from another CA, as cert-manager's istio-csr
is one, beside pods of the mesh's own CA."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from ..authorities import Authority
from .bookinfo import Cluster
from .lab import Lab, deployment, echo

Object = dict[str, Any]
FOLDER = "/var/run/secrets/workload-spiffe-uds"
STRICT: Object = {
    "apiVersion": "security.istio.io/v1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "default"},
    "spec": {"mtls": {"mode": "STRICT"}},
}


@pytest.fixture(scope="module")
def lab(cluster: Cluster) -> Iterator[Lab]:
    for image, program in (("secrets", "secret_server.py"), ("ca", "other_ca.py")):
        script = str(Path(__file__).with_name(program))
        cluster.sailctl("image", "add", "--state", str(cluster.state), f"example.com/{image}", sys.executable, script)
    made = Lab(cluster, "spire")
    ca = Authority("theirs")
    data = {name: base64.b64encode(value).decode() for name, value in (("ca.pem", ca.pem), ("ca.key", ca.key_pem))}
    made.put({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "data": data})
    ports = [{"name": "http", "port": 80, "targetPort": 3000}]
    service = {"selector": {"app": "attested"}, "ports": ports}
    made.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "attested"}, "spec": service})
    curl = deployment("attested-caller", {"app": "x"}, {"image": "curlimages/curl", "command": ["sleep", "infinity"]})
    served = echo("attested")
    template = served["spec"]["template"]
    template["metadata"]["labels"] = served["spec"]["selector"]["matchLabels"] = {"app": "attested"}
    made.put(STRICT, with_server(curl), with_server(served))
    other = echo("other")
    template = other["spec"]["template"]
    template["metadata"]["labels"] = other["spec"]["selector"]["matchLabels"] = {"app": "other"}
    template["metadata"]["annotations"] = {"proxy.istio.io/config": "proxyMetadata: {CA_ADDR: 'csr.spire.svc:443'}"}
    signing = deployment("csr", {"app": "csr"}, {"image": "example.com/ca", "args": ["/ca", "csr.spire.svc", "8443"]})
    pods = signing["spec"]["template"]
    pods["metadata"]["labels"] = {"app": "csr", "sidecar.istio.io/inject": "false"}
    pods["spec"]["volumes"] = [{"name": "theirs", "secret": {"secretName": "theirs"}}]
    pods["spec"]["containers"][0] |= {
        "volumeMounts": [{"name": "theirs", "mountPath": "/ca"}],
        "readinessProbe": {"tcpSocket": {"port": 8443}},
    }
    for name, port, target in (("other", 80, 3000), ("csr", 443, 8443)):
        ports = [{"name": "http" if name == "other" else "tls", "port": port, "targetPort": target}]
        spec = {"selector": {"app": name}, "ports": ports}
        made.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
    with trusted(cluster, ca.pem.decode()):
        made.put(signing, other)
        made.ready()
        yield made
    cluster.kubectl("delete", "namespace", "spire")


@contextlib.contextmanager
def trusted(cluster: Cluster, root: str) -> Iterator[None]:
    """The mesh's workloads trust another root, too."""
    get = ("get", "configmap", "istio", "-n", "istio-system", "-o", "json")
    before = (json.loads(cluster.kubectl(*get)).get("data") or {}).get("mesh", "")
    options = yaml.safe_dump({**(yaml.safe_load(before) or {}), "caCertificates": [{"pem": root}]})
    patch = ("patch", "configmap", "istio", "-n", "istio-system", "--type=merge", "-p")
    cluster.kubectl(*patch, json.dumps({"data": {"mesh": options}}))
    yield
    cluster.kubectl(*patch, json.dumps({"data": {"mesh": before}}))


def with_server(made: Object) -> Object:
    """The deployment with a server of secrets that starts before its proxy."""
    socket = f"{FOLDER}/socket"
    # Else the proxy is the first of the init containers. A volume of a driver would be there before all of them.
    made["spec"]["template"]["metadata"]["annotations"] = {"sidecar.istio.io/nativeSidecar": "false"}
    mounts = [{"name": "theirs", "mountPath": "/ca"}, {"name": "workload-socket", "mountPath": FOLDER}]
    made["spec"]["template"]["spec"] |= {
        "volumes": [
            {"name": "theirs", "secret": {"secretName": "theirs"}},
            {"name": "workload-socket", "emptyDir": {}},
        ],
        "initContainers": [
            {
                "name": "secrets",
                "image": "example.com/secrets",
                "args": ["/ca", "spiffe://cluster.local/ns/spire/sa/default", socket],
                "restartPolicy": "Always",
                "volumeMounts": mounts,
                "startupProbe": {"exec": {"command": ["test", "-S", socket]}, "periodSeconds": 1},
            }
        ],
    }
    return made


def status(lab: Lab, caller: str, url: str) -> int:
    words = ("curl", "-s", "-o", "/dev/null", "-m", "5", "-w", "%{http_code}", url)
    return int(lab.kubectl("exec", f"deploy/{caller}", "-c", "main", "--", *words))


def test_who_trusts_whom_goes_by_the_roots(lab: Lab) -> None:
    """The server in the volume names only its own root; the mesh's workloads are told to trust that, too."""
    lab.cluster.eventually(lambda: status(lab, "attested-caller", "http://attested") == 200)
    assert status(lab, "caller", "http://attested") == 503
    assert status(lab, "attested-caller", "http://echo") == 503
    assert status(lab, "caller", "http://echo") == 200


def test_a_ca_at_another_address_signs(lab: Lab) -> None:
    lab.cluster.eventually(lambda: status(lab, "caller", "http://other") == 200)
    dump = json.loads(lab.cluster.sailctl("pc", "secret", "-n", "spire", "deployment/echo-other", "-o", "json"))
    chains = [s["secret"]["tls_certificate"]["certificate_chain"] for s in dump["dynamic_active_secrets"] if "tls_certificate" in s["secret"]]  # fmt: skip
    [leaf] = [x509.load_pem_x509_certificate(base64.b64decode(c["inline_bytes"])) for c in chains]
    assert leaf.issuer.rfc4514_string() == "CN=theirs"
    assert "spiffe://cluster.local/ns/spire/sa/default" in str(leaf.extensions)


def test_the_certificate_is_theirs(lab: Lab) -> None:
    described = json.loads(
        lab.cluster.sailctl("x", "describe", "pod", "-n", "spire", "deployment/echo-attested", "-o", "json")
    )
    assert described["certificate"]["identity"] == "spiffe://cluster.local/ns/spire/sa/default"
