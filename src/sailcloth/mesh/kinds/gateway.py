"""Gateway: one slice for all, because there are few and each may select proxies of any namespace."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.gateway import Gateway
from sailcloth.api.meta import Key
from sailcloth.mesh.model import MeshConfig

from .record import MeshKind, Slice


def every() -> Slice[Gateway]:
    """All Gateways."""
    return Slice(("Gateway",))


def _slices(key: Key, gateway: Gateway, config: MeshConfig) -> Iterator[Slice[Gateway]]:
    yield every()


KIND = MeshKind(Gateway, slices=_slices)
