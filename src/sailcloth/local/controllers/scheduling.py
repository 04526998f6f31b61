"""The scheduler of a cluster with one node: binds pods that the node takes, and says of others why it does not."""

from __future__ import annotations

from sailcloth.local.apiserver.times import now
from sailcloth.local.apiserver.unstructured import Unstructured

from . import taints
from .context import ControllerContext

NODE = "sailcloth"
_COMPONENT = "default-scheduler"


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """Bind a pod without a node, unless scheduling gates hold it or the node does not fit."""
    pod = cluster.store.get("pods", namespace, name)
    if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
        return None
    if pod["spec"].get("schedulingGates"):
        text = "Scheduling is blocked due to non-empty scheduling gates"
        await _set_not_scheduled(cluster, pod, "SchedulingGated", text)
        return None
    node = cluster.store.get("nodes", "", NODE)
    if node is None:
        return None
    why = _misfit(pod, node)
    if why:
        text = f"0/1 nodes are available: 1 node(s) {why}."
        await _set_not_scheduled(cluster, pod, "Unschedulable", text)
        await cluster.event(pod, _COMPONENT, "FailedScheduling", text, "Warning")
        return None

    def bind(live: Unstructured) -> Unstructured:
        live["spec"]["nodeName"] = NODE
        return live

    await cluster.update("pods", namespace, name, bind, sub="binding")
    return None


def _misfit(pod: Unstructured, node: Unstructured) -> str:
    """Why the node does not take the pod; empty if it does."""
    tolerations = pod["spec"].get("tolerations") or []
    unschedulable = {"key": taints.UNSCHEDULABLE, "effect": "NoSchedule"}
    if (node.get("spec") or {}).get("unschedulable") and not any(
        taints.tolerates(t, unschedulable) for t in tolerations
    ):
        return "were unschedulable"
    labels, wanted = node["metadata"].get("labels") or {}, pod["spec"].get("nodeSelector") or {}
    missing = sorted(f"{k}={v}" for k, v in wanted.items() if labels.get(k) != v)
    if missing:
        return f"didn't match Pod's node affinity/selector ({', '.join(missing)})"
    taint = taints.untolerated(node, tolerations)
    return f"had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}" if taint is not None else ""


async def _set_not_scheduled(cluster: ControllerContext, pod: Unstructured, reason: str, text: str) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": text}

    def mark(live: Unstructured) -> Unstructured:
        conditions = live["status"].get("conditions") or []
        known: Unstructured = next((c for c in conditions if c["type"] == "PodScheduled"), {})
        same = all(known.get(k) == v for k, v in condition.items()) and known.get("lastTransitionTime")
        new = known if same else {"lastProbeTime": None, "lastTransitionTime": now(), **condition}
        live["status"]["conditions"] = [*(c for c in conditions if c["type"] != "PodScheduled"), new]
        return live

    await cluster.update("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], mark, sub="status")
