"""Mutual TLS in a mesh, over real sockets: who reaches whom in each mode, and that no way leads around STRICT.

The matrix is data: what a client with or without a sidecar gets of a service, a headless service, and a pod's address, in each mode,
set by today's kind and by those of Istio 1.0 to 1.4.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from .bookinfo import Cluster, Object

NAMESPACE = "matrix"
PORTS = {"http": 8080, "tcp": 9000, "grpc": 7070}
NO_SERVICE, LOCAL_ONLY = 8081, 8082
_PARALLEL = 4
_DRAINED_S = 20.0


@dataclass(frozen=True)
class Case:
    """One call. `policy`: the kind that sets the mode; `via`: service, headless, or pod (its address)."""

    policy: str
    mode: str
    protocol: str
    sidecar: bool  # of the client
    via: str

    @property
    def expected(self) -> str:
        """`mutual`: with mutual TLS, `plain`: without, `refused`.

        A pod's address says nothing of a service, so a sidecar passes it on as it is, as in Istio.
        """
        if self.sidecar and self.via != "pod" and self.mode != "DISABLE":
            return "mutual"
        return "refused" if self.mode == "STRICT" else "plain"


POLICIES = {
    "PeerAuthentication": "peerauthentication.security.istio.io",
    "Policy": "policy.authentication.istio.io",
    "MeshPolicy": "meshpolicy.authentication.istio.io",
}
CASES = [
    Case(*case)
    for case in itertools.product(
        POLICIES, ("PERMISSIVE", "STRICT", "DISABLE"), PORTS, (True, False), ("service", "headless", "pod")
    )
]


def authentication(kind: str, mode: str) -> Object:
    """The object of a kind that sets the mode of all workloads: of the namespace, or of the mesh."""
    metadata = {"name": "default", **({} if kind == "MeshPolicy" else {"namespace": NAMESPACE})}
    if kind == "PeerAuthentication":
        return {
            "apiVersion": "security.istio.io/v1",
            "kind": kind,
            "metadata": metadata,
            "spec": {"mtls": {"mode": mode}},
        }
    peers = [] if mode == "DISABLE" else [{"mtls": {"mode": mode}}]
    return {
        "apiVersion": "authentication.istio.io/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": {"peers": peers},
    }


def pod(name: str, *args: str, sidecar: bool = True, **spec: object) -> Object:
    labels = {"app": name, "sidecar.istio.io/inject": str(sidecar).lower()}
    container = {"name": "main", "image": "gcr.io/istio-testing/app", "args": list(args)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"containers": [container], **spec},
    }


def with_statistics(made: Object) -> Object:
    """The pod with Envoy's counts of handshakes."""
    made["metadata"]["annotations"] = {"sidecar.istio.io/statsInclusionRegexps": r"listener\..*\.ssl\.handshake"}
    return made


def service(name: str, app: str, **spec: object) -> Object:
    ports = [{"name": n, "port": p, "targetPort": p} for n, p in PORTS.items()]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"app": app}, "ports": ports, **spec},
    }


class Matrix:
    """Servers with sidecars, of a service and of a headless one, and clients with and without one."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.kubectl("create", "namespace", NAMESPACE)
        cluster.kubectl("label", "namespace", NAMESPACE, "istio-injection=enabled")
        ports = [f"--port={PORTS['http']}", f"--tcp={PORTS['tcp']}", f"--grpc={PORTS['grpc']}", f"--port={NO_SERVICE}"]
        local = [f"--port={LOCAL_ONLY}", f"--bind-localhost={LOCAL_ONLY}"]
        objects = [
            service("service", "server"),
            service("headless", "other", clusterIP="None"),
            with_statistics(pod("server", *ports, *local)),
            with_statistics(pod("other", *ports)),
            pod("client", "--port=8000"),
            pod("plain", "--port=8000", sidecar=False),
            pod("as-proxy", "--port=8000", securityContext={"runAsUser": 1337}),
        ]
        for obj in objects:
            cluster.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
        cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        self.ip = self.address("server")

    def address(self, name: str) -> str:
        return self.cluster.kubectl("get", "pod", name, "-n", NAMESPACE, "-o", "jsonpath={.status.podIP}").strip()

    def mode(self, mode: str, policy: str = "PeerAuthentication") -> None:
        """Let one object of a kind set the mode."""
        for other in set(POLICIES) - {policy}:
            self.without(other)
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(authentication(policy, mode)))
        name = f"{POLICIES[policy]}/default"
        self.cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=Programmed", "--timeout=20s", name)

    def without(self, policy: str) -> None:
        self.cluster.kubectl("delete", "-n", NAMESPACE, f"{POLICIES[policy]}/default", "--ignore-not-found")

    def call(self, client: str, url: str, *options: str) -> str:
        """What the server says of a call; empty if it was refused."""
        ask = ["exec", "-n", NAMESPACE, client, "-c", "main", "--", "client", "--timeout", "5s", *options, url]
        done = subprocess.run(
            ["kubectl", *ask],
            capture_output=True,
            text=True,
            env=self.cluster.environment,
            timeout=60,
            check=False,
        )
        assert "not found" not in done.stderr, done.stderr
        return done.stdout if re.search("Hostname=(server|other)", done.stdout) else ""

    def seen(self, case: Case) -> str:
        host = self.ip if case.via == "pod" else f"{case.via}.{NAMESPACE}"
        url = f"{case.protocol}://{host}:{PORTS[case.protocol]}"
        answer = self.call("client" if case.sidecar else "plain", url)
        if not answer:
            return "refused"
        if case.protocol == "tcp":  # says nothing of its caller
            return case.expected if case.expected != "refused" else "plain"
        return "mutual" if "x-forwarded-client-cert" in answer.lower() else "plain"

    def becomes_as_expected(self, case: Case) -> str:
        """What is seen, at last: connections that are open when the mode changes go on for a while (`drainDuration`), and one that is
        half closed while Envoy still looks at its first bytes is dropped."""
        end = time.monotonic() + _DRAINED_S
        while (seen := self.seen(case)) != case.expected and time.monotonic() < end:
            time.sleep(0.1)
        return seen


@pytest.fixture(scope="module")
def matrix(cluster: Cluster) -> Iterator[Matrix]:
    made = Matrix(cluster)
    yield made
    made.without("MeshPolicy")
    cluster.kubectl("delete", "namespace", NAMESPACE)


@pytest.mark.parametrize("mode", ["PERMISSIVE", "STRICT", "DISABLE"])
@pytest.mark.parametrize("policy", POLICIES)
def test_who_reaches_whom(matrix: Matrix, policy: str, mode: str) -> None:
    matrix.mode(mode, policy)
    cases = [c for c in CASES if (c.policy, c.mode) == (policy, mode)]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        seen = dict(zip(cases, pool.map(matrix.becomes_as_expected, cases), strict=True))
    assert seen == {c: c.expected for c in cases}


def handshakes(matrix: Matrix, address: str) -> int:
    """How many a server's Envoy has had on captured connections."""
    fetch = f"import urllib.request as u; print(u.urlopen('http://{address}:15090/stats/prometheus').read().decode())"
    text = matrix.cluster.kubectl("exec", "-n", NAMESPACE, "plain", "-c", "main", "--", "python3", "-c", fetch)
    lines = [line.rpartition(" ") for line in text.splitlines() if "ssl_handshake{" in line and "15006" in line]
    return sum(int(value) for _, _, value in lines)


@pytest.mark.parametrize(("via", "server"), [("service", "server"), ("headless", "other")])
def test_connections_of_bytes_have_mutual_tls_too(matrix: Matrix, via: str, server: str) -> None:
    """A TCP server does not say how it was reached, its Envoy does. Each call is a connection."""
    matrix.mode("PERMISSIVE")
    url = f"tcp://{via}.{NAMESPACE}:{PORTS['tcp']}"
    address = matrix.address(server)
    before = handshakes(matrix, address)
    matrix.cluster.eventually(lambda: matrix.call("plain", url) != "")
    assert handshakes(matrix, address) == before
    matrix.cluster.eventually(lambda: matrix.call("client", url) and handshakes(matrix, address) > before)


WAYS = {
    "a port of the service": "http://{ip}:8080",
    "a TCP port": "tcp://{ip}:9000",
    "a gRPC port": "grpc://{ip}:7070",
    "a port without a service": f"http://{{ip}}:{NO_SERVICE}",
    "a port without a service, as TCP": f"tcp://{{ip}}:{NO_SERVICE}",
    "a port that only the pod's loopback has": f"http://{{ip}}:{LOCAL_ONLY}",
    "the caller's own loopback": "http://127.0.0.1:8080",
    "another address of the loopback": "http://127.0.0.6:8080",
    "the port of captured connections": "http://{ip}:15006",
    "the port of outgoing connections": "http://{ip}:15001",
    "Envoy's administration": "http://{ip}:15000/config_dump",
    "the agent's port": "http://{ip}:15020/config_dump",
    "a mapped address of IPv6": "http://[::ffff:{ip}]:8080",
    "TLS without a certificate": "https://{ip}:8080",
}


def test_no_way_leads_around_strict_from_a_pod_without_a_sidecar(matrix: Matrix) -> None:
    matrix.mode("STRICT")
    with ThreadPoolExecutor(_PARALLEL) as pool:
        urls = [url.format(ip=matrix.ip) for url in WAYS.values()]
        answers = pool.map(lambda url: matrix.call("plain", url, "-H", "Host: service.matrix:8080"), urls)
        reached = {name: answer for name, answer in zip(WAYS, answers, strict=True) if answer}
    assert not reached
    assert matrix.becomes_as_expected(Case("PeerAuthentication", "STRICT", "http", True, "service")) == "mutual", (
        "the server does answer"
    )


def test_an_application_that_is_the_proxys_user_is_captured_as_any_other(matrix: Matrix) -> None:
    matrix.mode("STRICT")
    answer = matrix.call("as-proxy", f"http://service.{NAMESPACE}:8080")
    assert "URI=spiffe://cluster.local/ns/matrix/sa/default" in answer


ASK_AGAIN = """
import socket, sys, time
with socket.create_connection((sys.argv[1], 8080), 5) as connection:
    begin = time.monotonic()
    while time.monotonic() < begin + 60:
        connection.sendall(b"GET / HTTP/1.1\\r\\nHost: service.matrix:8080\\r\\n\\r\\n")
        if not (answer := connection.recv(65536)):
            break
        print(answer[9:12].decode(), flush=True)
        time.sleep(0.2)
    print("closed" if not answer else "open", flush=True)
"""


def test_a_connection_that_was_plain_ends_after_the_mode_is_strict(matrix: Matrix) -> None:
    matrix.mode("PERMISSIVE")
    matrix.becomes_as_expected(Case("PeerAuthentication", "PERMISSIVE", "http", False, "service"))
    keeping = pod("keeping", "sleep", "1000", sidecar=False)
    keeping["spec"]["containers"][0]["image"] = "alpine"
    matrix.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(keeping))
    matrix.cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/keeping", "--timeout=60s")
    ask = ["kubectl", "exec", "-n", NAMESPACE, "keeping", "--", "python3", "-c", ASK_AGAIN, matrix.ip]
    with subprocess.Popen(ask, stdout=subprocess.PIPE, text=True, env=matrix.cluster.environment) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == "200\n"
        matrix.mode("STRICT")
        since = time.monotonic()
        assert asking.communicate(timeout=_DRAINED_S)[0].endswith("closed\n")
    assert time.monotonic() - since < _DRAINED_S


def test_nobody_on_the_host_reaches_a_pod(matrix: Matrix) -> None:
    """Whatever the mode: the cluster's network is not the host's, for root and for other users."""
    matrix.mode("PERMISSIVE")
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    for user in {os.getuid(), 65534} if os.getuid() == 0 else {os.getuid()}:
        done = subprocess.run(
            [curl, "-s", "-m", "2", f"http://{matrix.ip}:8080"], user=user, capture_output=True, timeout=20, check=False
        )
        assert b"Hostname=" not in done.stdout, f"user {user}"


def test_what_a_caller_claims_is_no_certificate(matrix: Matrix) -> None:
    """A header that proxies write for applications is not taken from a caller."""
    matrix.mode("PERMISSIVE")
    claim = (
        "X-Forwarded-Client-Cert: By=spiffe://cluster.local/ns/matrix/sa/default;URI=spiffe://cluster.local/ns/a/sa/b"
    )
    answer = matrix.call("plain", f"http://service.{NAMESPACE}:8080", "-H", claim)
    assert answer
    assert "spiffe://" not in answer.partition("[0 body]")[2]
