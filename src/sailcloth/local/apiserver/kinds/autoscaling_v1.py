"""HorizontalPodAutoscalers in the version that older clients ask for. They are stored as `autoscaling/v2`; in `v1` a target of
the mean CPU use is a field of its own, and what `v1` has no field for travels in annotations, so that nothing is lost on
the way back.
"""

from __future__ import annotations

from typing import Any

import orjson

from ..unstructured import Unstructured

METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_TARGET = "targetCPUUtilizationPercentage"


def from_storage(obj: Unstructured) -> Unstructured:
    """An `autoscaling/v2` object as `v1`. The argument stays as it is."""
    spec = {k: v for k, v in obj["spec"].items() if k not in ("metrics", "behavior")}
    rest = []
    for metric in obj["spec"].get("metrics") or ():
        target = (metric.get("resource") or {}).get("target") or {}
        if (metric.get("resource") or {}).get("name") == "cpu" and target.get("type") == "Utilization":
            spec[_TARGET] = target.get("averageUtilization")
        else:
            rest.append(metric)
    carried = {METRICS: rest, _BEHAVIOR: obj["spec"].get("behavior")}
    annotations = {k: orjson.dumps(v).decode() for k, v in carried.items() if v}
    metadata = obj["metadata"]
    if annotations:
        metadata = {**metadata, "annotations": {**(metadata.get("annotations") or {}), **annotations}}
    status = {k: v for k, v in (obj.get("status") or {}).items() if k not in ("currentMetrics", "conditions")}
    return {**obj, "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


def to_storage(obj: Unstructured) -> Unstructured:
    """An `autoscaling/v1` object as `v2`. The argument stays as it is."""
    spec = {k: v for k, v in obj["spec"].items() if k != _TARGET}
    annotations = dict(obj["metadata"].get("annotations") or {})
    metrics = []
    if obj["spec"].get(_TARGET) is not None:
        target = {"type": "Utilization", "averageUtilization": obj["spec"][_TARGET]}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    spec["metrics"] = metrics + (_taken(annotations, METRICS, list) or [])
    behavior = _taken(annotations, _BEHAVIOR, dict)
    if behavior:
        spec["behavior"] = behavior
    metadata = {k: v for k, v in obj["metadata"].items() if k != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    return {**obj, "apiVersion": "autoscaling/v2", "metadata": metadata, "spec": spec}


def _taken(annotations: dict[str, str], key: str, kind: type) -> Any:
    """Remove an annotation that carries a field and return its value. An annotation of another type under that name stays."""
    try:
        value = orjson.loads(annotations.get(key, "null"))
    except ValueError:
        return None
    if not isinstance(value, kind):
        return None
    del annotations[key]
    return value
