"""Deployment: a ReplicaSet for each pod template, rolled from old to new within maxSurge and maxUnavailable."""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
from typing import Any

import orjson

from sailcloth.local.apiserver.times import now
from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext
from .replicasets import reference

REVISION = "deployment.kubernetes.io/revision"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
GR = "replicasets.apps"
_OWN_FIELDS = ("status", "reason", "message", "lastUpdateTime", "lastTransitionTime")  # of a condition
_UNFINISHED = ("ReplicaSetUpdated", "ProgressDeadlineExceeded")


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """One step of a rollout; ReplicaSets' status changes bring the next. Returns the seconds until its deadline."""
    deployment = cluster.store.get("deployments.apps", namespace, name)
    if deployment is None or deployment["metadata"].get("deletionTimestamp"):
        return None
    sets = _sets(cluster, deployment)
    current = next((s for s in sets if _same_template(s, deployment)), None)
    if not deployment["spec"].get("paused") or not sets:
        current = await _current(cluster, deployment, sets, current)
        sets = _sets(cluster, deployment)
        current = next((s for s in sets if current and s["metadata"]["uid"] == current["metadata"]["uid"]), current)
        if current is not None and not deployment["spec"].get("paused"):
            await _scale(cluster, deployment, sets, current)
            await _forget_old(cluster, deployment, sets, current)
    return await _status(cluster, deployment, _sets(cluster, deployment), current)


def _sets(cluster: ControllerContext, deployment: Unstructured) -> list[Unstructured]:
    return [s for s in cluster.owned(GR, deployment) if not s["metadata"].get("deletionTimestamp")]


def _template(obj: Unstructured) -> Unstructured:
    template = copy.deepcopy(obj["spec"]["template"])
    (template.get("metadata") or {}).get("labels", {}).pop("pod-template-hash", None)
    (template.get("metadata") or {}).pop("creationTimestamp", None)
    return template  # type: ignore[no-any-return]


def _same_template(rs: Unstructured, deployment: Unstructured) -> bool:
    return _template(rs) == _template(deployment)


def template_hash(template: Unstructured) -> str:
    """A short name for a pod template, in the alphabet that Kubernetes uses."""
    number = int.from_bytes(hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)).digest()[:7], "big")
    out = ""
    for _ in range(10):
        number, digit = divmod(number, len(_ALPHABET))
        out += _ALPHABET[digit]
    return out


def _revision(obj: Unstructured) -> int:
    return int((obj["metadata"].get("annotations") or {}).get(REVISION, "0") or 0)


async def _current(
    cluster: ControllerContext, deployment: Unstructured, sets: list[Unstructured], current: Unstructured | None
) -> Unstructured | None:
    """The ReplicaSet of the present template, with the newest revision."""
    metadata = deployment["metadata"]
    newest = max((_revision(s) for s in sets), default=0)
    if current is None:
        revision = str(newest + 1)
        current = await cluster.create(GR, _new_set(deployment, revision))
        if current is None:  # a name taken by another's set: its hash clashes, which has not been seen
            return None
    elif _revision(current) < newest:
        revision = str(newest + 1)
        current = await cluster.update(
            GR, metadata["namespace"], current["metadata"]["name"], lambda o: _annotate(o, revision)
        )
    else:
        revision = str(_revision(current))
    if _revision(deployment) != int(revision):
        await cluster.update(
            "deployments.apps", metadata["namespace"], metadata["name"], lambda o: _annotate(o, revision)
        )
    return current


def _annotate(obj: Unstructured, revision: str) -> Unstructured:
    obj["metadata"].setdefault("annotations", {})[REVISION] = revision
    return obj


def _new_set(deployment: Unstructured, revision: str) -> Unstructured:
    metadata = deployment["metadata"]
    digest = template_hash(_template(deployment))
    template = _template(deployment)
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels["pod-template-hash"] = digest
    selector = copy.deepcopy(deployment["spec"]["selector"])
    selector.setdefault("matchLabels", {})["pod-template-hash"] = digest
    notes = {
        k: v
        for k, v in (metadata.get("annotations") or {}).items()
        if k != "kubectl.kubernetes.io/last-applied-configuration"
    }
    replicas = str(deployment["spec"].get("replicas", 1))
    notes |= {REVISION: revision, "deployment.kubernetes.io/desired-replicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-{digest}",
            "namespace": metadata["namespace"],
            "labels": dict(labels),
            "annotations": notes,
            "ownerReferences": [reference(deployment)],
        },
        "spec": {"replicas": 0, "selector": selector, "template": template},
    }


def _amount(value: Any, total: int, up: bool) -> int:
    """A number, or a percentage of the total rounded up or down."""
    if isinstance(value, str) and value.endswith("%"):
        exact = total * int(value[:-1])
        return -(-exact // 100) if up else exact // 100
    return int(value or 0)


async def _scale(
    cluster: ControllerContext, deployment: Unstructured, sets: list[Unstructured], current: Unstructured
) -> None:
    wanted = int(deployment["spec"].get("replicas", 1))
    strategy = deployment["spec"].get("strategy") or {}
    old = [s for s in sets if s["metadata"]["uid"] != current["metadata"]["uid"]]
    namespace = deployment["metadata"]["namespace"]

    async def to(rs: Unstructured, replicas: int) -> None:
        before = int(rs["spec"].get("replicas") or 0)
        if before != replicas:
            await cluster.update(GR, namespace, rs["metadata"]["name"], lambda o: _with_replicas(o, replicas))
            direction = "up" if replicas > before else "down"
            text = f"Scaled {direction} replica set {rs['metadata']['name']} from {before} to {replicas}"
            await cluster.event(deployment, "deployment-controller", "ScalingReplicaSet", text)

    if strategy.get("type") == "Recreate":
        for s in old:
            await to(s, 0)
        if not any(s.get("status", {}).get("replicas") for s in old):
            await to(current, wanted)
        return
    rolling = strategy.get("rollingUpdate") or {}
    surge = _amount(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _amount(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    if not surge and not unavailable:
        unavailable = 1
    total = sum(int(s["spec"].get("replicas", 0)) for s in sets)
    have = int(current["spec"].get("replicas", 0))
    then = wanted if have > wanted else have + min(wanted - have, max(0, wanted + surge - total))
    await to(current, then)
    ready = sum(int(s.get("status", {}).get("availableReplicas", 0)) for s in sets)
    # First the old pods that do not work anyway, then working ones as far as enough others do.
    # A ReplicaSet's status lags behind its spec, so its spec bounds it too.
    told = total - have + then - (then - int(current.get("status", {}).get("availableReplicas", 0)))
    spare = min(ready, told) - (wanted - unavailable)
    for s in sorted(old, key=lambda o: o["metadata"]["creationTimestamp"]):
        replicas = int(s["spec"].get("replicas", 0))
        broken = replicas - int(s.get("status", {}).get("availableReplicas", 0))
        drop = min(replicas, max(0, broken)) if int(s.get("status", {}).get("observedGeneration", 0)) else 0
        more = min(replicas - drop, max(0, spare))
        spare -= more
        if drop + more:
            await to(s, replicas - drop - more)


def _with_replicas(obj: Unstructured, replicas: int) -> Unstructured:
    obj["spec"]["replicas"] = replicas
    return obj


async def _forget_old(
    cluster: ControllerContext, deployment: Unstructured, sets: list[Unstructured], current: Unstructured
) -> None:
    limit = int(deployment["spec"].get("revisionHistoryLimit", 10))
    idle = [
        s
        for s in sets
        if s["metadata"]["uid"] != current["metadata"]["uid"]
        and not s["spec"].get("replicas")
        and not s.get("status", {}).get("replicas")
    ]
    for s in sorted(idle, key=_revision)[: max(0, len(idle) - limit)]:
        await cluster.delete(GR, s["metadata"]["namespace"], s["metadata"]["name"])


async def _status(
    cluster: ControllerContext, deployment: Unstructured, sets: list[Unstructured], current: Unstructured | None
) -> float | None:
    metadata, spec = deployment["metadata"], deployment["spec"]
    wanted = int(spec.get("replicas", 1))

    def total(field: str, of: list[Unstructured]) -> int:
        return sum(int(s.get("status", {}).get(field, 0)) for s in of)

    mine = [s for s in sets if current is not None and s["metadata"]["uid"] == current["metadata"]["uid"]]
    replicas, updated = total("replicas", sets), total("replicas", mine)
    ready, available = total("readyReplicas", sets), total("availableReplicas", sets)
    least = wanted - _amount(
        ((spec.get("strategy") or {}).get("rollingUpdate") or {}).get("maxUnavailable", "25%"), wanted, up=False
    )
    done = updated == replicas == available == wanted and bool(mine)
    name = mine[0]["metadata"]["name"] if mine else ""
    before = deployment.get("status", {})
    moved = (
        updated > before.get("updatedReplicas", 0)
        or replicas - updated < before.get("replicas", 0) - before.get("updatedReplicas", 0)
        or available > before.get("availableReplicas", 0)
    )
    deadline = float(spec.get("progressDeadlineSeconds") or 600)
    # Others may write a status, too, with conditions that have only what the schema asks for.
    known = [c for c in before.get("conditions") or () if all(c.get(k) for k in _OWN_FIELDS)]
    complete = _complete(known, name) and replicas == updated
    progress, left = _progress(known, name, done or complete, moved or bool(spec.get("paused")), deadline)
    conditions = [_condition(known, *_availability(available >= least)), progress]
    status: Unstructured = {"observedGeneration": metadata.get("generation", 1), "conditions": conditions}
    for field, value in (
        ("replicas", replicas),
        ("updatedReplicas", updated),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("unavailableReplicas", max(0, max(wanted, replicas) - available)),
    ):
        if value:
            status[field] = value
    if deployment.get("status") != status:
        await cluster.update(
            "deployments.apps", metadata["namespace"], metadata["name"], lambda o: {**o, "status": status}, sub="status"
        )
    return left


def _condition(
    known: list[Unstructured], kind: str, status: str, reason: str, text: str, renew: bool = False
) -> Unstructured:
    """A condition with the times of the one before where it says the same."""
    before = next((c for c in known if c["type"] == kind), None)
    if before and (before["status"], before["reason"], before["message"]) == (status, reason, text) and not renew:
        return before
    stamp = now()
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": text,
        "lastUpdateTime": stamp,
        "lastTransitionTime": before["lastTransitionTime"] if before and before["status"] == status else stamp,
    }


def _availability(available: bool) -> tuple[str, str, str, str]:
    if available:
        return "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
    return "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."


def _complete(known: list[Unstructured], name: str) -> bool:
    """Whether the rollout of this ReplicaSet has been completed before: pods that fail later do not undo that."""
    return any(c["reason"] == "NewReplicaSetAvailable" and f'"{name}"' in c["message"] for c in known)


def _progress(
    known: list[Unstructured], name: str, done: bool, moved: bool, deadline: float
) -> tuple[Unstructured, float | None]:
    """(the Progressing condition, seconds until the next check)."""
    if done:
        text = f'ReplicaSet "{name}" has successfully progressed.'
        return _condition(known, "Progressing", "True", "NewReplicaSetAvailable", text), None
    late = f'ReplicaSet "{name}" has timed out progressing.'
    before = next((c for c in known if c["type"] == "Progressing"), None)
    if before is not None and not moved and f'"{name}"' in before["message"] and before["reason"] in _UNFINISHED:
        began = dt.datetime.fromisoformat(before["lastUpdateTime"])
        left = deadline - (dt.datetime.now(dt.UTC) - began).total_seconds()
        if left <= 0 or before["status"] == "False":
            return _condition(known, "Progressing", "False", "ProgressDeadlineExceeded", late), None
        return before, left + 0.1
    text = f'ReplicaSet "{name}" is progressing.'
    return _condition(known, "Progressing", "True", "ReplicaSetUpdated", text, renew=moved), deadline + 1.1
