"""Validates port numbers, names and protocols."""

from __future__ import annotations

from typing import Final

from . import codes, hosts
from .report import Report

HTTP: Final = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"})
TLS: Final = frozenset({"HTTPS", "TLS"})
PROTOCOLS: Final = HTTP | TLS | {"TCP", "UDP", "MONGO", "REDIS", "MYSQL"}
_NAMES = "HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, REDIS or MYSQL"


def protocol(text: str) -> str:
    """A protocol for comparison, which ignores case."""
    return text.upper()


def check_number(report: Report, path: str, number: int) -> bool:
    """A port number from 1 to 65535."""
    if 1 <= number <= 65535:
        return True
    report.error(codes.PORT, path, f"port {number} is not in the range 1-65535", "Give a port from 1 to 65535.")
    return False


def check_name(report: Report, path: str, name: str) -> None:
    """A port name: one DNS label."""
    if not hosts.is_label(name):
        text = "the port name is empty" if not name else f"port name {name!r} is not a DNS label"
        report.error(codes.PORT, path, text, "Use letters, digits and dashes, such as http-web.")


def check_protocol(report: Report, path: str, text: str, required: bool = False) -> None:
    """A supported protocol; may be empty (detection) unless it is required."""
    if not text and not required:
        return
    if protocol(text) not in PROTOCOLS:
        problem = f"protocol {text!r} is not supported" if text else "the protocol is missing"
        report.error(codes.CHOICE, path, problem, f"Use {_NAMES}.")
