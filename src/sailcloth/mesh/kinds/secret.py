"""Secret: indexed by namespace; proxies may only get Secrets of their own."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.core import Secret
from sailcloth.api.meta import Key
from sailcloth.mesh.model import MeshConfig

from .record import MeshKind, Slice, of_namespace


def _slices(key: Key, secret: Secret, config: MeshConfig) -> Iterator[Slice[Secret]]:
    yield of_namespace(Secret, key.namespace)


KIND = MeshKind(Secret, slices=_slices)
