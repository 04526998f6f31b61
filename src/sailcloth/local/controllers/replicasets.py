"""ReplicaSet: as many pods as wanted."""

from __future__ import annotations

import copy

from sailcloth.local.apiserver.errors import StatusError
from sailcloth.local.apiserver.label_selectors import label_selector
from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext

_NAME = "replicaset-controller"


def pods_of(cluster: ControllerContext, owner: Unstructured) -> list[Unstructured]:
    """Pods that an object controls."""
    metadata = owner["metadata"]
    return [
        p
        for p in cluster.store.all("pods", metadata["namespace"])
        if any(
            r.get("uid") == metadata["uid"] and r.get("controller") for r in p["metadata"].get("ownerReferences") or ()
        )
    ]


def is_ready(pod: Unstructured) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions") or ())


def active(pod: Unstructured) -> bool:
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed") and not pod["metadata"].get(
        "deletionTimestamp"
    )


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """Create or delete pods, and write the status."""
    rs = cluster.store.get("replicasets.apps", namespace, name)
    if rs is None or rs["metadata"].get("deletionTimestamp"):
        return None
    await _adopt(cluster, rs)
    live = [p for p in pods_of(cluster, rs) if active(p)]
    wanted = int(rs["spec"].get("replicas", 1))
    for _ in range(wanted - len(live)):
        try:
            created = await cluster.create("pods", pod_of(rs, rs["spec"]["template"]))
        except StatusError as error:
            await cluster.event(rs, _NAME, "FailedCreate", f"Error creating: {error.message}", "Warning")
            raise
        if created is not None:
            await cluster.event(rs, _NAME, "SuccessfulCreate", f"Created pod: {created['metadata']['name']}")
    surplus = sorted(live, key=_deletion_order)[: max(0, len(live) - wanted)]
    for pod in surplus:
        await cluster.delete("pods", namespace, pod["metadata"]["name"])
        await cluster.event(rs, _NAME, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
    live = [p for p in pods_of(cluster, rs) if active(p)]
    ready = sum(1 for p in live if is_ready(p))
    status = {"replicas": len(live), "observedGeneration": rs["metadata"].get("generation", 1)}
    if live:
        status |= {"fullyLabeledReplicas": len(live)}
    if ready:
        status |= {"readyReplicas": ready, "availableReplicas": ready}
    if rs.get("status") != status:
        await cluster.update("replicasets.apps", namespace, name, lambda o: {**o, "status": status}, sub="status")
    return None


def _deletion_order(pod: Unstructured) -> tuple[bool, bool, str]:
    """Unassigned before assigned, unready before ready, younger before older."""
    stamp = "".join(chr(255 - ord(c)) for c in pod["metadata"]["creationTimestamp"])
    return bool(pod["spec"].get("nodeName")), is_ready(pod), stamp


async def _adopt(cluster: ControllerContext, rs: Unstructured) -> None:
    """Adopt pods without a controller that match the selector."""
    match = label_selector(rs["spec"].get("selector"))
    for pod in cluster.store.all("pods", rs["metadata"]["namespace"]):
        metadata = pod["metadata"]
        if not metadata.get("ownerReferences") and match(metadata.get("labels") or {}) and active(pod):
            await cluster.update("pods", metadata["namespace"], metadata["name"], lambda o: _with_owner(o, rs))


def _with_owner(obj: Unstructured, owner: Unstructured) -> Unstructured:
    obj["metadata"]["ownerReferences"] = [reference(owner)]
    return obj


def reference(owner: Unstructured) -> Unstructured:
    """A controller reference."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def pod_of(owner: Unstructured, template: Unstructured, name: str = "") -> Unstructured:
    """A pod from a template, with a given name or a generateName."""
    template = copy.deepcopy(template)
    metadata = {
        k: v for k, v in (template.get("metadata") or {}).items() if k in ("labels", "annotations", "finalizers")
    }
    named = {"name": name} if name else {"generateName": owner["metadata"]["name"] + "-"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **metadata,
            **named,
            "namespace": owner["metadata"]["namespace"],
            "ownerReferences": [reference(owner)],
        },
        "spec": template["spec"],
    }
