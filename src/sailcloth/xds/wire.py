"""Discovery responses assembled from cached bytes, and requests taken apart. Messages are joined, never rebuilt."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sailcloth.envoy.resource import EnvoyResource


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


@lru_cache(maxsize=65536)
def _entry(name: str, version: str, type_url: str, body: bytes) -> bytes:
    inner = field(1, type_url.encode()) + field(2, body)
    return field(2, field(1, version.encode()) + field(2, inner) + field(3, name.encode()))


def delta_response(type_url: str, nonce: str, resources: Iterable[EnvoyResource], removed: Iterable[str] = ()) -> bytes:
    """A DeltaDiscoveryResponse: resources=2 {version=1, Any=2, name=3}, type_url=4, nonce=5, removed_resources=6."""
    parts = [_entry(r.name, r.version, type_url, r.body) for r in resources]
    parts.append(field(4, type_url.encode()))
    parts.append(field(5, nonce.encode()))
    parts += [field(6, name.encode()) for name in removed]
    return b"".join(parts)


def response(type_url: str, nonce: str, version: str, resources: Iterable[EnvoyResource]) -> bytes:
    """A DiscoveryResponse (state of the world): version_info=1, resources=2 Any, type_url=4, nonce=5."""
    url = type_url.encode()
    parts = [field(1, version.encode())]
    parts += [field(2, field(1, url) + field(2, r.body)) for r in resources]
    parts.append(field(4, url))
    parts.append(field(5, nonce.encode()))
    return b"".join(parts)
