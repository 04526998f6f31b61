"""The conversions in their order. Each sees what the earlier ones made: what becomes an object of today first can become another later."""

from __future__ import annotations

from collections.abc import Callable

from . import egress_rules, istio_0, virtual_service_fields
from .documents import Document, Scope

Step = Callable[[list[Document], Scope], list[Document]]

TO_TODAY: tuple[Step, ...] = (
    istio_0.convert,
    egress_rules.convert,
    virtual_service_fields.convert,
)


TARGETS: dict[str, tuple[Step, ...]] = {"istio": TO_TODAY}


def run(documents: list[Document], scope: Scope, target: str = "istio") -> list[Document]:
    """All conversions to a target, one after the other."""
    for step in TARGETS[target]:
        documents = step(documents, scope)
    return documents
