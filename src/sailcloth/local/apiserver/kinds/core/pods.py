"""Pods."""

from __future__ import annotations

from collections.abc import Iterator

from ...field_errors import FieldError, forbidden, invalid
from ...unstructured import Unstructured
from .. import pod_spec
from ..columns import AGE, age, text, wide
from ..endpoint_addresses import is_ip
from ..pod_validation import validate_pod_spec
from ..record import READ, STATUS, WRITE, FieldSelector, Grant, Kind, Subresource
from . import ephemeral_containers, pod_updates

_TOLERATIONS = [
    {"effect": "NoExecute", "key": f"node.kubernetes.io/{key}", "operator": "Exists", "tolerationSeconds": 300}
    for key in ("not-ready", "unreachable")
]


_GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
    "lastProbeTime": None,
    "lastTransitionTime": None,
}


def _defaults(obj: Unstructured) -> None:
    """A _defaults, in place."""
    spec = obj["spec"]
    for container in pod_spec.all_containers(spec):
        resources = container.get("resources") or {}
        for name, amount in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, amount)
    pod_spec.apply(spec)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = spec["serviceAccountName"]
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault("tolerations", [dict(t) for t in _TOLERATIONS])
    status = obj.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", _qos(spec))
    if spec.get("schedulingGates") and not status.get("conditions"):
        status["conditions"] = [dict(_GATED)]


def _qos(spec: Unstructured) -> str:
    resources = [
        c.get("resources") or {} for c in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    ]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    whole = all(
        {"cpu", "memory"} <= set(r.get("limits") or {}) and (r.get("requests") or r["limits"]) == r["limits"]
        for r in resources
    )
    return "Guaranteed" if whole else "Burstable"


def _validate_addresses(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    """Of the status: endpoints are made of them."""
    status = obj.get("status") or {}
    given = {f"status.podIPs[{n}].ip": one.get("ip") for n, one in enumerate(status.get("podIPs") or ())}
    for field, address in {"status.podIP": status.get("podIP"), **given}.items():
        if address and not is_ip(address):
            yield invalid(field, address, "must be a valid IP address")


def _validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    spec = obj["spec"]
    if old is None:
        yield from validate_pod_spec(spec, "spec")
        if spec.get("schedulingGates") and spec.get("nodeName"):
            yield forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")
    else:
        yield from pod_updates.validate(spec, old["spec"])
    yield from ephemeral_containers.validate(obj, old)


def _restrict(live: Unstructured, new: Unstructured, subresource: str) -> Unstructured:
    if subresource in ("", ephemeral_containers.PATH) and isinstance(new.get("spec"), dict):
        return ephemeral_containers.restrict(live, new, subresource)
    return new


def _sidecars(obj: Unstructured) -> list[Unstructured]:
    return [c for c in obj["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]


def _ready(obj: Unstructured) -> str:
    names = {c["name"] for c in obj["spec"].get("containers", ())} | {c["name"] for c in _sidecars(obj)}
    status = obj.get("status", {})
    statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    ready = sum(1 for c in statuses if c.get("ready") and c["name"] in names)
    return f"{ready}/{len(names)}"


def _terminated(ended: Unstructured) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode')}"


def _status(obj: Unstructured) -> str:
    """The STATUS column: phase, refined by what containers wait for or ended with."""
    status, spec = obj.get("status", {}), obj["spec"]
    reason = str(status.get("reason") or status.get("phase") or "Pending")
    if any(
        c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in status.get("conditions") or ()
    ):
        reason = "SchedulingGated"
    sidecars = {c["name"] for c in _sidecars(obj)}
    initialising = False
    total = len(spec.get("initContainers") or ())
    for index, c in enumerate(status.get("initContainerStatuses") or ()):
        state = c.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting")
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if c["name"] in sidecars and c.get("started"):
            continue
        if ended is not None:
            reason = "Init:" + _terminated(ended)
        elif waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            reason = "Init:" + waiting["reason"]
        else:
            reason = f"Init:{index}/{total}"
        initialising = True
        break
    if not initialising:
        running = False
        for c in reversed(status.get("containerStatuses") or ()):
            state = c.get("state") or {}
            waiting, ended = state.get("waiting"), state.get("terminated")
            if waiting and waiting.get("reason"):
                reason = waiting["reason"]
            elif ended:
                reason = _terminated(ended)
            elif c.get("ready") and state.get("running"):
                running = True
        if reason == "Completed" and running:
            reason = "Running"
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return reason


def _readiness_gates(obj: Unstructured) -> str:
    gates = [g.get("conditionType") for g in obj["spec"].get("readinessGates") or ()]
    true = {c["type"] for c in obj.get("status", {}).get("conditions") or () if c.get("status") == "True"}
    return f"{sum(g in true for g in gates)}/{len(gates)}" if gates else "<none>"


def _restarts(obj: Unstructured) -> str:
    status = obj.get("status", {})
    statuses = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    count = sum(c.get("restartCount", 0) for c in statuses)
    ends = [
        ((c.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
        for c in statuses
        if c.get("restartCount")
    ]
    last = max((e for e in ends if e), default="")
    return f"{count} ({age(last)} ago)" if last else str(count)


_PROCESSES = tuple(
    Subresource(name, kind, verbs, process=True)
    for name, kind, verbs in (
        ("log", "", ("get",)),
        ("exec", "PodExecOptions", ("create", "get")),
        ("attach", "PodAttachOptions", ("create", "get")),
        ("portforward", "PodPortForwardOptions", ("create", "get")),
        ("proxy", "", ("get", "patch", "update")),
    )
)
_CONNECT = ("attach", "exec", "portforward", "proxy")
POD = Kind(
    plural="pods",
    kind="Pod",
    short_names=("po",),
    categories=("all",),
    subresources=(
        *_PROCESSES,
        STATUS,
        Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
        Subresource("binding", "Binding", ("create",), validates=False),
        Subresource(ephemeral_containers.PATH),
    ),
    columns=(
        text("Ready", _ready),
        text("Status", _status),
        text("Restarts", _restarts),
        AGE,
        wide("IP", "status.podIP"),
        wide("Node", "spec.nodeName"),
        wide("Nominated Node", "status.nominatedNodeName"),
        wide("Readiness Gates", _readiness_gates),
    ),
    field_selectors={
        **{
            f"spec.{name}": FieldSelector()
            for name in ("nodeName", "restartPolicy", "schedulerName", "serviceAccountName")
        },
        "spec.hostNetwork": FieldSelector("false"),
        **{f"status.{name}": FieldSelector() for name in ("phase", "podIP", "nominatedNodeName")},
    },
    grants=(
        Grant("view", READ, ("", "log", "status")),
        Grant("edit", READ, _CONNECT),
        Grant("edit", WRITE, ("", *_CONNECT)),
        Grant("edit", ("create",), ("eviction",)),
    ),
    has_spec=True,
    defaults=_defaults,
    validate=_validate,
    validate_always=_validate_addresses,
    restrict=_restrict,
)
