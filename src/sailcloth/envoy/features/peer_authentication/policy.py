"""The modes of a workload's ports."""

from __future__ import annotations

from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import peer_authentication
from sailcloth.mesh.peer_authentication import MutualTlsModes
from sailcloth.view.policies import Policies


def resolve(graph: Graph, policies: Policies) -> MutualTlsModes:
    """What a workload's PeerAuthentications amount to."""
    return graph.get(peer_authentication.modes, policies.of(PeerAuthentication))
