"""Validates VirtualService: hosts, gateways, and TLS and TCP rules. `routes` validates HTTP rules."""

from __future__ import annotations

from collections.abc import Sequence

from sailcloth.api.virtual_service import RouteDestination, TCPRoute, TLSMatchAttributes, TLSRoute, VirtualService

from . import addresses, amounts, codes, hosts, labels, ports, reachability, routes, visibility
from .report import Report

_SNI_PREFIX = "outbound_."  # SNI of sidecars between networks: outbound_.<port>_.<subset>_.<host>


def validate(report: Report, obj: VirtualService) -> None:
    """Report all findings."""
    spec = obj.spec
    delegate = not spec.hosts
    mesh = not spec.gateways or "mesh" in spec.gateways
    at_gateway = any(g != "mesh" for g in spec.gateways)
    if delegate:
        _delegate(report, obj)
    visibility.check_gateways(report, "spec.gateways", spec.gateways)
    for index, host in enumerate(spec.hosts):
        path = f"spec.hosts[{index}]"
        if host == "*" and mesh:
            text = "host '*' is not allowed in rules for sidecars, because it would match all traffic of the mesh"
            report.error(codes.HOST, path, text, "Name the hosts, or set gateways to a Gateway.")
        elif not (spec.tls and host.startswith(_SNI_PREFIX) and "_." in host[len(_SNI_PREFIX) :]):
            hosts.check(report, path, host, ip=True)
        for earlier in range(index):
            if hosts.overlaps(spec.hosts[earlier], host):
                text = f"host {host!r} is given twice: hosts[{earlier}] is {spec.hosts[earlier]!r}"
                report.error(codes.DUPLICATE, path, text, "Keep one of them.")
                break
    if not (spec.http or spec.tls or spec.tcp):
        text = "there is no rule"
        report.error(codes.REQUIRED, "spec", text, "Give http, tls or tcp.")
    for index, http in enumerate(spec.http):
        routes.check(report, f"spec.http[{index}]", http, delegate, at_gateway)
    for index, tls in enumerate(spec.tls):
        _tls(report, f"spec.tls[{index}]", tls, spec.hosts)
    for index, tcp in enumerate(spec.tcp):
        _tcp(report, f"spec.tcp[{index}]", tcp)
    visibility.check_export(report, "spec.exportTo", spec.export_to)
    reachability.check(report, spec)


def _delegate(report: Report, obj: VirtualService) -> None:
    """A VirtualService without hosts is a delegate."""
    for name in ("gateways", "tls", "tcp"):
        if getattr(obj.spec, name):
            text = f"a VirtualService without hosts is a delegate for HTTP rules and cannot have {name}"
            report.error(codes.CONFLICT, f"spec.{name}", text, f"Give hosts, or remove {name}.")


def _tls(report: Report, path: str, rule: TLSRoute, own: Sequence[str]) -> None:
    if not rule.match:
        report.error(codes.REQUIRED, f"{path}.match", "a TLS rule needs a match", "Give a match with sniHosts.")
    for index, match in enumerate(rule.match):
        at = f"{path}.match[{index}]"
        if not match.sni_hosts:
            report.error(codes.REQUIRED, f"{at}.sniHosts", "a TLS match needs SNI hosts", "Give the server names.")
        for number, host in enumerate(match.sni_hosts):
            _sni(report, f"{at}.sniHosts[{number}]", host, own)
        _connection(report, at, match.destination_subnets, match.port, match)
    _destinations(report, path, rule.route, "TLS")


def _sni(report: Report, path: str, host: str, own: Sequence[str]) -> None:
    if hosts.is_ip(host):
        text = f"SNI host {host!r} is an IP address, which clients do not send as a server name"
        report.warning(codes.RISKY, path, text, "Match destinationSubnets in a tcp rule instead.")
        return
    if not host.startswith(_SNI_PREFIX) and not hosts.check(report, path, host):
        return
    if hosts.is_partial_wildcard(host):
        text = f"partial wildcard {host!r}: a server name is matched by whole labels, so this matches nothing"
        report.warning(codes.NO_EFFECT, path, text, "Write the whole label, as *.example.com.")
    if not any(hosts.covered(host, h) for h in own):
        text = f"SNI host {host!r} is not covered by the hosts of the VirtualService"
        report.error(codes.HOST, path, text, "Add it to spec.hosts.")


def _tcp(report: Report, path: str, rule: TCPRoute) -> None:
    for index, match in enumerate(rule.match):
        at = f"{path}.match[{index}]"
        if match.source_subnet:
            addresses.check_subnet(report, f"{at}.sourceSubnet", match.source_subnet)
        labels.check(report, f"{at}.sourceLabels", match.source_labels)
        _connection(report, at, match.destination_subnets, match.port)
        visibility.check_gateways(report, f"{at}.gateways", match.gateways)
    _destinations(report, path, rule.route, "TCP")


def _connection(
    report: Report, path: str, subnets: Sequence[str], port: int | None, tls: TLSMatchAttributes | None = None
) -> None:
    for index, subnet in enumerate(subnets):
        addresses.check_subnet(report, f"{path}.destinationSubnets[{index}]", subnet)
    if port is not None and port != 0:
        ports.check_number(report, f"{path}.port", port)
    if tls is not None:
        labels.check(report, f"{path}.sourceLabels", tls.source_labels)
        visibility.check_gateways(report, f"{path}.gateways", tls.gateways)


def _destinations(report: Report, path: str, destinations: Sequence[RouteDestination], rule_kind: str) -> None:
    if not destinations:
        report.error(
            codes.REQUIRED, f"{path}.route", f"a {rule_kind} rule needs a route", "Give at least one destination."
        )
    for index, destination in enumerate(destinations):
        routes.check_destination(report, f"{path}.route[{index}].destination", destination.destination)
    amounts.check_weights(report, f"{path}.route", [d.weight for d in destinations])
