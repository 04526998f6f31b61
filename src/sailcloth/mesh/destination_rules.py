"""Which DestinationRule applies to a host for a caller, how rules for one host merge, and policy by port and subset."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sailcloth.api.destination_rule import DestinationRule, PortTrafficPolicy, Subset, TrafficPolicy
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived

from . import hosts, registry, selection, visibility
from .kinds.destination_rule import credential_names, of_namespace_by_host, with_credentials, with_selector
from .selection import Labels
from .verdict import Verdict


@dataclass(frozen=True)
class Rules:
    """The effective rule for a host: merged policy and subsets, and the objects that they came from."""

    policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    sources: tuple[Key, ...] = ()
    selected: bool = False  # whether the policy is a rule's that selects the caller's workload

    def subset(self, name: str) -> Subset | None:
        return next((s for s in self.subsets if s.name == name), None)


NONE = Rules()
_BLOCKS = ("load_balancer", "connection_pool", "outlier_detection", "tls", "retry_budget")


@derived
def for_host(graph: Graph, host: str, service_namespace: str, caller_namespace: str, labels: Labels) -> Rules:
    """The rules that a caller's proxy applies to a host. Source: istio.md 2.7.

    Looked up in the caller's namespace, then the service's, then the root namespace; the first with a match wins. Inside a
    namespace an exact host beats the longest wildcard. A rule with a workloadSelector counts only for callers it selects.
    In Istio a caller's own rule hides the subsets of the service's, and traffic to them fails (#30080). Here the policy is the
    caller's, and subsets that it does not define are still the service's.
    """
    root = registry.config(graph).root_namespace
    order = [caller_namespace] if caller_namespace != root else []
    order += [service_namespace, root]
    found = NONE
    for namespace in dict.fromkeys(n for n in order if n):
        rules = _level(graph, host, namespace, caller_namespace, labels)
        if found is NONE:
            found = rules
        elif more := tuple(s for s in rules.subsets if found.subset(s.name) is None):
            sources = (*found.sources, *rules.sources)
            found = replace(found, subsets=(*found.subsets, *more), sources=sources)
    return found


def _level(graph: Graph, host: str, namespace: str, caller: str, labels: Labels) -> Rules:
    """The rules of one namespace."""
    for name in (host, *hosts.wildcards(host)):
        keys = registry.select(graph, of_namespace_by_host(namespace, name))
        rules = [r for k in keys if (r := _usable(graph, k, caller, labels, namespace == caller)) is not None]
        if rules:
            return _merge(rules)
    return NONE


def verdict(graph: Graph, key: Key) -> Verdict:
    """Accepted in any case; tells what callers have besides."""
    return Verdict(message=graph.get(inherited_subsets, key))


@derived
def inherited_subsets(graph: Graph, key: Key) -> str:
    """Which subsets callers in a rule's namespace have besides those of the rule, and from where; empty if none."""
    rule = registry.read(graph, DestinationRule, key)
    if rule is None:
        return ""
    host = hosts.resolve(rule.spec.host, key.namespace, registry.config(graph).domain)
    own = {s.name for s in rule.spec.subsets}
    told = []
    for ident in registry.services_of_host(graph, host):
        if ident.namespace == key.namespace:
            continue
        others = _level(graph, host, ident.namespace, key.namespace, ())
        if more := sorted({s.name for s in others.subsets} - own):
            names = ", ".join(f"{k.namespace}/{k.name}" for k in others.sources)
            told.append(f"callers in {key.namespace} have the subsets {', '.join(more)} of {host} from {names} too")
    return "; ".join(told)


def _usable(graph: Graph, key: Key, caller: str, labels: Labels, private: bool) -> tuple[Key, DestinationRule] | None:
    rule = registry.read(graph, DestinationRule, key)
    if rule is None:
        return None
    selector = rule.spec.workload_selector
    if selector is not None and not (key.namespace == caller and selection.has_labels(selector.match_labels, labels)):
        return None
    seen = visibility.exported_to(rule.spec.export_to, key.namespace, registry.config(graph).destination_export)
    if visibility.sees(seen, caller) or (private and not rule.spec.export_to):
        return key, rule
    return None


def _merge(rules: list[tuple[Key, DestinationRule]]) -> Rules:
    """Rules for one host in one namespace: selector first, then oldest; subsets joined by name, the first policy counts."""
    selected = [r for r in rules if r[1].spec.workload_selector is not None]
    rules = selected[:1] or sorted(rules, key=lambda r: (r[1].metadata.creation_timestamp or "", r[0].name))
    subsets: dict[str, Subset] = {}
    for _, rule in rules:
        for subset in rule.spec.subsets:
            subsets.setdefault(subset.name, subset)
    policy = next((r.spec.traffic_policy for _, r in rules if r.spec.traffic_policy is not None), None)
    return Rules(policy, tuple(subsets.values()), tuple(k for k, _ in rules), bool(selected))


@derived
def credentials(graph: Graph, namespace: str, labels: Labels) -> tuple[str, ...]:
    """Names of the Secrets that a sidecar's own rules, those that select its workload, take certificates from."""
    found: set[str] = set()
    for key in registry.select(graph, with_selector(namespace)):
        if usable := _usable(graph, key, namespace, labels, True):
            found |= credential_names(usable[1])
    return tuple(sorted(found))


@derived
def credentials_in(graph: Graph, namespace: str) -> tuple[str, ...]:
    """Names of the Secrets that the rules of a namespace take certificates from, for its gateways."""
    rules = registry.objects(graph, with_credentials(namespace))
    return tuple(sorted({name for _, rule in rules for name in credential_names(rule)}))


def policy(rules: Rules, port: int, subset: str = "") -> TrafficPolicy:
    """Effective policy: the host's, overridden block by block by the subset's; a port's own settings replace the whole."""
    merged = _at_port(rules.policy, port)
    chosen = rules.subset(subset) if subset else None
    if chosen is not None and chosen.traffic_policy is not None:
        own = chosen.traffic_policy
        exact = next((p for p in own.port_level_settings if p.port and p.port.number == port), None)
        merged = _overlay(merged, _from_port(exact, own) if exact else own)
    return merged


def _at_port(whole: TrafficPolicy | None, port: int) -> TrafficPolicy:
    if whole is None:
        return TrafficPolicy()
    exact = next((p for p in whole.port_level_settings if p.port and p.port.number == port), None)
    return _from_port(exact, whole) if exact else whole


def _from_port(port: PortTrafficPolicy, whole: TrafficPolicy) -> TrafficPolicy:
    blocks = {b: getattr(port, b) for b in _BLOCKS}
    return TrafficPolicy(**blocks, tunnel=whole.tunnel, proxy_protocol=whole.proxy_protocol)


def _overlay(base: TrafficPolicy, own: TrafficPolicy) -> TrafficPolicy:
    names = (*_BLOCKS, "tunnel", "proxy_protocol")
    return TrafficPolicy(**{b: getattr(own, b) if getattr(own, b) is not None else getattr(base, b) for b in names})
