"""AuthorizationPolicy: who may access a workload or gateway."""

from __future__ import annotations

from sailcloth.api.attachment import PolicyTargetReference, targets
from sailcloth.api.authorization_policy import AuthorizationPolicy

from .record import MeshKind


def _selector(policy: AuthorizationPolicy) -> dict[str, str]:
    return policy.spec.selector.match_labels if policy.spec.selector is not None else {}


def _targets(policy: AuthorizationPolicy) -> tuple[PolicyTargetReference, ...]:
    return targets((policy.spec.target_ref,), policy.spec.target_refs)


KIND = MeshKind(AuthorizationPolicy, selector=_selector, targets=_targets, traffic=frozenset({"inbound", "gateway"}))
