"""RequestAuthentication: which end-user tokens are valid for a workload or gateway."""

from __future__ import annotations

from sailcloth.api.request_authentication import RequestAuthentication

from .record import MeshKind


def _selector(policy: RequestAuthentication) -> dict[str, str] | None:
    if policy.spec.target_ref is not None or policy.spec.target_refs:
        return None  # for gateways of the Gateway API
    return policy.spec.selector.match_labels if policy.spec.selector is not None else {}


KIND = MeshKind(RequestAuthentication, selector=_selector, traffic=frozenset({"inbound", "gateway"}))
