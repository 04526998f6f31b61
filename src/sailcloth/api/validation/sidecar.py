"""Validates Sidecar: its listeners, and their hosts."""

from __future__ import annotations

from sailcloth.api.gateway import ServerTLSSettings
from sailcloth.api.sidecar import IstioEgressListener, IstioIngressListener, Sidecar, SidecarPort

from . import addresses, codes, hosts, labels, ports, server_tls, traffic_policy
from .report import Report

_LOCAL = ("", "127.0.0.1", "0.0.0.0", "::1", "::")


def validate(report: Report, obj: Sidecar) -> None:
    """Report all findings."""
    spec = obj.spec
    selector = spec.workload_selector
    labels.check_selector(report, "spec.workloadSelector", selector.labels if selector is not None else None)
    if not (spec.ingress or spec.egress or spec.outbound_traffic_policy or spec.inbound_connection_pool):
        report.error(codes.REQUIRED, "spec", "the Sidecar has neither ingress nor egress", "Give egress or ingress.")
    seen: set[int] = set()
    for index, ingress in enumerate(spec.ingress):
        _ingress(report, f"spec.ingress[{index}]", ingress)
        _unique(report, f"spec.ingress[{index}].port.number", ingress.port.number, seen)
    traffic_policy.check_pool(report, "spec.inboundConnectionPool", spec.inbound_connection_pool)
    _egress(report, obj)
    _outbound(report, obj)


def _unique(report: Report, path: str, number: int, seen: set[int]) -> None:
    if number and number in seen:
        report.error(codes.DUPLICATE, path, f"port {number} is given twice", "Make one listener per port.")
    seen.add(number)


def _port(report: Report, path: str, port: SidecarPort) -> None:
    if port.name:
        ports.check_name(report, f"{path}.name", port.name)
    ports.check_protocol(report, f"{path}.protocol", port.protocol)
    if port.target_port:
        text = "targetPort has no effect in a Sidecar"
        report.warning(codes.NO_EFFECT, f"{path}.targetPort", text, "Remove it.")


def _ingress(report: Report, path: str, listener: IstioIngressListener) -> None:
    _port(report, f"{path}.port", listener.port)
    ports.check_number(report, f"{path}.port.number", listener.port.number)
    if listener.bind:
        addresses.check_ip(report, f"{path}.bind", listener.bind)
    if listener.default_endpoint:
        _default_endpoint(report, f"{path}.defaultEndpoint", listener.default_endpoint)
    if listener.tls is not None:
        _tls(report, path, listener.port, listener.tls)
    traffic_policy.check_pool(report, f"{path}.connectionPool", listener.connection_pool)


def _default_endpoint(report: Report, path: str, endpoint: str) -> None:
    """The application's address: loopback, the pod's address, or a UNIX socket."""
    if endpoint.startswith("unix:"):
        addresses.check_socket(report, path, endpoint)
        return
    host, colon, port = endpoint.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or host not in _LOCAL:
        text = f"{endpoint!r} is not an address of the workload"
        fix = "Write 127.0.0.1:port, 0.0.0.0:port, [::1]:port, [::]:port or unix:///path."
        report.error(codes.ADDRESS, path, text, fix)
    elif not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        report.error(codes.PORT, path, f"{port!r} is not a port", "Give a port from 1 to 65535.")


def _tls(report: Report, path: str, port: SidecarPort, tls: ServerTLSSettings) -> None:
    at = f"{path}.tls"
    for name, value in (
        ("subjectAltNames", tls.subject_alt_names),
        ("httpsRedirect", tls.https_redirect),
        ("credentialName", tls.credential_name),
        ("credentialNames", tls.credential_names),
        ("tlsCertificates", tls.tls_certificates),
    ):
        if value:
            report.error(codes.TLS, f"{at}.{name}", f"{name} is not supported in a Sidecar", "Remove it.")
    if tls.mode in ("ISTIO_MUTUAL", "PASSTHROUGH", "AUTO_PASSTHROUGH"):
        text = f"mode {tls.mode} is not supported in a Sidecar"
        report.error(codes.TLS, f"{at}.mode", text, "Use SIMPLE, MUTUAL or OPTIONAL_MUTUAL.")
        return
    if ports.protocol(port.protocol) not in ports.TLS:
        text = f"TLS needs the protocol HTTPS or TLS, not {port.protocol or 'detection'}"
        report.error(codes.TLS, f"{path}.port.protocol", text, "Use protocol HTTPS or TLS.")
    server_tls.check(report, at, tls)


def _egress(report: Report, obj: Sidecar) -> None:
    listeners = obj.spec.egress
    numbers: set[int] = set()
    sockets: set[str] = set()
    for index, listener in enumerate(listeners):
        path = f"spec.egress[{index}]"
        if listener.port is None:
            if index != len(listeners) - 1:
                text = (
                    "a listener without port is the default for all ports, so there can be only one and it must be last"
                )
                report.error(codes.CONFLICT, path, text, "Give it a port, or move its hosts to the last listener.")
        else:
            _bound(report, path, listener, listener.port)
            if listener.port.number:
                _unique(report, f"{path}.port.number", listener.port.number, numbers)
            elif listener.bind in sockets:
                text = f"socket {listener.bind!r} is given twice"
                report.error(codes.DUPLICATE, f"{path}.bind", text, "Make one listener per socket.")
            sockets.add(listener.bind or "")
        _hosts(report, path, listener, obj.metadata.namespace)


def _bound(report: Report, path: str, listener: IstioEgressListener, port: SidecarPort) -> None:
    _port(report, f"{path}.port", port)
    if port.number == 0:
        addresses.check_socket(report, f"{path}.bind", listener.bind or "")
        if listener.capture_mode == "IPTABLES":
            text = "traffic cannot be redirected to a UNIX socket"
            report.error(codes.CONFLICT, f"{path}.captureMode", text, "Use DEFAULT or NONE.")
        return
    ports.check_number(report, f"{path}.port.number", port.number)
    if listener.bind:
        addresses.check_ip(report, f"{path}.bind", listener.bind)


def _hosts(report: Report, path: str, listener: IstioEgressListener, own_namespace: str) -> None:
    if not listener.hosts:
        report.error(codes.REQUIRED, f"{path}.hosts", "the listener needs at least one host", "Give hosts, as */*.")
    seen: set[tuple[str, str]] = set()
    whole = {_split(h, own_namespace)[0] for h in listener.hosts if h.partition("/")[2] == "*"}
    for index, host in enumerate(listener.hosts):
        at = f"{path}.hosts[{index}]"
        hosts.scoped(report, at, host, gateway=False)
        namespace, name = _split(host, own_namespace)
        if (namespace, name) in seen:
            report.warning(codes.DUPLICATE, at, f"host {host!r} is given twice", "Remove one of them.")
        elif name != "*" and namespace in whole:
            report.warning(codes.DUPLICATE, at, f"host {host!r} is part of {namespace}/*", "Remove it.")
        seen.add((namespace, name))


def _split(host: str, own_namespace: str) -> tuple[str, str]:
    namespace, _, name = host.partition("/")
    return (own_namespace if namespace == "." and own_namespace else namespace), name


def _outbound(report: Report, obj: Sidecar) -> None:
    policy = obj.spec.outbound_traffic_policy
    if policy is None or policy.egress_proxy is None:
        return
    path, proxy = "spec.outboundTrafficPolicy.egressProxy", policy.egress_proxy
    if policy.mode != "ALLOW_ANY":
        text = "REGISTRY_ONLY rejects traffic to unknown destinations, so egressProxy has no effect"
        report.error(codes.CONFLICT, path, text, "Use mode ALLOW_ANY, or remove egressProxy.")
    hosts.check(report, f"{path}.host", proxy.host, wildcard=False)
    if proxy.port is None:
        report.error(codes.REQUIRED, f"{path}.port", "the port is missing", "Give port.number.")
    else:
        ports.check_number(report, f"{path}.port.number", proxy.port.number or 0)
    if proxy.subset and not hosts.is_label(proxy.subset):
        text = f"subset name {proxy.subset!r} is not a DNS label"
        report.error(codes.NAME, f"{path}.subset", text, "Use letters, digits and dashes.")
