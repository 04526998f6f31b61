"""PriorityClasses."""

from __future__ import annotations

from collections.abc import Iterator

from ..field_errors import FieldError, forbidden
from ..unstructured import Unstructured
from .columns import AGE, boolean, integer, value_at, wide
from .defaulting import set_defaults
from .record import Kind


def _defaults(obj: Unstructured) -> None:
    set_defaults(obj, preemptionPolicy="PreemptLowerPriority")


def _validate(obj: Unstructured, old: Unstructured | None) -> Iterator[FieldError]:
    if old is not None and obj.get("value") != old.get("value"):
        yield forbidden("value", "may not be changed in an update.")


PRIORITY_CLASS = Kind(
    group="scheduling.k8s.io",
    plural="priorityclasses",
    kind="PriorityClass",
    namespaced=False,
    short_names=("pc",),
    columns=(
        integer("Value", "value"),
        boolean("Global-Default", lambda o: str(bool(o.get("globalDefault"))).lower()),
        AGE,
        wide("PreemptionPolicy", value_at("preemptionPolicy", "")),
    ),
    defaults=_defaults,
    validate=_validate,
)
KINDS = (PRIORITY_CLASS,)
