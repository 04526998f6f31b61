"""The rate limits of a workload, and the names of their descriptors."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.meta import Key
from sailcloth.api.rate_limit import Rate, RateLimit, RateLimitRule
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import registry
from sailcloth.mesh.legacy.service import sources
from sailcloth.view.policies import Policies


@dataclass(frozen=True)
class Limits:
    """Rules with their descriptor names, `namespace/name/index`. All of them apply."""

    http: tuple[tuple[str, RateLimitRule], ...] = ()
    connections: tuple[tuple[str, Rate], ...] = ()
    sources: tuple[Key, ...] = ()


def resolve(graph: Graph, policies: Policies) -> Limits:
    """The rules of all RateLimits of a workload."""
    keys = policies.of(RateLimit)
    limits = [(key, obj) for key in keys if (obj := registry.read(graph, RateLimit, key)) is not None]
    return Limits(
        http=tuple((rule_name(k, i), r) for k, o in limits for i, r in enumerate(o.spec.http)),
        connections=tuple((rule_name(k, "c"), o.spec.connections) for k, o in limits if o.spec.connections is not None),
        sources=tuple(source for key, obj in limits for source in sources(key, obj)),
    )


def rule_name(key: Key, index: int | str) -> str:
    """The name of a rule in rate limit descriptors."""
    return f"{key.namespace}/{key.name}/{index}"


def rule_of(graph: Graph, name: str) -> RateLimitRule | None:
    """The rule of a descriptor name; None if it no longer exists."""
    namespace, _, object_and_index = name.partition("/")
    obj, _, index = object_and_index.rpartition("/")
    limit = registry.read(graph, RateLimit, Key("RateLimit", namespace, obj))
    rules = limit.spec.http if limit is not None else ()
    return rules[int(index)] if index.isdigit() and int(index) < len(rules) else None
