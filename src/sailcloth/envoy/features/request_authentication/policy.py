"""The token rules of a workload, with the keys of their issuers."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.meta import Key
from sailcloth.api.request_authentication import JWTRule, RequestAuthentication
from sailcloth.lib.incremental import Graph, derived
from sailcloth.mesh import json_web_keys, registry
from sailcloth.mesh.legacy.service import sources
from sailcloth.view.policies import Policies


@dataclass(frozen=True)
class TokenRules:
    """Rules of all policies, sorted by issuer, each with its usable keys (empty: none)."""

    rules: tuple[tuple[JWTRule, str], ...] = ()
    sources: tuple[Key, ...] = ()


def resolve(graph: Graph, policies: Policies) -> TokenRules:
    """The rules of a workload."""
    keys = policies.of(RequestAuthentication)
    found = [(key, obj) for key in keys if (obj := registry.read(graph, RequestAuthentication, key)) is not None]
    rules = sorted((rule for _, obj in found for rule in obj.spec.jwt_rules), key=lambda rule: rule.issuer)
    origins = tuple(source for key, obj in found for source in sources(key, obj))
    return TokenRules(tuple((rule, graph.get(keys_of, rule)) for rule in rules), origins)


@derived
def keys_of(graph: Graph, rule: JWTRule) -> str:
    """The keys that a rule's tokens are verified with; empty if there are none."""
    if rule.jwks:
        return json_web_keys.usable(rule.jwks)
    where = json_web_keys.source(rule)
    fetched = json_web_keys.fetched(graph, where) if where is not None else None
    return fetched.keys if fetched is not None else ""
