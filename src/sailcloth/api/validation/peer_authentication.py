"""Validates PeerAuthentication."""

from __future__ import annotations

from sailcloth.api.peer_authentication import PeerAuthentication

from . import codes, labels, ports
from .report import Report


def validate(report: Report, obj: PeerAuthentication) -> None:
    """Report all findings."""
    spec = obj.spec
    labels.check_selector(report, "spec.selector", spec.selector.match_labels if spec.selector is not None else None)
    if spec.port_level_mtls and (spec.selector is None or not spec.selector.match_labels):
        text = "portLevelMtls needs a selector, because ports belong to workloads"
        report.error(codes.REQUIRED, "spec.selector", text, "Give matchLabels, or remove portLevelMtls.")
    for port in spec.port_level_mtls:
        path = f"spec.portLevelMtls.{port}"
        if not (port.isascii() and port.isdigit()):
            report.error(codes.PORT, path, f"{port!r} is not a port", "Give a port from 1 to 65535.")
        else:
            ports.check_number(report, path, int(port[:12]))
