"""AuthorizationPolicy: who may access a workload or gateway."""

from __future__ import annotations

from sailcloth.api.authorization_policy import AuthorizationPolicy

from .record import MeshKind


def _selector(policy: AuthorizationPolicy) -> dict[str, str] | None:
    if policy.spec.target_ref is not None or policy.spec.target_refs:
        return None  # for gateways of the Gateway API
    return policy.spec.selector.match_labels if policy.spec.selector is not None else {}


KIND = MeshKind(AuthorizationPolicy, selector=_selector, traffic=frozenset({"inbound", "gateway"}))
