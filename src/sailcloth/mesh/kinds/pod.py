"""Pod: indexed by address and by namespace."""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.api.core import Pod
from sailcloth.api.meta import Key
from sailcloth.mesh.model import MeshConfig

from .record import MeshKind, Slice, of_namespace


def by_address(address: str) -> Slice[Pod]:
    """The pod with an address; excludes pods on the host network."""
    return Slice(("Pod", "address", address))


def _slices(key: Key, pod: Pod, config: MeshConfig) -> Iterator[Slice[Pod]]:
    yield of_namespace(Pod, key.namespace)
    if pod.status.pod_ip and pod.status.phase not in ("Succeeded", "Failed") and not pod.spec.host_network:
        yield by_address(pod.status.pod_ip)


KIND = MeshKind(Pod, slices=_slices)
