"""Telemetry: metrics, access logs and traces of workloads."""

from __future__ import annotations

from sailcloth.api.telemetry import Telemetry

from .record import MeshKind


def _selector(obj: Telemetry) -> dict[str, str] | None:
    if obj.spec.target_ref is not None or obj.spec.target_refs:
        return None  # for gateways of the Gateway API
    return obj.spec.selector.match_labels if obj.spec.selector is not None else {}


KIND = MeshKind(Telemetry, selector=_selector, traffic=frozenset({"inbound", "outbound", "gateway"}))
