"""PriorityClasses."""

from __future__ import annotations

from ..unstructured import Unstructured
from .columns import AGE, boolean, integer, value_at, wide
from .defaulting import set_defaults
from .record import Kind


def _defaults(obj: Unstructured) -> None:
    set_defaults(obj, preemptionPolicy="PreemptLowerPriority")


PRIORITY_CLASS = Kind(
    group="scheduling.k8s.io",
    plural="priorityclasses",
    kind="PriorityClass",
    package="api.scheduling",
    namespaced=False,
    short_names=("pc",),
    columns=(
        integer("Value", "value"),
        boolean("Global-Default", lambda o: str(bool(o.get("globalDefault"))).lower()),
        AGE,
        wide("PreemptionPolicy", value_at("preemptionPolicy", "")),
    ),
    defaults=_defaults,
)
KINDS = (PRIORITY_CLASS,)
