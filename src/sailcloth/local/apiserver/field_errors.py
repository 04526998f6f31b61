"""What is wrong with a field of an object, in Kubernetes' words (`field.Error` in apimachinery)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sailcloth.lib.schemacheck import go

FieldError = tuple[str, str, str]  # field path, reason (a metav1.CauseType), message


def invalid(field: str, value: Any, detail: str) -> FieldError:
    return field, "FieldValueInvalid", f"Invalid value: {go(value)}: {detail}"


def immutable(field: str, value: Any) -> FieldError:
    if field.endswith("elector") and isinstance(value, dict):
        return field, "FieldValueInvalid", f"Invalid value: {label_selector_text(value)}: field is immutable"
    return invalid(field, value, "field is immutable")


def label_selector_text(selector: dict[str, Any]) -> str:
    """A LabelSelector as Go programs show it in messages."""

    def mapping(value: dict[str, Any] | None) -> str:
        inner = ", ".join(f"{go(k)}:{go(v)}" for k, v in sorted((value or {}).items()))
        return f"map[string]string{{{inner}}}" if value is not None else "map[string]string(nil)"

    terms = selector.get("matchExpressions")
    shown = ", ".join(
        f"v1.LabelSelectorRequirement{{Key:{go(t.get('key', ''))}, Operator:{go(t.get('operator', ''))}, Values:{_strings(t.get('values'))}}}"
        for t in terms or ()
    )
    kind = "[]v1.LabelSelectorRequirement"
    expressions = f"{kind}{{{shown}}}" if terms is not None else f"{kind}(nil)"
    return f"v1.LabelSelector{{MatchLabels:{mapping(selector.get('matchLabels'))}, MatchExpressions:{expressions}}}"


def _strings(values: list[str] | None) -> str:
    return "[]string{" + ", ".join(go(v) for v in values) + "}" if values is not None else "[]string(nil)"


def forbidden(field: str, detail: str) -> FieldError:
    return field, "FieldValueForbidden", f"Forbidden: {detail}"


def required(field: str, detail: str = "") -> FieldError:
    return field, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value"


def duplicate(field: str, value: Any) -> FieldError:
    return field, "FieldValueDuplicate", f"Duplicate value: {go(value)}"


def not_found(field: str, value: Any) -> FieldError:
    return field, "FieldValueNotFound", f"Not found: {go(value)}"


def unsupported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    listed = ", ".join(f'"{one}"' for one in supported)
    return field, "FieldValueNotSupported", f"Unsupported value: {go(value)}: supported values: {listed}"
