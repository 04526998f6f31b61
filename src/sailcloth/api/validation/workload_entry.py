"""Validates WorkloadEntry, as an object or as an endpoint of a ServiceEntry."""

from __future__ import annotations

from sailcloth.api.service_entry import WorkloadEntry, WorkloadEntrySpec

from . import addresses, codes, hosts, labels, ports
from .report import Report


def validate(report: Report, obj: WorkloadEntry) -> None:
    """Report all findings."""
    check(report, "spec", obj.spec)


def check(report: Report, path: str, spec: WorkloadEntrySpec, dns: bool = True) -> None:
    """`dns`: the address may be a name."""
    address = spec.address or ""
    if not address:
        if spec.network:
            text = "without an address, traffic goes to the network's gateway"
            report.warning(codes.RISKY, f"{path}.address", text, "Give the address if there is no such gateway.")
        else:
            report.error(codes.REQUIRED, f"{path}.address", "the address is missing", "Give an IP address or a name.")
    elif address.startswith("unix:"):
        addresses.check_socket(report, f"{path}.address", address)
        if spec.ports:
            text = "a UNIX socket has no ports"
            report.error(codes.CONFLICT, f"{path}.ports", text, "Remove them.")
    elif not hosts.is_ip(address):
        if dns:
            hosts.check(report, f"{path}.address", address, wildcard=False)
        else:
            addresses.check_ip(report, f"{path}.address", address)
    for name, number in spec.ports.items():
        ports.check_name(report, f"{path}.ports", name)
        ports.check_number(report, f"{path}.ports.{name}", number)
    labels.check(report, f"{path}.labels", spec.labels)
    if spec.weight is not None and not 0 <= spec.weight <= 0xFFFFFFFF:
        report.error(codes.WEIGHT, f"{path}.weight", f"weight {spec.weight} is out of range", "Give 0 or more.")
