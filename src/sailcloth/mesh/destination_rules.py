"""Which DestinationRules apply to a host for a client, how they merge, and the traffic policy by port and subset."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sailcloth.api.destination_rule import DestinationRule, PortTrafficPolicy, Subset, TrafficPolicy
from sailcloth.api.meta import Key
from sailcloth.lib.incremental import Graph, derived

from . import hosts, registry, selection, visibility
from .kinds.destination_rule import credential_names, of_namespace_by_host, with_credentials, with_selector
from .model import MeshConfig
from .selection import Labels
from .verdict import Verdict


@dataclass(frozen=True)
class Rules:
    """The effective rule for a host: merged policy and subsets, and the objects that they derive from."""

    policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    sources: tuple[Key, ...] = ()
    selected: bool = False  # whether the policy is from a rule that selects the client's workload

    def subset(self, name: str) -> Subset | None:
        return next((s for s in self.subsets if s.name == name), None)


NONE = Rules()
_BLOCKS = ("load_balancer", "connection_pool", "outlier_detection", "tls", "retry_budget")


@derived
def for_host(graph: Graph, host: str, service_namespace: str, caller_namespace: str, labels: Labels) -> Rules:
    """The rules that a client's proxy applies to a host. Source: istio.md 2.7.

    Looks in the client's namespace, then the service's, then the root namespace; the first with a match wins. Within a namespace
    an exact host takes precedence over the longest wildcard. A rule with a workloadSelector applies only to clients that it selects.
    In Istio a rule in the client's namespace hides subsets of the service's rule, and traffic to them fails (#30080). Here the
    client's rule sets the policy, and subsets that it does not define are inherited from the service's.
    """
    root = registry.config(graph).root_namespace
    order = [caller_namespace] if caller_namespace != root else []
    order += [service_namespace, root]
    merged = NONE
    for namespace in dict.fromkeys(n for n in order if n):
        rules = _level(graph, host, namespace, caller_namespace, labels)
        if merged is NONE:
            merged = rules
        elif inherited := tuple(s for s in rules.subsets if merged.subset(s.name) is None):
            sources = (*merged.sources, *rules.sources)
            merged = replace(merged, subsets=(*merged.subsets, *inherited), sources=sources)
    return merged


def _level(graph: Graph, host: str, namespace: str, caller: str, labels: Labels) -> Rules:
    """The rules of one namespace."""
    for name in (host, *hosts.wildcards(host)):
        keys = registry.select(graph, of_namespace_by_host(namespace, name))
        rules = [r for k in keys if (r := _usable(graph, k, caller, labels, namespace == caller)) is not None]
        if rules:
            return _merge(rules)
    return NONE


def verdict(graph: Graph, key: Key) -> Verdict:
    """Always accepted; notes inherited subsets."""
    return Verdict(message=graph.get(inherited_subsets, key))


@derived
def inherited_subsets(graph: Graph, key: Key) -> str:
    """A note on the subsets that clients in a rule's namespace inherit from other rules; empty if there are none."""
    rule = registry.read(graph, DestinationRule, key)
    if rule is None:
        return ""
    host = hosts.resolve(rule.spec.host, key.namespace, registry.config(graph).domain)
    own_subsets = {s.name for s in rule.spec.subsets}
    notes = []
    for ident in registry.services_of_host(graph, host):
        if ident.namespace == key.namespace:
            continue
        service_rules = _level(graph, host, ident.namespace, key.namespace, ())
        if inherited := sorted({s.name for s in service_rules.subsets} - own_subsets):
            names = ", ".join(f"{k.namespace}/{k.name}" for k in service_rules.sources)
            notes.append(
                f"callers in {key.namespace} have the subsets {', '.join(inherited)} of {host} from {names} too"
            )
    return "; ".join(notes)


def _usable(graph: Graph, key: Key, caller: str, labels: Labels, private: bool) -> tuple[Key, DestinationRule] | None:
    rule = registry.read(graph, DestinationRule, key)
    if rule is None:
        return None
    selector = rule.spec.workload_selector
    if selector is not None and not (
        key.namespace == caller and selection.matches_labels(selector.match_labels, labels)
    ):
        return None
    namespaces = visibility.exported_to(rule.spec.export_to, key.namespace, registry.config(graph).destination_export)
    if visibility.sees(namespaces, caller) or (private and not rule.spec.export_to):
        return key, rule
    return None


def _merge(rules: list[tuple[Key, DestinationRule]]) -> Rules:
    """Merge rules for one host in one namespace: with selector first, then by age; joins subsets by name, uses the first policy."""
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
    """Names of the Secrets in the rules that select a sidecar's workload."""
    names: set[str] = set()
    for key in registry.select(graph, with_selector(namespace)):
        if usable := _usable(graph, key, namespace, labels, True):
            names |= credential_names(usable[1])
    return tuple(sorted(names))


@derived
def credentials_in(graph: Graph, namespace: str) -> tuple[str, ...]:
    """Names of the Secrets in the rules of a namespace, for its gateways."""
    rules = registry.objects(graph, with_credentials(namespace))
    return tuple(sorted({name for _, rule in rules for name in credential_names(rule)}))


def policy(rules: Rules, port: int, subset: str, config: MeshConfig) -> TrafficPolicy:
    """The effective policy: the host's, with top-level fields overridden by the subset's; port-level settings replace it. The
    mesh's `defaultTrafficPolicy` gives the blocks that are then unset."""
    merged = _at_port(rules.policy, port)
    chosen = rules.subset(subset) if subset else None
    if chosen is not None and chosen.traffic_policy is not None:
        subset_policy = chosen.traffic_policy
        exact = next((p for p in subset_policy.port_level_settings if p.port and p.port.number == port), None)
        merged = _overlay(merged, _from_port(exact, subset_policy) if exact else subset_policy)
    if config.connection_pool is None and config.outlier_detection is None:
        return merged
    default = TrafficPolicy(connection_pool=config.connection_pool, outlier_detection=config.outlier_detection)
    return _overlay(default, merged)


def origin(graph: Graph, rules: Rules, subset: str) -> Key | None:
    """The object that a policy comes from: the one that defines the subset if that has a policy of its own, else the first with one."""
    found = ((key, rule) for key in rules.sources if (rule := registry.read(graph, DestinationRule, key)) is not None)
    objects = list(found)
    for key, rule in objects if subset else ():
        if any(s.name == subset and s.traffic_policy is not None for s in rule.spec.subsets):
            return key
    return next((key for key, rule in objects if rule.spec.traffic_policy is not None), None)


def _at_port(whole: TrafficPolicy | None, port: int) -> TrafficPolicy:
    if whole is None:
        return TrafficPolicy()
    exact = next((p for p in whole.port_level_settings if p.port and p.port.number == port), None)
    return _from_port(exact, whole) if exact else whole


def _from_port(port: PortTrafficPolicy, whole: TrafficPolicy) -> TrafficPolicy:
    blocks = {b: getattr(port, b) for b in _BLOCKS}
    return TrafficPolicy(**blocks, tunnel=whole.tunnel, proxy_protocol=whole.proxy_protocol)


def _overlay(base: TrafficPolicy, override: TrafficPolicy) -> TrafficPolicy:
    names = (*_BLOCKS, "tunnel", "proxy_protocol")
    return TrafficPolicy(
        **{b: getattr(override, b) if getattr(override, b) is not None else getattr(base, b) for b in names}
    )
