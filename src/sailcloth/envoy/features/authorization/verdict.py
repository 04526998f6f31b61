"""The verdict on an AuthorizationPolicy: what of it is not enforced as it says."""

from __future__ import annotations

from sailcloth.api.authorization_policy import AuthorizationPolicy
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import authorizers, registry
from sailcloth.mesh.verdict import Verdict

from .policy import is_dry_run


def verdict(graph: Graph, key: Key) -> Verdict:
    """Not accepted without what enforces it; notes that a dry run only counts."""
    obj = registry.read(graph, AuthorizationPolicy, key)
    if obj is None:
        return Verdict()
    if obj.spec.action == "CUSTOM":
        name = obj.spec.provider.name if obj.spec.provider is not None else ""
        authorizer = authorizers.find(graph, name)
        if isinstance(authorizer, str):
            return Verdict(False, "ProviderNotFound", f"{authorizer}; every request to the workload is refused")
    return Verdict(notes=("dry run: requests are counted, none is refused",)) if is_dry_run(obj) else Verdict()
