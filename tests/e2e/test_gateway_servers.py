"""Servers of a Gateway beside plain HTTP and TLS from Secrets: who may bind to them, what they pass on, and how."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from .bookinfo import Cluster
from .lab import Lab, deployment, kind
from .test_gateway_tls import Authority

Object = dict[str, Any]
SELECTOR = {"istio": "ingressgateway"}
GRPC_METHOD = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/Echo"
TLS_PORT = 18443  # of a server that passes connections on; another than the gateway's own 443


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Iterator[Lab]:
    yield Lab(cluster, "servers")
    cluster.kubectl("delete", "namespace", "servers")


@pytest.fixture
def lab(made: Lab) -> Iterator[Lab]:
    yield made
    made.clear()


def server(number: int, protocol: str, hosts: list[str], **tls: Any) -> Object:
    port = {"number": number, "name": f"{protocol.lower()}-{number}", "protocol": protocol}
    return {"port": port, "hosts": hosts, **({"tls": tls} if tls else {})}


def gateway(*servers: Object) -> Object:
    return kind("Gateway", "lab", selector=SELECTOR, servers=list(servers))


def to_echo(*hosts: str, **more: Any) -> Object:
    rules = [{"route": [{"destination": {"host": "echo"}}]}]
    return kind("VirtualService", "lab", hosts=list(hosts), gateways=["lab"], http=rules, **more)


def place(lab: Lab, which: str) -> tuple[str, int]:
    host, _, port = str(lab.cluster.found["urls"][which]).partition("://")[2].partition(":")
    return host, int(port)


def get(lab: Lab, host: str, path: str = "/") -> tuple[int, dict[str, str], str]:
    """(status, headers, body) over plain HTTP through the gateway."""
    with contextlib.closing(http.client.HTTPConnection(*place(lab, "gateway"), timeout=5)) as connection:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()


def over_tls(lab: Lab, where: tuple[str, int], context: ssl.SSLContext, name: str) -> str:
    """What answers over TLS: the body, or why there is none."""
    try:
        with socket.create_connection(where, 5) as raw, context.wrap_socket(raw, server_hostname=name) as link:
            link.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while part := link.recv(65536):
                answer += part
    except OSError as error:
        return type(error).__name__
    return answer.decode(errors="replace").partition("\r\n\r\n")[2]


def stored(lab: Lab, name: str, namespace: str, **files: Path) -> None:
    sources = [f"--from-file={n.replace('_', '.')}={p}" for n, p in files.items()]
    lab.cluster.kubectl("delete", "secret", name, "-n", namespace, "--ignore-not-found")
    lab.cluster.kubectl("create", "secret", "generic", name, "-n", namespace, *sources)


def test_plain_http_is_sent_to_https(lab: Lab) -> None:
    lab.apply(gateway(server(80, "HTTP", ["web.example.com"], httpsRedirect=True)), to_echo("web.example.com"))
    status, headers, _ = get(lab, "web.example.com", "/x?q=1")
    assert (status, headers["location"]) == (301, "https://web.example.com/x?q=1")


def test_only_the_named_namespaces_may_bind(lab: Lab) -> None:
    lab.apply(gateway(server(80, "HTTP", ["servers/*.mine.example.com", "default/*.yours.example.com"])))
    lab.apply(to_echo("a.mine.example.com", "a.yours.example.com"))
    assert get(lab, "a.mine.example.com")[0] == 200
    assert get(lab, "a.yours.example.com")[0] == 404


def test_a_path_of_the_gateway_and_another_of_the_mesh(lab: Lab) -> None:
    """One VirtualService for both; a route names where it holds."""
    rules = [
        {"match": [{"gateways": ["lab"]}], "directResponse": {"status": 207}},
        {"match": [{"gateways": ["mesh"]}], "directResponse": {"status": 208}},
    ]
    hosts = ["echo.servers.svc.cluster.local"]
    rule = kind("VirtualService", "lab", hosts=hosts, gateways=["lab", "mesh"], http=rules)
    lab.apply(gateway(server(80, "HTTP", ["*"])), rule)
    assert get(lab, hosts[0])[0] == 207
    assert lab.ask("http://echo/").status == 208


def test_connections_are_passed_on_by_server_name(lab: Lab, authority: Authority) -> None:
    """The server's own certificate is seen, and the gateway has none."""
    certificate, key, _ = authority.issue("own.example.com")
    stored(lab, "own", "servers", tls_crt=certificate, tls_key=key)
    env = [
        {"name": "TLS_SERVER_CERT", "value": "/certs/tls.crt"},
        {"name": "TLS_SERVER_PRIVKEY", "value": "/certs/tls.key"},
        {"name": "SERVICE_NAME", "value": "secured"},
    ]
    container = {"image": "gcr.io/k8s-staging-gateway-api/echo-basic", "env": env}
    container["volumeMounts"] = [{"name": "certs", "mountPath": "/certs"}]
    obj = deployment("secured", {"app": "secured"}, container)
    obj["spec"]["template"]["spec"]["volumes"] = [{"name": "certs", "secret": {"secretName": "own"}}]
    service = {"selector": {"app": "secured"}, "ports": [{"name": "https", "port": 443, "targetPort": 8443}]}
    lab.put(obj, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "secured"}, "spec": service})
    lab.ready()
    route = {"destination": {"host": "secured", "port": {"number": 443}}}
    tls = [{"match": [{"port": 443, "sniHosts": ["own.example.com"]}], "route": [route]}]
    rule = kind("VirtualService", "lab", hosts=["own.example.com"], gateways=["lab"], tls=tls)
    lab.apply(gateway(server(443, "TLS", ["own.example.com"], mode="PASSTHROUGH")), rule)
    context = ssl.create_default_context(cafile=str(authority.root))
    lab.cluster.eventually(
        lambda: '"secured"' in over_tls(lab, place(lab, "gateway_https"), context, "own.example.com")
    )
    told = json.loads(over_tls(lab, place(lab, "gateway_https"), context, "own.example.com"))
    assert told["tls"]["serverName"] == "own.example.com"
    context.check_hostname = False
    assert over_tls(lab, place(lab, "gateway_https"), context, "other.example.com") in (
        "ConnectionResetError",
        "SSLEOFError",
        "SSLZeroReturnError",
    )
    lab.kubectl("delete", "deployment/secured", "service/secured")


def test_a_client_certificate_may_be_shown(lab: Lab, authority: Authority) -> None:
    """OPTIONAL_MUTUAL: none is fine, a good one is told to the service, a foreign one is refused; and TLS 1.3 at least."""
    certificate, key, _ = authority.issue("may.example.com")
    mine, secret, _ = authority.issue("client.example.com")
    stored(lab, "may", "istio-system", tls_crt=certificate, tls_key=key, ca_crt=authority.root)
    secured = server(
        443, "HTTPS", ["may.example.com"], mode="OPTIONAL_MUTUAL", credentialName="may", minProtocolVersion="TLSV1_3"
    )
    lab.apply(gateway(secured), to_echo("may.example.com"))
    where = place(lab, "gateway_https")
    plain = ssl.create_default_context(cafile=str(authority.root))
    lab.cluster.eventually(lambda: '"echo-' in over_tls(lab, where, plain, "may.example.com"))
    (told,) = json.loads(over_tls(lab, where, plain, "may.example.com"))["headers"]["X-Forwarded-Client-Cert"]
    assert "client.example.com" not in told  # it tells of the gateway only
    shown = ssl.create_default_context(cafile=str(authority.root))
    shown.load_cert_chain(mine, secret)
    (told,) = json.loads(over_tls(lab, where, shown, "may.example.com"))["headers"]["X-Forwarded-Client-Cert"]
    assert "client.example.com" in told
    old = ssl.create_default_context(cafile=str(authority.root))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert over_tls(lab, where, old, "may.example.com") == "SSLError"
    lab.cluster.kubectl("delete", "secret", "may", "-n", "istio-system")


def test_calls_of_one_grpc_connection_are_shared_out(lab: Lab) -> None:
    env = [
        {"name": "GRPC_ECHO_SERVER", "value": "1"},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    container = {"image": "gcr.io/k8s-staging-gateway-api/echo-basic", "env": env, "ports": [{"containerPort": 3000}]}
    obj = deployment("rpc", {"app": "rpc"}, container)
    obj["spec"]["replicas"] = 2
    service = {"selector": {"app": "rpc"}, "ports": [{"name": "grpc", "port": 7070, "targetPort": 3000}]}
    lab.put(obj, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "rpc"}, "spec": service})
    lab.ready()
    balanced = {"loadBalancer": {"simple": "ROUND_ROBIN"}}
    rules = [
        {"match": [{"uri": {"prefix": GRPC_METHOD.rpartition("/")[0]}}], "route": [{"destination": {"host": "rpc"}}]}
    ]
    rule = kind("VirtualService", "lab", hosts=["rpc.example.com"], gateways=["lab"], http=rules)
    lab.apply(
        gateway(server(80, "GRPC", ["rpc.example.com"])),
        rule,
        kind("DestinationRule", "rpc", host="rpc", trafficPolicy=balanced),
    )
    host, port = place(lab, "gateway")
    with grpc.insecure_channel(f"{host}:{port}", options=[("grpc.default_authority", "rpc.example.com")]) as channel:
        call = channel.unary_unary(GRPC_METHOD)

        def pods() -> Counter[str]:
            answers = [bytes(call(b"", timeout=5, wait_for_ready=True)) for _ in range(20)]
            names = lab.kubectl("get", "pods", "-l", "app=rpc", "-o", "name").split()
            return Counter(n for a in answers for n in names if n.partition("/")[2].encode() in a)

        assert sorted(pods().values()) == [10, 10]
    lab.kubectl("delete", "deployment/rpc", "service/rpc")
