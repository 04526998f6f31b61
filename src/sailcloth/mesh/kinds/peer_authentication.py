"""PeerAuthentication: whether a workload requires mutual TLS of its clients."""

from __future__ import annotations

from sailcloth.api.peer_authentication import PeerAuthentication

from .record import MeshKind


def _selector(policy: PeerAuthentication) -> dict[str, str]:
    return policy.spec.selector.match_labels if policy.spec.selector is not None else {}


KIND = MeshKind(PeerAuthentication, selector=_selector, traffic=frozenset({"inbound"}))
