"""DaemonSet: one pod on the node, if the node is eligible."""

from __future__ import annotations

from sailcloth.local.apiserver.unstructured import Unstructured

from . import controller_revisions, taints
from .context import ControllerContext
from .deployments import template_hash
from .replicasets import active, is_ready, pod_of, pods_of

GR = "daemonsets.apps"
REVISION = "controller-revision-hash"
_COMPONENT = "daemonset-controller"


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """Create or delete the pod, replace one of an old template, and write the status."""
    daemon_set = cluster.store.get(GR, namespace, name)
    if daemon_set is None or daemon_set["metadata"].get("deletionTimestamp"):
        return None
    revision = template_hash(daemon_set["spec"]["template"])
    await controller_revisions.sync(cluster, daemon_set)
    wanted = _wanted(cluster, daemon_set)
    pods = [p for p in pods_of(cluster, daemon_set) if not p["metadata"].get("deletionTimestamp")]
    rolling = (daemon_set["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    kept: list[Unstructured] = []
    for pod in pods:
        old = (pod["metadata"].get("labels") or {}).get(REVISION) != revision
        if kept or not wanted or not active(pod) or (old and rolling):
            await cluster.delete("pods", namespace, pod["metadata"]["name"])
            await cluster.event(daemon_set, _COMPONENT, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        else:
            kept.append(pod)
    leaving = any(p["metadata"].get("deletionTimestamp") for p in pods_of(cluster, daemon_set))
    if wanted and not kept and not leaving:
        pod = pod_of(daemon_set, daemon_set["spec"]["template"])
        pod["spec"]["tolerations"] = _tolerations(pod["spec"])
        pod["metadata"]["labels"] = {**(pod["metadata"].get("labels") or {}), REVISION: revision}
        created = await cluster.create("pods", pod)
        if created is not None:
            kept.append(created)
            await cluster.event(
                daemon_set, _COMPONENT, "SuccessfulCreate", f"Created pod: {created['metadata']['name']}"
            )
    await _status(cluster, daemon_set, int(wanted), kept, revision)
    await controller_revisions.prune(
        cluster, daemon_set, [revision, *((p["metadata"].get("labels") or {}).get(REVISION, "") for p in kept)]
    )
    return None


def _wanted(cluster: ControllerContext, daemon_set: Unstructured) -> bool:
    """Whether there is a node whose labels the template selects and whose taints its pods tolerate."""
    spec = daemon_set["spec"]["template"]["spec"]
    selector, tolerations = spec.get("nodeSelector") or {}, _tolerations(spec)
    return any(
        selector.items() <= (node["metadata"].get("labels") or {}).items()
        and taints.untolerated(node, tolerations) is None
        for node in cluster.store.all("nodes")
    )


def _tolerations(spec: Unstructured) -> list[Unstructured]:
    return [*(spec.get("tolerations") or ()), *(dict(t) for t in taints.DAEMON_TOLERATIONS)]


async def _status(
    cluster: ControllerContext, daemon_set: Unstructured, wanted: int, pods: list[Unstructured], revision: str
) -> None:
    metadata = daemon_set["metadata"]
    ready = sum(is_ready(p) for p in pods)
    updated = sum((p["metadata"].get("labels") or {}).get(REVISION) == revision for p in pods)
    status = {
        "observedGeneration": metadata.get("generation", 1),
        "currentNumberScheduled": len(pods),
        "desiredNumberScheduled": wanted,
        "numberMisscheduled": 0,
        "numberReady": ready,
        "updatedNumberScheduled": updated,
    }
    if ready:
        status["numberAvailable"] = ready
    if wanted > ready:
        status["numberUnavailable"] = wanted - ready
    if daemon_set.get("status") != status:
        await cluster.update(
            GR, metadata["namespace"], metadata["name"], lambda o: {**o, "status": status}, sub="status"
        )
