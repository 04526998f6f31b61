"""StatefulSet: pods with stable names and claims, created, updated and deleted one after another.

A pod that an update has not reached yet, and that has to be made anew, gets the template it had: see `revisions`.
"""

from __future__ import annotations

import copy

from sailcloth.local.apiserver.unstructured import Unstructured

from . import controller_revisions
from .context import ControllerContext
from .deployments import template_hash
from .replicasets import active, is_ready, pod_of, pods_of, reference

GR = "statefulsets.apps"
REVISION = "controller-revision-hash"
_COMPONENT = "statefulset-controller"


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """One step; the pods' changes bring the next."""
    stateful_set = cluster.store.get(GR, namespace, name)
    if stateful_set is None or stateful_set["metadata"].get("deletionTimestamp"):
        return None
    digest = template_hash(stateful_set["spec"]["template"])
    await controller_revisions.sync(cluster, stateful_set)
    await _step(cluster, stateful_set, f"{name}-{digest}")
    current = await _status(cluster, stateful_set, f"{name}-{digest}")
    pods = _by_ordinal(cluster, stateful_set).values()
    used = [current, *((p["metadata"].get("labels") or {}).get(REVISION, "") for p in pods)]
    await controller_revisions.prune(cluster, stateful_set, [digest, *(u.removeprefix(f"{name}-") for u in used)])
    return None


def _ordinals(stateful_set: Unstructured) -> range:
    first = int((stateful_set["spec"].get("ordinals") or {}).get("start", 0))
    return range(first, first + int(stateful_set["spec"].get("replicas", 1)))


def _by_ordinal(cluster: ControllerContext, stateful_set: Unstructured) -> dict[int, Unstructured]:
    prefix = stateful_set["metadata"]["name"] + "-"
    names = {p["metadata"]["name"].removeprefix(prefix): p for p in pods_of(cluster, stateful_set)}
    return {int(n): p for n, p in names.items() if n.isdigit()}


def _leaving(pod: Unstructured) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


async def _step(cluster: ControllerContext, stateful_set: Unstructured, revision: str) -> None:
    wanted, pods = _ordinals(stateful_set), _by_ordinal(cluster, stateful_set)
    ordered = stateful_set["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    for ordinal in wanted:
        pod = pods.get(ordinal)
        if pod is None:
            await _create(cluster, stateful_set, ordinal, revision)
        elif not _leaving(pod) and not active(pod):
            await _delete(cluster, stateful_set, pod)  # it has ended; a pod of the same name replaces it
        elif not ordered or (is_ready(pod) and not _leaving(pod)):
            continue
        if ordered:
            return
    for ordinal in sorted((n for n in pods if n not in wanted), reverse=True):
        if not _leaving(pods[ordinal]):
            await _delete(cluster, stateful_set, pods[ordinal])
        if ordered:
            return
    await _update(cluster, stateful_set, pods, revision)


async def _update(
    cluster: ControllerContext, stateful_set: Unstructured, pods: dict[int, Unstructured], revision: str
) -> None:
    """Replace the last pod of an old revision, once all after it are ready."""
    strategy = stateful_set["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return
    first = _ordinals(stateful_set).start + _partition(stateful_set)
    for ordinal in reversed(_ordinals(stateful_set)):
        pod = pods.get(ordinal)
        if ordinal < first or pod is None or _leaving(pod):
            return
        if (pod["metadata"].get("labels") or {}).get(REVISION) != revision:
            await _delete(cluster, stateful_set, pod)
            return
        if not is_ready(pod):
            return


def _partition(stateful_set: Unstructured) -> int:
    """How many pods, from the first on, keep their revision."""
    strategy = stateful_set["spec"].get("updateStrategy") or {}
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


def _revision_of(
    cluster: ControllerContext, stateful_set: Unstructured, ordinal: int, revision: str
) -> tuple[str, Unstructured]:
    """The revision and template of a new pod: the current ones, unless the rolling update has not reached its ordinal."""
    spec, status = stateful_set["spec"], stateful_set.get("status") or {}
    current = str(status.get("currentRevision") or revision)
    if current == revision or (spec.get("updateStrategy") or {}).get("type", "RollingUpdate") != "RollingUpdate":
        return revision, spec["template"]
    kept = _partition(stateful_set) or int(status.get("currentReplicas") or 0)
    if ordinal < _ordinals(stateful_set).start + kept:
        old = controller_revisions.template(
            cluster, stateful_set, current.removeprefix(stateful_set["metadata"]["name"] + "-")
        )
        if old is not None:
            return current, old
    return revision, spec["template"]


async def _create(cluster: ControllerContext, stateful_set: Unstructured, ordinal: int, newest: str) -> None:
    metadata, spec = stateful_set["metadata"], stateful_set["spec"]
    name = f"{metadata['name']}-{ordinal}"
    revision, template = _revision_of(cluster, stateful_set, ordinal, newest)
    pod = pod_of(stateful_set, template, name)
    labels = {"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": str(ordinal)}
    pod["metadata"]["labels"] = {**(pod["metadata"].get("labels") or {}), **labels, REVISION: revision}
    pod["spec"] |= {"hostname": name, "subdomain": spec.get("serviceName") or ""}
    for wanted in spec.get("volumeClaimTemplates") or ():
        given = wanted.get("metadata") or {}
        kind = given.get("name", "")
        claim = f"{kind}-{name}"
        claim_metadata = {"name": claim, "namespace": metadata["namespace"]}
        claim_metadata |= {k: given[k] for k in ("labels", "annotations") if given.get(k)}
        if (spec.get("persistentVolumeClaimRetentionPolicy") or {}).get("whenDeleted") == "Delete":
            claim_metadata["ownerReferences"] = [reference(stateful_set)]
        await cluster.create(
            "persistentvolumeclaims", {"metadata": claim_metadata, "spec": copy.deepcopy(wanted["spec"])}
        )
        others = [v for v in pod["spec"].get("volumes") or () if v["name"] != kind]
        pod["spec"]["volumes"] = [*others, {"name": kind, "persistentVolumeClaim": {"claimName": claim}}]
    if await cluster.create("pods", pod) is not None:
        text = f"create Pod {name} in StatefulSet {metadata['name']} successful"
        await cluster.event(stateful_set, _COMPONENT, "SuccessfulCreate", text)


async def _delete(cluster: ControllerContext, stateful_set: Unstructured, pod: Unstructured) -> None:
    name = pod["metadata"]["name"]
    await cluster.delete("pods", pod["metadata"]["namespace"], name)
    text = f"delete Pod {name} in StatefulSet {stateful_set['metadata']['name']} successful"
    await cluster.event(stateful_set, _COMPONENT, "SuccessfulDelete", text)


async def _status(cluster: ControllerContext, stateful_set: Unstructured, revision: str) -> str:
    """Say how far it is. Returns the revision that its pods come from or all had."""
    metadata = stateful_set["metadata"]
    live = [p for p in _by_ordinal(cluster, stateful_set).values() if active(p)]
    ready = sum(is_ready(p) for p in live)
    revisions = [(p["metadata"].get("labels") or {}).get(REVISION) for p in live]
    updated = revisions.count(revision)
    before = stateful_set.get("status") or {}
    current = before.get("currentRevision") or revision
    if updated == ready == len(live) == len(_ordinals(stateful_set)):
        current = revision
    status = {
        "observedGeneration": metadata.get("generation", 1),
        "replicas": len(live),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "currentReplicas": revisions.count(current),
        "updatedReplicas": updated,
        "currentRevision": current,
        "updateRevision": revision,
        "collisionCount": 0,
    }
    if before != status:
        await cluster.update(
            GR, metadata["namespace"], metadata["name"], lambda o: {**o, "status": status}, sub="status"
        )
    return str(current)
