"""Addresses of endpoints: what a proxy or the node could not connect to, or would find on its own machine, is refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from ..field_errors import FieldError, invalid, required, unsupported
from ..unstructured import Unstructured
from .amounts import validate_port

_TYPES = ("FQDN", "IPv4", "IPv6")
_SPECIAL = (
    ("is_unspecified", "may not be unspecified"),
    ("is_loopback", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
    ("is_link_local", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
    ("is_multicast", "may not be in the multicast range (224.0.0.0/4, ff00::/8)"),
)


def validate_address(field: str, value: Any, version: int | None = None) -> Iterator[FieldError]:
    """For an address, of a version of IP if one is given, that is not of the machine itself or of its link."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        yield invalid(field, value, f"must be a valid IP{f'v{version}' if version else ''} address")
        return
    if version and address.version != version:
        yield invalid(field, value, f"must be a valid IPv{version} address")
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    yield from (invalid(field, value, text) for name, text in _SPECIAL if getattr(address, name))


def is_ip(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def validate_slice(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    kind = obj.get("addressType")
    if kind not in _TYPES:
        yield unsupported("addressType", kind or "", _TYPES)
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        addresses = endpoint.get("addresses") or ()
        if not addresses:
            yield required(f"endpoints[{index}].addresses", "must contain at least 1 address")
        if kind in ("IPv4", "IPv6"):
            for number, address in enumerate(addresses):
                yield from validate_address(f"endpoints[{index}].addresses[{number}]", address, int(kind[-1]))
    yield from _ports(obj.get("ports") or (), "ports")


def validate_endpoints(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    for index, subset in enumerate(obj.get("subsets") or ()):
        for key in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(key) or ()):
                yield from validate_address(f"subsets[{index}].{key}[{number}].ip", address.get("ip"))
        yield from _ports(subset.get("ports") or (), f"subsets[{index}].ports")


def _ports(ports: Any, field: str) -> Iterator[FieldError]:
    for index, port in enumerate(ports):
        if port.get("port") is not None:
            yield from validate_port(f"{field}[{index}].port", port["port"])
