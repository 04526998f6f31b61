"""Calls to the outside: only to what the mesh knows, through an egress gateway, with TLS that the mesh begins."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .bookinfo import Cluster

Object = dict[str, Any]
SAMPLES = Path(__file__).parents[2] / "samples"
HOST = "external.example.com"
ANYWHERE = "203.0.113.7"  # the name decides, not the address
SERVER = """
import datetime, http.server, ssl, sys, tempfile
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "external.example.com")])
made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256()))
PEM = serialization.Encoding.PEM
private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
with tempfile.NamedTemporaryFile() as file:
    file.write(made.public_bytes(PEM) + private)
    file.flush()
    context.load_cert_chain(file.name)
names = {}
context.sni_callback = lambda connection, name, _: names.update({connection: name})
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"tls {names.get(self.connection)} {self.client_address[0]}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def deployment(name: str, image: str, **container: Any) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": name, "image": image, **container}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


class World:
    """A namespace outside the mesh with two servers, one inside with a caller, and an egress gateway between."""

    def __init__(self, cluster: Cluster, script: Path) -> None:
        self.cluster = cluster
        cluster.sailctl("image", "add", "--state", str(cluster.state), "example.com/tls", sys.executable, str(script))
        for name in ("outside", "inside"):
            cluster.kubectl("create", "namespace", name)
        cluster.kubectl("label", "namespace", "inside", "istio-injection=enabled")
        cluster.kubectl("apply", "-f", str(SAMPLES / "egress" / "istio-egressgateway.yaml"))
        cluster.kubectl("apply", "-n", "outside", "-f", str(SAMPLES / "httpbin" / "httpbin.yaml"))
        ports = [{"containerPort": 8443}]
        self.apply("outside", deployment("tls", "example.com/tls", ports=ports))
        self.apply("inside", deployment("curl", "curlimages/curl", command=["sleep", "infinity"]))
        for namespace, name in (
            ("outside", "httpbin"),
            ("outside", "tls"),
            ("inside", "curl"),
            ("istio-system", "istio-egressgateway"),
        ):
            cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=60s")

    def apply(self, namespace: str, *objects: Object) -> None:
        for obj in objects:
            self.cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(obj))

    def ip(self, label: str, namespace: str = "outside") -> str:
        path = "jsonpath={.items[0].status.podIP}"
        return self.cluster.kubectl("get", "pods", "-n", namespace, "-l", label, "-o", path)

    def get(self, path: str = "/", host: str = HOST) -> tuple[str, str]:
        """(status, body) of a call from inside."""
        command = (
            "exec",
            "deploy/curl",
            "-n",
            "inside",
            "-c",
            "curl",
            "--",
            "curl",
            "-s",
            "-m",
            "5",
            "-w",
            "\n%{http_code}",
        )
        url = f"http://{host}{path}"
        try:
            body, _, status = self.cluster.kubectl(*command, "--resolve", f"{host}:80:{ANYWHERE}", url).rpartition("\n")
        except AssertionError:  # curl's own exit code: no answer
            return "", ""
        return status, body

    def entry(self, **endpoint_ports: int) -> Object:
        ports = [
            {"number": 80, "name": "http", "protocol": "HTTP"},
            {"number": 443, "name": "https", "protocol": "HTTPS"},
        ]
        label = "app=tls" if 8443 in endpoint_ports.values() else "app=httpbin"
        endpoints = [{"address": self.ip(label), "ports": endpoint_ports}]
        spec = {
            "hosts": [HOST],
            "location": "MESH_EXTERNAL",
            "resolution": "STATIC",
            "ports": ports,
            "endpoints": endpoints,
        }
        return kind("ServiceEntry", "external", **spec)


def kind(name: str, called: str, **spec: Any) -> Object:
    return {"apiVersion": "networking.istio.io/v1", "kind": name, "metadata": {"name": called}, "spec": spec}


def through_the_gateway(port: int) -> list[Object]:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]}
    gateway = kind("Gateway", "egress", selector={"istio": "egressgateway"}, servers=[server])
    egress = {"host": "istio-egressgateway.istio-system.svc.cluster.local", "port": {"number": 80}}
    http = [
        {"match": [{"gateways": ["mesh"], "port": 80}], "route": [{"destination": egress}]},
        {
            "match": [{"gateways": ["egress"], "port": 80}],
            "route": [{"destination": {"host": HOST, "port": {"number": port}}}],
        },
    ]
    return [gateway, kind("VirtualService", "egress", hosts=[HOST], gateways=["egress", "mesh"], http=http)]


@pytest.fixture(scope="module")
def outside(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    script = tmp_path_factory.mktemp("tls") / "server.py"
    script.write_text(SERVER)
    yield World(cluster, script)
    cluster.kubectl("delete", "namespace", "outside", "inside")
    cluster.kubectl("delete", "-f", str(SAMPLES / "egress" / "istio-egressgateway.yaml"))
    cluster.sailctl("image", "remove", "example.com/tls", "--state", str(cluster.state))


@pytest.fixture
def world(outside: World) -> Iterator[World]:
    yield outside
    every = "serviceentries,gateways.networking.istio.io,virtualservices,destinationrules,sidecars"
    outside.cluster.kubectl("delete", every, "--all", "-n", "inside")


def test_only_what_the_mesh_knows_can_be_called_if_it_says_so(world: World) -> None:
    world.apply("inside", kind("Sidecar", "default", outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}))
    world.cluster.eventually(lambda: world.get()[0] == "502")
    world.apply("inside", world.entry(http=8080))
    world.cluster.eventually(lambda: world.get("/status/200")[0] == "200")
    assert world.get(host="another.example.com")[0] == "502"


def test_calls_leave_through_the_egress_gateway(world: World) -> None:
    world.apply("inside", world.entry(http=8080))
    world.cluster.eventually(lambda: world.get("/status/200")[0] == "200")
    assert forwarded_for(world) == []
    world.apply("inside", *through_the_gateway(80))
    caller = world.ip("app=curl", "inside")
    world.cluster.eventually(lambda: forwarded_for(world) == [caller])  # which a gateway adds, and a sidecar does not


def forwarded_for(world: World) -> list[str]:
    """The header X-Forwarded-For as the outside sees it; what was answered if it was no success."""
    status, body = world.get("/headers")
    if status != "200":
        return [status, body]
    found = json.loads(body)["headers"].get("X-Forwarded-For") or []
    return [found] if isinstance(found, str) else list(found)


def test_the_egress_gateway_begins_tls(world: World) -> None:
    rule = {
        "host": HOST,
        "trafficPolicy": {
            "portLevelSettings": [{"port": {"number": 443}, "tls": {"mode": "SIMPLE", "insecureSkipVerify": True}}]
        },
    }
    world.apply(
        "inside", world.entry(https=8443), kind("DestinationRule", "external", **rule), *through_the_gateway(443)
    )
    gateway = world.ip("istio=egressgateway", "istio-system")
    world.apply("istio-system", kind("DestinationRule", "external", **rule))
    world.cluster.eventually(lambda: world.get() == ("200", f"tls {HOST} {gateway}"))
    world.cluster.kubectl("delete", "destinationrule", "external", "-n", "istio-system")


def test_the_sidecar_begins_tls(world: World) -> None:
    tls = {"mode": "SIMPLE", "sni": HOST, "insecureSkipVerify": True}
    rule = {"host": HOST, "trafficPolicy": {"tls": tls}}
    world.apply("inside", world.entry(http=8443), kind("DestinationRule", "external", **rule))
    caller = world.ip("app=curl", "inside")
    world.cluster.eventually(lambda: world.get() == ("200", f"tls {HOST} {caller}"))
    for name in (HOST, None):  # with a name in the rule, and with that of the request
        tls.update(sni=name, insecureSkipVerify=False)
        world.apply("inside", kind("DestinationRule", "external", **rule))
        world.cluster.eventually(lambda: world.get()[0] == "503")
        assert "remote connection failure" in world.get()[1]
