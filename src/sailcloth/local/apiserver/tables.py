"""What `kubectl get` prints: columns and cells of built-in kinds, and of custom ones by JSON path."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import orjson

Object = dict[str, Any]
Cell = Callable[[Object], Any]
Column = tuple[str, str, int, Cell]  # name, type, priority, cell


def age(stamp: str | None) -> str:
    """Time since, as kubectl shortens it."""
    if not stamp:
        return "<unknown>"
    try:
        then = dt.datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    except ValueError:
        return "<invalid>"
    return span(max(0, int((dt.datetime.now(dt.UTC) - then).total_seconds())))


def span(s: int) -> str:
    """Seconds, as kubectl shortens them."""
    if s < 120:
        return f"{s}s"
    if s < 600:
        return f"{s // 60}m{s % 60}s" if s % 60 else f"{s // 60}m"
    if s < 10_800:
        return f"{s // 60}m"
    if s < 28_800:
        return f"{s // 3600}h{s % 3600 // 60}m" if s % 3600 // 60 else f"{s // 3600}h"
    if s < 172_800:
        return f"{s // 3600}h"
    if s < 691_200:
        return f"{s // 86_400}d{s % 86_400 // 3600}h" if s % 86_400 // 3600 else f"{s // 86_400}d"
    return f"{s // 86_400}d"


def at(path: str, default: Any = "<none>") -> Cell:
    """The value at a dotted path."""
    steps = path.split(".")

    def cell(obj: Object) -> Any:
        value: Any = obj
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        return default if value in (None, "", [], {}) else value

    return cell


def labels(selector: dict[str, Any] | None) -> str:
    """A selector, or plain labels, as one word."""
    pairs = (selector or {}).get("matchLabels", selector) or {}
    return ",".join(f"{k}={v}" for k, v in sorted(pairs.items()) if isinstance(v, str)) or "<none>"


def images(field: str) -> Cell:
    """A field of the containers of an object's template."""

    def cell(obj: Object) -> str:
        spec = obj["spec"].get("template", {}).get("spec", {})
        return ",".join(str(c.get(field, "")) for c in spec.get("containers", ())) or "<none>"

    return cell


def _sidecars(obj: Object) -> list[Object]:
    return [c for c in obj["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]


def _pod_ready(obj: Object) -> str:
    names = {c["name"] for c in obj["spec"].get("containers", ())} | {c["name"] for c in _sidecars(obj)}
    status = obj.get("status", {})
    found = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    ready = sum(1 for c in found if c.get("ready") and c["name"] in names)
    return f"{ready}/{len(names)}"


def _ending(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode')}"


def pod_status(obj: Object) -> str:
    """The STATUS column: phase, refined by what containers wait for or ended with."""
    status, spec = obj.get("status", {}), obj["spec"]
    reason = str(status.get("reason") or status.get("phase") or "Pending")
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
            reason = "Init:" + _ending(ended)
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
                reason = _ending(ended)
            elif c.get("ready") and state.get("running"):
                running = True
        if reason == "Completed" and running:
            reason = "Running"
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return reason


def _restarts(obj: Object) -> str:
    status = obj.get("status", {})
    found = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    count = sum(c.get("restartCount", 0) for c in found)
    ends = [
        ((c.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for c in found if c.get("restartCount")
    ]
    last = max((e for e in ends if e), default="")
    return f"{count} ({age(last)} ago)" if last else str(count)


def _service_ports(obj: Object) -> str:
    out = []
    for p in obj["spec"].get("ports") or ():
        node = f":{p['nodePort']}" if p.get("nodePort") else ""
        out.append(f"{p['port']}{node}/{p.get('protocol', 'TCP')}")
    return ",".join(out) or "<none>"


def _external(obj: Object) -> str:
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", "<none>"))
    if spec.get("type") == "LoadBalancer":
        found = (obj.get("status", {}).get("loadBalancer") or {}).get("ingress") or []
        return ",".join(i.get("ip") or i.get("hostname", "") for i in found) or "<pending>"
    return ",".join(spec.get("externalIPs") or ()) or "<none>"


def _endpoints(obj: Object) -> str:
    out = []
    for subset in obj.get("subsets") or ():
        ports = subset.get("ports") or [{}]
        out += [
            f"{a['ip']}:{p['port']}" if "port" in p else a["ip"] for p in ports for a in subset.get("addresses") or ()
        ]
    shown = ",".join(out[:3]) + (f" + {len(out) - 3} more..." if len(out) > 3 else "")
    return shown or "<none>"


def _slice_endpoints(obj: Object) -> str:
    found = [a for e in obj.get("endpoints") or () for a in e.get("addresses", ())]
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "") or "<unset>"


def _slice_ports(obj: Object) -> str:
    return ",".join(str(p.get("port", "*")) for p in obj.get("ports") or ()) or "<unset>"


def _node_status(obj: Object) -> str:
    found = [c for c in obj.get("status", {}).get("conditions") or () if c["type"] == "Ready"]
    ready = "Ready" if found and found[0]["status"] == "True" else "NotReady" if found else "Unknown"
    return ready + (",SchedulingDisabled" if obj["spec"].get("unschedulable") else "")


def _node_address(kind: str) -> Cell:
    def cell(obj: Object) -> str:
        found = obj.get("status", {}).get("addresses") or ()
        return next((a["address"] for a in found if a["type"] == kind), "<none>")

    return cell


def _roles(obj: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    return (
        ",".join(k.removeprefix(prefix) for k in obj["metadata"].get("labels") or () if k.startswith(prefix))
        or "<none>"
    )


def _event_object(obj: Object) -> str:
    ref = obj.get("involvedObject", {})
    return f"{str(ref.get('kind', '')).lower()}/{ref.get('name', '')}"


def created(obj: Object) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


AGE: Column = ("Age", "string", 0, created)
_NAME: Column = ("Name", "string", 0, lambda o: o["metadata"]["name"])
_S, _I = "string", "integer"

COLUMNS: dict[str, list[Column]] = {
    "pods": [
        ("Ready", _S, 0, _pod_ready),
        ("Status", _S, 0, pod_status),
        ("Restarts", _S, 0, _restarts),
        AGE,
        ("IP", _S, 1, at("status.podIP")),
        ("Node", _S, 1, at("spec.nodeName")),
        ("Nominated Node", _S, 1, at("status.nominatedNodeName")),
        ("Readiness Gates", _S, 1, lambda o: "<none>"),
    ],
    "services": [
        ("Type", _S, 0, at("spec.type")),
        ("Cluster-IP", _S, 0, at("spec.clusterIP")),
        ("External-IP", _S, 0, _external),
        ("Port(s)", _S, 0, _service_ports),
        AGE,
        ("Selector", _S, 1, lambda o: labels(o["spec"].get("selector"))),
    ],
    "deployments.apps": [
        ("Ready", _S, 0, lambda o: f"{o.get('status', {}).get('readyReplicas', 0)}/{o['spec'].get('replicas', 1)}"),
        ("Up-to-date", _I, 0, at("status.updatedReplicas", 0)),
        ("Available", _I, 0, at("status.availableReplicas", 0)),
        AGE,
        ("Containers", _S, 1, images("name")),
        ("Images", _S, 1, images("image")),
        ("Selector", _S, 1, lambda o: labels(o["spec"].get("selector"))),
    ],
    "replicasets.apps": [
        ("Desired", _I, 0, at("spec.replicas", 0)),
        ("Current", _I, 0, at("status.replicas", 0)),
        ("Ready", _I, 0, at("status.readyReplicas", 0)),
        AGE,
        ("Containers", _S, 1, images("name")),
        ("Images", _S, 1, images("image")),
        ("Selector", _S, 1, lambda o: labels(o["spec"].get("selector"))),
    ],
    "namespaces": [("Status", _S, 0, at("status.phase")), AGE],
    "nodes": [
        ("Status", _S, 0, _node_status),
        ("Roles", _S, 0, _roles),
        AGE,
        ("Version", _S, 0, at("status.nodeInfo.kubeletVersion")),
        ("Internal-IP", _S, 1, _node_address("InternalIP")),
        ("External-IP", _S, 1, _node_address("ExternalIP")),
        ("OS-Image", _S, 1, at("status.nodeInfo.osImage", "<unknown>")),
        ("Kernel-Version", _S, 1, at("status.nodeInfo.kernelVersion", "<unknown>")),
        ("Container-Runtime", _S, 1, at("status.nodeInfo.containerRuntimeVersion", "<unknown>")),
    ],
    "configmaps": [("Data", _I, 0, lambda o: len(o.get("data") or ()) + len(o.get("binaryData") or ())), AGE],
    "secrets": [("Type", _S, 0, at("type")), ("Data", _I, 0, lambda o: len(o.get("data") or ())), AGE],
    "serviceaccounts": [("Secrets", _I, 0, lambda o: len(o.get("secrets") or ())), AGE],
    "endpoints": [("Endpoints", _S, 0, _endpoints), AGE],
    "endpointslices.discovery.k8s.io": [
        ("AddressType", _S, 0, at("addressType")),
        ("Ports", _S, 0, _slice_ports),
        ("Endpoints", _S, 0, _slice_endpoints),
        AGE,
    ],
    "events": [
        (
            "Last Seen",
            _S,
            0,
            lambda o: age(o.get("lastTimestamp") or o.get("eventTime") or o["metadata"].get("creationTimestamp")),
        ),
        ("Type", _S, 0, at("type")),
        ("Reason", _S, 0, at("reason")),
        ("Object", _S, 0, _event_object),
        ("Message", _S, 0, lambda o: str(o.get("message", "")).strip()),
        ("First Seen", _S, 1, lambda o: age(o.get("firstTimestamp"))),
        ("Count", _I, 1, at("count", 1)),
        ("Name", _S, 1, lambda o: o["metadata"]["name"]),
    ],
    "leases.coordination.k8s.io": [("Holder", _S, 0, at("spec.holderIdentity")), AGE],
    "customresourcedefinitions.apiextensions.k8s.io": [("Created At", _S, 0, at("metadata.creationTimestamp"))],
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": [
        ("Webhooks", _I, 0, lambda o: len(o.get("webhooks") or ())),
        AGE,
    ],
    "validatingwebhookconfigurations.admissionregistration.k8s.io": [
        ("Webhooks", _I, 0, lambda o: len(o.get("webhooks") or ())),
        AGE,
    ],
}

_STEP = re.compile(r'\.?([A-Za-z0-9_-]+)|\[\?\(@\.(\w+)==["\']([^"\']+)["\']\)\]|\[(\d+|\*)\]|\[\'([^\']+)\'\]')


def json_path(path: str) -> Cell:
    """The subset of JSON paths that printer columns use."""
    steps = list(_STEP.finditer(path))

    def cell(obj: Object) -> Any:
        value: Any = obj
        for step in steps:
            name = step[1] or step[5]
            if name:
                value = value.get(name) if isinstance(value, dict) else None
            elif step[2]:
                found = [x for x in value or () if isinstance(x, dict) and str(x.get(step[2])) == step[3]]
                value = found[0] if found else None
            elif step[4] == "*":
                continue
            else:
                value = value[int(step[4])] if isinstance(value, list) and len(value) > int(step[4]) else None
            if value is None:
                return None
        return value

    return cell


def custom_columns(given: list[dict[str, Any]] | None) -> list[Column]:
    """Columns of a CustomResourceDefinition; without any, the age."""
    out: list[Column] = []
    for column in given or ():
        get = json_path(column["jsonPath"])
        date = column["type"] == "date"
        kind = "string" if date else column["type"]
        out.append((column["name"], kind, column.get("priority", 0), _age_of(get) if date else _plain(get)))
    return out or [AGE]


def _age_of(get: Cell) -> Cell:
    def cell(obj: Object) -> str:
        return age(get(obj))

    return cell


def _plain(get: Cell) -> Cell:
    def cell(obj: Object) -> Any:
        value = get(obj)
        return orjson.dumps(value).decode() if isinstance(value, list) else value

    return cell


def table(
    columns: list[Column], objects: list[Object], revision: str, *, heads: bool = True, include: str = "Metadata"
) -> Object:
    """A meta.k8s.io/v1 Table. The name comes first, unless the columns have it somewhere else."""
    if not any(c[0] == "Name" for c in columns):
        columns = [_NAME, *columns]
    rows = []
    for obj in objects:
        row: Object = {"cells": [cell(obj) for _, _, _, cell in columns]}
        if include == "Object":
            row["object"] = obj
        elif include != "None":
            metadata = obj["metadata"]
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
        rows.append(row)
    out: Object = {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": revision},
        "columnDefinitions": None,
        "rows": rows,
    }
    if heads:
        out["columnDefinitions"] = [
            {"name": n, "type": t, "format": "name" if n == "Name" else "", "description": n, "priority": p}
            for n, t, p, _ in columns
        ]
    return out
