"""The mutual TLS modes of a workload's ports."""

from __future__ import annotations

from sailcloth.api.peer_authentication import PeerAuthentication
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import peer_authentication
from sailcloth.mesh.peer_authentication import MutualTlsModes
from sailcloth.view.policies import Policies


def resolve(graph: Graph, policies: Policies) -> MutualTlsModes:
    """The effective modes of a workload's PeerAuthentications."""
    return graph.get(peer_authentication.modes, policies.of(PeerAuthentication))
