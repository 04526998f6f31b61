"""Which RateLimits hold for a workload."""

from __future__ import annotations

from dataclasses import dataclass

from sailcloth.api.meta import Key
from sailcloth.api.rate_limit import Rate, RateLimit, RateLimitRule
from sailcloth.lib.incremental import Graph, derived

from . import endpoints, registry


@dataclass(frozen=True)
class Limits:
    """Rules with the names they are counted by, `namespace/name/place`."""

    http: tuple[tuple[str, RateLimitRule], ...] = ()
    connections: tuple[tuple[str, Rate], ...] = ()


NONE = Limits()


@derived
def for_workload(graph: Graph, namespace: str, labels: tuple[tuple[str, str], ...]) -> tuple[Key, ...]:
    """RateLimits of the workload's namespace, and of the root namespace, that select it."""
    root = registry.config(graph).root_namespace
    out = []
    for ns in dict.fromkeys((root, namespace)):
        for key in registry.select(graph, ("rate-limits", ns)):
            obj: RateLimit | None = registry.read(graph, key)
            selector = obj.spec.workload_selector if obj else None
            if obj is not None and (selector is None or endpoints.has_labels(selector.labels, labels)):
                out.append(key)
    return tuple(out)


@derived
def limits(graph: Graph, keys: tuple[Key, ...]) -> Limits:
    """The rules of some RateLimits together."""
    found: list[tuple[Key, RateLimit]] = [(k, o) for k in keys if (o := registry.read(graph, k)) is not None]
    return Limits(
        http=tuple((ident(k, i), r) for k, o in found for i, r in enumerate(o.spec.http)),
        connections=tuple((ident(k, "c"), o.spec.connections) for k, o in found if o.spec.connections is not None),
    )


def ident(key: Key, place: int | str) -> str:
    """The name of a rule in Envoy's descriptors."""
    return f"{key.namespace}/{key.name}/{place}"


def rule_of(graph: Graph, name: str) -> RateLimitRule | None:
    """The rule that a name stands for; None if there is none any more."""
    namespace, _, rest = name.partition("/")
    obj, _, place = rest.rpartition("/")
    found: RateLimit | None = registry.read(graph, Key("RateLimit", namespace, obj))
    rules = found.spec.http if found is not None else []
    return rules[int(place)] if place.isdigit() and int(place) < len(rules) else None
