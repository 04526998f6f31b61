"""The AuthorizationPolicies of a workload, in the order of their actions."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.authorization_policy import AuthorizationPolicy, Rule
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import registry
from sailcloth.view.policies import Policies

_TRUE = ("1", "t", "T", "TRUE", "true", "True")


@dataclass(frozen=True)
class NamedRules:
    """The rules of one policy. `dry_run`: they are only counted."""

    namespace: str
    name: str
    action: str
    rules: tuple[Rule, ...]
    dry_run: bool = False


@dataclass(frozen=True)
class Authorization:
    """All policies of a workload, those of the root namespace first, and the trust domains that mean the same, the own one first."""

    policies: tuple[NamedRules, ...] = ()
    trust_domains: tuple[str, ...] = ()
    sources: tuple[Key, ...] = ()

    def of(self, action: str, dry_run: bool = False) -> tuple[NamedRules, ...]:
        """The policies with an action."""
        return tuple(p for p in self.policies if p.action == action and p.dry_run == dry_run)


def resolve(graph: Graph, policies: Policies) -> Authorization:
    """The policies of a workload."""
    keys = policies.of(AuthorizationPolicy)
    if not keys:
        return Authorization()
    found = ((key, obj) for key in keys if (obj := registry.read(graph, AuthorizationPolicy, key)) is not None)
    return Authorization(
        policies=tuple(_named(key, obj) for key, obj in found),
        trust_domains=registry.config(graph).trust_domains,
        sources=keys,
    )


def _named(key: Key, obj: AuthorizationPolicy) -> NamedRules:
    return NamedRules(key.namespace, key.name, obj.spec.action, obj.spec.rules, is_dry_run(obj))


def is_dry_run(obj: AuthorizationPolicy) -> bool:
    """Whether a policy is only counted."""
    return obj.metadata.annotations.get("istio.io/dry-run") in _TRUE
