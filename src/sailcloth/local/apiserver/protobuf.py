"""Decodes the protobuf bodies that `kubectl create` and typed clients send. Table-driven; the field numbers are Kubernetes'
frozen wire format. An unknown field fails closed, because dropping it would change what the user asked for.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

# field number -> (JSON name, type): s string, i integer, b bool, t time, m map, x map of bytes, q map of quantities,
# - ignored, a message name, or [type] for a repeated field. A message without a JSON name is inlined.
_META = {
    1: ("name", "s"), 2: ("generateName", "s"), 3: ("namespace", "s"), 4: ("selfLink", "s"), 5: ("uid", "s"),
    6: ("resourceVersion", "s"), 7: ("generation", "i"), 8: ("creationTimestamp", "t"), 9: ("deletionTimestamp", "t"),
    10: ("deletionGracePeriodSeconds", "i"), 11: ("labels", "m"), 12: ("annotations", "m"), 13: ("ownerReferences", ["OwnerReference"]),
    14: ("finalizers", ["s"]), 17: ("managedFields", "-"),
}  # fmt: skip
_TYPES: dict[str, dict[int, tuple[str, Any]]] = {
    "ObjectMeta": _META,
    "OwnerReference": {
        1: ("kind", "s"), 3: ("name", "s"), 4: ("uid", "s"), 5: ("apiVersion", "s"), 6: ("controller", "b"),
        7: ("blockOwnerDeletion", "b"),
    },
    "Namespace": {1: ("metadata", "ObjectMeta"), 2: ("spec", "NamespaceSpec"), 3: ("status", "NamespaceStatus")},
    "NamespaceSpec": {1: ("finalizers", ["s"])},
    "NamespaceStatus": {1: ("phase", "s")},
    "ConfigMap": {1: ("metadata", "ObjectMeta"), 2: ("data", "m"), 3: ("binaryData", "x"), 4: ("immutable", "b")},
    "ServiceAccount": {1: ("metadata", "ObjectMeta"), 4: ("automountServiceAccountToken", "b")},
    "Secret": {
        1: ("metadata", "ObjectMeta"), 2: ("data", "x"), 3: ("type", "s"), 4: ("stringData", "m"), 5: ("immutable", "b"),
    },
    "Deployment": {1: ("metadata", "ObjectMeta"), 2: ("spec", "DeploymentSpec"), 3: ("status", "-")},
    "DeploymentSpec": {
        1: ("replicas", "i"), 2: ("selector", "LabelSelector"), 3: ("template", "PodTemplateSpec"), 4: ("strategy", "Strategy"),
        5: ("minReadySeconds", "i"), 6: ("revisionHistoryLimit", "i"), 7: ("paused", "b"), 9: ("progressDeadlineSeconds", "i"),
    },
    "Strategy": {1: ("type", "s")},
    "LabelSelector": {1: ("matchLabels", "m"), 2: ("matchExpressions", ["LabelRequirement"])},
    "LabelRequirement": {1: ("key", "s"), 2: ("operator", "s"), 3: ("values", ["s"])},
    "PodTemplateSpec": {1: ("metadata", "ObjectMeta"), 2: ("spec", "PodSpec")},
    "Pod": {1: ("metadata", "ObjectMeta"), 2: ("spec", "PodSpec"), 3: ("status", "-")},
    "PodSpec": {
        2: ("containers", ["Container"]), 3: ("restartPolicy", "s"), 4: ("terminationGracePeriodSeconds", "i"),
        6: ("dnsPolicy", "s"), 7: ("nodeSelector", "m"), 8: ("serviceAccountName", "s"), 9: ("serviceAccount", "s"),
        10: ("nodeName", "s"), 11: ("hostNetwork", "b"), 12: ("hostPID", "b"), 13: ("hostIPC", "b"),
        14: ("securityContext", "-"), 16: ("hostname", "s"), 17: ("subdomain", "s"), 19: ("schedulerName", "s"),
    },
    "Container": {
        1: ("name", "s"), 2: ("image", "s"), 3: ("command", ["s"]), 4: ("args", ["s"]), 5: ("workingDir", "s"),
        6: ("ports", ["ContainerPort"]), 7: ("env", ["EnvVar"]), 8: ("resources", "-"), 13: ("terminationMessagePath", "s"),
        14: ("imagePullPolicy", "s"), 16: ("stdin", "b"), 17: ("stdinOnce", "b"), 18: ("tty", "b"),
        20: ("terminationMessagePolicy", "s"),
    },
    "ContainerPort": {1: ("name", "s"), 2: ("hostPort", "i"), 3: ("containerPort", "i"), 4: ("protocol", "s"), 5: ("hostIP", "s")},
    "EnvVar": {1: ("name", "s"), 2: ("value", "s")},
    "Service": {1: ("metadata", "ObjectMeta"), 2: ("spec", "ServiceSpec"), 3: ("status", "-")},
    "ServiceSpec": {
        1: ("ports", ["ServicePort"]), 2: ("selector", "m"), 3: ("clusterIP", "s"), 4: ("type", "s"),
        7: ("sessionAffinity", "s"), 10: ("externalName", "s"), 18: ("clusterIPs", ["s"]),
    },
    "ServicePort": {
        1: ("name", "s"), 2: ("protocol", "s"), 3: ("port", "i"), 4: ("targetPort", "IntOrString"), 5: ("nodePort", "i"),
    },
    "Role": {1: ("metadata", "ObjectMeta"), 2: ("rules", ["PolicyRule"])},
    "ClusterRole": {1: ("metadata", "ObjectMeta"), 2: ("rules", ["PolicyRule"]), 3: ("aggregationRule", "Aggregation")},
    "Aggregation": {1: ("clusterRoleSelectors", ["LabelSelector"])},
    "PolicyRule": {
        1: ("verbs", ["s"]), 2: ("apiGroups", ["s"]), 3: ("resources", ["s"]), 4: ("resourceNames", ["s"]),
        5: ("nonResourceURLs", ["s"]),
    },
    "RoleBinding": {1: ("metadata", "ObjectMeta"), 2: ("subjects", ["Subject"]), 3: ("roleRef", "RoleRef")},
    "ClusterRoleBinding": {1: ("metadata", "ObjectMeta"), 2: ("subjects", ["Subject"]), 3: ("roleRef", "RoleRef")},
    "Subject": {1: ("kind", "s"), 2: ("apiGroup", "s"), 3: ("name", "s"), 4: ("namespace", "s")},
    "RoleRef": {1: ("apiGroup", "s"), 2: ("kind", "s"), 3: ("name", "s")},
    "ResourceQuota": {1: ("metadata", "ObjectMeta"), 2: ("spec", "QuotaSpec"), 3: ("status", "-")},
    "QuotaSpec": {1: ("hard", "q"), 2: ("scopes", ["s"])},
    "Job": {1: ("metadata", "ObjectMeta"), 2: ("spec", "JobSpec"), 3: ("status", "-")},
    "JobSpec": {
        1: ("parallelism", "i"), 2: ("completions", "i"), 3: ("activeDeadlineSeconds", "i"), 4: ("selector", "LabelSelector"),
        5: ("manualSelector", "b"), 6: ("template", "PodTemplateSpec"), 7: ("backoffLimit", "i"),
        8: ("ttlSecondsAfterFinished", "i"), 9: ("completionMode", "s"), 10: ("suspend", "b"),
    },
    "CronJob": {1: ("metadata", "ObjectMeta"), 2: ("spec", "CronJobSpec"), 3: ("status", "-")},
    "CronJobSpec": {
        1: ("schedule", "s"), 2: ("startingDeadlineSeconds", "i"), 3: ("concurrencyPolicy", "s"), 4: ("suspend", "b"),
        5: ("jobTemplate", "JobTemplate"), 6: ("successfulJobsHistoryLimit", "i"), 7: ("failedJobsHistoryLimit", "i"),
        8: ("timeZone", "s"),
    },
    "JobTemplate": {1: ("metadata", "ObjectMeta"), 2: ("spec", "JobSpec")},
    "Ingress": {1: ("metadata", "ObjectMeta"), 2: ("spec", "IngressSpec"), 3: ("status", "-")},
    "IngressSpec": {
        1: ("defaultBackend", "IngressBackend"), 2: ("tls", ["IngressTls"]), 3: ("rules", ["IngressRule"]),
        4: ("ingressClassName", "s"),
    },
    "IngressTls": {1: ("hosts", ["s"]), 2: ("secretName", "s")},
    "IngressRule": {1: ("host", "s"), 2: ("", "IngressRuleValue")},
    "IngressRuleValue": {1: ("http", "IngressHttp")},
    "IngressHttp": {1: ("paths", ["IngressPath"])},
    "IngressPath": {1: ("path", "s"), 2: ("backend", "IngressBackend"), 3: ("pathType", "s")},
    "IngressBackend": {3: ("resource", "TypedReference"), 4: ("service", "IngressService")},
    "TypedReference": {1: ("apiGroup", "s"), 2: ("kind", "s"), 3: ("name", "s")},
    "IngressService": {1: ("name", "s"), 2: ("port", "IngressPort")},
    "IngressPort": {1: ("name", "s"), 2: ("number", "i")},
    "PodDisruptionBudget": {1: ("metadata", "ObjectMeta"), 2: ("spec", "BudgetSpec"), 3: ("status", "-")},
    "BudgetSpec": {
        1: ("minAvailable", "IntOrString"), 2: ("selector", "LabelSelector"), 3: ("maxUnavailable", "IntOrString"),
        4: ("unhealthyPodEvictionPolicy", "s"),
    },
    "PriorityClass": {
        1: ("metadata", "ObjectMeta"), 2: ("value", "i"), 3: ("globalDefault", "b"), 4: ("description", "s"),
        5: ("preemptionPolicy", "s"),
    },
    "autoscaling/v1 HorizontalPodAutoscaler": {1: ("metadata", "ObjectMeta"), 2: ("spec", "PlainScalerSpec"), 3: ("status", "-")},
    "PlainScalerSpec": {
        1: ("scaleTargetRef", "ScaleTarget"), 2: ("minReplicas", "i"), 3: ("maxReplicas", "i"),
        4: ("targetCPUUtilizationPercentage", "i"),
    },
    "ScaleTarget": {1: ("kind", "s"), 2: ("name", "s"), 3: ("apiVersion", "s")},
    "HorizontalPodAutoscaler": {1: ("metadata", "ObjectMeta"), 2: ("spec", "ScalerSpec"), 3: ("status", "-")},
    "ScalerSpec": {
        1: ("scaleTargetRef", "ScaleTarget"), 2: ("minReplicas", "i"), 3: ("maxReplicas", "i"), 4: ("metrics", ["Metric"]),
    },
    "Metric": {1: ("type", "s"), 4: ("resource", "ResourceMetric")},
    "ResourceMetric": {1: ("name", "s"), 2: ("target", "MetricTarget")},
    "MetricTarget": {1: ("type", "s"), 4: ("averageUtilization", "i")},
    "SelfSubjectAccessReview": {1: ("metadata", "ObjectMeta"), 2: ("spec", "AccessSpec"), 3: ("status", "-")},
    "AccessSpec": {1: ("resourceAttributes", "Attributes"), 2: ("nonResourceAttributes", "Path")},
    "Attributes": {
        1: ("namespace", "s"), 2: ("verb", "s"), 3: ("group", "s"), 4: ("version", "s"), 5: ("resource", "s"),
        6: ("subresource", "s"), 7: ("name", "s"), 8: ("fieldSelector", "-"), 9: ("labelSelector", "-"),
    },
    "Path": {1: ("path", "s"), 2: ("verb", "s")},
    "SelfSubjectRulesReview": {1: ("metadata", "ObjectMeta"), 2: ("spec", "RulesSpec"), 3: ("status", "-")},
    "RulesSpec": {1: ("namespace", "s")},
    "SelfSubjectReview": {1: ("metadata", "ObjectMeta"), 2: ("status", "-")},
    "TokenRequest": {1: ("metadata", "ObjectMeta"), 2: ("spec", "TokenSpec"), 3: ("status", "-")},
    "TokenSpec": {1: ("audiences", ["s"]), 4: ("expirationSeconds", "i"), 3: ("boundObjectRef", "Bound")},
    "Bound": {1: ("kind", "s"), 2: ("apiVersion", "s"), 3: ("name", "s"), 4: ("uid", "s")},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "i"), 2: ("preconditions", "Preconditions"), 3: ("orphanDependents", "b"),
        4: ("propagationPolicy", "s"), 5: ("dryRun", ["s"]),
    },
    "Preconditions": {1: ("uid", "s"), 2: ("resourceVersion", "s")},
}  # fmt: skip
# Older service-account and scheduling fields that clients send empty.
_ZERO_OK = {"PodSpec", "Container", "ServiceSpec", "DeploymentSpec"}


def decode(body: bytes) -> dict[str, Any]:
    """The object in a protobuf body (magic `k8s\\0`, then runtime.Unknown). Raises ValueError for what is not known."""
    if body[:4] != b"k8s\0":
        raise ValueError("the body does not start with the protobuf magic")
    unknown = dict(_fields(body[4:]))
    head = {number: bytes(value).decode() for number, value in _fields(bytes(unknown[1]))}
    kind = head.get(2, "")
    name = f"{head.get(1, '')} {kind}"  # where versions differ
    name = name if name in _TYPES else kind
    if name not in _TYPES:
        raise ValueError(f"protobuf bodies of kind {kind} are not supported; send JSON")
    return {"apiVersion": head.get(1, ""), "kind": kind, **_message(name, bytes(unknown.get(2, b"")))}


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("a protobuf field is cut off")
            yield tag >> 3, data[at : at + length]
            at += length
        elif tag & 7 == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        else:
            raise ValueError(f"unexpected protobuf wire type {tag & 7}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a protobuf number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _message(name: str, data: bytes) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for number, raw in _fields(data):
        known = _TYPES[name].get(number)
        if known is None:
            if name in _ZERO_OK and raw in (0, b""):
                continue
            raise ValueError(f"protobuf field {name}.{number} is not supported; send JSON")
        field, kind = known
        if kind == "-":
            continue
        if kind == "q":
            entry = dict(_fields(raw))
            quantity = dict(_fields(bytes(entry.get(2, b""))))
            out.setdefault(field, {})[bytes(entry.get(1, b"")).decode()] = bytes(quantity.get(1, b"")).decode()
        elif not field:
            out.update(_message(kind, raw))
        elif kind in ("m", "x"):
            entry = dict(_fields(raw))
            key, value = bytes(entry.get(1, b"")).decode(), bytes(entry.get(2, b""))
            out.setdefault(field, {})[key] = value.decode() if kind == "m" else base64.b64encode(value).decode()
        elif isinstance(kind, list):
            out.setdefault(field, []).append(_value(kind[0], raw))
        else:
            value = _value(kind, raw)
            if (
                value not in ("", None, {})
                and not (value == 0 and kind == "i" and field not in ("replicas", "value"))
                and value is not False
            ):
                out[field] = value
    return out


def _value(kind: str, raw: Any) -> Any:
    if kind == "s":
        return bytes(raw).decode()
    if kind == "i":
        return raw if raw < 1 << 63 else raw - (1 << 64)
    if kind == "b":
        return bool(raw)
    if kind == "t":
        seconds = dict(_fields(raw)).get(1)
        return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
    if kind == "IntOrString":
        parts = dict(_fields(raw))
        return bytes(parts.get(3, b"")).decode() if parts.get(1) else parts.get(2, 0)
    return _message(kind, raw)
