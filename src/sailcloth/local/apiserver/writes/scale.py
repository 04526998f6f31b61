"""The scale subresource: converts between objects and their Scale."""

from __future__ import annotations

from typing import Any

from ..errors import invalid
from ..kinds.scale_paths import ScalePaths
from ..unstructured import Unstructured


def to_scale(obj: Unstructured, where: ScalePaths) -> Unstructured:
    """The Scale of an object."""
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Unstructured = {"replicas": int(_value_at(obj, where.status) or 0)}
    selector = _selector(_value_at(obj, where.selector))
    if selector:
        status["selector"] = selector
    replicas = _value_at(obj, where.spec)
    spec = {"replicas": replicas} if replicas else {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: metadata[k] for k in kept if k in metadata},
        "spec": spec,
        "status": status,
    }


def set_replicas(live: Unstructured, wanted: Unstructured, where: ScalePaths, patched: bool) -> Unstructured:
    """The object with the replicas of a Scale, in place. Raises StatusError."""
    replicas = wanted.get("spec", {}).get("replicas", 0)
    if replicas < 0:
        text = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise invalid("Scale", "autoscaling", live["metadata"]["name"], [("spec.replicas", "FieldValueInvalid", text)])
    at = live
    for step in where.spec[:-1]:
        at = at.setdefault(step, {})
    at[where.spec[-1]] = replicas
    revision = wanted.get("metadata", {}).get("resourceVersion")
    if not revision or patched:
        live["metadata"].pop("resourceVersion", None)
    else:
        live["metadata"]["resourceVersion"] = revision
    return live


def _value_at(obj: Unstructured, steps: tuple[str, ...]) -> Any:
    value: Any = obj if steps else None
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _selector(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value or "")
    labels = value.get("matchLabels") if "matchLabels" in value or "matchExpressions" in value else value
    terms = [f"{k}={v}" for k, v in sorted((labels or {}).items())]
    for term in value.get("matchExpressions") or ():
        values = ",".join(sorted(term.get("values") or ()))
        words = {"In": f"{term['key']} in ({values})", "NotIn": f"{term['key']} notin ({values})"}
        words |= {"Exists": term["key"], "DoesNotExist": f"!{term['key']}"}
        terms.append(words.get(term.get("operator", ""), term["key"]))
    return ",".join(terms)
