"""Validates Gateway: servers with consistent ports, hosts and TLS settings."""

from __future__ import annotations

from sailcloth.api.gateway import Gateway, Server

from . import addresses, codes, hosts, ports, server_tls
from .report import Report

_SEMANTICS = "internal.istio.io/gateway-semantics"  # on Gateways that are converted from the Gateway API


def validate(report: Report, obj: Gateway) -> None:
    """Report all findings."""
    if not obj.spec.servers:
        report.error(codes.REQUIRED, "spec.servers", "a gateway needs at least one server", "Give servers.")
    internal = obj.metadata.annotations.get(_SEMANTICS) == "gateway"
    names: set[str] = set()
    for index, server in enumerate(obj.spec.servers):
        path = f"spec.servers[{index}]"
        _server(report, path, server, internal)
        name = server.port.name
        if name and name in names:
            text = f"port names must be unique: {name!r} is given twice"
            report.error(codes.DUPLICATE, f"{path}.port.name", text, "Give every port its own name.")
        names.add(name)


def _server(report: Report, path: str, server: Server, internal: bool) -> None:
    port = server.port
    ports.check_number(report, f"{path}.port.number", port.number)
    ports.check_protocol(report, f"{path}.port.protocol", port.protocol, required=True)
    if not port.name:
        report.error(codes.REQUIRED, f"{path}.port.name", "the port has no name", "Give it one, such as https.")
    if port.target_port:
        text = "targetPort has no effect in a Gateway"
        report.warning(codes.NO_EFFECT, f"{path}.port.targetPort", text, "Remove it; the Service sets it.")
    if not server.hosts:
        report.error(codes.REQUIRED, f"{path}.hosts", "a server needs at least one host", "Give hosts, such as '*'.")
    for index, host in enumerate(server.hosts):
        hosts.scoped(report, f"{path}.hosts[{index}]", host, gateway=True, internal=internal)
    if server.bind:
        if server.bind.startswith("unix:"):
            addresses.check_socket(report, f"{path}.bind", server.bind)
        else:
            addresses.check_ip(report, f"{path}.bind", server.bind)
    _tls(report, path, server)


def _tls(report: Report, path: str, server: Server) -> None:
    protocol, tls = ports.protocol(server.port.protocol), server.tls
    if protocol in ports.TLS:
        if tls is None:
            text = f"a server for {protocol} needs TLS settings"
            report.error(codes.TLS, f"{path}.tls", text, "Give tls with a mode and a credentialName.")
        elif tls.https_redirect:
            text = "httpsRedirect applies to plain HTTP servers only"
            report.warning(codes.NO_EFFECT, f"{path}.tls.httpsRedirect", text, "Move it to the HTTP server.")
    elif tls is not None:
        set_fields = {f for f in tls.__struct_fields__ if getattr(tls, f) not in (None, False, "", ())}
        if protocol not in ports.HTTP:
            text = f"a server for {protocol or 'this protocol'} cannot have TLS settings"
            report.error(codes.TLS, f"{path}.tls", text, "Remove tls, or use protocol TLS.")
        elif set_fields - {"https_redirect"}:
            text = "a plain HTTP server can only have httpsRedirect"
            note = report.warning if tls.https_redirect else report.error
            note(codes.TLS, f"{path}.tls", text, "Remove the rest, or use protocol HTTPS.")
        return
    if tls is not None:
        server_tls.check(report, f"{path}.tls", tls)
