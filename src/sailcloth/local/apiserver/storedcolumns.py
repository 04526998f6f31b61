"""`kubectl get`'s columns of the kinds that are stored for what reads them, and that nothing here works on."""

from __future__ import annotations

import datetime as dt
from typing import Any

from .tables import AGE, Column, age, at, images, labels, span

Object = dict[str, Any]
_S, _I = "string", "integer"


def _named(name: str, path: str) -> Column:
    return (name, _I, 0, at(path, 0))


def _selector(obj: Object) -> str:
    return labels(obj["spec"].get("selector"))


_TEMPLATE: list[Column] = [("Containers", _S, 1, images("name")), ("Images", _S, 1, images("image"))]


def _job_status(obj: Object) -> str:
    true = {c["type"] for c in obj.get("status", {}).get("conditions") or () if c.get("status") == "True"}
    for kind, word in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
    ):
        if kind in true:
            return word
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else "Running"


def _completions(obj: Object) -> str:
    done, spec = obj.get("status", {}).get("succeeded", 0), obj["spec"]
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallel = spec.get("parallelism") or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _job_duration(obj: Object) -> str:
    status = obj.get("status", {})
    if not status.get("startTime"):
        return ""
    if not status.get("completionTime"):
        return age(status["startTime"])
    start, end = (dt.datetime.fromisoformat(status[k].replace("Z", "+00:00")) for k in ("startTime", "completionTime"))
    return age((dt.datetime.now(dt.UTC) - (end - start)).isoformat())


def _requested(obj: Object) -> str:
    seconds = obj["spec"].get("expirationSeconds")
    return span(seconds) if seconds else "<none>"


def _decided(obj: Object) -> str:
    status = obj.get("status") or {}
    kinds = [c["type"] for c in status.get("conditions") or ()]
    words = [k for k in ("Approved", "Denied", "Failed") if k in kinds] or ["Pending"]
    return ",".join([*words, "Issued"] if status.get("certificate") else words)


def _last_schedule(obj: Object) -> str:
    stamp = obj.get("status", {}).get("lastScheduleTime")
    return age(stamp) if stamp else "<none>"


def _job_template(key: str) -> Any:
    def cell(obj: Object) -> str:
        return str(images(key)({"spec": (obj["spec"].get("jobTemplate") or {}).get("spec") or {}}))

    return cell


def _hosts(obj: Object) -> str:
    found = [r["host"] for r in obj["spec"].get("rules") or () if r.get("host")]
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "") or "*"


def _addresses(obj: Object) -> str:
    found = (obj.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(i.get("ip") or i.get("hostname", "") for i in found)


def _class_parameters(obj: Object) -> str:
    found = obj["spec"].get("parameters")
    if not found:
        return "<none>"
    group = f".{found['apiGroup']}" if found.get("apiGroup") else ""
    return f"{found.get('kind', '')}{group}/{found.get('name', '')}"


def _metric(spec: Object, now: Object | None) -> str:
    kind = spec.get("type", "")
    key = kind[:1].lower() + kind[1:]
    found, have = spec.get(key) or {}, ((now or {}).get(key) or {}).get("current") or {}
    target = found.get("target") or {}
    name = f"{found['name']}: " if kind == "Resource" else ""
    for field, unit in (("averageUtilization", "%"), ("averageValue", ""), ("value", "")):
        if target.get(field) is not None:
            shown = f"{have[field]}{unit}" if have.get(field) is not None else "<unknown>"
            return f"{name}{shown}/{target[field]}{unit}"
    return f"{name}<unknown>"


def _targets(obj: Object) -> str:
    metrics, now = obj["spec"].get("metrics") or [], obj.get("status", {}).get("currentMetrics") or []
    found = [_metric(m, now[n] if n < len(now) else None) for n, m in enumerate(metrics)]
    return ", ".join(found[:2]) + (f" + {len(found) - 2} more..." if len(found) > 2 else "") or "<none>"


def _reference(obj: Object) -> str:
    found = obj["spec"].get("scaleTargetRef") or {}
    return f"{found.get('kind', '')}/{found.get('name', '')}"


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(obj: Object) -> str:
    return ",".join(_MODES.get(m, m) for m in obj.get("status", {}).get("accessModes") or ())


def _usage(kind: str) -> Any:
    """`kind` is requests or limits."""

    def cell(obj: Object) -> str:
        status = obj.get("status", {})
        hard, used = status.get("hard") or obj["spec"].get("hard") or {}, status.get("used") or {}
        found = [k for k in sorted(hard) if k.startswith("limits.") == (kind == "limits")]
        return ", ".join(f"{k}: {used.get(k, '0')}/{hard[k]}" for k in found)

    return cell


def _subjects(kind: str) -> Any:
    def cell(obj: Object) -> str:
        found = [s for s in obj.get("subjects") or () if s.get("kind") == kind]
        return ", ".join(
            f"{s.get('namespace', '')}/{s['name']}" if kind == "ServiceAccount" else s["name"] for s in found
        )

    return cell


def _role(obj: Object) -> str:
    found = obj.get("roleRef") or {}
    return f"{found.get('kind', '')}/{found.get('name', '')}"


_BINDING: list[Column] = [
    ("Role", _S, 0, _role),
    AGE,
    ("Users", _S, 1, _subjects("User")),
    ("Groups", _S, 1, _subjects("Group")),
    ("ServiceAccounts", _S, 1, _subjects("ServiceAccount")),
]
_CREATED: list[Column] = [("Created At", _S, 0, at("metadata.creationTimestamp"))]
_SELECTED: Column = ("Selector", _S, 1, _selector)


def _controller(obj: Object) -> str:
    """The owner as kubectl shows it: `statefulset.apps/db`."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            group = owner["apiVersion"].rpartition("/")[0]
            return f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}"
    return "<none>"


COLUMNS: dict[str, list[Column]] = {
    "controllerrevisions.apps": [("Controller", _S, 0, _controller), ("Revision", _I, 0, at("revision")), AGE],
    "statefulsets.apps": [
        ("Ready", _S, 0, lambda o: f"{o.get('status', {}).get('readyReplicas', 0)}/{o['spec'].get('replicas', 1)}"),
        AGE,
        *_TEMPLATE,
    ],
    "daemonsets.apps": [
        _named("Desired", "status.desiredNumberScheduled"),
        _named("Current", "status.currentNumberScheduled"),
        _named("Ready", "status.numberReady"),
        _named("Up-to-date", "status.updatedNumberScheduled"),
        _named("Available", "status.numberAvailable"),
        ("Node Selector", _S, 0, lambda o: labels((o["spec"]["template"].get("spec") or {}).get("nodeSelector"))),
        AGE,
        *_TEMPLATE,
        _SELECTED,
    ],
    "jobs.batch": [
        ("Status", _S, 0, _job_status),
        ("Completions", _S, 0, _completions),
        ("Duration", _S, 0, _job_duration),
        AGE,
        *_TEMPLATE,
        _SELECTED,
    ],
    "cronjobs.batch": [
        ("Schedule", _S, 0, at("spec.schedule")),
        ("Timezone", _S, 0, at("spec.timeZone")),
        ("Suspend", "boolean", 0, lambda o: str(bool(o["spec"].get("suspend")))),
        ("Active", _I, 0, lambda o: len(o.get("status", {}).get("active") or ())),
        ("Last Schedule", _S, 0, _last_schedule),
        AGE,
        ("Containers", _S, 1, _job_template("name")),
        ("Images", _S, 1, _job_template("image")),
        ("Selector", _S, 1, lambda o: "<none>"),
    ],
    "ingresses.networking.k8s.io": [
        ("Class", _S, 0, at("spec.ingressClassName")),
        ("Hosts", _S, 0, _hosts),
        ("Address", _S, 0, _addresses),
        ("Ports", _S, 0, lambda o: "80, 443" if o["spec"].get("tls") else "80"),
        AGE,
    ],
    "ingressclasses.networking.k8s.io": [
        ("Controller", _S, 0, at("spec.controller", "")),
        ("Parameters", _S, 0, _class_parameters),
        AGE,
    ],
    "networkpolicies.networking.k8s.io": [
        ("Pod-Selector", _S, 0, lambda o: labels(o["spec"].get("podSelector"))),
        AGE,
    ],
    "poddisruptionbudgets.policy": [
        ("Min Available", _S, 0, lambda o: str(o["spec"].get("minAvailable", "N/A"))),
        ("Max Unavailable", _S, 0, lambda o: str(o["spec"].get("maxUnavailable", "N/A"))),
        _named("Allowed Disruptions", "status.disruptionsAllowed"),
        AGE,
    ],
    "horizontalpodautoscalers.autoscaling": [
        ("Reference", _S, 0, _reference),
        ("Targets", _S, 0, _targets),
        ("MinPods", _S, 0, at("spec.minReplicas", "<unset>")),
        _named("MaxPods", "spec.maxReplicas"),
        _named("Replicas", "status.currentReplicas"),
        AGE,
    ],
    "persistentvolumeclaims": [
        ("Status", _S, 0, at("status.phase", "")),
        ("Volume", _S, 0, at("spec.volumeName", "")),
        ("Capacity", _S, 0, at("status.capacity.storage", "")),
        ("Access Modes", _S, 0, _modes),
        ("StorageClass", _S, 0, at("spec.storageClassName", "")),
        ("VolumeAttributesClass", _S, 0, at("spec.volumeAttributesClassName", "<unset>")),
        AGE,
        ("VolumeMode", _S, 1, at("spec.volumeMode", "<unset>")),
    ],
    "resourcequotas": [
        ("Age", _S, 0, AGE[3]),
        ("Request", _S, 0, _usage("requests")),
        ("Limit", _S, 0, _usage("limits")),
    ],
    "limitranges": _CREATED,
    "certificatesigningrequests.certificates.k8s.io": [
        AGE,
        ("SignerName", _S, 0, at("spec.signerName", "")),
        ("Requestor", _S, 0, at("spec.username", "")),
        ("RequestedDuration", _S, 0, _requested),
        ("Condition", _S, 0, _decided),
    ],
    "priorityclasses.scheduling.k8s.io": [
        ("Value", _I, 0, at("value", 0)),
        ("Global-Default", "boolean", 0, lambda o: str(bool(o.get("globalDefault"))).lower()),
        AGE,
        ("PreemptionPolicy", _S, 1, at("preemptionPolicy", "")),
    ],
    "roles.rbac.authorization.k8s.io": _CREATED,
    "clusterroles.rbac.authorization.k8s.io": _CREATED,
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
}
