"""Gateways of Istio as Gateways of the Gateway API: a listener for each server and host.

Must not admit more clients: a server that verifies their certificates is left out. Which workloads listen is kept through the address of their
Service, if it is in the input or Istio's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sailcloth.api.gateway import Gateway, Server
from sailcloth.api.gateway_api import GROUP
from sailcloth.api.meta import Key

from .documents import Document, Losses, Scope, made, slug
from .gateway_backends import Backends

_HTTP = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
_PODS = {8080: 80, 8443: 443}  # ports of the pods of Istio's own ingress gateway, and of its Service
_NAMESPACE = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Listener:
    """A listener: its name, port, protocol of the Gateway API, hostname (empty for all), and whether it only redirects to HTTPS."""

    name: str
    port: int
    protocol: str
    hostname: str
    redirects: bool = False


@dataclass(frozen=True)
class Converted:
    """A Gateway and its listeners; more objects that it needs."""

    documents: tuple[Document, ...]
    listeners: tuple[Listener, ...]


def convert(document: Document, key: Key, gateway: Gateway, scope: Scope, backends: Backends) -> Converted:
    """The Gateway of the Gateway API."""
    losses = Losses(key)
    service = _service(gateway, backends, scope)
    namespace = service[0] if service is not None else key.namespace
    listeners: list[Listener] = []
    bodies = []
    secrets: set[str] = set()
    for index, server in enumerate(gateway.spec.servers):
        path = f"spec.servers[{index}]"
        tls = _tls(server, path, namespace, key.namespace, losses)
        if tls is None:
            continue
        secrets |= {r["name"] for r in tls.get("certificateRefs", ()) if "namespace" in r}
        protocol = _protocol(server, tls)
        if server.bind:
            losses.add(f"{path}.bind", "the listener is on all addresses", "Nothing else can be said.")
        for host in server.hosts or ("*",):
            where, _, name = host.rpartition("/")
            name = "" if name == "*" else name
            label = slug(
                f"{server.port.name or protocol}-{name}" if len(server.hosts) > 1 else server.port.name or protocol
            )
            while any(label == one.name for one in listeners):
                label = f"{label[:60]}-{len(listeners)}"
            redirects = server.tls is not None and server.tls.https_redirect and protocol == "HTTP"
            listeners.append(Listener(label, server.port.number, protocol, name, redirects))
            number = server.port.number
            number = _service_port(number, service, backends, f"{path}.port.number", losses) if service else number
            body: dict[str, Any] = {"name": label, "port": number, "protocol": protocol}
            body |= {"hostname": name} if name and protocol != "TCP" else {}
            body |= {"tls": tls} if tls else {}
            bodies.append({**body, "allowedRoutes": {"namespaces": _allowed(where, key.namespace)}})
    spec: dict[str, Any] = {"gatewayClassName": "istio"}
    if service is not None:
        address = f"{service[1]}.{service[0]}.svc.{scope.config.domain}"
        spec["addresses"] = [{"type": "Hostname", "value": address}]
    elif gateway.spec.selector:
        labels = ", ".join(f"{k}: {v}" for k, v in sorted(gateway.spec.selector.items()))
        text = f"a new Deployment serves it, because no Service for pods with {labels} is in the input"
        losses.add("spec.selector", text, "Add the Service of the gateway to the input, to keep its pods and address.")
    if not bodies:
        return Converted((Document({}, sources=(key,), losses=tuple(losses.found)),), ())
    metadata = document.own_metadata
    spec["listeners"] = bodies
    out = [Document(made(f"{GROUP}/v1", "Gateway", metadata, spec), sources=(key,), losses=tuple(losses.found))]
    if secrets:
        grant = {
            "from": [{"group": GROUP, "kind": "Gateway", "namespace": key.namespace}],
            "to": [{"group": "", "kind": "Secret", "name": name} for name in sorted(secrets)],
        }
        grant_metadata = {"name": f"gateways-of-{key.namespace}-{key.name}", "namespace": namespace}
        out.append(Document(made(f"{GROUP}/v1beta1", "ReferenceGrant", grant_metadata, grant), sources=(key,)))
    if any(one.redirects for one in listeners):
        out.append(_redirect(key, document, listeners))
    return Converted(tuple(out), tuple(listeners))


def _service(gateway: Gateway, backends: Backends, scope: Scope) -> tuple[str, str] | None:
    """(namespace, name) of the Service of the pods that a Gateway selects."""
    selector = gateway.spec.selector
    for where, service in sorted(backends.services.items()):
        if selector and selector.items() <= service.spec.selector.items():
            return where
    own = scope.config.ingress_service
    return (scope.config.root_namespace, own) if selector == {"istio": "ingressgateway"} else None


def _service_port(number: int, service: tuple[str, str], backends: Backends, path: str, losses: Losses) -> int:
    """The port of a gateway's Service that leads to a server, whose number may be that of the pods."""
    ports = backends.ports(*service)
    if any(port.port == number for port in ports):
        return number
    leading = [port.port for port in ports if port.target_port == number]
    if not ports and number in _PODS:
        leading = [_PODS[number]]
        text = f"the port of the Service is taken to be {leading[0]}, as Istio installs it"
        losses.add(path, text, f"Add the Service {service[0]}/{service[1]} to the input.")
    return leading[0] if leading else number


def _protocol(server: Server, tls: dict[str, Any]) -> str:
    word = server.port.protocol.upper()
    if word in _HTTP:
        return "HTTP"
    if word in ("HTTPS", "TLS"):
        return "HTTPS" if word == "HTTPS" and tls.get("mode") == "Terminate" else "TLS"
    return "TCP"


def _tls(server: Server, path: str, namespace: str, own: str, losses: Losses) -> dict[str, Any] | None:
    """The TLS part of a listener, empty without TLS; None, with a loss, if it cannot be said."""
    word, tls = server.port.protocol.upper(), server.tls
    if word not in (*_HTTP, "HTTPS", "TLS", "TCP", "MONGO", "MYSQL", "REDIS"):
        losses.add(f"{path}.port.protocol", f"the server is left out: {word} has no listener", "Use TCP.")
        return None
    if word not in ("HTTPS", "TLS"):
        return {}
    mode = tls.mode if tls is not None else None
    if tls is not None and mode == "PASSTHROUGH":
        return {"mode": "Passthrough"}
    names = [n for n in ((tls.credential_name, *tls.credential_names) if tls is not None else ()) if n]
    if tls is None or mode != "SIMPLE" or not names:
        why = "it has no credentialName" if mode == "SIMPLE" else f"the mode {mode} has no listener"
        losses.add(
            f"{path}.tls.mode", f"the server is left out: {why}", "Use SIMPLE with credentialName, or keep the Gateway."
        )
        return None
    for name, value in (
        ("minProtocolVersion", tls.min_protocol_version),
        ("maxProtocolVersion", tls.max_protocol_version),
        ("cipherSuites", tls.cipher_suites),
        ("ecdhCurves", tls.ecdh_curves),
    ):
        if value:
            text = "the versions and ciphers are those of the mesh's options"
            losses.add(f"{path}.tls.{name}", text, "Set meshConfig.tlsDefaults.")
    more = {"namespace": namespace} if namespace != own else {}
    return {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": name, **more} for name in names]}


def _allowed(where: str, own: str) -> dict[str, Any]:
    """The namespaces whose routes a host of a server takes."""
    if where in ("", "*"):
        return {"from": "All"}
    if where == ".":
        return {"from": "Same"}
    return {"from": "Selector", "selector": {"matchLabels": {_NAMESPACE: where}}} if where != own else {"from": "Same"}


def _redirect(key: Key, document: Document, listeners: list[Listener]) -> Document:
    """The route of the listeners that send all requests to HTTPS."""
    parents = [{"name": key.name, "sectionName": one.name} for one in listeners if one.redirects]
    step = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}
    metadata = {"name": f"{key.name}-https", "namespace": document.metadata.get("namespace")}
    body = made(f"{GROUP}/v1", "HTTPRoute", metadata, {"parentRefs": parents, "rules": [{"filters": [step]}]})
    return Document(body, sources=(key,))
