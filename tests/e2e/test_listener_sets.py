"""ListenerSets of the Gateway API at a real Envoy: another namespace adds ports and a certificate to a Gateway that lets it, and takes them away."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bookinfo import Cluster, Object
from .test_gateway_tls import Authority
from .test_kubernetes_gateways import GROUP, status

HOST = "team.example.com"
PAGES = 8090


def gateway() -> Object:
    allowed = {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"listeners": "yes"}}}}
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    spec = {"gatewayClassName": "sailcloth", "allowedListeners": allowed, "listeners": listeners}
    return {"apiVersion": GROUP, "kind": "Gateway", "metadata": {"name": "shared"}, "spec": spec}


def listener_set(name: str, secret: str) -> Object:
    everybody = {"namespaces": {"from": "All"}}
    listeners = [
        {"name": "pages", "port": PAGES, "protocol": "HTTP", "allowedRoutes": everybody},
        {
            "name": "secure",
            "port": 443,
            "protocol": "HTTPS",
            "hostname": HOST,
            "allowedRoutes": everybody,
            "tls": {"certificateRefs": [{"name": secret}]},
        },
    ]
    metadata = {"name": name, "namespace": "team"}
    spec = {"parentRef": {"name": "shared", "namespace": "default"}, "listeners": listeners}
    return {"apiVersion": GROUP, "kind": "ListenerSet", "metadata": metadata, "spec": spec}


def route(parent: str, path: str) -> Object:
    rewrite = {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/productpage"}}
    rule = {
        "matches": [{"path": {"type": "Exact", "value": path}}],
        "filters": [{"type": "URLRewrite", "urlRewrite": rewrite}],
        "backendRefs": [{"name": "productpage", "port": 9080}],
    }
    spec = {"parentRefs": [{"kind": "ListenerSet", "name": parent, "namespace": "team"}], "rules": [rule]}
    return {"apiVersion": GROUP, "kind": "HTTPRoute", "metadata": {"name": parent}, "spec": spec}


def apply(mesh: Cluster, *objects: Object) -> None:
    for obj in objects:
        mesh.kubectl("apply", "-f", "-", stdin=json.dumps(obj))


@pytest.fixture
def shared(mesh: Cluster) -> Iterator[str]:
    """The address of a Gateway."""
    mesh.kubectl("create", "namespace", "team")
    try:
        apply(mesh, gateway())
        mesh.kubectl("wait", "gateway.gateway.networking.k8s.io/shared", "--for=condition=Programmed", "--timeout=30s")
        yield mesh.kubectl("get", "gtw", "shared", "-o", "jsonpath={.status.addresses[0].value}")
    finally:
        mesh.kubectl("delete", "gateways.gateway.networking.k8s.io,httproutes,listenersets", "--all", "-A")
        mesh.eventually(
            lambda: "shared" not in mesh.kubectl("get", "deployments,services,serviceaccounts", "-o", "name")
        )
        mesh.kubectl("delete", "namespace", "team")


def served_serial(address: str, authority: Authority) -> int:
    """The serial number of the certificate that is shown for the host; 0 if none is valid."""
    try:
        with socket.create_connection((address, 443), timeout=5) as plain:
            context = ssl.create_default_context(cafile=str(authority.root))
            with context.wrap_socket(plain, server_hostname=HOST) as tls:
                return int(str((tls.getpeercert() or {}).get("serialNumber", "0")), 16)
    except OSError:
        return 0


def condition(mesh: Cluster, name: str, kind: str) -> str:
    path = f'{{.status.conditions[?(@.type=="{kind}")].reason}}'
    return mesh.kubectl("get", "listenerset", name, "-n", "team", "-o", f"jsonpath={path}")


def ports(mesh: Cluster) -> list[str]:
    return mesh.kubectl("get", "service", "shared-sailcloth", "-o", "jsonpath={.spec.ports[*].port}").split()


def attached(mesh: Cluster) -> str:
    return mesh.kubectl("get", "gtw", "shared", "-o", "jsonpath={.status.attachedListenerSets}")


def test_a_namespace_adds_its_listeners(mesh: Cluster, shared: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    serials = {}
    for name in ("first", "second"):
        certificate, key, serials[name] = authority.issue(HOST)
        mesh.kubectl("create", "secret", "tls", name, "-n", "team", f"--cert={certificate}", f"--key={key}")
    apply(mesh, listener_set("first", "first"), route("first", "/first"))
    mesh.eventually(lambda: condition(mesh, "first", "Accepted") == "NotAllowed")
    assert (status(shared, "/first", PAGES), str(PAGES) in ports(mesh), attached(mesh)) == (0, False, "0")

    mesh.kubectl("label", "namespace", "team", "listeners=yes")
    mesh.kubectl("wait", "listenerset/first", "-n", "team", "--for=condition=Programmed", "--timeout=30s")
    mesh.eventually(lambda: status(shared, "/first", PAGES) == 200)
    mesh.eventually(lambda: served_serial(shared, authority) == serials["first"])
    assert status(shared, "/first") == 404, "the Gateway's own listener has no route"
    assert attached(mesh) == "1"
    shown = json.loads(mesh.kubectl("get", "listenerset", "first", "-n", "team", "-o", "json"))["status"]
    assert {entry["name"]: entry["attachedRoutes"] for entry in shown["listeners"]} == {"pages": 1, "secure": 1}
    described = mesh.sailctl("x", "describe", "gateway", "shared")
    assert "ListenerSet: first.team\nListener pages: HTTP port 8090" in described
    assert f"at {shared}" in mesh.sailctl("x", "describe", "route", "first")

    apply(mesh, listener_set("second", "second"), route("second", "/second"))
    mesh.eventually(lambda: condition(mesh, "second", "Programmed") == "ListenersNotValid")
    assert [status(shared, p, PAGES) for p in ("/first", "/second")] == [200, 404]
    assert "not accepted: HostnameConflict" in mesh.sailctl("x", "describe", "gateway", "shared")
    mesh.kubectl("delete", "listenerset", "first", "-n", "team")
    mesh.eventually(lambda: [status(shared, p, PAGES) for p in ("/first", "/second")] == [404, 200])
    mesh.eventually(lambda: served_serial(shared, authority) == serials["second"])
    mesh.eventually(lambda: condition(mesh, "second", "Programmed") == "Programmed")

    mesh.kubectl("label", "namespace", "team", "listeners-")
    mesh.eventually(lambda: condition(mesh, "second", "Accepted") == "NotAllowed")
    mesh.eventually(lambda: ports(mesh) == ["15021", "80"])
    mesh.eventually(lambda: status(shared, "/second", PAGES) == 0)
