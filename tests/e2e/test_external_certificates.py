"""Pods whose certificates come from a server in a volume, as SPIRE's agent provides them, beside pods of the mesh's own CA."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
    script = Path(__file__).with_name("secret_server.py")
    cluster.sailctl("image", "add", "--state", str(cluster.state), "example.com/secrets", sys.executable, str(script))
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
    made.ready()
    yield made
    cluster.kubectl("delete", "namespace", "spire")


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


def test_they_trust_each_other_and_nobody_of_the_meshs_ca(lab: Lab) -> None:
    lab.cluster.eventually(lambda: status(lab, "attested-caller", "http://attested") == 200)
    assert status(lab, "caller", "http://attested") == 503
    assert status(lab, "attested-caller", "http://echo") == 503
    assert status(lab, "caller", "http://echo") == 200


def test_the_certificate_is_theirs(lab: Lab) -> None:
    described = json.loads(
        lab.cluster.sailctl("x", "describe", "pod", "-n", "spire", "deployment/echo-attested", "-o", "json")
    )
    assert described["certificate"]["identity"] == "spiffe://cluster.local/ns/spire/sa/default"
