"""The AuthorizationPolicies of a workload, in the order of their actions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sailcloth.api.authorization_policy import AuthorizationPolicy, Rule
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import authorizers, registry
from sailcloth.mesh.authorizers import Authorizer
from sailcloth.mesh.legacy.rbac import PREFIX as RBAC_PREFIX
from sailcloth.mesh.legacy.service import sources
from sailcloth.view.policies import Policies
from sailcloth.view.routes import ClusterId

_TRUE = ("1", "t", "T", "TRUE", "true", "True")


@dataclass(frozen=True)
class NamedRules:
    """The rules of one policy. `dry_run`: they are only counted."""

    namespace: str
    name: str
    action: str
    rules: tuple[Rule, ...]
    dry_run: bool = False
    authorizer: str = ""  # for the action CUSTOM


@dataclass(frozen=True)
class Authorization:
    """All policies of a workload, those of the root namespace first, the trust domains that mean the same, the own one first, and the
    external authorizers that policies name; None: there is no such one."""

    policies: tuple[NamedRules, ...] = ()
    trust_domains: tuple[str, ...] = ()
    authorizers: tuple[tuple[str, Authorizer | None], ...] = ()
    sources: tuple[Key, ...] = ()

    @property
    def clusters(self) -> tuple[ClusterId, ...]:
        """The clusters of the authorizers."""
        return tuple(cluster_of(authorizer) for _, authorizer in self.authorizers if authorizer is not None)

    def at_gateway(self) -> Authorization:
        """Without role-based access control of Istio 1.0 to 1.5, which was for sidecars only."""
        return replace(self, policies=tuple(p for p in self.policies if not p.name.startswith(RBAC_PREFIX)))

    def of(self, action: str, dry_run: bool = False) -> tuple[NamedRules, ...]:
        """The policies with an action."""
        return tuple(p for p in self.policies if p.action == action and p.dry_run == dry_run)


def resolve(graph: Graph, policies: Policies) -> Authorization:
    """The policies of a workload."""
    keys = policies.of(AuthorizationPolicy)
    if not keys:
        return Authorization()
    found = [(key, obj) for key in keys if (obj := registry.read(graph, AuthorizationPolicy, key)) is not None]
    if any("/" not in key.name for key, _ in found):  # policies of today replace role-based access control
        found = [(key, obj) for key, obj in found if not key.name.startswith(RBAC_PREFIX)]
    named = tuple(_named(key, obj) for key, obj in found)
    names = dict.fromkeys(p.authorizer for p in named if p.action == "CUSTOM" and not p.dry_run)
    providers = ((name, authorizers.find(graph, name)) for name in names)
    return Authorization(
        policies=named,
        trust_domains=registry.config(graph).trust_domains,
        authorizers=tuple((name, one if isinstance(one, Authorizer) else None) for name, one in providers),
        sources=tuple(source for key, obj in found for source in sources(key, obj)),
    )


def _named(key: Key, obj: AuthorizationPolicy) -> NamedRules:
    spec = obj.spec
    authorizer = spec.provider.name if spec.provider is not None else ""
    return NamedRules(key.namespace, key.name, spec.action, spec.rules, is_dry_run(obj), authorizer)


def cluster_of(authorizer: Authorizer) -> ClusterId:
    """The cluster of an authorizer."""
    return ClusterId(authorizer.host, authorizer.port)


def is_dry_run(obj: AuthorizationPolicy) -> bool:
    """Whether a policy is only counted."""
    return obj.metadata.annotations.get("istio.io/dry-run") in _TRUE
