"""Telemetry: metrics, access logs and traces of workloads."""

from __future__ import annotations

from sailcloth.api.attachment import PolicyTargetReference, targets
from sailcloth.api.telemetry import Telemetry

from .record import MeshKind


def _selector(obj: Telemetry) -> dict[str, str]:
    return obj.spec.selector.match_labels if obj.spec.selector is not None else {}


def _targets(obj: Telemetry) -> tuple[PolicyTargetReference, ...]:
    return targets((obj.spec.target_ref,), obj.spec.target_refs)


KIND = MeshKind(Telemetry, selector=_selector, targets=_targets, traffic=frozenset({"inbound", "outbound", "gateway"}))
