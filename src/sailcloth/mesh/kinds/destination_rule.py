"""DestinationRule: indexed by host, per namespace and for all namespaces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sailcloth.api.destination_rule import DestinationRule, LocalityLbSetting
from sailcloth.api.meta import Key
from sailcloth.mesh import hosts
from sailcloth.mesh.model import MeshConfig

from .record import MeshKind, Slice


def by_host(host: str) -> Slice[DestinationRule]:
    """DestinationRules for exactly this host (a full name or a wildcard), of all namespaces."""
    return Slice(("DestinationRule", "host", host))


def of_namespace_by_host(namespace: str, host: str) -> Slice[DestinationRule]:
    """DestinationRules of one namespace for exactly this host."""
    return Slice(("DestinationRule", "namespace-host", namespace, host))


def with_selector(namespace: str) -> Slice[DestinationRule]:
    """DestinationRules of one namespace with a workloadSelector."""
    return Slice(("DestinationRule", "selector", namespace))


def with_credentials(namespace: str) -> Slice[DestinationRule]:
    """DestinationRules of one namespace that name a Secret."""
    return Slice(("DestinationRule", "credentials", namespace))


def credential_names(rule: DestinationRule) -> set[str]:
    """Names of the Secrets in a rule's TLS settings."""
    policies = [p for p in (rule.spec.traffic_policy, *(s.traffic_policy for s in rule.spec.subsets)) if p is not None]
    settings = [
        tls for p in policies for tls in (p.tls, *(port.tls for port in p.port_level_settings)) if tls is not None
    ]
    return {tls.credential_name for tls in settings if tls.credential_name}


def _slices(key: Key, rule: DestinationRule, config: MeshConfig) -> Iterator[Slice[DestinationRule]]:
    host = hosts.resolve(rule.spec.host, key.namespace, config.domain)
    yield of_namespace_by_host(key.namespace, host)
    yield by_host(host)
    if rule.spec.workload_selector is not None:
        yield with_selector(key.namespace)
    if credential_names(rule):
        yield with_credentials(key.namespace)


def _caller_labels(rule: DestinationRule) -> set[str]:
    selector = rule.spec.workload_selector
    policies = [rule.spec.traffic_policy, *(s.traffic_policy for s in rule.spec.subsets)]
    balancers = [p.load_balancer for p in policies if p is not None]
    settings = [b.locality_lb_setting for b in balancers if b is not None]
    compared = compared_labels(s for s in settings if s is not None)
    return (set(selector.match_labels) if selector is not None else set()) | compared


def compared_labels(settings: Iterable[LocalityLbSetting]) -> set[str]:
    """Label keys of clients that `failoverPriority` compares with endpoint labels."""
    return {text.partition("=")[0] for s in settings for text in s.failover_priority if "=" not in text}


KIND = MeshKind(DestinationRule, slices=_slices, caller_labels=_caller_labels)
