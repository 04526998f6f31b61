"""One serialised Envoy resource with the metadata that xDS needs for ordering and statuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

from sailcloth.api.meta import Key


@dataclass(frozen=True, slots=True)
class EnvoyResource:
    """Serialised bytes with a content hash as version; equal bytes have equal versions. `clusters`: names of clusters that it
    refers to; `sources`: user objects that it derives from."""

    name: str
    version: str
    body: bytes = field(repr=False)
    clusters: frozenset[str] = frozenset()
    sources: tuple[Key, ...] = ()
    endpoints: str = ""  # the EDS service name of an EDS cluster; else empty
    applied: tuple[
        tuple[Key, int], ...
    ] = ()  # parts of user objects that took effect: (object, index of the part), repeated for each time


def version_of(body: bytes) -> str:
    """Content hash of serialised bytes, 16 hexadecimal digits."""
    return blake2b(body, digest_size=8).hexdigest()


def resource(
    name: str, body: bytes, clusters: frozenset[str] = frozenset(), sources: tuple[Key, ...] = (), endpoints: str = ""
) -> EnvoyResource:
    """A resource from its bytes."""
    return EnvoyResource(name, version_of(body), body, clusters, tuple(dict.fromkeys(sources)), endpoints)
