"""Names of an IstioOperator's `components.*.k8s` and of values of old charts, and the paths of our charts' values that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import values

_POD = ("resources", "nodeSelector", "affinity", "tolerations", "podAnnotations", "replicaCount")
K8S_OF_PILOT = {
    **{name: f"pilot.{name}" for name in (*_POD, "serviceAnnotations", "env")},
    "volumes": "pilot.volumes",
    "volumeMounts": "pilot.volumeMounts",
    "priorityClassName": "global.priorityClassName",
    "imagePullPolicy": "global.imagePullPolicy",
    "hpaSpec.minReplicas": "pilot.autoscaleMin",
    "hpaSpec.maxReplicas": "pilot.autoscaleMax",
}
K8S_OF_CNI = {
    **{name: f"cni.{name}" for name in (*_POD[:-1], "env")},
    "imagePullPolicy": "global.imagePullPolicy",
}
K8S_OF_GATEWAY = {
    **{name: name for name in (*_POD, "env", "volumes", "volumeMounts", "priorityClassName", "imagePullPolicy")},
    "securityContext": "securityContext",
    "serviceAnnotations": "service.annotations",
    "podDisruptionBudget.minAvailable": "podDisruptionBudget.minAvailable",
    "podDisruptionBudget.maxUnavailable": "podDisruptionBudget.maxUnavailable",
    "hpaSpec.minReplicas": "autoscaling.minReplicas",
    "hpaSpec.maxReplicas": "autoscaling.maxReplicas",
    **{
        f"service.{name}": f"service.{name}"
        for name in (
            *("type", "ports", "loadBalancerIP", "loadBalancerClass", "loadBalancerSourceRanges"),
            *("externalTrafficPolicy", "externalIPs", "ipFamilyPolicy", "ipFamilies"),
        )
    },
}
VALUES_OF_GATEWAY = {
    **{name: name for name in (*_POD, "env", "labels", "podAnnotations")},
    **{
        name: f"service.{name}"
        for name in (
            "type",
            "ports",
            "loadBalancerIP",
            "loadBalancerSourceRanges",
            "externalTrafficPolicy",
            "externalIPs",
        )
    },
    "serviceAnnotations": "service.annotations",
    "autoscaleEnabled": "autoscaling.enabled",
    "autoscaleMin": "autoscaling.minReplicas",
    "autoscaleMax": "autoscaling.maxReplicas",
    "cpu.targetAverageUtilization": "autoscaling.targetCPUUtilizationPercentage",
    "memory.targetAverageUtilization": "autoscaling.targetMemoryUtilizationPercentage",
    "serviceAccount.annotations": "serviceAccount.annotations",
}


def k8s_of_addon(key: str) -> dict[str, str]:
    """Of `components.telemetry` or `components.console`."""
    names = (*_POD, "volumes", "volumeMounts")
    return {**{name: f"{key}.{name}" for name in names}, "imagePullPolicy": "global.imagePullPolicy"}


def translated(given: Mapping[str, Any], table: Mapping[str, str], at: str) -> tuple[values.Values, list[str]]:
    """(values of the chart, a warning for each path that has no effect)."""
    out: values.Values = {}
    warnings: list[str] = []
    for path, value in _leaves(given, table, ""):
        target = table.get(path)
        if target is None:
            warnings.append(f"{at}.{path}: has no effect here")
            continue
        if path == "env" and isinstance(value, list):
            named = [(i, e) for i, e in enumerate(value) if isinstance(e, Mapping) and "name" in e]
            warnings += [f"{at}.env[{i}].valueFrom: has no effect here" for i, e in named if "valueFrom" in e]
            value = {e["name"]: str(e.get("value", "")) for _, e in named if "valueFrom" not in e}
        for name in reversed(target.split(".")):
            value = {name: value}
        out = values.merge(out, value)
    return out, warnings


def _leaves(given: Mapping[str, Any], table: Mapping[str, str], at: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in given.items():
        path = f"{at}{key}"
        if path not in table and isinstance(value, Mapping) and any(p.startswith(f"{path}.") for p in table):
            found += _leaves(value, table, f"{path}.")
        else:
            found.append((path, value))
    return found
