"""Annotations of pods that configure injection: their values. Source: istio.md 2.19."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

PREFIX = "traffic.sidecar.istio.io/"


def problems(annotations: dict[str, str]) -> list[tuple[str, str]]:
    """(annotation, what is wrong with its value); empty if all are well formed."""
    checks: dict[str, Callable[[str], None]] = {
        PREFIX + "includeOutboundIPRanges": _ranges_or_star,
        PREFIX + "excludeOutboundIPRanges": _ranges,
        PREFIX + "includeInboundPorts": _ports_or_star,
        PREFIX + "excludeInboundPorts": _ports,
        PREFIX + "includeOutboundPorts": _ports_or_star,
        PREFIX + "excludeOutboundPorts": _ports,
        "status.sidecar.istio.io/port": _port,
        "sidecar.istio.io/interceptionMode": _one_of("REDIRECT", "TPROXY", "NONE"),
        "sidecar.istio.io/inject": _one_of("true", "false", "yes", "no", "on", "off", "y", "n", ""),
        "readiness.status.sidecar.istio.io/initialDelaySeconds": _number,
        "readiness.status.sidecar.istio.io/periodSeconds": _number,
        "readiness.status.sidecar.istio.io/failureThreshold": _number,
        "readiness.status.sidecar.istio.io/applicationPorts": _ports,
        **{f"sidecar.istio.io/proxy{what}": _quantity for what in ("CPU", "CPULimit", "Memory", "MemoryLimit")},
    }
    out = []
    for name, check in checks.items():
        if name in annotations:
            try:
                check(annotations[name])
            except ValueError as error:
                out.append((name, str(error)))
    return out


def _quantity(text: str) -> None:
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?(m|k|[KMGTPE]i?|e[0-9]+)?", text.strip()):
        raise ValueError(f"{text!r} is not a quantity, such as 100m or 128Mi")


def _port(text: str) -> None:
    if not text.isdigit() or not 0 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port number (0 to 65535)")


def _ports(text: str) -> None:
    for part in text.split(","):
        if part.strip():
            _port(part.strip())


def _ports_or_star(text: str) -> None:
    if text.strip() != "*":
        _ports(text)


def _ranges(text: str) -> None:
    for part in text.split(","):
        if part.strip():
            try:
                ipaddress.ip_network(part.strip(), strict=False)
            except ValueError:
                raise ValueError(f"{part.strip()!r} is not an IP range in CIDR form, such as 10.0.0.0/8") from None
            if "/" not in part:
                raise ValueError(f"{part.strip()!r} is not an IP range in CIDR form, such as 10.0.0.0/8")


def _ranges_or_star(text: str) -> None:
    if text.strip() != "*":
        _ranges(text)


def _number(text: str) -> None:
    if not text.isdigit():
        raise ValueError(f"{text!r} is not a number")


def _one_of(*values: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        if text.lower() not in {v.lower() for v in values}:
            raise ValueError(f"{text!r} is not one of {', '.join(v for v in values if v)}")

    return check
