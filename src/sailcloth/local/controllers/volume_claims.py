"""PersistentVolumeClaim: bound by its first pod, and held as long as a pod uses it. The node keeps a folder for each, until the
claim is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Cluster

Object = dict[str, Any]
GR = "persistentvolumeclaims"
_PROTECTION = "kubernetes.io/pvc-protection"


def used(pod: Object) -> Iterator[str]:
    """The names of a pod's claims."""
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield str(volume["persistentVolumeClaim"].get("claimName"))


async def reconcile(cluster: Cluster, namespace: str, name: str) -> float | None:
    found = cluster.store.get(GR, namespace, name)
    if found is None:
        return None
    in_use = any(name in used(p) for p in cluster.store.all("pods", namespace) if _lives(p))
    held = _PROTECTION in (found["metadata"].get("finalizers") or ())
    leaving = bool(found["metadata"].get("deletionTimestamp"))
    if held and leaving and not in_use:
        await cluster.change(GR, namespace, name, lambda o: _hold(o, False))
    elif in_use and not held and not leaving:
        await cluster.change(GR, namespace, name, lambda o: _hold(o, True))
    if in_use and (found.get("status") or {}).get("phase") != "Bound":
        capacity = ((found["spec"].get("resources") or {}).get("requests")) or {}
        status = {"phase": "Bound", "accessModes": found["spec"].get("accessModes") or [], "capacity": capacity}
        await cluster.change(GR, namespace, name, lambda o: {**o, "status": status}, sub="status")
    return None


def _lives(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _hold(obj: Object, hold: bool) -> Object:
    others = [f for f in obj["metadata"].get("finalizers") or () if f != _PROTECTION]
    obj["metadata"]["finalizers"] = [*others, _PROTECTION] if hold else others
    return obj
