"""Defaults of built-in kinds that the schemas do not carry, so that what is stored reads like a real cluster's.

Every function is idempotent: it runs when an object is written, and again when an admission webhook has changed it.
"""

from __future__ import annotations

import base64
from typing import Any

from . import autoscaling, podspec

Object = dict[str, Any]
_RBAC = "rbac.authorization.k8s.io"


def apply(kind: str, obj: Object) -> None:
    """Fill in the defaults of a kind, in place."""
    maker = _KINDS.get(kind)
    if maker is not None and kind not in _SPECLESS and obj.get("spec") is None:
        obj["spec"] = {}  # in Go no spec is an empty one
    if maker is not None and (isinstance(obj.get("spec"), dict) or kind in _SPECLESS):
        maker(obj)
    if kind in _WITH_STATUS:
        obj.setdefault("status", {})


def _set(holder: Object, **defaults: Any) -> None:
    """Defaults of fields that are absent or null."""
    for key, value in defaults.items():
        if holder.get(key) is None:
            holder[key] = value


def _inner(holder: Object, key: str) -> Object:
    found = holder.get(key)
    if not isinstance(found, dict):
        found = holder[key] = {}
    return found


# -- workloads --------------------------------------------------------------------------------------


def _deployment(obj: Object) -> None:
    spec = obj["spec"]
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = _inner(spec, "strategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        _set(_inner(strategy, "rollingUpdate"), maxSurge="25%", maxUnavailable="25%")
    podspec.template(spec)


def _replica_set(obj: Object) -> None:
    _set(obj["spec"], replicas=1)
    podspec.template(obj["spec"])


def _stateful_set(obj: Object) -> None:
    spec = obj["spec"]
    _set(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    strategy = _inner(spec, "updateStrategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        _set(_inner(strategy, "rollingUpdate"), partition=0)
    _set(_inner(spec, "persistentVolumeClaimRetentionPolicy"), whenDeleted="Retain", whenScaled="Retain")
    podspec.template(spec)
    for claim in spec.get("volumeClaimTemplates") or ():
        _set(claim, apiVersion="v1", kind="PersistentVolumeClaim")
        _inner(claim, "metadata").setdefault("creationTimestamp", None)
        _claim(claim)


def _daemon_set(obj: Object) -> None:
    spec = obj["spec"]
    _set(spec, revisionHistoryLimit=10)
    strategy = _inner(spec, "updateStrategy")
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        _set(_inner(strategy, "rollingUpdate"), maxSurge=0, maxUnavailable=1)
    podspec.template(spec)


def _job(obj: Object) -> None:
    spec, metadata = obj["spec"], obj["metadata"]
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    _set(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False)
    _set(spec, podReplacementPolicy="Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    podspec.template(spec)
    if not spec.get("manualSelector") and metadata.get("uid"):
        spec["manualSelector"] = False
        uid, name = metadata["uid"], metadata.get("name", "")
        labels = _inner(spec["template"]["metadata"], "labels")
        labels |= {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
        labels |= {"controller-uid": uid, "job-name": name}
        _set(spec, selector={"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})


def _cron_job(obj: Object) -> None:
    spec = obj["spec"]
    _set(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    job = _inner(spec, "jobTemplate")
    _inner(job, "metadata").setdefault("creationTimestamp", None)
    if isinstance(job.get("spec"), dict):
        podspec.template(job["spec"])


def _priority_class(obj: Object) -> None:
    _set(obj, preemptionPolicy="PreemptLowerPriority")


def _autoscaler(obj: Object) -> None:
    spec = obj["spec"]
    _set(spec, minReplicas=1)
    if obj.get("apiVersion") == "autoscaling/v1":
        if autoscaling.METRICS not in (obj["metadata"].get("annotations") or {}):
            _set(spec, targetCPUUtilizationPercentage=80)
    elif not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behaviour = spec.get("behavior")
    if isinstance(behaviour, dict):
        percent: Object = {"type": "Percent", "value": 100, "periodSeconds": 15}
        up = _inner(behaviour, "scaleUp")
        _set(
            up,
            stabilizationWindowSeconds=0,
            selectPolicy="Max",
            policies=[{"type": "Pods", "value": 4, "periodSeconds": 15}, dict(percent)],
        )
        _set(_inner(behaviour, "scaleDown"), selectPolicy="Max", policies=[dict(percent)])


# -- network ----------------------------------------------------------------------------------------


def _service(obj: Object) -> None:
    spec = obj["spec"]
    _set(spec, type="ClusterIP", sessionAffinity="None")
    if spec["sessionAffinity"] == "ClientIP":
        _set(_inner(_inner(spec, "sessionAffinityConfig"), "clientIP"), timeoutSeconds=10800)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    if spec["type"] != "ExternalName":
        _set(spec, internalTrafficPolicy="Cluster", ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _set(spec, externalTrafficPolicy="Cluster")
    else:
        spec.pop("externalTrafficPolicy", None)
    if spec["type"] == "LoadBalancer":
        _set(spec, allocateLoadBalancerNodePorts=True)
    _inner(_inner(obj, "status"), "loadBalancer")


def _endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            _set(port, protocol="TCP")


def _endpoint_slice(obj: Object) -> None:
    for port in obj.get("ports") or ():
        _set(port, name="", protocol="TCP")


def _ingress(obj: Object) -> None:
    _inner(_inner(obj, "status"), "loadBalancer")


def _ingress_class(obj: Object) -> None:
    parameters = obj["spec"].get("parameters")
    if isinstance(parameters, dict):
        _set(parameters, scope="Cluster")


def _network_policy(obj: Object) -> None:
    spec = obj["spec"]
    _set(spec, podSelector={})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            _set(port, protocol="TCP")


# -- configuration, quotas, access ------------------------------------------------------------------


def _secret(obj: Object) -> None:
    _set(obj, type="Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        _inner(obj, "data").update({k: base64.b64encode(str(v).encode()).decode() for k, v in plain.items()})


def _namespace(obj: Object) -> None:
    _set(_inner(obj, "spec"), finalizers=["kubernetes"])
    _set(_inner(obj, "status"), phase="Active")
    _inner(obj["metadata"], "labels")["kubernetes.io/metadata.name"] = obj["metadata"]["name"]


def _node(obj: Object) -> None:
    status = obj.get("status") or {}
    for key in ("capacity", "allocatable"):
        if isinstance(status.get(key), dict):
            podspec.quantities(status[key])
    if status.get("capacity"):
        _set(status, allocatable=dict(status["capacity"]))


def _claim(obj: Object) -> None:
    _set(obj["spec"], volumeMode="Filesystem")
    requests = (obj["spec"].get("resources") or {}).get("requests")
    if isinstance(requests, dict):
        podspec.quantities(requests)
    _set(_inner(obj, "status"), phase="Pending")


def _quota(obj: Object) -> None:
    if isinstance(obj["spec"].get("hard"), dict):
        podspec.quantities(obj["spec"]["hard"])


def _limits(obj: Object) -> None:
    for item in obj["spec"].get("limits") or ():
        for key in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            if isinstance(item.get(key), dict):
                podspec.quantities(item[key])
        if item.get("type") == "Container":
            limits = {**(item.get("max") or {}), **(item.get("default") or {})}
            if limits:
                item["default"] = limits
            requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
            if requests:
                item["defaultRequest"] = requests


def _binding(obj: Object) -> None:
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = _RBAC
        if (
            subject.get("kind") == "ServiceAccount"
            and obj.get("kind") == "RoleBinding"
            and not subject.get("namespace")
        ):
            subject["namespace"] = obj["metadata"].get("namespace", "")
    if isinstance(obj.get("roleRef"), dict):
        obj["roleRef"]["apiGroup"] = obj["roleRef"].get("apiGroup") or _RBAC


def _webhooks(obj: Object) -> None:
    for hook in obj.get("webhooks") or ():
        _set(hook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
        _set(hook, namespaceSelector={}, objectSelector={})
        if obj["kind"] == "MutatingWebhookConfiguration":
            _set(hook, reinvocationPolicy="Never")
        for rule in hook.get("rules") or ():
            _set(rule, scope="*")
        service = (hook.get("clientConfig") or {}).get("service")
        if service:
            _set(service, port=443)


def _crd(obj: Object) -> None:
    spec = obj["spec"]
    names = _inner(spec, "names")
    names["singular"] = names.get("singular") or str(names.get("kind", "")).lower()
    names["listKind"] = names.get("listKind") or f"{names.get('kind', '')}List"
    _set(spec, conversion={"strategy": "None"})
    service = (((spec["conversion"].get("webhook") or {}).get("clientConfig")) or {}).get("service")
    if service:
        _set(service, port=443)


_SPECLESS = {
    "PriorityClass",
    "Secret", "Namespace", "Endpoints", "EndpointSlice", "Node", "RoleBinding", "ClusterRoleBinding",
    "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
}  # fmt: skip
_WITH_STATUS = {
    "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ResourceQuota", "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
}  # fmt: skip
_KINDS = {
    "Pod": podspec.pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CronJob": _cron_job,
    "HorizontalPodAutoscaler": _autoscaler,
    "PriorityClass": _priority_class,
    "Service": _service,
    "Endpoints": _endpoints,
    "EndpointSlice": _endpoint_slice,
    "Ingress": _ingress,
    "IngressClass": _ingress_class,
    "NetworkPolicy": _network_policy,
    "Secret": _secret,
    "Namespace": _namespace,
    "Node": _node,
    "PersistentVolumeClaim": _claim,
    "ResourceQuota": _quota,
    "LimitRange": _limits,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "MutatingWebhookConfiguration": _webhooks,
    "ValidatingWebhookConfiguration": _webhooks,
    "CustomResourceDefinition": _crd,
}
