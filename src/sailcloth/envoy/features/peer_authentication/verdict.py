"""The verdict on a PeerAuthentication: whether an older one at the same level overrides it."""

from __future__ import annotations

from sailcloth.api.meta import Key
from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import registry
from sailcloth.mesh.kinds import of_namespace
from sailcloth.mesh.verdict import ACCEPTED, Verdict


def verdict(graph: Graph, key: Key) -> Verdict:
    """Of several for a whole namespace, or with the same selector, only the oldest is in force."""
    policy = registry.read(graph, PeerAuthentication, key)
    if policy is None:
        return ACCEPTED
    selector = _labels(policy)
    if selector and key.namespace == registry.config(graph).root_namespace:
        text = f"a selector in the root namespace {key.namespace} selects no workload; write it in the workload's namespace"
        return Verdict(True, "Ineffective", text)
    older = min(
        (
            (other.metadata.creation_timestamp or "", other_key)
            for other_key, other in registry.objects(graph, of_namespace(PeerAuthentication, key.namespace))
            if _labels(other) == selector
        ),
        default=None,
    )
    if older is not None and older[1] != key:
        return Verdict(True, "Conflict", f"the older PeerAuthentication {key.namespace}/{older[1].name} holds instead")
    return ACCEPTED


def _labels(policy: PeerAuthentication) -> dict[str, str]:
    return policy.spec.selector.match_labels if policy.spec.selector is not None else {}
