"""Waits for what an installation starts, and says at the time limit why something is not ready. Changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from sailcloth.kube import ApiError, Client
from sailcloth.kube.resources import CRDS, DAEMONSETS, DEPLOYMENTS, EVENTS, MUTATING_WEBHOOKS, PODS

Object = dict[str, Any]
Report = Callable[[str], None]
_POLL_S = 0.5
_MOST_EVENTS = 3


class NotReady(Exception):
    """Something was not ready in time; the text says what, and why as far as the cluster tells."""


class Deadline:
    """The time limit of all waits together; without one nothing is waited for."""

    def __init__(self, seconds: float) -> None:
        self.waits = seconds > 0
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def passed(self) -> bool:
        return time.monotonic() > self._end


async def _until(
    what: str,
    missing: Callable[[], Awaitable[str]],
    why: Callable[[], Awaitable[str]],
    deadline: Deadline,
    report: Report,
) -> None:
    """Wait until `missing` is empty. Raises NotReady with that and `why`."""
    if not deadline.waits:
        return
    last = ""
    while lacking := await missing():
        if lacking != last:
            report(f"{what}: {lacking}…")
            last = lacking
        if deadline.passed():
            reason = await why()
            raise NotReady(f"{what} is not ready after {deadline.seconds:g} s: {reason or lacking}")
        await asyncio.sleep(_POLL_S)
    report(f"{what} is ready")


async def _nothing() -> str:
    return ""


async def established(client: Client, names: Iterable[str], deadline: Deadline, report: Report) -> None:
    """Wait until the API server serves the kinds."""
    wanted = set(names)

    async def missing() -> str:
        found, _ = await client.list(CRDS)
        served = {d["metadata"]["name"] for d in found if _condition(d, "Established") == "True"}
        lacking = sorted(wanted - served)
        return f"{len(lacking)} are not served yet, such as {lacking[0]}" if lacking else ""

    await _until("the mesh's kinds", missing, _nothing, deadline, report)


async def available(
    client: Client, name: str, namespace: str, deadline: Deadline, report: Report, kind: str = "Deployment"
) -> None:
    """Wait until all pods of a Deployment or DaemonSet are its newest, and ready."""

    async def missing() -> str:
        return await unavailable(client, name, namespace, kind)

    async def why() -> str:
        return await reasons(client, name, namespace, kind)

    await _until(f"{kind} {namespace}/{name}", missing, why, deadline, report)


WORKLOADS = {resource.kind: resource for resource in (DEPLOYMENTS, DAEMONSETS)}


async def unavailable(client: Client, name: str, namespace: str, kind: str = "Deployment") -> str:
    """What a Deployment or DaemonSet lacks; empty if it is as it should be."""
    try:
        found = await client.get(WORKLOADS[kind], name, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        return "is not there"
    status, wanted = found.get("status") or {}, found["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < found["metadata"].get("generation", 0):
        return "is not observed yet"
    if kind == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        ready = min(status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0))
    else:
        ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0))
    return f"{ready} of {wanted} pods are ready" if ready < wanted or status.get("replicas", 0) > wanted else ""


async def injecting(client: Client, name: str, deadline: Deadline, report: Report) -> list[Object]:
    """Wait until the control plane has given its webhooks to the API server. Returns them."""
    webhooks: list[Object] = []

    async def missing() -> str:
        try:
            found = await client.get(MUTATING_WEBHOOKS, name)
        except ApiError as error:
            if error.status != 404:
                raise
            return f"there is no MutatingWebhookConfiguration {name}"
        webhooks[:] = found.get("webhooks") or ()
        return "" if webhooks else f"the MutatingWebhookConfiguration {name} has no webhooks"

    await _until("injection", missing, _nothing, deadline, report)
    return webhooks


async def reasons(client: Client, name: str, namespace: str, kind: str = "Deployment") -> str:
    """Why pods of a Deployment or DaemonSet are not ready: of its conditions, of containers that wait, and of events."""
    try:
        found = await client.get(WORKLOADS[kind], name, namespace)
    except ApiError as error:
        if error.status != 404:
            raise
        return ""
    texts = [
        str(c.get("message"))
        for c in (found.get("status") or {}).get("conditions") or ()
        if c["type"] == "ReplicaFailure" and c["status"] == "True"
    ]
    labels = (found["spec"].get("selector") or {}).get("matchLabels") or {}
    pods, _ = await client.list(PODS, namespace, ",".join(f"{k}={v}" for k, v in labels.items()))
    for pod in pods:
        if _condition(pod, "Ready") != "True":
            texts.append(f"pod {pod['metadata']['name']}: {'; '.join(_waiting(pod)) or 'not ready'}")
            texts += await _warnings(client, pod["metadata"]["name"], namespace)
    return "\n  ".join(dict.fromkeys(texts))


def _waiting(pod: Object) -> list[str]:
    status = pod.get("status") or {}
    found = [
        f"{c['type']}: {c.get('message') or c.get('reason')}"
        for c in status.get("conditions") or ()
        if c["type"] == "PodScheduled" and c["status"] == "False"
    ]
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = container.get("state") or {}
        reason = state.get("waiting") or state.get("terminated") or {}
        if reason.get("reason") and reason["reason"] != "Completed":
            text = ": ".join(t for t in (reason["reason"], reason.get("message")) if t)
            found.append(f"container {container['name']}: {text}")
        elif "running" in state and not container.get("ready"):
            found.append(f"container {container['name']} runs, and is not ready")
    return found


async def _warnings(client: Client, pod: str, namespace: str) -> list[str]:
    """The last warnings about a pod."""
    selector = f"involvedObject.name={pod},involvedObject.namespace={namespace}"
    events, _ = await client.list(EVENTS, namespace, field_selector=selector)
    told = [e for e in events if e.get("type") == "Warning"]
    told.sort(key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
    return [f"event {e.get('reason')}: {e.get('message')}" for e in told[-_MOST_EVENTS:]]


def _condition(obj: Object, kind: str) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((str(c["status"]) for c in conditions if c["type"] == kind), "")
