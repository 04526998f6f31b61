"""A Gateway of the Gateway API with pods of its own: plain and over TLS with a certificate of another namespace, and gone with all it made.
Behind it, the echo of the conformance suite over HTTP/2 without TLS."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bookinfo import Cluster, Object
from .test_gateway_tls import Authority

GROUP = "gateway.networking.k8s.io/v1"
HOST = "books.example.com"


def gateway() -> Object:
    certificate = {"name": "books", "namespace": "certs"}
    listeners = [
        {"name": "http", "port": 80, "protocol": "HTTP"},
        {
            "name": "https",
            "port": 443,
            "protocol": "HTTPS",
            "hostname": HOST,
            "tls": {"certificateRefs": [certificate]},
        },
    ]
    spec = {"gatewayClassName": "sailcloth", "listeners": listeners, "infrastructure": {"labels": {"team": "web"}}}
    return {"apiVersion": GROUP, "kind": "Gateway", "metadata": {"name": "edge"}, "spec": spec}


def route() -> Object:
    pages = [{"path": {"type": "PathPrefix", "value": "/productpage"}}]
    rewrite = {
        "type": "URLRewrite",
        "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/productpage"}},
    }
    backends = [{"name": "productpage", "port": 9080}]
    rules = [
        {"matches": pages, "backendRefs": backends},
        {"matches": [{"path": {"type": "Exact", "value": "/"}}], "filters": [rewrite], "backendRefs": backends},
    ]
    spec = {"parentRefs": [{"name": "edge"}], "rules": rules}
    return {"apiVersion": GROUP, "kind": "HTTPRoute", "metadata": {"name": "books"}, "spec": spec}


@pytest.fixture
def edge(mesh: Cluster, tmp_path: Path) -> Iterator[tuple[str, Authority]]:
    """(address, who has signed the certificate)."""
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue(HOST)
    mesh.kubectl("create", "namespace", "certs")
    mesh.kubectl("create", "secret", "tls", "books", "-n", "certs", f"--cert={certificate}", f"--key={key}")
    for obj in (gateway(), route()):
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    mesh.kubectl("wait", "gateway.gateway.networking.k8s.io/edge", "--for=condition=Programmed", "--timeout=30s")
    yield mesh.kubectl("get", "gtw", "edge", "-o", "jsonpath={.status.addresses[0].value}"), authority
    mesh.kubectl("delete", "gateways.gateway.networking.k8s.io,httproutes,referencegrants", "--all", "-A")
    mesh.eventually(lambda: "edge" not in mesh.kubectl("get", "deployments,services,serviceaccounts", "-o", "name"))
    mesh.kubectl("delete", "namespace", "certs")


def status(address: str, path: str, port: int = 80) -> int:
    """Of a request; 0 without an answer."""
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def secure(address: str, authority: Authority, client: tuple[Path, Path] | None = None) -> bytes:
    """The status line over TLS; empty if there is no connection with a valid certificate. client: its certificate and key."""
    try:
        with socket.create_connection((address, 443), timeout=5) as plain:
            context = ssl.create_default_context(cafile=str(authority.root))
            if client is not None:
                context.load_cert_chain(*client)
            with context.wrap_socket(plain, server_hostname=HOST) as tls:
                tls.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
                return tls.recv(100).partition(b"\r\n")[0]
    except OSError:
        return b""


def grant(mesh: Cluster) -> None:
    """Let Gateways use the certificate."""
    made = {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": "edge", "namespace": "certs"},
        "spec": {
            "from": [{"group": GROUP.partition("/")[0], "kind": "Gateway", "namespace": "default"}],
            "to": [{"group": "", "kind": "Secret"}],
        },
    }
    mesh.kubectl("apply", "-f", "-", stdin=json.dumps(made))


def test_a_gateway_of_its_own(mesh: Cluster, edge: tuple[str, Authority]) -> None:
    address, authority = edge
    mesh.eventually(lambda: status(address, "/productpage") == 200)
    assert [status(address, p) for p in ("/", "/reviews/0")] == [200, 404]
    ask = f"import urllib.request as r; print(r.urlopen('http://{address}/productpage').status)"
    assert mesh.kubectl("exec", "deploy/productpage-v1", "--", "python3", "-c", ask).strip() == "200"
    labels = mesh.kubectl("get", "pod", "-l", "gateway.networking.k8s.io/gateway-name=edge,team=web", "-o", "name")
    assert labels.startswith("pod/edge-sailcloth-")
    shown = json.loads(mesh.kubectl("get", "gtw", "edge", "-o", "json"))["status"]
    attached = {entry["name"]: entry["attachedRoutes"] for entry in shown["listeners"]}
    assert attached == {"http": 1, "https": 1}

    message = "jsonpath={.status.parents[0].conditions[0].message}"
    mesh.eventually(lambda: mesh.kubectl("get", "httproute", "books", "-o", message) == "1/1 proxies")

    described = mesh.sailctl("x", "describe", "gateway", "edge")
    assert f"Addresses: {address}" in described
    assert described.count("HTTPRoute books.default") == 2
    assert "references: RefNotPermitted: no ReferenceGrant in certs" in described
    assert f"at {address}" in mesh.sailctl("x", "describe", "route", "books")

    assert secure(address, authority) == b""  # nobody has granted the certificate
    grant(mesh)
    mesh.eventually(lambda: secure(address, authority) == b"HTTP/1.1 200 OK")

    mesh.kubectl("delete", "httproute", "books")
    mesh.eventually(lambda: status(address, "/productpage") == 404)


def test_clients_need_a_certificate(mesh: Cluster, edge: tuple[str, Authority], tmp_path: Path) -> None:
    address, authority = edge
    grant(mesh)
    mesh.eventually(lambda: secure(address, authority) == b"HTTP/1.1 200 OK")
    mesh.kubectl("create", "configmap", "roots", f"--from-file=ca.crt={authority.root}")
    known = authority.issue("known.example.com")[:2]
    (tmp_path / "other").mkdir()
    unknown = Authority(tmp_path / "other").issue("unknown.example.com")[:2]

    def verify(mode: str) -> None:
        validation = {"mode": mode, "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "roots"}]}
        patch = {"spec": {"tls": {"frontend": {"default": {"validation": validation}}}}}
        mesh.kubectl("patch", "gtw", "edge", "--type=merge", "-p", json.dumps(patch))

    try:
        verify("AllowValidOnly")
        mesh.eventually(lambda: secure(address, authority) == b"")
        mesh.eventually(lambda: secure(address, authority, known) == b"HTTP/1.1 200 OK")
        assert secure(address, authority, unknown) == b""
        verify("AllowInsecureFallback")
        mesh.eventually(lambda: secure(address, authority, unknown) == b"HTTP/1.1 200 OK")
        mesh.eventually(lambda: secure(address, authority) == b"HTTP/1.1 200 OK")
        shown = mesh.kubectl("get", "gtw", "edge", "-o", "jsonpath={.status.conditions[*].type}")
        assert "InsecureFrontendValidationMode" in shown
        mesh.kubectl("delete", "configmap", "roots")
        mesh.eventually(lambda: secure(address, authority, known) == b"")
        assert "NoValidCACertificate" in mesh.sailctl("x", "describe", "gateway", "edge")
    finally:
        mesh.kubectl("delete", "configmap", "roots", "--ignore-not-found")


def echo() -> list[Object]:
    container = {"name": "echo", "image": "registry.k8s.io/gateway-api/echo-basic:v1.6.0"}
    pod = {"metadata": {"labels": {"app": "h2c"}}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"app": "h2c"}}
    ports = [
        {"name": "two", "port": 8080, "targetPort": 3001, "appProtocol": "kubernetes.io/h2c"},
        {"name": "any", "port": 8081, "targetPort": 3000},
    ]
    any_version = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/any"}}],
        "backendRefs": [{"name": "h2c", "port": 8081}],
    }
    rules = [any_version, {"backendRefs": [{"name": "h2c", "port": 8080}]}]
    parent = {"parentRefs": [{"name": "edge"}], "rules": rules}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "h2c"},
            "spec": {"selector": selector, "template": pod},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "h2c"},
            "spec": {"selector": selector["matchLabels"], "ports": ports},
        },
        {"apiVersion": GROUP, "kind": "HTTPRoute", "metadata": {"name": "h2c"}, "spec": parent},
    ]


def protocol(address: str, path: str = "/echo", *options: str) -> str:
    """The protocol that the echo was asked in."""
    argv = ["curl", "-s", "-m", "5", *options, f"http://{address}{path}"]
    answer = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    try:
        return str(json.loads(answer).get("proto"))
    except ValueError:
        return answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="asks with curl")
def test_backends_get_the_version_of_http_that_they_speak(mesh: Cluster, edge: tuple[str, Authority]) -> None:
    for obj in echo():
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    try:
        mesh.kubectl("rollout", "status", "deployment/h2c", "--timeout=60s")
        mesh.eventually(lambda: protocol(edge[0]) == "HTTP/2.0")
        # Of a port without a protocol nothing is known, and a browser's HTTP/2 is not for its server.
        two = "--http2-prior-knowledge"
        assert [protocol(edge[0], "/any", *o) for o in ((), (two,))] == ["HTTP/1.1", "HTTP/1.1"]
    finally:
        mesh.kubectl("delete", "deployment,service", "h2c")


def secured(backend: str) -> list[Object]:
    """A server of TLS with a certificate of a Secret, and a route to it."""
    files = {"TLS_SERVER_CERT": "/certs/tls.crt", "TLS_SERVER_PRIVKEY": "/certs/tls.key"}
    container = {
        "name": "echo",
        "image": "registry.k8s.io/gateway-api/echo-basic:v1.6.0",
        "env": [{"name": name, "value": value} for name, value in files.items()],
        "volumeMounts": [{"name": "certs", "mountPath": "/certs"}],
    }
    volumes = [{"name": "certs", "secret": {"secretName": backend}}]
    pod = {"metadata": {"labels": {"app": backend}}, "spec": {"containers": [container], "volumes": volumes}}
    ports = [{"name": "https", "port": 443, "targetPort": 8443}]
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/secured"}}],
        "backendRefs": [{"name": backend, "port": 443}],
    }
    bodies: dict[tuple[str, str], Object] = {
        ("apps/v1", "Deployment"): {"selector": {"matchLabels": {"app": backend}}, "template": pod},
        ("v1", "Service"): {"selector": {"app": backend}, "ports": ports},
        (GROUP, "HTTPRoute"): {"parentRefs": [{"name": "edge"}], "rules": [rule]},
    }
    return [{"apiVersion": v, "kind": k, "metadata": {"name": backend}, "spec": s} for (v, k), s in bodies.items()]


def test_gateways_speak_tls_to_a_backend(mesh: Cluster, edge: tuple[str, Authority], tmp_path: Path) -> None:
    address, authority = edge
    certificate, key, _ = authority.issue("secured.example.com")
    (tmp_path / "other").mkdir()
    mesh.kubectl("create", "secret", "tls", "secured", f"--cert={certificate}", f"--key={key}")
    mesh.kubectl("create", "configmap", "right", f"--from-file=ca.crt={authority.root}")
    mesh.kubectl("create", "configmap", "wrong", f"--from-file=ca.crt={Authority(tmp_path / 'other').root}")

    def verify(roots: str, host: str) -> None:
        validation = {"hostname": host, "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": roots}]}
        spec = {"targetRefs": [{"group": "", "kind": "Service", "name": "secured"}], "validation": validation}
        policy = {"apiVersion": GROUP, "kind": "BackendTLSPolicy", "metadata": {"name": "secured"}, "spec": spec}
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps(policy))

    def accepted() -> str:
        conditions = '{.status.ancestors[0].conditions[?(@.type=="Accepted")].reason}'
        return mesh.kubectl("get", "backendtlspolicy", "secured", "-o", f"jsonpath={conditions}")

    try:
        for obj in secured("secured"):
            mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
        mesh.kubectl("rollout", "status", "deployment/secured", "--timeout=60s")
        verify("right", "secured.example.com")
        mesh.eventually(lambda: status(address, "/secured") == 200)
        assert accepted() == "Accepted"
        verify("right", "somebody.example.com")
        mesh.eventually(lambda: status(address, "/secured") == 503)
        verify("right", "secured.example.com")
        mesh.eventually(lambda: status(address, "/secured") == 200)
        verify("wrong", "secured.example.com")
        mesh.eventually(lambda: status(address, "/secured") == 503)
        mesh.kubectl("delete", "configmap", "wrong")
        mesh.eventually(lambda: accepted() == "NoValidCACertificate")
        assert status(address, "/secured") == 503
    finally:
        mesh.kubectl("delete", "backendtlspolicy,deployment,service,secret", "secured", "--ignore-not-found")
        mesh.kubectl("delete", "configmap", "right", "wrong", "--ignore-not-found")


def test_backends_have_rewrites_and_redirects_of_their_own(mesh: Cluster, edge: tuple[str, Authority]) -> None:
    page = {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/productpage"}}
    filters: list[Object] = [
        {"type": "URLRewrite", "urlRewrite": page},
        {"type": "RequestRedirect", "requestRedirect": {"hostname": "elsewhere.example.com"}},
    ]
    backends = [{"name": "productpage", "port": 9080, "filters": [f]} for f in filters]
    rule = {"matches": [{"path": {"value": "/split"}}], "backendRefs": backends}
    spec = {"parentRefs": [{"name": "edge"}], "rules": [rule]}
    mesh.kubectl(
        "apply",
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": GROUP, "kind": "HTTPRoute", "metadata": {"name": "split"}, "spec": spec}),
    )
    mesh.eventually(lambda: status(edge[0], "/split") in (200, 302))
    found = [status(edge[0], "/split") for _ in range(60)]
    assert {200, 302} == set(found)
    assert 10 <= found.count(200) <= 50  # half of them; by chance outside once in ten million runs


def test_parameters_shape_a_gateways_deployment(mesh: Cluster) -> None:
    data = {"deployment": "spec: {replicas: 2}", "podDisruptionBudget": "spec: {minAvailable: 1}"}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "options"}, "data": data}
    reference = {"parametersRef": {"group": "", "kind": "ConfigMap", "name": "options"}}
    shaped = gateway()
    shaped["metadata"]["name"] = "shaped"
    shaped["spec"] |= {"infrastructure": reference, "listeners": shaped["spec"]["listeners"][:1]}
    replicas = ("get", "deployment", "shaped-sailcloth", "--ignore-not-found", "-o", "jsonpath={.status.readyReplicas}")
    budgets = ("get", "poddisruptionbudgets", "-o", "name")
    try:
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps(shaped))
        why = "jsonpath={.status.conditions[?(@.type=='Accepted')].reason}"
        mesh.eventually(lambda: mesh.kubectl("get", "gtw", "shaped", "-o", why) == "InvalidParameters")
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps(config_map))
        mesh.eventually(lambda: mesh.kubectl(*replicas) == "2")
        assert "shaped-sailcloth" in mesh.kubectl(*budgets)
        del data["podDisruptionBudget"]
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps(config_map))
        mesh.eventually(lambda: "shaped-sailcloth" not in mesh.kubectl(*budgets))
    finally:
        mesh.kubectl("delete", "gateway.gateway.networking.k8s.io/shaped", "configmap/options", "--ignore-not-found")
        mesh.eventually(
            lambda: "shaped" not in mesh.kubectl("get", "deployments,services,serviceaccounts", "-o", "name")
        )
