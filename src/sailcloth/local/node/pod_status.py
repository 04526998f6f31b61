"""Composes the status of a pod, and writes it to the API server whenever it changes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from sailcloth.kube import ApiError
from sailcloth.kube.resources import PODS
from sailcloth.local import network

from .pod_state import Container, Object, PodState, timestamp

log = logging.getLogger(__name__)


class StatusWriter:
    """Writes the status of one pod."""

    def __init__(self, pod: PodState) -> None:
        self._pod = pod
        self._sent: Object = {}
        self._times: dict[str, tuple[str, str]] = {}  # by type of condition: its status, and since when

    def _condition(self, kind: str, holds: bool, reason: str = "") -> Object:
        status = "True" if holds else "False"
        known = self._times.get(kind)
        if known is None or known[0] != status:
            known = self._times[kind] = (status, timestamp())
        # null removes what the condition said before, since a strategic merge patch keeps what it does not name
        out: Object = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": known[1]}
        return {**out, "reason": (reason or None) if not holds else None, "message": None}

    def _gates(self) -> str:
        """Why the pod's readiness gates (`spec.readinessGates`) keep it from being ready; empty if they do not."""
        conditions = self._pod.object.get("status", {}).get("conditions") or ()
        known = {c["type"]: c.get("status") for c in conditions}
        for gate in self._pod.spec.get("readinessGates") or ():
            kind = gate["conditionType"]
            if kind not in known:
                return f'corresponding condition of pod readiness gate "{kind}" does not exist.'
            if known[kind] != "True":
                return f'the status of pod readiness gate "{kind}" is not "True", but {known[kind]}'
        return ""

    def compose(self) -> Object:
        """The current status."""
        pod = self._pod
        sidecars = [c for c in pod.containers if c.sidecar]
        ready = pod.initialized and all(c.ready for c in [*pod.app_containers, *sidecars]) and pod.phase == "Running"
        ended = pod.finished
        why = "PodCompleted" if ended else "ContainersNotReady"
        gates = self._gates() if ready else ""
        pod_ready = self._condition("Ready", ready and not gates, "ReadinessGatesNotReady" if gates else why)
        if gates:
            pod_ready["message"] = gates
        out: Object = {
            "phase": pod.phase,
            "conditions": [
                self._condition("PodReadyToStartContainers", pod.sandbox is not None),
                self._condition("Initialized", pod.initialized, "ContainersNotInitialized"),
                pod_ready,
                self._condition("ContainersReady", ready, why),
                self._condition("PodScheduled", True),
            ],
            "hostIP": network.NODE_IP,
            "hostIPs": [{"ip": network.NODE_IP}],
            "startTime": pod.scheduled,
            "containerStatuses": [_container(c) for c in pod.app_containers],
        }
        if pod.reason:
            out |= {"reason": pod.reason, "message": pod.message}
        if pod.ip:
            out |= {"podIP": pod.ip, "podIPs": [{"ip": pod.ip}]}
        if any(c.init for c in pod.containers):
            out["initContainerStatuses"] = [_container(c) for c in pod.containers if c.init]
        if any(c.ephemeral for c in pod.containers):
            out["ephemeralContainerStatuses"] = [_container(c) for c in pod.containers if c.ephemeral]
        return out

    async def write(self) -> None:
        """Write the status after each change until cancelled."""
        pod, delay = self._pod, 0.1
        await pod.known.wait()
        written = pod.object.get("status") or {}
        self._times = {
            c["type"]: (c["status"], c["lastTransitionTime"])
            for c in written.get("conditions") or ()
            if c.get("status") and c.get("lastTransitionTime")
        }
        if _says(written, wanted := self.compose()):  # by an earlier process
            self._sent = wanted
        while True:
            await pod.changed.wait()
            await asyncio.sleep(0.005)
            pod.changed.clear()
            wanted = self.compose()
            if wanted == self._sent:
                continue
            try:
                # Merged by type of condition, so that conditions of others, such as readiness gates, stay.
                await pod.node.client.patch(
                    PODS, pod.name, pod.namespace, {"status": wanted}, type="strategic", sub="status"
                )
                self._sent, delay = wanted, 0.1
            except ApiError as error:
                if error.status == 404:
                    continue
                log.warning("%s/%s: status not written: %s", pod.namespace, pod.name, error)
            except OSError:
                pod.changed.set()
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)


def _says(written: Object, wanted: Object) -> bool:
    """Whether a status that was written says all of what is wanted."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if v is not None}
        return [plain(v) for v in value] if isinstance(value, list) else value

    theirs, ours = plain(written), plain(wanted)
    conditions = {c["type"]: c for c in theirs.pop("conditions", [])}
    return all(conditions.get(c["type"]) == c for c in ours.pop("conditions")) and all(
        theirs.get(k) == v for k, v in ours.items()
    )


def _container(c: Container) -> Object:
    return {
        "name": c.name,
        "image": c.spec.get("image", ""),
        "imageID": f"sailcloth://{c.spec.get('image', '')}",
        "containerID": f"sailcloth://{c.name}/{c.restarts}",
        "ready": c.ready or (c.init and not c.sidecar and c.completed.is_set()),
        "restartCount": c.restarts,
        "started": c.started,
        "state": c.state,
        "lastState": c.last_state,
    }


def container_statuses(obj: Object) -> dict[str, Object]:
    """The container statuses of a Pod object, by container name."""
    status = obj.get("status", {})
    fields = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    return {s["name"]: s for f in fields for s in status.get(f) or ()}
