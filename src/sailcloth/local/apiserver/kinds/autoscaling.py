"""HorizontalPodAutoscalers. They are stored as v2; nothing in this cluster scales by them."""

from __future__ import annotations

from dataclasses import replace

from ..unstructured import Unstructured
from . import autoscaling_v1
from .columns import AGE, integer, text, value_at
from .defaulting import nested, set_defaults
from .record import READ, STATUS, WRITE, Grant, Kind


def _defaults(obj: Unstructured) -> None:
    spec = obj["spec"]
    set_defaults(spec, minReplicas=1)
    if obj.get("apiVersion") == "autoscaling/v1":
        if autoscaling_v1.METRICS not in (obj["metadata"].get("annotations") or {}):
            set_defaults(spec, targetCPUUtilizationPercentage=80)
    elif not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behaviour = spec.get("behavior")
    if isinstance(behaviour, dict):
        percent: Unstructured = {"type": "Percent", "value": 100, "periodSeconds": 15}
        up = nested(behaviour, "scaleUp")
        set_defaults(
            up,
            stabilizationWindowSeconds=0,
            selectPolicy="Max",
            policies=[{"type": "Pods", "value": 4, "periodSeconds": 15}, dict(percent)],
        )
        set_defaults(nested(behaviour, "scaleDown"), selectPolicy="Max", policies=[dict(percent)])


def _metric(spec: Unstructured, now: Unstructured | None) -> str:
    kind = spec.get("type", "")
    key = kind[:1].lower() + kind[1:]
    source, have = spec.get(key) or {}, ((now or {}).get(key) or {}).get("current") or {}
    target = source.get("target") or {}
    name = f"{source['name']}: " if kind == "Resource" else ""
    for field, unit in (("averageUtilization", "%"), ("averageValue", ""), ("value", "")):
        if target.get(field) is not None:
            shown = f"{have[field]}{unit}" if have.get(field) is not None else "<unknown>"
            return f"{name}{shown}/{target[field]}{unit}"
    return f"{name}<unknown>"


def _targets(obj: Unstructured) -> str:
    metrics, now = obj["spec"].get("metrics") or [], obj.get("status", {}).get("currentMetrics") or []
    shown = [_metric(m, now[n] if n < len(now) else None) for n, m in enumerate(metrics)]
    return ", ".join(shown[:2]) + (f" + {len(shown) - 2} more..." if len(shown) > 2 else "") or "<none>"


def _reference(obj: Unstructured) -> str:
    target = obj["spec"].get("scaleTargetRef") or {}
    return f"{target.get('kind', '')}/{target.get('name', '')}"


V2 = Kind(
    group="autoscaling",
    version="v2",
    plural="horizontalpodautoscalers",
    kind="HorizontalPodAutoscaler",
    short_names=("hpa",),
    categories=("all",),
    subresources=(STATUS,),
    columns=(
        text("Reference", _reference),
        text("Targets", _targets),
        text("MinPods", value_at("spec.minReplicas", "<unset>")),
        integer("MaxPods", "spec.maxReplicas"),
        integer("Replicas", "status.currentReplicas"),
        AGE,
    ),
    grants=(Grant("view", READ, ("", "status")), Grant("edit", WRITE)),
    has_spec=True,
    has_status=True,
    defaults=_defaults,
)
V1 = replace(V2, version="v1", to_storage=autoscaling_v1.to_storage, from_storage=autoscaling_v1.from_storage)
KINDS = (V2, V1)
