"""PersistentVolumeClaims: bound by their first pod, and protected by a finalizer while a pod uses them. The node keeps a folder
for each until the claim is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator

from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext

GR = "persistentvolumeclaims"
_PROTECTION = "kubernetes.io/pvc-protection"


def claims_of(pod: Unstructured) -> Iterator[str]:
    """The names of a pod's claims."""
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield str(volume["persistentVolumeClaim"].get("claimName"))


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    claim = cluster.store.get(GR, namespace, name)
    if claim is None:
        return None
    in_use = any(name in claims_of(p) for p in cluster.store.all("pods", namespace) if _may_use_volumes(p))
    held = _PROTECTION in (claim["metadata"].get("finalizers") or ())
    leaving = bool(claim["metadata"].get("deletionTimestamp"))
    if held and leaving and not in_use:
        await cluster.update(GR, namespace, name, lambda o: _set_protection(o, False))
    elif in_use and not held and not leaving:
        await cluster.update(GR, namespace, name, lambda o: _set_protection(o, True))
    if in_use and (claim.get("status") or {}).get("phase") != "Bound":
        capacity = ((claim["spec"].get("resources") or {}).get("requests")) or {}
        status = {"phase": "Bound", "accessModes": claim["spec"].get("accessModes") or [], "capacity": capacity}
        await cluster.update(GR, namespace, name, lambda o: {**o, "status": status}, sub="status")
    return None


def _may_use_volumes(pod: Unstructured) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _set_protection(obj: Unstructured, hold: bool) -> Unstructured:
    others = [f for f in obj["metadata"].get("finalizers") or () if f != _PROTECTION]
    obj["metadata"]["finalizers"] = [*others, _PROTECTION] if hold else others
    return obj
