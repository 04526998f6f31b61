"""Validates IP addresses, CIDR ranges and paths of UNIX sockets."""

from __future__ import annotations

import ipaddress

from . import codes, hosts
from .report import Report


def is_subnet(text: str) -> bool:
    """Whether a text is an IP address or a CIDR range; ignores host bits."""
    if "/" not in text:
        return hosts.is_ip(text)
    address, _, bits = text.partition("/")
    if not hosts.is_ip(address) or not (bits.isascii() and bits.isdigit()) or "%" in address:
        return False
    return int(bits[:4]) <= ipaddress.ip_address(address).max_prefixlen


def check_subnet(report: Report, path: str, text: str) -> None:
    """An IP address or a CIDR range."""
    if not is_subnet(text):
        report.error(
            codes.ADDRESS, path, f"{text!r} is not an IP address or CIDR range", "Write 10.1.2.3 or 10.1.0.0/16."
        )


def check_ip(report: Report, path: str, text: str) -> None:
    """An IP address."""
    if not hosts.is_ip(text):
        report.error(codes.ADDRESS, path, f"{text!r} is not an IP address", "Write an address such as 10.1.2.3.")


def check_socket(report: Report, path: str, text: str) -> None:
    """unix:///absolute/path, or unix://@name in the abstract namespace."""
    name = text.removeprefix("unix://")
    if not text.startswith("unix://") or not name.startswith(("/", "@")) or len(name) < 2:
        problem = f"{text!r} must be an absolute path or an abstract socket"
        report.error(codes.ADDRESS, path, problem, "Write unix:///path/to/socket or unix://@name.")
    elif name.startswith("/") and name.endswith("/"):
        report.error(codes.ADDRESS, path, f"{text!r} is a directory", "Name the socket itself.")
