"""AuthorizationPolicies as Envoy's RBAC filters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_pb
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb

from sailcloth.api.authorization_policy import Operation, Rule, Source
from sailcloth.envoy.inputs import FilterInputs
from sailcloth.envoy.protobuf import typed

from . import attributes
from .attributes import Match
from .policy import Authorization, NamedRules

_ACTIONS = {"AUDIT": rbac_pb2.RBAC.LOG, "DENY": rbac_pb2.RBAC.DENY, "ALLOW": rbac_pb2.RBAC.ALLOW}  # in Envoy's order
_NARROW = ("ALLOW",)  # without an attribute a rule would let more in
SHADOW_ALLOW, _SHADOW_DENY = "istio_dry_run_allow_", "istio_dry_run_deny_"
TCP_STATS = "tcp."
_ANY_PERMISSION, _ANY_PRINCIPAL = rbac_pb2.Permission(any=True), rbac_pb2.Principal(any=True)


def http_filters(inputs: FilterInputs) -> list[hcm_pb.HttpFilter]:
    """A filter for each action that some policy has."""
    return [
        hcm_pb.HttpFilter(
            **typed(
                "envoy.filters.http.rbac",
                http_pb.RBAC(
                    rules=rules,
                    shadow_rules=shadow,
                    shadow_rules_stat_prefix=prefix,
                    track_per_rule_stats=True,  # `sailctl x authz check -v` shows what each policy decided
                ),
            )
        )
        for rules, shadow, prefix in _filters(inputs, tcp=False)
    ]


def network_filters(inputs: FilterInputs) -> list[components.Filter]:
    """The same for a chain that forwards bytes; an HTTP chain has its filters after the connection manager."""
    if not inputs.tcp:
        return []
    return [
        components.Filter(
            **typed(
                "envoy.filters.network.rbac",
                network_pb.RBAC(
                    rules=rules, shadow_rules=shadow, shadow_rules_stat_prefix=prefix, stat_prefix=TCP_STATS
                ),
            )
        )
        for rules, shadow, prefix in _filters(inputs, tcp=True)
    ]


def _filters(inputs: FilterInputs, tcp: bool) -> Iterator[tuple[rbac_pb2.RBAC | None, rbac_pb2.RBAC | None, str]]:
    """(rules in force, rules that are only counted, prefix of their statistics) of each filter, in Envoy's order."""
    authorization = inputs.policies.of(Authorization)
    authorization = authorization.at_gateway() if inputs.traffic == "gateway" else authorization
    domains = authorization.trust_domains
    for action in _ACTIONS:
        enforced = rules(authorization.of(action), action, domains, tcp)
        shadow = rules(authorization.of(action, dry_run=True), action, domains, tcp)
        if enforced is not None or shadow is not None:
            yield enforced, shadow, _SHADOW_DENY if shadow is not None and action == "DENY" else SHADOW_ALLOW


def rules(
    policies: Sequence[NamedRules], action: str, domains: tuple[str, ...], tcp: bool, prefix: str = ""
) -> rbac_pb2.RBAC | None:
    """The rules of policies with one action; None without policies. `prefix`: of their names."""
    if not policies:
        return None
    out = rbac_pb2.RBAC(action=_ACTIONS.get(action, rbac_pb2.RBAC.DENY))
    for policy in policies:
        for index, rule in enumerate(policy.rules):
            built = _policy(rule, action, domains, policy.namespace, tcp)
            if built is not None:
                out.policies[_name(policy, index, prefix)].CopyFrom(built)
        if not policy.rules:  # ALLOW without rules allows nothing, but makes everything else be refused
            out.policies[_name(policy, 0, prefix)].CopyFrom(_nothing())
    return out


def _name(policy: NamedRules, index: int, prefix: str) -> str:
    return f"{prefix}-ns[{policy.namespace}]-policy[{policy.name}]-rule[{index}]".removeprefix("-")


def _nothing() -> rbac_pb2.Policy:
    return rbac_pb2.Policy(
        permissions=[rbac_pb2.Permission(not_rule=_ANY_PERMISSION)],
        principals=[rbac_pb2.Principal(not_id=_ANY_PRINCIPAL)],
    )


def _policy(rule: Rule, action: str, domains: tuple[str, ...], namespace: str, tcp: bool) -> rbac_pb2.Policy | None:
    """One rule; None if it uses what cannot be matched, and must not hold without it."""
    of_caller, of_request = attributes.of_conditions(rule, domains, namespace)
    sources = [entry.source or Source() for entry in rule.from_] or [Source()]
    operations = [entry.operation or Operation() for entry in rule.to] or [Operation()]
    callers = [[*attributes.of_source(source, domains, namespace), *of_caller] for source in sources]
    requests = [[*attributes.of_operation(operation), *of_request] for operation in operations]
    every: list[Match[Any]] = [match for matches in callers for match in matches]
    every += [match for matches in requests for match in matches]
    if action in _NARROW and not all(_exists(match, tcp) for match in every if match.is_set):
        return None
    return rbac_pb2.Policy(
        permissions=[_all_permissions([m for m in matches if _exists(m, tcp)]) for matches in requests],
        principals=[_all_principals([m for m in matches if _exists(m, tcp)]) for matches in callers],
    )


def _exists(match: Match[Any], tcp: bool) -> bool:
    """Whether an attribute exists there, and its values can be matched."""
    return not (tcp and match.http) and match.usable


def _all_permissions(matches: Sequence[Match[rbac_pb2.Permission]]) -> rbac_pb2.Permission:
    rules: list[rbac_pb2.Permission] = []
    for match in matches:
        if match.values:
            rules.append(_one_permission(match, match.values))
        if match.not_values:
            rules.append(rbac_pb2.Permission(not_rule=_one_permission(match, match.not_values)))
    return rbac_pb2.Permission(and_rules=rbac_pb2.Permission.Set(rules=rules or [_ANY_PERMISSION]))


def _one_permission(match: Match[rbac_pb2.Permission], values: Sequence[str]) -> rbac_pb2.Permission:
    made = [match.make(value) for value in values]
    if match.bare and len(made) == 1:
        return made[0]
    return rbac_pb2.Permission(or_rules=rbac_pb2.Permission.Set(rules=made))


def _all_principals(matches: Sequence[Match[rbac_pb2.Principal]]) -> rbac_pb2.Principal:
    ids: list[rbac_pb2.Principal] = []
    for match in matches:
        for values, negated in ((match.values, False), (match.not_values, True)):
            if values:
                one = rbac_pb2.Principal(or_ids=rbac_pb2.Principal.Set(ids=[match.make(value) for value in values]))
                ids.append(rbac_pb2.Principal(not_id=one) if negated else one)
    return rbac_pb2.Principal(and_ids=rbac_pb2.Principal.Set(ids=ids or [_ANY_PRINCIPAL]))
