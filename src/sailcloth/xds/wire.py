"""Assembles discovery responses from serialised resources, without parsing or serialising them again."""

from __future__ import annotations

from collections.abc import Iterable

from .types import Resource


def varint(number: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def _entry(resource: Resource, url: bytes) -> tuple[bytes, bytes, bytes]:
    """A serialised Resource message in three parts: the bytes before the body, the body, the bytes after it."""
    head = url + b"\x12" + varint(len(resource.body))  # Any: type_url=1 and the start of value=2
    version = field(1, resource.version.encode())
    name = field(3, resource.name.encode())
    inner = len(head) + len(resource.body)
    first = version + b"\x12" + varint(inner)
    size = len(first) + inner + len(name)
    return b"".join((b"\x12", varint(size), first, head)), resource.body, name


def delta_response(type_url: str, nonce: str, resources: Iterable[Resource], removed: Iterable[str] = ()) -> bytes:
    """A DeltaDiscoveryResponse: resources=2 {version=1, Any=2, name=3}, type_url=4, nonce=5, removed_resources=6."""
    url = field(1, type_url.encode())
    parts = [part for r in resources for part in _entry(r, url)]
    parts.append(field(4, type_url.encode()))
    parts.append(field(5, nonce.encode()))
    parts += [field(6, name.encode()) for name in removed]
    return b"".join(parts)


def response(type_url: str, nonce: str, version: str, resources: Iterable[Resource]) -> bytes:
    """A DiscoveryResponse (state of the world): version_info=1, resources=2 Any, type_url=4, nonce=5."""
    url = type_url.encode()
    parts = [field(1, version.encode())]
    parts += [field(2, field(1, url) + field(2, r.body)) for r in resources]
    parts.append(field(4, url))
    parts.append(field(5, nonce.encode()))
    return b"".join(parts)
