"""The limits that hold for a workload, and the names that they are counted by."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.meta import Key
from sailcloth.api.rate_limit import Rate, RateLimit, RateLimitRule
from sailcloth.lib.incremental import Graph
from sailcloth.mesh import registry
from sailcloth.view.policies import Policies


@dataclass(frozen=True)
class Limits:
    """Rules with the names they are counted by, `namespace/name/place`. All of them count."""

    http: tuple[tuple[str, RateLimitRule], ...] = ()
    connections: tuple[tuple[str, Rate], ...] = ()
    sources: tuple[Key, ...] = ()


def resolve(graph: Graph, policies: Policies) -> Limits:
    """The rules of a workload's RateLimits together."""
    keys = policies.of(RateLimit)
    found = [(key, obj) for key in keys if (obj := registry.read(graph, RateLimit, key)) is not None]
    return Limits(
        http=tuple((rule_name(k, i), r) for k, o in found for i, r in enumerate(o.spec.http)),
        connections=tuple((rule_name(k, "c"), o.spec.connections) for k, o in found if o.spec.connections is not None),
        sources=keys,
    )


def rule_name(key: Key, place: int | str) -> str:
    """The name of a rule in Envoy's descriptors."""
    return f"{key.namespace}/{key.name}/{place}"


def rule_of(graph: Graph, name: str) -> RateLimitRule | None:
    """The rule that a name in a descriptor stands for; None if there is none any more."""
    namespace, _, rest = name.partition("/")
    obj, _, place = rest.rpartition("/")
    limit = registry.read(graph, RateLimit, Key("RateLimit", namespace, obj))
    rules = limit.spec.http if limit is not None else ()
    return rules[int(place)] if place.isdigit() and int(place) < len(rules) else None
