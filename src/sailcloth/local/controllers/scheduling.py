"""The scheduler of a cluster with one node."""

from __future__ import annotations

from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext

NODE = "sailcloth"


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """The scheduler of a cluster with one node."""
    pod = cluster.store.get("pods", namespace, name)
    if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
        return None
    node = cluster.store.get("nodes", "", NODE)
    if node is None or node["spec"].get("unschedulable"):
        return None
    wanted = pod["spec"].get("nodeSelector") or {}
    labels = node["metadata"].get("labels") or {}
    missing = sorted(f"{k}={v}" for k, v in wanted.items() if labels.get(k) != v)
    if missing:
        await _mark_unschedulable(
            cluster,
            namespace,
            name,
            f"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector ({', '.join(missing)}).",
        )
        return None

    def bind(live: Unstructured) -> Unstructured:
        live["spec"]["nodeName"] = NODE
        return live

    await cluster.update("pods", namespace, name, bind)
    return None


async def _mark_unschedulable(cluster: ControllerContext, namespace: str, name: str, text: str) -> None:
    def mark(live: Unstructured) -> Unstructured:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
        live["status"]["conditions"] = [condition]
        return live

    await cluster.update("pods", namespace, name, mark, sub="status")
