"""A mesh with the proxies of its pods, from the pods' own objects. Must not read a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sailcloth.api import core
from sailcloth.api.meta import Key
from sailcloth.mesh.registry import Mesh

from .describe import MeshSnapshot, proxy_of

Object = Mapping[str, Any]
_META = "ISTIO_META_"


def snapshot_of(mesh: Mesh, pods: Iterable[Object]) -> MeshSnapshot:
    """The mesh with the proxies of its pods."""
    proxies = {}
    for raw in pods:
        key = Key("Pod", raw["metadata"]["namespace"], raw["metadata"]["name"])
        container, obj = _proxy(raw), mesh.objects.get(key)
        if container is not None and isinstance(obj, core.Pod):
            kind: Any = "router" if "router" in (container.get("args") or ()) else "sidecar"
            proxies[key] = proxy_of(key, obj, kind, _metadata(container), mesh.config.domain)
    return MeshSnapshot(mesh, proxies)


def _proxy(raw: Object) -> Object | None:
    """A pod's proxy container; None if it has none."""
    containers = [*raw["spec"].get("containers", ()), *(raw["spec"].get("initContainers") or ())]
    return next((c for c in containers if c["name"] == "istio-proxy"), None)


def _metadata(container: Object) -> dict[str, Any]:
    """The node metadata in a proxy container's environment."""
    values = {e["name"]: e.get("value") for e in container.get("env") or ()}
    return {name.removeprefix(_META): value for name, value in values.items() if name.startswith(_META) and value}
