"""Taints of nodes at work: a cordoned node gets the taint `unschedulable`, and NoExecute taints evict pods in time."""

from __future__ import annotations

import datetime as dt

from sailcloth.local.apiserver.times import now
from sailcloth.local.apiserver.unstructured import Unstructured

from . import taints
from .context import ControllerContext

_COMPONENT = "taint-eviction-controller"


async def reconcile(cluster: ControllerContext, name: str) -> float | None:
    """Keep the taint of a cordoned node, and the moment at which each NoExecute taint was added."""
    node = cluster.store.get("nodes", "", name)
    if node is not None and _tainted(node) != ((node.get("spec") or {}).get("taints") or []):
        await cluster.update("nodes", "", name, _with_taints)
    return None


def _tainted(node: Unstructured) -> list[Unstructured]:
    cordoned = bool((node.get("spec") or {}).get("unschedulable"))
    old = (node.get("spec") or {}).get("taints") or []
    out = [
        {**taint, "timeAdded": now()} if taint.get("effect") == "NoExecute" and not taint.get("timeAdded") else taint
        for taint in old
        if cordoned or taint.get("key") != taints.UNSCHEDULABLE
    ]
    if cordoned and not any(t.get("key") == taints.UNSCHEDULABLE for t in out):
        out.append({"key": taints.UNSCHEDULABLE, "effect": "NoSchedule", "timeAdded": now()})
    return out


def _with_taints(node: Unstructured) -> Unstructured:
    wanted = _tainted(node)
    if wanted:
        node["spec"]["taints"] = wanted
    else:
        node["spec"].pop("taints", None)
    return node


async def evict(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """Delete a pod that does not tolerate a NoExecute taint of its node, at once or when its `tolerationSeconds` are over.
    Returns the seconds until then."""
    pod = cluster.store.get("pods", namespace, name)
    if pod is None or pod["metadata"].get("deletionTimestamp") or not pod["spec"].get("nodeName"):
        return None
    node = cluster.store.get("nodes", "", pod["spec"]["nodeName"])
    left = _seconds_left(pod, node) if node is not None else None
    if left is None or left > 0:
        return left
    await cluster.event(pod, _COMPONENT, "TaintManagerEviction", f"Marking for deletion Pod {namespace}/{name}")
    await cluster.delete("pods", namespace, name)
    return None


def _seconds_left(pod: Unstructured, node: Unstructured) -> float | None:
    """How long a pod may stay on its node; None for as long as it likes."""
    deadlines = []
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("effect") != "NoExecute":
            continue
        matching = [t for t in pod["spec"].get("tolerations") or () if taints.tolerates(t, taint)]
        if not matching:
            return 0.0
        seconds = [max(0, int(t["tolerationSeconds"])) for t in matching if t.get("tolerationSeconds") is not None]
        if seconds:
            begun = max(taint.get("timeAdded") or now(), pod["metadata"]["creationTimestamp"])
            deadlines.append(
                dt.datetime.fromisoformat(begun.replace("Z", "+00:00")) + dt.timedelta(seconds=min(seconds))
            )
    return (min(deadlines) - dt.datetime.now(dt.UTC)).total_seconds() if deadlines else None
