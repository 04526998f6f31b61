"""RequestAuthentication: which end-user tokens are valid for a workload or gateway."""

from __future__ import annotations

from sailcloth.api.attachment import PolicyTargetReference, targets
from sailcloth.api.request_authentication import RequestAuthentication

from .record import MeshKind


def _selector(policy: RequestAuthentication) -> dict[str, str]:
    return policy.spec.selector.match_labels if policy.spec.selector is not None else {}


def _targets(policy: RequestAuthentication) -> tuple[PolicyTargetReference, ...]:
    return targets((policy.spec.target_ref,), policy.spec.target_refs)


KIND = MeshKind(RequestAuthentication, selector=_selector, targets=_targets, traffic=frozenset({"inbound", "gateway"}))
