"""PodDisruptionBudgets: how many of the selected pods may be evicted now. The eviction subresource spends what this grants."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

from sailcloth.local.apiserver.label_selectors import label_selector
from sailcloth.local.apiserver.times import now
from sailcloth.local.apiserver.unstructured import Unstructured

from .context import ControllerContext
from .replicasets import is_ready

BUDGETS = "poddisruptionbudgets.policy"
_EVICTION_S = 120.0  # an evicted pod that still exists after this counts as healthy
_SCALABLE = {"ReplicaSet": "replicasets.apps", "StatefulSet": "statefulsets.apps", "Deployment": "deployments.apps"}


class _NoScale(Exception):
    """A pod has no controller with a scale, which a percentage or maxUnavailable needs."""


async def reconcile(cluster: ControllerContext, namespace: str, name: str) -> float | None:
    """Keep a budget's status. Returns the seconds until an eviction that did not happen is forgotten."""
    budget = cluster.store.get(BUDGETS, namespace, name)
    if budget is None or budget["metadata"].get("deletionTimestamp"):
        return None
    pods = selected(cluster, budget)
    disrupted, requeue_after = _disrupted(budget, pods)
    healthy = sum(
        is_ready(p) and not p["metadata"].get("deletionTimestamp") and p["metadata"]["name"] not in disrupted
        for p in pods
    )
    try:
        expected, desired = _expected(cluster, budget["spec"], pods)
        allowed = max(0, healthy - desired) if expected > 0 else 0
        condition = _condition(allowed)
    except _NoScale as error:
        expected = desired = len(pods)
        allowed, condition = 0, {"status": "False", "reason": "SyncFailed", "message": str(error)}
    status: Unstructured = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": budget["metadata"].get("generation", 1),
    }
    if disrupted:
        status["disruptedPods"] = disrupted

    def write(live: Unstructured) -> Unstructured:
        if (live.get("status") or {}).get("disruptedPods") != (budget.get("status") or {}).get("disruptedPods"):
            return live  # an eviction was granted meanwhile, and its event enqueues the budget
        known: Unstructured = next(iter((live.get("status") or {}).get("conditions") or ()), {})
        since = known.get("lastTransitionTime") if known.get("status") == condition["status"] else now()
        observed = {"type": "DisruptionAllowed", "lastTransitionTime": since, **condition}
        observed["observedGeneration"] = status["observedGeneration"]
        return {**live, "status": {**status, "conditions": [observed]}}

    await cluster.update(BUDGETS, namespace, name, write, sub="status")
    return requeue_after


def selected(cluster: ControllerContext, budget: Unstructured) -> list[Unstructured]:
    """The pods that a budget covers. An absent selector covers none, an empty one all of the namespace."""
    selector = budget["spec"].get("selector")
    if selector is None:
        return []
    match = label_selector(selector)
    return [
        p
        for p in cluster.store.all("pods", budget["metadata"]["namespace"])
        if match(p["metadata"].get("labels") or {}) and p.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    ]


def _disrupted(budget: Unstructured, pods: list[Unstructured]) -> tuple[dict[str, str], float | None]:
    """(evictions under way: pod to time, seconds until the next of them is forgotten)."""
    names = {p["metadata"]["name"] for p in pods if not p["metadata"].get("deletionTimestamp")}
    moment = dt.datetime.now(dt.UTC)
    kept, left = {}, []
    for name, stamp in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
        age = (moment - dt.datetime.fromisoformat(stamp.replace("Z", "+00:00"))).total_seconds()
        if name in names and age < _EVICTION_S:
            kept[name] = stamp
            left.append(_EVICTION_S - age)
    return kept, min(left, default=None)


def _expected(cluster: ControllerContext, spec: Unstructured, pods: list[Unstructured]) -> tuple[int, int]:
    """(pods that there should be, of them those that must be healthy). Raises _NoScale."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if most is not None:
        expected = _scale(cluster, pods)
        return expected, max(0, expected - _amount(most, expected))
    if isinstance(least, str):
        expected = _scale(cluster, pods)
        return expected, _amount(least, expected)
    return len(pods), int(least or 0)


def _amount(value: Any, total: int) -> int:
    """A number, or a percentage of the total, rounded up."""
    return math.ceil(int(value[:-1]) * total / 100) if isinstance(value, str) else int(value)


def _scale(cluster: ControllerContext, pods: list[Unstructured]) -> int:
    """The replicas that the pods' controllers want, each controller once. Raises _NoScale."""
    replicas: dict[str, int] = {}
    for pod in pods:
        owner, holder = _controller(cluster, pod), pod
        while owner is not None and (above := _controller(cluster, owner)) is not None:
            owner, holder = above, owner
        if owner is None or owner["kind"] not in _SCALABLE:
            raise _NoScale(f'found no controllers for pod "{holder["metadata"]["name"]}"')
        replicas[owner["metadata"]["uid"]] = int(owner["spec"].get("replicas", 1))
    return sum(replicas.values())


def _controller(cluster: ControllerContext, obj: Unstructured) -> Unstructured | None:
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference.get("kind") in _SCALABLE:
            return cluster.store.get(_SCALABLE[reference["kind"]], obj["metadata"]["namespace"], reference["name"])
    return None


def _condition(allowed: int) -> Unstructured:
    reason = "SufficientPods" if allowed else "InsufficientPods"
    return {"status": "True" if allowed else "False", "reason": reason, "message": ""}
