"""What is wrong with a field of an object, in Kubernetes' words (`field.Error` in apimachinery)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sailcloth.lib.schemacheck import go

FieldError = tuple[str, str, str]  # field path, reason (a metav1.CauseType), message


def invalid(field: str, value: Any, detail: str) -> FieldError:
    return field, "FieldValueInvalid", f"Invalid value: {go(value)}: {detail}"


def immutable(field: str, value: Any) -> FieldError:
    return invalid(field, value, "field is immutable")


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
