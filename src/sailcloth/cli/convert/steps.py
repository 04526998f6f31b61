"""The conversions in their order. Each sees what the earlier ones made: what becomes an object of today first can become another later."""

from __future__ import annotations

from collections.abc import Callable

from . import (
    egress_rules,
    envoy_filters,
    gateway_api,
    ingresses,
    istio_0,
    leftovers,
    security_and_mixer,
    traffic_splits,
    traffic_targets,
    virtual_service_fields,
)
from .documents import Document, Scope

Step = Callable[[list[Document], Scope], list[Document]]

TO_TODAY: tuple[Step, ...] = (
    istio_0.convert,
    egress_rules.convert,
    virtual_service_fields.convert,
    envoy_filters.convert,
    security_and_mixer.convert,
    ingresses.convert,
    traffic_splits.convert,
    traffic_targets.convert,
    leftovers.convert,
)


TARGETS: dict[str, tuple[Step, ...]] = {"istio": TO_TODAY, "gateway-api": (*TO_TODAY, gateway_api.convert)}


def run(documents: list[Document], scope: Scope, target: str = "istio") -> list[Document]:
    """All conversions to a target, one after the other."""
    for step in TARGETS[target]:
        documents = step(documents, scope)
    return documents
