"""Kubernetes' LabelSelector: `matchLabels` and `matchExpressions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a selector matches labels; an empty one matches everything, an unknown operator nothing."""
    selector = selector or {}
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or ())


def problem(selector: Any) -> str:
    """The path in a selector and what is wrong there; empty if nothing is."""
    if not isinstance(selector, Mapping):
        return ": must be a label selector, an object with matchLabels or matchExpressions"
    if unknown := sorted(map(str, selector.keys() - {"matchLabels", "matchExpressions"})):
        return f".{unknown[0]}: is unknown; use matchLabels or matchExpressions"
    labels, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or []
    if not isinstance(labels, Mapping) or not all(isinstance(v, str) for v in labels.values()):
        return ".matchLabels: must map names of labels to texts; put numbers and true or false in quotes"
    if not isinstance(expressions, list):
        return ".matchExpressions: must be a list of objects with key, operator and values"
    for i, expression in enumerate(expressions):
        path = f".matchExpressions[{i}]"
        if not isinstance(expression, Mapping) or not expression.get("key"):
            return f"{path}: must be an object with key, operator and values"
        operator, values = expression.get("operator"), expression.get("values") or []
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            return f"{path}.operator: {operator!r}; use In, NotIn, Exists or DoesNotExist"
        if not isinstance(values, list) or bool(values) != (operator in ("In", "NotIn")):
            return f"{path}.values: must be a list for In and NotIn, and absent for Exists and DoesNotExist"
    return ""


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = str(expression.get("key")), expression.get("values") or []
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }.get(str(expression.get("operator")), False)
