"""The eviction subresource of pods: a deletion that PodDisruptionBudgets may refuse."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from ..auth.authentication import User
from ..errors import StatusError
from ..label_selectors import label_selector
from ..request_info import RequestInfo
from ..times import now
from ..unstructured import Unstructured
from .rest_storage import RestStorage

BUDGETS = ("policy", "v1", "poddisruptionbudgets")
_USER = User("system:apiserver", ("system:masters",))
_MOST_DISRUPTED = 2000
_RETRY_S = 10


async def evict(storage: RestStorage, info: RequestInfo) -> None:
    """Delete a pod, by the DeleteOptions in the request's options, if its budget allows. Raises StatusError: 429 if not."""
    pod = storage.live(info)
    budgets = _budgets(storage, pod) if _counts(pod) else []
    if len(budgets) > 1:
        text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise StatusError(500, "InternalError", text)
    if budgets:
        resource = storage.registry.get(*BUDGETS)
        assert resource is not None
        name = budgets[0]["metadata"]["name"]
        options = {"dryRun": info.options.get("dryRun")} if info.dry_run else {}
        write = RequestInfo(resource, _USER, info.namespace, name, "status", "kube-apiserver", options)
        await storage.update(write, lambda budget: _spend(budget, pod))
    await storage.delete(replace(info, subresource=""))


def _counts(pod: Unstructured) -> bool:
    """Whether budgets apply to the pod: not before it runs, after it has ended, or while it terminates."""
    phase = pod.get("status", {}).get("phase")
    return phase not in ("Succeeded", "Failed", "Pending") and not pod["metadata"].get("deletionTimestamp")


def _budgets(storage: RestStorage, pod: Unstructured) -> list[Unstructured]:
    labels, namespace = pod["metadata"].get("labels") or {}, pod["metadata"]["namespace"]
    return [
        budget
        for budget in storage.store.all("poddisruptionbudgets.policy", namespace)
        if budget["spec"].get("selector") is not None and label_selector(budget["spec"]["selector"])(labels)
    ]


def _spend(budget: Unstructured, pod: Unstructured) -> Unstructured:
    """The budget with one disruption less. Raises StatusError if there is none left."""
    budget["metadata"].pop("resourceVersion", None)  # retried, with the check, if another eviction was faster
    name, status = budget["metadata"]["name"], copy.deepcopy(budget.get("status") or {})
    if not _is_ready(pod):
        policy = budget["spec"].get("unhealthyPodEvictionPolicy") or "IfHealthyBudget"
        healthy, desired = int(status.get("currentHealthy") or 0), int(status.get("desiredHealthy") or 0)
        if policy == "AlwaysAllow" or (healthy >= desired and desired > 0):
            return budget
    if int(status.get("observedGeneration") or 0) < int(budget["metadata"].get("generation") or 1):
        raise _refusal(f"The disruption budget {name} is still being processed by the server.", _RETRY_S)
    allowed, disrupted = int(status.get("disruptionsAllowed") or 0), status.setdefault("disruptedPods", {})
    if len(disrupted) > _MOST_DISRUPTED:
        text = f'poddisruptionbudgets.policy "{name}" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller'
        raise StatusError(403, "Forbidden", text)
    if allowed <= 0:
        healthy, desired = status.get("currentHealthy") or 0, status.get("desiredHealthy") or 0
        raise _refusal(f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
    status["disruptionsAllowed"] = allowed - 1
    disrupted[pod["metadata"]["name"]] = now()
    return {**budget, "status": status}


def _is_ready(pod: Unstructured) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _refusal(cause: str, retry_s: int = 0) -> StatusError:
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if retry_s:
        details["retryAfterSeconds"] = retry_s
    text = "Cannot evict pod as it would violate the pod's disruption budget."
    return StatusError(429, "TooManyRequests", text, details)
