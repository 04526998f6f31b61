"""Validates ServiceEntry: hosts, addresses, ports and endpoints, as its resolution allows."""

from __future__ import annotations

from sailcloth.api.service_entry import ServiceEntry, ServiceEntrySpec

from . import addresses, codes, hosts, labels, ports, visibility, workload_entry
from .report import Report

_WAYPOINT = "istio.io/use-waypoint"
_DYNAMIC = ports.HTTP - {"HTTP_PROXY"}


def validate(report: Report, obj: ServiceEntry) -> None:
    """Report all findings."""
    spec = obj.spec
    if not spec.hosts:
        report.error(codes.REQUIRED, "spec.hosts", "a ServiceEntry needs at least one host", "Give hosts.")
    for index, host in enumerate(spec.hosts):
        _host(report, f"spec.hosts[{index}]", host, spec)
    ranges = False
    for index, address in enumerate(spec.addresses):
        addresses.check_subnet(report, f"spec.addresses[{index}]", address)
        ranges = ranges or "/" in address
    if ranges and spec.resolution not in ("NONE", "STATIC"):
        text = f"CIDR ranges need resolution NONE or STATIC, not {spec.resolution}"
        report.error(codes.CONFLICT, "spec.addresses", text, "Give single addresses.")
    _ports(report, spec)
    _selector(report, spec)
    _resolution(report, spec)
    _endpoints(report, spec)
    if spec.resolution == "DYNAMIC_DNS":
        _dynamic(report, obj)
    _distinct(report, spec)
    visibility.check_export(report, "spec.exportTo", spec.export_to, none_allowed=True)


def _host(report: Report, path: str, host: str, spec: ServiceEntrySpec) -> None:
    if host == "*":
        if spec.resolution != "DYNAMIC_DNS":
            report.error(codes.HOST, path, "host '*' would match everything", "Name a domain, such as *.com.")
        return
    if not hosts.check(report, path, host):
        return
    if hosts.is_partial_wildcard(host):
        text = f"wildcard {host!r} matches a part of a label, which works for names but not for DNS"
        report.warning(codes.RISKY, path, text, "Make the wildcard a whole label, as in *.example.com.")


def _ports(report: Report, spec: ServiceEntrySpec) -> None:
    seen: set[tuple[str, str | int]] = set()
    for index, port in enumerate(spec.ports):
        path = f"spec.ports[{index}]"
        ports.check_number(report, f"{path}.number", port.number)
        ports.check_name(report, f"{path}.name", port.name)
        ports.check_protocol(report, f"{path}.protocol", port.protocol)
        for key in (("name", port.name), ("number", port.number)):
            if key in seen:
                text = f"port {key[0]} {key[1]!r} is given twice"
                report.error(codes.DUPLICATE, f"{path}.{key[0]}", text, f"Give every port its own {key[0]}.")
            seen.add(key)
        if port.target_port:
            ports.check_number(report, f"{path}.targetPort", port.target_port)
            if spec.resolution == "NONE":
                text = "with resolution NONE connections keep their destination address; only the port changes to targetPort"
                report.warning(codes.RISKY, f"{path}.targetPort", text, "Remove it, or use another resolution.")


def _selector(report: Report, spec: ServiceEntrySpec) -> None:
    if spec.workload_selector is None:
        return
    labels.check_selector(report, "spec.workloadSelector", spec.workload_selector.labels or None)
    if not spec.workload_selector.labels:
        text = "an empty selector selects no workload, so the service has no endpoints"
        report.warning(codes.NO_EFFECT, "spec.workloadSelector", text, "Give labels.")
    if spec.endpoints:
        text = "workloadSelector and endpoints are mutually exclusive"
        report.error(codes.CONFLICT, "spec.endpoints", text, "Keep one of them.")
    if spec.resolution == "NONE":
        text = "with resolution NONE the selected workloads get no traffic"
        report.warning(codes.NO_EFFECT, "spec.resolution", text, "Use resolution STATIC.")


def _resolution(report: Report, spec: ServiceEntrySpec) -> None:
    if spec.resolution in ("NONE", "DYNAMIC_DNS") and spec.endpoints:
        text = f"resolution {spec.resolution} cannot have endpoints"
        report.error(codes.CONFLICT, "spec.endpoints", text, "Remove them, or use resolution STATIC or DNS.")
    if spec.resolution not in ("DNS", "DNS_ROUND_ROBIN"):
        return
    if spec.resolution == "DNS_ROUND_ROBIN" and len(spec.endpoints) > 1:
        text = f"resolution DNS_ROUND_ROBIN can have one endpoint, not {len(spec.endpoints)}"
        report.error(codes.CONFLICT, "spec.endpoints", text, "Keep one, or use resolution DNS.")
    if spec.endpoints or spec.workload_selector is not None:
        return
    for index, host in enumerate(spec.hosts):
        if "*" in host:
            text = f"{host!r} cannot be resolved by DNS"
            report.error(codes.HOST, f"spec.hosts[{index}]", text, "Give endpoints, or a host without wildcard.")


def _endpoints(report: Report, spec: ServiceEntrySpec) -> None:
    names = {p.name for p in spec.ports}
    for index, endpoint in enumerate(spec.endpoints):
        path = f"spec.endpoints[{index}]"
        workload_entry.check(report, path, endpoint, dns=spec.resolution != "STATIC")
        if (endpoint.address or "").startswith("unix://"):
            if spec.resolution in ("DNS", "DNS_ROUND_ROBIN"):
                text = f"resolution {spec.resolution} cannot have a UNIX socket as endpoint"
                report.error(codes.CONFLICT, f"{path}.address", text, "Use resolution STATIC.")
            if len(spec.ports) > 1:
                text = "a UNIX socket serves one port, and the ServiceEntry has several"
                report.error(codes.CONFLICT, f"{path}.address", text, "Keep one port.")
        for name in endpoint.ports:
            if name not in names:
                text = f"the ServiceEntry has no port {name!r}"
                report.error(codes.PORT, f"{path}.ports.{name}", text, f"Use one of {', '.join(sorted(names))}.")


def _dynamic(report: Report, obj: ServiceEntry) -> None:
    """DYNAMIC_DNS resolves the host of each request, so it needs a protocol whose requests have a host."""
    spec = obj.spec
    for index, host in enumerate(spec.hosts):
        if not host.startswith("*"):
            text = f"resolution DYNAMIC_DNS needs a wildcard host, not {host!r}"
            report.error(codes.HOST, f"spec.hosts[{index}]", text, "Use resolution DNS.")
    for index, port in enumerate(spec.ports):
        if ports.protocol(port.protocol) not in _DYNAMIC:
            text = f"resolution DYNAMIC_DNS needs the protocol HTTP, HTTP2 or GRPC, not {port.protocol or 'detection'}"
            report.error(codes.CONFLICT, f"spec.ports[{index}].protocol", text, "Use resolution NONE.")
    if spec.addresses:
        text = "resolution DYNAMIC_DNS cannot have addresses: each host is looked up when a request names it"
        report.error(codes.CONFLICT, "spec.addresses", text, "Remove them.")
    if spec.workload_selector is not None:
        text = "resolution DYNAMIC_DNS cannot have a workloadSelector"
        report.error(codes.CONFLICT, "spec.workloadSelector", text, "Remove it.")
    if spec.location == "MESH_INTERNAL" and obj.metadata.labels.get(_WAYPOINT):
        text = "at waypoints resolution DYNAMIC_DNS works for MESH_EXTERNAL hosts only"
        report.error(codes.CONFLICT, "spec.location", text, "Use MESH_EXTERNAL.")


def _distinct(report: Report, spec: ServiceEntrySpec) -> None:
    """Hosts that share addresses are distinguished by the host in requests or the SNI, which plain TCP does not have."""
    if len(spec.hosts) < 2 or spec.resolution == "NONE" or not spec.addresses:
        return
    for index, port in enumerate(spec.ports):
        if port.protocol and ports.protocol(port.protocol) not in ports.HTTP | ports.TLS:
            text = f"several hosts share the addresses, and {port.protocol} traffic does not name its host"
            report.error(codes.CONFLICT, f"spec.ports[{index}].protocol", text, "Make one ServiceEntry per host.")
