"""PersistentVolumeClaim: bound by its first pod. The node keeps a folder for each, as long as the cluster's state is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Cluster

Object = dict[str, Any]
GR = "persistentvolumeclaims"


def used(pod: Object) -> Iterator[str]:
    """The names of a pod's claims."""
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield str(volume["persistentVolumeClaim"].get("claimName"))


async def reconcile(cluster: Cluster, namespace: str, name: str) -> float | None:
    found = cluster.store.get(GR, namespace, name)
    if found is None or (found.get("status") or {}).get("phase") == "Bound":
        return None
    if not any(name in used(p) for p in cluster.store.all("pods", namespace)):
        return None
    capacity = ((found["spec"].get("resources") or {}).get("requests")) or {}
    status = {"phase": "Bound", "accessModes": found["spec"].get("accessModes") or [], "capacity": capacity}
    await cluster.change(GR, namespace, name, lambda o: {**o, "status": status}, sub="status")
    return None
