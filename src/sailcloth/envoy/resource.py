"""The unit of delivery: one Envoy resource as bytes, with what delivery needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

from sailcloth.api.meta import Key


@dataclass(frozen=True, slots=True)
class EnvoyResource:
    """Serialised bytes with a content-hash version. `clusters` are those that it refers to, `sources` the user objects
    that it came from. Equal bytes have equal versions."""

    name: str
    version: str
    body: bytes = field(repr=False)
    clusters: frozenset[str] = frozenset()
    sources: tuple[Key, ...] = ()
    endpoints: str = ""  # a cluster's name in the endpoint service, empty if its endpoints come otherwise
    applied: tuple[
        tuple[Key, int], ...
    ] = ()  # parts of user objects that took effect: (object, part), once for each time


def version_of(body: bytes) -> str:
    """Content hash of serialised bytes, 16 hexadecimal digits."""
    return blake2b(body, digest_size=8).hexdigest()


def resource(
    name: str, body: bytes, clusters: frozenset[str] = frozenset(), sources: tuple[Key, ...] = (), endpoints: str = ""
) -> EnvoyResource:
    """A resource from its bytes."""
    return EnvoyResource(name, version_of(body), body, clusters, tuple(dict.fromkeys(sources)), endpoints)
