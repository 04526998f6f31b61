"""Taints of nodes and tolerations of pods, by Kubernetes' rules of matching."""

from __future__ import annotations

from collections.abc import Iterable

from sailcloth.local.apiserver.unstructured import Unstructured

UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
# Tolerations that the DaemonSet controller adds to every pod, as in Kubernetes.
DAEMON_TOLERATIONS: tuple[Unstructured, ...] = (
    *(
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
        for key in ("not-ready", "unreachable")
    ),
    *(
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoSchedule"}
        for key in ("disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")
    ),
)


def tolerates(toleration: Unstructured, taint: Unstructured) -> bool:
    """Whether one toleration matches one taint."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated(node: Unstructured, tolerations: Iterable[Unstructured]) -> Unstructured | None:
    """The first taint of a node that keeps pods away and that no toleration matches."""
    tolerations = list(tolerations)
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not any(tolerates(t, taint) for t in tolerations):
            return dict(taint)
    return None
